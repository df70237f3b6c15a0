"""From a scan to items that are reconstructed one by one: whitened, compressed, digested."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from firenet_mri.arrays import tensor_of_array
from firenet_mri.calibration import (
    calibration_region,
    compress_coils,
    low_resolution_phase,
    normalise_maps,
    reference_phase,
    whiten,
)
from firenet_mri.calibration.espirit import Eigenvalues
from firenet_mri.calibration.methods import MapMethod
from firenet_mri.calibration.references import reference_of_items, serves, time_average
from firenet_mri.calibration.region import has_calibration_region
from firenet_mri.calibration.sensitivity import SMALLEST_WIDTH, Sensitivities, sensitivities
from firenet_mri.digests import ScanDigests, digest_of_data, digest_of_tensor
from firenet_mri.errors import CalibrationError, DataError, ShapeError, UsageError
from firenet_mri.firenet.base import Network
from firenet_mri.firenet.networks import network_of
from firenet_mri.operators import LinearOperator, NonuniformFourier
from firenet_mri.operators.centred import centred_ifft
from firenet_mri.operators.density import density_weights
from firenet_mri.operators.given import GivenEncoding, check_operator
from firenet_mri.operators.links import Chain
from firenet_mri.reconstruction.data_warnings.calibration import check_calibration
from firenet_mri.reconstruction.data_warnings.scan import scan_warnings
from firenet_mri.reconstruction.data_warnings.warning import DataWarning
from firenet_mri.reconstruction.given import (
    Operators,
    as_operators,
    encode_given,
    on_images_of,
    record_of,
    without_maps,
)
from firenet_mri.reconstruction.joint import (
    ALONG_TRAJECTORIES,
    encode_frames,
    frames_of,
    groups_along,
    joint_network,
    mean_of_frames,
)
from firenet_mri.reconstruction.options import ReconstructionOptions
from firenet_mri.reconstruction.solve import Encoded, encode
from firenet_mri.scan import (
    RawScan,
    check_readout_splits,
    digest_of_scan,
    sampled_mask,
    split_readout,
)

# Samples of the centre from which a phase is taken, along each axis: minimum and maximum.
_PHASE_WIDTHS = (8, 24)

_Each = TypeVar("_Each")


@dataclass(frozen=True, eq=False)
class Item:
    """A slice of an image, a plane of a volume, or frames: the unit of reconstruction.

    Frames lie along an axis after the coil axis, in k-space and mask.

    Parameters
    ----------
    index
        Index among the items.
    kspace, mask
        (coil, *samples) complex and (1, *samples) bool, possibly scattered in memory.
    maps
        (coil, *spatial) if known beforehand, otherwise None.
    maps_from_data
        True if the maps, or the reference, were made from the scan's own samples.
    sample_norm
        Norm of the item's samples as they were read; None if it is no longer known.
    eigenvalues
        Eigenvalues that were computed with these maps; None if unknown.
    reference
        (coil, *spatial), from which to make the maps; None makes them from the samples.
    """

    index: int
    kspace: Tensor
    mask: Tensor
    maps: Tensor | None
    sample_norm: float | None
    maps_from_data: bool = False
    eigenvalues: Eigenvalues | None = None
    reference: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Prepared:
    """A scan that is ready for the network.

    Parameters
    ----------
    scan
        The whitened and compressed scan, as a volume if it is one.
    planes
        The scan of the items: the same, or its planes perpendicular to the readout.
    options, net
        The options, and the network that they define.
    digests
        Digests of the scan as it was read.
    items
        The items, which are reconstructed one by one.
    fouriers
        The transforms of trajectories: one for all slices, or one per slice; empty if Cartesian.
    warnings
        Warnings about the scan as it was read.
    operators
        The user's own encoding operator per item, which replaces maps and Fourier transform; empty
        if none was given.
    groups
        The slices that are the frames of each item; empty if items are not made of frames.
    """

    scan: RawScan
    planes: RawScan
    options: ReconstructionOptions
    net: Network
    digests: ScanDigests
    items: tuple[Item, ...]
    fouriers: tuple[NonuniformFourier, ...] = ()
    warnings: tuple[DataWarning, ...] = ()
    operators: tuple[LinearOperator, ...] = ()
    groups: tuple[tuple[int, ...], ...] = ()

    @property
    def record(self) -> dict[str, object]:
        """The options that define the image, as plain data: record, key and digest."""
        plain = {"read": dict(self.scan.record), "reconstruction": self.options.key()}
        return plain | self.operator_record

    @property
    def operator_record(self) -> dict[str, object]:
        """The part of the record about the user's own operator; empty if there is none."""
        return {"operator": record_of(self.operators)} if self.operators else {}

    def encoded(self, item: Item) -> tuple[Encoded, str]:
        """Return the network's input for an item, and the digest of its maps.

        Raises
        ------
        CalibrationError
            If maps or phase cannot be estimated.
        """
        kspace = _sampled(item.kspace, item.mask)
        if self.operators:
            encoding = GivenEncoding(self.operators[item.index], item.mask)
            return encode_given(kspace, encoding, self.planes.applied), ""
        maps, from_data, eigenvalues = item.maps, item.maps_from_data, item.eigenvalues
        is_estimated, source, mask = from_data, kspace, item.mask
        if maps is None:
            # A map that is 1 everywhere was not made from data.
            is_estimated = self.options.maps != "none"
            from_data = is_estimated and (item.reference is None or from_data)
            if item.reference is not None:
                source, mask = item.reference, sampled_mask(item.reference, item.reference.ndim - 1)
            maps, eigenvalues = self._estimated(item, source, mask)
        maps_digest, turn = digest_of_tensor(maps), None
        if is_estimated and not self.fouriers and self.options.takes_reference_phase:
            turn = reference_phase(source, maps, mask)
            # In place if these maps are not shared, since those of a volume are large.
            maps = maps.mul_(turn) if item.maps is None else maps * turn
        chain, fouriers = Chain(self.planes.applied), self._of_item(item, self.fouriers)
        if self.groups:
            sampling = fouriers or item.mask
            encoded = encode_frames(kspace, sampling, maps, chain=chain, maps_from_data=from_data)
            return replace(encoded, turn=turn), maps_digest
        encoded = encode(
            kspace,
            fouriers[0] if fouriers else item.mask,
            maps,
            self.planes.spatial_ndim,
            chain=chain,
            maps_from_data=from_data,
        )
        encoded = replace(encoded, sampled=item.mask, turn=turn, eigenvalues=eigenvalues)
        if self.options.phase_constraint is not None:
            widths = _phase_widths(self.scan.name, kspace, item.mask)
            phase = low_resolution_phase(kspace, maps, widths)
            encoded = encoded.with_phase(phase, self.options.phase_constraint, widths)
        return encoded, maps_digest

    def check_calibration(self) -> None:
        """Refuse a scan with slices that lack a calibration region, before any work.

        Raises
        ------
        CalibrationError
            The message names the slices and the remedy.
        """
        # Frames get their maps from the mean over all frames.
        if self.operators or self.groups:
            return
        if isinstance(self.options.maps, str) and any(item.maps is None for item in self.items):
            served = frozenset(item.index for item in self.items if item.reference is not None)
            check_calibration(self.planes, self.options.maps, served)

    def _of_item(self, item: Item, each: tuple[_Each, ...]) -> tuple[_Each, ...]:
        """Return an item's entries of a sequence with one entry for all slices or one per slice."""
        if len(each) < 2:
            return each
        of_item = self.groups[item.index] if self.groups else (item.index,)
        return tuple(each[i] for i in of_item)

    def _trajectory_of(self, item: Item) -> Tensor | None:
        """Return the k-space points of an item's samples; for frames with an axis of frames."""
        points = self._of_item(item, self.planes.trajectories)
        if not points or not self.groups:
            return points[0] if points else None
        frames = len(self.groups[item.index])
        return torch.stack(points * frames if len(points) == 1 else points)

    def _estimated(self, item: Item, kspace: Tensor, mask: Tensor) -> Sensitivities:
        """Return the maps of a slice, (coil, *spatial), or (set, coil, *spatial) for several sets.

        They are made from ``kspace``: the reference or, if there is none, the item's samples.
        """
        sets, is_reference = self.options.map_sets, item.reference is not None
        if not kspace.any():
            # A slice without signal has no maps of its own; any maps are valid for it.
            shape = (self.planes.coils, *self.planes.spatial_shape)
            maps = torch.full(shape, self.planes.coils**-0.5, dtype=torch.complex64)
            empty = [torch.zeros_like(maps)] * (sets - 1)
            return Sensitivities(maps if sets == 1 else torch.stack([maps, *empty]))
        # A reference is always Cartesian.
        trajectory = None if is_reference else self._trajectory_of(item)
        one = replace(
            self.planes,
            kspace=kspace,
            mask=mask,
            images=(),
            reference=None,
            trajectory=trajectory,
            image_shape=None if trajectory is None else self.planes.image_shape,
        )
        method, background = self.options.maps, self.options.background
        found = sensitivities(one, method, sets, background=background)  # type: ignore[arg-type]
        # The eigenvalues describe the image's own samples only if the maps were made from them.
        return Sensitivities(found.maps) if is_reference else found


