"""A scan as it was read: k-space, sampling mask, noise measurement and geometry."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from firenet_mri.digests import (
    ScanDigests,
    digest_of_data,
    digest_of_parts,
    digest_of_tensor,
)
from firenet_mri.errors import DataError, FirenetError, ShapeError, UsageError
from firenet_mri.geometry import AcquisitionParameters, Geometry, ImageGrid, Vector, as_vector
from firenet_mri.operators.base import LinearOperator
from firenet_mri.operators.centred import centred_ifft
from firenet_mri.operators.echo_planar import KspaceReversal, reversed_about_centre
from firenet_mri.operators.nonuniform import check_trajectory
from firenet_mri.plurals import counted

__all__ = [
    "AcquisitionParameters",
    "Geometry",
    "ImageGrid",
    "RawScan",
    "Vector",
    "as_vector",
    "digest_of_scan",
    "readouts_are_whole",
    "sampled_mask",
    "select",
    "split_readout",
    "with_reversed_kspace",
]


def _is_finite(kspace: Tensor) -> bool:
    """Return whether all samples are finite, plane by plane to save memory."""
    planes = kspace.reshape(-1, *kspace.shape[-2:])
    return all(bool(torch.isfinite(torch.view_as_real(plane)).all()) for plane in planes)


@dataclass(frozen=True, eq=False)
class RawScan:
    """A multi-coil scan, Cartesian or along a trajectory.

    Parameters
    ----------
    kspace
        (..., coil, *spatial) complex64, zero frequency at index N//2 of every spatial axis, zero
        where not sampled. Leading axes are slices. Readout oversampling is already removed. With a
        trajectory the shape is (..., coil, *samples).
    mask
        bool, True where sampled; broadcasts from the right to (..., 1, *spatial), the shape in
        which it is stored; with a trajectory to (..., 1, *samples).
    spatial_ndim
        2 or 3.
    noise
        (coil, samples) complex64, scaled to the noise of one k-space sample; None if there was no
        noise measurement or the scan is already whitened.
    geometry
        None if the file does not state it.
    name
        File name for messages; never a patient's.
    simulated
        True if the data were computed from an image.
    trajectory
        (*samples, spatial_ndim) real, in cycles per field of view, the last axis in the order of
        the image's axes; None if Cartesian. If trajectories differ, a sequence with one per image,
        or one per slice of all images in their order, all of one shape. They are stored as a tuple
        with one per slice, or as one tensor if all are equal.
    image_shape
        Sizes of the image if there is a trajectory.
    images
        Names of the images along the first axis, such as "repetition 0", "repetition 1", if the
        scan has several; the slices are then the second axis. Empty for one image.
    scanner_grid
        The grid on which the scanner itself shows the image; None if the file does not state it.
    parameters
        Field strength and times, for the headers of images.
    applied
        Linear maps that were applied to the samples after reading, in order, such as whitening;
        every bound of a certificate includes them.
    reference
        (..., coil, *spatial) complex64 on the grid of the image's k-space, zero where not measured:
        lines that were measured apart for the sensitivity maps and are not part of the image.
        Leading axes broadcast to those of k-space; None if there are no such lines.
    norms_as_read
        (*batch) real: norms of the samples of every item before ``applied``, if reading itself
        applied something. None if unknown, or if nothing was applied.
    record
        How the scan was read, as plain data for the certificate: options by name, files and arrays
        by their SHA-256.
    """

    kspace: Tensor
    mask: Tensor
    spatial_ndim: int
    noise: Tensor | None = None
    geometry: Geometry | None = None
    name: str = "scan"
    simulated: bool = False
    trajectory: Tensor | Sequence[Tensor] | None = None
    image_shape: tuple[int, ...] | None = None
    images: tuple[str, ...] = ()
    scanner_grid: ImageGrid | None = None
    parameters: AcquisitionParameters = AcquisitionParameters()
    applied: tuple[LinearOperator, ...] = ()
    reference: Tensor | None = None
    norms_as_read: Tensor | None = None
    record: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        name = self.name
        if self.spatial_ndim not in (2, 3):
            raise ShapeError(
                f"{name}: {self.spatial_ndim} spatial axes; only 2 or 3 can be reconstructed"
            )
        if self.trajectory is not None:
            self._check_trajectories()
        if self.kspace.ndim < self.sample_ndim + 1:
            raise ShapeError(
                f"{name}: k-space has shape {tuple(self.kspace.shape)}; expected (..., coil, "
                f"{'z, ' if self.spatial_ndim == 3 else ''}y, x)"
            )
        if not self.kspace.is_complex():
            raise DataError(f"{name}: k-space is {self.kspace.dtype}; it must be complex")
        if not _is_finite(self.kspace):
            raise DataError(f"{name}: k-space has NaN or infinite samples; export the scan again")
        if not self.kspace.any():
            raise DataError(
                f"{name}: all k-space samples are zero; there is nothing to reconstruct"
            )
        if self.mask.dtype != torch.bool:
            raise DataError(f"{name}: mask is {self.mask.dtype}; it must be bool")
        if self.images and (not self.batch_shape or self.batch_shape[0] != len(self.images)):
            raise ShapeError(
                f"{name}: {counted(len(self.images), 'image name')} given, k-space has shape "
                f"{tuple(self.kspace.shape)}; its first axis must count them"
            )
        shape = (*self.batch_shape, 1, *self.kspace.shape[-self.sample_ndim :])
        try:
            full_mask = self.mask.expand(shape)
        except RuntimeError:
            raise ShapeError(
                f"{name}: mask of shape {tuple(self.mask.shape)} does not fit k-space of shape "
                f"{tuple(self.kspace.shape)}; give one that broadcasts to {shape}"
            ) from None
        object.__setattr__(self, "mask", full_mask)
        if self.noise is not None and self.noise.shape[0] != self.coils:
            raise ShapeError(
                f"{name}: noise measurement has {counted(self.noise.shape[0], 'coil')}, k-space "
                f"has {self.coils}"
            )

        if self.reference is not None:
            self._check_reference(self.reference)

    def _check_reference(self, reference: Tensor) -> None:
        """Raise a named error unless the reference has the image's coils and grid."""
        tail = (self.coils, *self.spatial_shape)
        if reference.shape[-len(tail) :] != tail:
            raise ShapeError(
                f"{self.name}: the reference for the maps has shape {tuple(reference.shape)}; it "
                f"must end in {tail}"
            )
        if not _is_finite(reference):
            raise DataError(
                f"{self.name}: the reference for the maps has NaN or infinite samples; measure it "
                "again"
            )

    def _check_trajectories(self) -> None:
        """Raise a named error unless trajectories, image size and data belong together."""
        if self.image_shape is None or len(self.image_shape) != self.spatial_ndim:
            raise ShapeError(
                f"{self.name}: the image size is {self.image_shape}; with a trajectory give a size "
                f"of {self.spatial_ndim} numbers"
            )
        given = self.trajectory
        each = (given,) if isinstance(given, Tensor) else tuple(given or ())
        for one in {id(one): one for one in each}.values():
            try:
                check_trajectory(one, self.image_shape)
            except FirenetError as error:
                raise type(error)(f"{self.name}: {error}") from None
        shapes = sorted({tuple(one.shape) for one in each})
        if len(shapes) != 1:
            raise ShapeError(
                f"{self.name}: the images' trajectories have the shapes {shapes}; all images need "
                "the same number of samples, so omit the image that differs, or its extra readouts"
            )
        samples = shapes[0][:-1]
        found = tuple(self.kspace.shape[-len(samples) :])
        if found != samples or self.kspace.ndim <= len(samples):
            raise ShapeError(
                f"{self.name}: the data have shape {tuple(self.kspace.shape)}, the trajectory "
                f"{shapes[0]}; the data must be (..., coil, {', '.join(map(str, samples))})"
            )
        if not isinstance(given, Tensor):
            object.__setattr__(self, "trajectory", self._of_all_slices(each, len(samples)))

    def _of_all_slices(
        self, each: tuple[Tensor, ...], sample_ndim: int
    ) -> Tensor | tuple[Tensor, ...]:
        """Return the trajectory of every slice of every image, or the one they all share."""
        batch = tuple(self.kspace.shape[: -sample_ndim - 1])
        items, images = math.prod(batch), batch[0] if self.images else 1
        if len(each) not in (images, items):
            raise ShapeError(
                f"{self.name}: {counted(len(each), 'trajectory', 'trajectories')} for "
                f"{counted(images, 'image')} of {counted(items // images, 'slice')}; give one for "
                "all, or one for each"
            )
        if all(one is each[0] or torch.equal(one, each[0]) for one in each):
            return each[0]
        return (
            each if len(each) == items else tuple(x for x in each for _ in range(items // images))
        )

    @property
    def sample_ndim(self) -> int:
        """Number of k-space axes after the coil axis."""
        return self.trajectories[0].ndim - 1 if self.trajectories else self.spatial_ndim

    @property
    def trajectories(self) -> tuple[Tensor, ...]:
        """The distinct trajectories: one for all, or one per slice of every image."""
        if self.trajectory is None:
            return ()
        given = self.trajectory
        return (given,) if isinstance(given, Tensor) else tuple(given)

    @property
    def coils(self) -> int:
        """Number of receive coils."""
        return self.kspace.shape[-self.sample_ndim - 1]

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Sizes of the image, (y, x) or (z, y, x)."""
        if self.image_shape is not None:
            return tuple(self.image_shape)
        return tuple(self.kspace.shape[-self.spatial_ndim :])

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Sizes of the axes before the coil axis: slices."""
        return tuple(self.kspace.shape[: -self.sample_ndim - 1])

    @property
    def sampled_fraction(self) -> float:
        """Sampled share of the k-space grid; with a trajectory, samples per pixel."""
        if self.trajectories:
            return self.trajectories[0].shape[:-1].numel() / math.prod(self.spatial_shape)
        return float(self.mask.float().mean())


def digest_of_scan(scan: RawScan) -> ScanDigests:
    """Return the digests of a scan: its samples and their positions."""
    full = scan.mask.expand(scan.kspace.shape)
    zero = torch.zeros((), dtype=scan.kspace.dtype, device=scan.kspace.device)
    # Not a product, which would keep the sign of the zeros.
    leading = np.ndindex(scan.kspace.shape[:-2])
    planes = (torch.where(full[i], scan.kspace[i], zero) for i in leading)
    trajectory = None
    if scan.trajectories:
        where = [digest_of_tensor(one) for one in scan.trajectories]
        trajectory = digest_of_data([*where, list(scan.spatial_shape)])
    return ScanDigests(
        digest_of_parts(scan.kspace.dtype, scan.kspace.shape, planes),
        digest_of_tensor(scan.mask),
        None if scan.noise is None else digest_of_tensor(scan.noise),
        trajectory,
    )


def sampled_mask(kspace: Tensor, spatial_ndim: int) -> Tensor:
    """Return (..., 1, *spatial) bool: True where any coil of (..., coil, *spatial) is not zero."""
    return (kspace != 0).any(dim=-spatial_ndim - 1, keepdim=True)


def readouts_are_whole(mask: Tensor, axis: int = -1) -> bool:
    """Return whether, along an axis (the readout), either everything or nothing was sampled."""
    return bool((mask.all(axis) == mask.any(axis)).all())


def with_reversed_kspace(scan: RawScan) -> RawScan:
    """Return the scan with k-space reversed about its centre.

    The inverse Fourier transform of the result is the forward transform of the original scan: the
    image reflected through pixel N//2. Scanners differ in which of the two shows the image along
    their directions.
    """
    ndim = scan.spatial_ndim
    reference = scan.reference
    if reference is not None:
        reference = reversed_about_centre(reference, ndim)
    if scan.trajectories:
        turned = [-one for one in scan.trajectories]
        trajectory = turned[0] if len(turned) == 1 else turned
        return dataclasses.replace(scan, trajectory=trajectory, reference=reference)
    applied = scan.applied
    if applied:
        applied = (*applied, KspaceReversal(applied[-1].codomain_shape, scan.spatial_ndim))
    return dataclasses.replace(
        scan,
        kspace=reversed_about_centre(scan.kspace, ndim),
        mask=reversed_about_centre(scan.mask, ndim),
        reference=reference,
        applied=applied,
    )


def check_readout_splits(scan: RawScan) -> None:
    """Raise UsageError unless a scan is a Cartesian volume with whole readouts."""
    is_volume = scan.spatial_ndim == 3 and len(scan.batch_shape) == bool(scan.images)
    if not is_volume or scan.trajectory is not None or not readouts_are_whole(scan.mask):
        raise UsageError(
            f"{scan.name}: only a Cartesian volume with whole readouts can be split along the "
            "readout; reconstruct it as a whole"
        )


def split_readout(scan: RawScan) -> RawScan:
    """Return a volume with whole readouts as slices across the readout, each a 2D scan.

    The inverse Fourier transform along the readout, which is unitary, splits the volume: the data
    of the plane at pixel x are k-space (z, y), with the same mask for every x and noise of the same
    variance. The result has no geometry, since the position of the planes is that of the volume.

    Raises
    ------
    UsageError
        If the scan is not a Cartesian volume, or has partially measured readouts.
    """
    check_readout_splits(scan)
    hybrid = torch.empty_like(scan.kspace)
    # One coil at a time, since a volume is large.
    for at in np.ndindex(*scan.kspace.shape[:-3]):
        hybrid[at] = centred_ifft(scan.kspace[at], [-1])
    reference = scan.reference
    if reference is not None:
        reference = centred_ifft(reference, [-1]) * sampled_mask(reference, 3).any(-1, keepdim=True)
        reference = reference.movedim(-1, reference.ndim - 4)
    return dataclasses.replace(
        scan,
        kspace=hybrid.movedim(-1, -4),
        mask=scan.mask[..., 0].unsqueeze(-4),
        spatial_ndim=2,
        geometry=None,
        scanner_grid=None,
        reference=reference,
    )


def select(
    scan: RawScan, *, images: Sequence[int] | None = None, slices: Sequence[int] | None = None
) -> RawScan:
    """Return some of the images and slices of a scan, in the order of the scan.

    Parameters
    ----------
    scan
        The scan.
    images
        Indices along the axis of images; None keeps all.
    slices
        Indices along the axis of slices of a 2D scan, evenly spaced if its position is known; None
        keeps all.

    Raises
    ------
    UsageError
        If there is no such axis or index, or slices are not evenly spaced.
    """
    kspace, mask, geometry, names = scan.kspace, scan.mask, scan.geometry, scan.images
    reference, norms = scan.reference, scan.norms_as_read
    # The slices of the images that remain.
    left = torch.arange(math.prod(scan.batch_shape)).reshape(scan.batch_shape)
    if images is not None:
        chosen = _indices(images, len(names), f"{scan.name}: image")
        kspace, mask, left = kspace[chosen], mask[chosen], left[chosen]
        if reference is not None and reference.ndim == kspace.ndim:
            reference = reference[chosen] if len(reference) > 1 else reference
        names = tuple(names[i] for i in chosen)
        norms = None if norms is None else norms[chosen]
    if slices is not None:
        axis = 1 if scan.images else 0
        count = scan.batch_shape[axis] if len(scan.batch_shape) == axis + 1 else 0
        chosen = _indices(slices, count, f"{scan.name}: slice")
        kspace, mask, left = (
            x.index_select(axis, torch.tensor(chosen)) for x in (kspace, mask, left)
        )
        norms = None if norms is None else norms.index_select(axis, torch.tensor(chosen))
        if reference is not None:
            reference = _slices_of(reference, chosen, scan.spatial_ndim)
        try:
            geometry = None if geometry is None else geometry.of_slices(chosen)
        except UsageError as error:
            raise UsageError(f"{scan.name}: {error}") from None
    trajectory = scan.trajectory
    if isinstance(trajectory, tuple):
        trajectory = tuple(trajectory[i] for i in left.reshape(-1).tolist())
    return dataclasses.replace(
        scan,
        kspace=kspace,
        mask=mask,
        geometry=geometry,
        images=names,
        trajectory=trajectory,
        reference=reference,
        norms_as_read=norms,
    )


def _slices_of(reference: Tensor, chosen: Sequence[int], spatial_ndim: int) -> Tensor:
    """Return some slices of (..., slice, coil, *spatial); one shared by all slices stays."""
    axis = reference.ndim - spatial_ndim - 2
    if axis < 0 or reference.shape[axis] == 1:
        return reference
    return reference.index_select(axis, torch.tensor(chosen))


def _indices(wanted: Sequence[int], count: int, what: str) -> list[int]:
    if count == 0:
        raise UsageError(f"{what}s were chosen, but the scan has only one; omit that option")
    missing = sorted(set(wanted) - set(range(count)))
    if missing or not wanted:
        raise UsageError(f"{what} {missing} asked for; there are 0 to {count - 1}")
    return sorted(set(wanted))