def prepare(
    scan: RawScan,
    options: ReconstructionOptions,
    *,
    weights: Tensor | None = None,
    encoding: Operators | None = None,
) -> Prepared:
    """Return the scan with whitened, compressed data and the network of the options.

    Parameters
    ----------
    scan, options
        The scan to reconstruct, and the options.
    weights
        Density weights (*samples) of the trajectories; None computes them.
    encoding
        See :func:`firenet_mri.reconstruct`.

    Raises
    ------
    UsageError
        If an option cannot be used with this scan.
    ShapeError
        If given maps do not fit the scan.
    """
    if encoding is not None:
        options = without_maps(options)
    check_scan(scan, options if encoding is None else options.replace(joint=None))
    digests = digest_of_scan(scan)
    norms = _norms_as_read(scan, options.by_readout)
    as_read = scan
    # A given operator describes the samples as they are.
    if scan.noise is not None and encoding is None:
        scan = whiten(scan)
    if options.coils is not None:
        scan = compress_coils(scan, options.coils, options.compression)
    operators: tuple[LinearOperator, ...] = ()
    if encoding is not None:
        operators = as_operators(encoding, math.prod(scan.batch_shape))
        scan = on_images_of(scan, operators)
    planes = split_readout(scan) if options.by_readout else scan
    fouriers = () if encoding is not None else _transforms(scan, weights)
    groups = () if options.joint is None else groups_along(planes, options.joint)
    items = tuple(_items(planes, options, norms))
    if groups:
        items = tuple(_joined(planes, items, groups))
    net = _network(planes, options, len(groups[0]) if groups else None)
    warnings = scan_warnings(as_read, len(items))
    for operator, item in {id(o): (o, i) for o, i in zip(operators, items, strict=False)}.values():
        check_operator(operator, item.kspace)
    return Prepared(
        scan, planes, options, net, digests, items, fouriers, warnings, operators, groups
    )


def _transforms(scan: RawScan, weights: Tensor | None) -> tuple[NonuniformFourier, ...]:
    """Return the transforms of the scan's trajectories, with their density weights."""
    shape = scan.spatial_shape
    return tuple(
        NonuniformFourier(
            one, shape, weights=density_weights(one, shape) if weights is None else weights
        )
        for one in scan.trajectories
    )


def check_scan(scan: RawScan, options: ReconstructionOptions) -> None:
    """Refuse options that do not suit a scan, before any work.

    Raises
    ------
    UsageError, DataError
        If a volume cannot be split, images are not frames of one another, or an option needs a
        Cartesian scan.
    """
    if options.by_readout:
        check_readout_splits(scan)
    elif options.joint is not None:
        groups_along(scan, options.joint)
    if scan.trajectory is None:
        return
    wanted = {
        "map_sets": options.map_sets > 1,
        "phase_constraint": options.phase_constraint is not None,
    }
    for name, is_wanted in wanted.items():
        if is_wanted:
            raise UsageError(f"{scan.name}: {name} needs a Cartesian scan; omit it")


def _network(planes: RawScan, options: ReconstructionOptions, frames: int | None = None) -> Network:
    if frames is not None:
        shape = (frames, *planes.spatial_shape)
        net = network_of(planes.coils, shape, joint_network(options.network))
        if planes.trajectories and options.network.lam == "auto" and net.minimiser is not None:
            net.minimiser.lam *= ALONG_TRAJECTORIES
        return net
    if options.network.weights is not None and planes.spatial_ndim != 2:
        raise UsageError(
            f"{planes.name}: is a volume, but the trained network of weights is for 2D images; "
            "give by_readout, which splits the volume into planes perpendicular to its readout"
        )
    first, *others = planes.spatial_shape
    shape = (options.map_sets * first, *others)
    net = network_of(planes.coils, shape, options.network)
    if options.map_sets > 1 and options.network.lam == "auto" and net.minimiser is not None:
        # The rule counts the pixels of one set, as the data do, not those of all sets.
        net.minimiser.lam *= math.sqrt(options.map_sets)
    return net


def _items(
    planes: RawScan, options: ReconstructionOptions, norms: Sequence[float] | None
) -> Iterator[Item]:
    """Yield every slice of every image."""
    leading = planes.kspace.shape[: -planes.sample_ndim - 1]
    where = list(np.ndindex(leading))
    each: Sequence[Tensor | None] = [None] * len(where)
    references, from_data = reference_of_items(planes), False
    if options.joint is None:
        references, from_data = _references(planes, options.maps)
    if not isinstance(options.maps, str):
        shape = (planes.coils, *planes.spatial_shape)
        maps = _given_maps(planes, options.maps)
        each = list(maps.expand(*planes.batch_shape, *shape).reshape(-1, *shape))
    for index, (at, one) in enumerate(zip(where, each, strict=True)):
        # Views, unless the layout forbids it: a split volume is read plane by plane.
        norm = None if norms is None else norms[index]
        reference = references[index]
        yield Item(
            index,
            planes.kspace[at],
            planes.mask[at],
            one,
            norm,
            maps_from_data=from_data and reference is not None,
            reference=reference,
        )


def _joined(
    planes: RawScan, items: Sequence[Item], groups: Sequence[tuple[int, ...]]
) -> Iterator[Item]:
    """Yield the items that consist of frames."""
    samples = planes.kspace.shape[-planes.sample_ndim :]
    kspace = planes.kspace.reshape(-1, planes.coils, *samples)
    mask = planes.mask.reshape(-1, 1, *samples)
    for index, group in enumerate(groups):
        members = [items[i] for i in group]
        _check_sampled(planes, members)
        own = frames_of(kspace, group), frames_of(mask, group)
        norms = [one.sample_norm for one in members]
        maps = [one.maps for one in members if one.maps is not None]
        reference = members[0].reference
        is_apart = reference is not None or bool(maps)
        # Along trajectories the maps are made directly from the samples of all frames.
        if not is_apart and planes.trajectory is None:
            reference = mean_of_frames(*own)
        yield Item(
            index,
            *own,
            torch.stack(maps) if maps else None,
            None if None in norms else math.hypot(*norms),  # type: ignore[arg-type]
            maps_from_data=not is_apart,
            reference=None if maps else reference,
        )


def _check_sampled(planes: RawScan, members: Sequence[Item]) -> None:
    """Refuse frames without samples, whose images would come only from their neighbours."""
    measured = [bool(one.kspace.any()) and bool(one.mask.any()) for one in members]
    # A slice that is empty in every frame is not an error.
    for one, is_measured in zip(members, measured, strict=True):
        if not is_measured and any(measured):
            name = (
                planes.images[one.index * len(planes.images) // math.prod(planes.batch_shape)]
                if planes.images
                else f"image {one.index}"
            )
            raise DataError(
                f"{planes.name}: {name} has no samples, so its image would come only from its "
                "neighbours; choose images that have samples, or omit joint"
            )


def _references(planes: RawScan, maps: MapMethod | Tensor) -> tuple[list[Tensor | None], bool]:
    """Return every item's reference for maps, and whether it was made from the samples."""
    nothing: list[Tensor | None] = [None] * math.prod(planes.batch_shape)
    if not isinstance(maps, str) or maps not in SMALLEST_WIDTH or planes.coils < 2:
        return nothing, False
    width = SMALLEST_WIDTH[maps]
    if planes.reference is not None:
        # Samples replace a reference that is too small if they are sufficient.
        own = [has_calibration_region(mask, width) for mask in _masks(planes)]
        found = reference_of_items(planes)
        pairs = zip(found, own, strict=True)
        return [
            one if one is not None and (serves(one, width) or not has_own) else None
            for one, has_own in pairs
        ], False
    average = time_average(planes, width)
    if average is None:
        return nothing, False
    return reference_of_items(replace(planes, reference=average)), True


def _masks(planes: RawScan) -> Iterator[Tensor]:
    """Yield every item's sampling mask; along a trajectory the centre counts as sampled."""
    for at in np.ndindex(planes.batch_shape):
        mask = planes.mask[at][0]
        yield mask if planes.trajectory is None else torch.ones(planes.spatial_shape).bool()


def _norms_as_read(scan: RawScan, by_readout: bool) -> list[float] | None:
    """Return the norms of the samples of every item as they were read; None if unknown."""
    if not scan.applied:
        return _sample_norms(scan, by_readout)
    if scan.norms_as_read is None or by_readout:
        return None
    return [float(norm) for norm in scan.norms_as_read.reshape(-1)]


def _sample_norms(scan: RawScan, by_readout: bool) -> list[float]:
    """Return the norm of the samples of every item as they were read."""
    if not by_readout:
        leading = np.ndindex(scan.kspace.shape[: -scan.sample_ndim - 1])
        return [_norm(scan.kspace[at] * scan.mask[at]) for at in leading]
    energy = torch.zeros(*scan.batch_shape, scan.kspace.shape[-1], dtype=torch.float64)
    # Coil by coil, since the volume may be large; the transform is unitary.
    for *image, coil in np.ndindex(*scan.kspace.shape[:-3]):
        sampled = scan.kspace[(*image, coil)] * scan.mask[(*image, 0)]
        lines = centred_ifft(sampled, [-1]).abs().double().square()
        energy[tuple(image)] += lines.flatten(0, -2).sum(0)
    return [float(one) for one in energy.sqrt().reshape(-1)]


def _sampled(kspace: Tensor, mask: Tensor) -> Tensor:
    """Return k-space, zero where not sampled, without a copy if it is so and contiguous."""
    # A plane of a split scan is scattered in memory; a volume is large and must not be copied.
    if kspace.is_contiguous() and mask.shape[0] == 1:
        off = ~mask[0]
        if not any(bool(coil[off].any()) for coil in kspace):
            return kspace
    return (kspace * mask).contiguous()


def _norm(samples: Tensor) -> float:
    return math.sqrt(sum(float(part.abs().double().square().sum()) for part in samples))


def _given_maps(scan: RawScan, maps: Tensor) -> Tensor:
    """Return the caller's maps, normalised: one for all slices of all images, or one per slice."""
    tail = (scan.coils, *scan.spatial_shape)
    leading = tuple(maps.shape[: -len(tail)])
    # An axis of one slice or image may be omitted.
    own = [size for size in leading if size > 1] == [size for size in scan.batch_shape if size > 1]
    if maps.shape[-len(tail) :] == tail and own:
        maps = maps.reshape(*scan.batch_shape, *tail)
    elif tuple(maps.shape) != tail:
        raise ShapeError(
            f"{scan.name}: the maps have shape {tuple(maps.shape)}; this scan needs "
            f"{(*scan.batch_shape, *tail)} or {tail}"
        )
    maps = maps if isinstance(maps, Tensor) else tensor_of_array(maps, "maps")
    if not maps.is_complex() or not bool(torch.isfinite(torch.view_as_real(maps)).all()):
        raise DataError(
            f"{scan.name}: the maps must be complex and free of NaN and infinite values"
        )
    if not bool(maps.any()):
        raise DataError(
            f"{scan.name}: the maps are 0 everywhere; give maps of the coils, or omit them"
        )
    return normalise_maps(maps.to(torch.complex64), scan.spatial_ndim)


def _phase_widths(name: str, kspace: Tensor, mask: Tensor) -> list[int]:
    """Return the sizes of the centre from which a slice's phase is taken."""
    widths = calibration_region(mask, kspace.ndim - 1)
    least, most = _PHASE_WIDTHS
    if min(widths) < least:
        raise CalibrationError(
            f"{name}: the sampled centre is {' x '.join(map(str, widths))}, but a phase constraint "
            f"needs {least} samples along each axis; omit it"
        )
    # A finer phase would follow noise and edges.
    return [min(width, most) for width in widths]


def key_of(prepared: Prepared, versions: dict[str, str]) -> str:
    """Return a key that distinguishes this run from others that may have left finished slices."""
    # Two operators may have the same name and sizes, so the key contains what they do.
    probes = [
        digest_of_tensor(operator.adjoint(item.kspace.contiguous()))
        for operator, item in zip(prepared.operators, prepared.items, strict=False)
    ]
    if prepared.scan.reference is not None:
        probes.append(digest_of_tensor(prepared.scan.reference))
    return digest_of_data([prepared.digests._asdict(), prepared.record, versions, *probes])
