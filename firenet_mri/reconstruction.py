"""The way from a raw scan to an image with its certificate, on one page.

scan --whiten--> --sensitivity maps--> --FIRENET--> image + certificate --save--> files
"""

from __future__ import annotations

import copy
import itertools
import math
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from firenet_mri.calibration import (
    calibration_region,
    compress_coils,
    low_resolution_phase,
    normalise_maps,
    sensitivity_maps,
    whiten,
)
from firenet_mri.calibration.compression import Compression
from firenet_mri.calibration.sensitivity import MapMethod
from firenet_mri.errors import CalibrationError, DataError, ShapeError, UsageError
from firenet_mri.firenet.certificate import Certificate, certify
from firenet_mri.firenet.digests import (
    Digests,
    digest_of_data,
    digest_of_file,
    digest_of_scan,
    digest_of_tensor,
)
from firenet_mri.firenet.network import FIRENET
from firenet_mri.firenet.presets import Preset, make_network
from firenet_mri.firenet.primal_dual import PrimalDualLayer
from firenet_mri.firenet.reweighting import reweighted
from firenet_mri.firenet.verification import measure_gain, verify_on_scan
from firenet_mri.io import (
    Checkpoint,
    FinishedSlice,
    Panel,
    atomic_writes,
    check_outputs,
    write_certificate,
    write_picture,
)
from firenet_mri.io.image.bids import write_bids_pair
from firenet_mri.io.image.dicom import DicomReference, check_place, write_dicom_series
from firenet_mri.io.image.writing import image_stem, write_image
from firenet_mri.metrics import nmse, psnr, ssim
from firenet_mri.operators import (
    CartesianFourier,
    LinearOperator,
    NonuniformFourier,
    PhaseConstrained,
    Sense,
    SenseSets,
    encoding_operator,
)
from firenet_mri.operators.density import compensated
from firenet_mri.resizing import on_scanner_grid
from firenet_mri.scan import RawScan, split_readout

# Layers that tighten the duality gap once the image is there. On the sample scan 60 of them show
# that it is within 0.04 % and not only 2.6 % of the optimum, in two to three times the network's
# time.
_DUAL_LAYERS = 60

# Samples of the centre from which a phase is taken, along each axis: at least and at most.
_PHASE_WIDTHS = (8, 24)

_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True)
class Settings:
    """What a reconstruction was made with, enough to make it again."""

    preset: str
    sparsifier: str
    schedule: str
    layers: int
    reweighting: int
    lam: float
    maps: str
    coils: int
    map_sets: int
    by_readout: bool
    phase_constraint: float | None
    whitened: bool
    device: str


@dataclass(frozen=True)
class Timings:
    """Seconds of the parts of a reconstruction, summed over slices of which several run at once."""

    calibration_s: float
    network_s: float
    certificate_s: float


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """An image, where it lies, and what is proven about it.

    Parameters
    ----------
    image
        (..., *spatial) complex64, zero where the maps are; with several map sets an axis of these
        comes first. In units of the noise standard deviation
        if the scan was whitened, else in the units of the data.
    zero_filled
        A^H y of the same shape: what the data give without the method.
    certificate
        What is proven, slice by slice.
    settings, timings
        How it was made, and how long that took.
    scan
        The scan as it went into the network, whitened if it had a noise measurement.
    """

    image: Tensor
    zero_filled: Tensor
    certificate: Certificate
    settings: Settings
    timings: Timings
    scan: RawScan

    def save(
        self,
        path: str | Path,
        *,
        overwrite: bool = False,
        complex_image: bool = False,
        reference: Tensor | None = None,
        dicom_reference: DicomReference | None = None,
        scanner_matrix: bool = False,
    ) -> SavedFiles:
        """Write image, picture and certificate; return where they are.

        Parameters
        ----------
        path
            The image: ``NAME.nii.gz`` or ``NAME.nii``, ``NAME.dcm`` (enhanced DICOM), ``NAME.h5``
            or ``NAME.mrd`` (MRD image); the picture is ``NAME.png``, the certificate ``NAME.json``.
        overwrite
            Replace files that exist.
        complex_image
            Write the complex image instead of its magnitude.
        reference
            Magnitude image of the same shape, for an error map, PSNR and SSIM.
        dicom_reference
            Series whose study a DICOM image takes over.
        scanner_matrix
            Write the image on the scanner's own grid, see :mod:`firenet_mri.resizing`. The
            certificate is that of the image before, and says so.

        Raises
        ------
        FileError
            If a file exists or the folder cannot be written; then nothing is written.
        ShapeError
            If the reference has another shape.
        DataError
            If the certificate does not belong to this image, or a DICOM image has no place.
        """
        files = output_paths(path, overwrite=overwrite)
        if files.image.suffix == ".dcm":
            check_place(self.scan.geometry, dicom_reference, str(path))
        digests = self._own_digests()
        accuracy = None if reference is None else self._accuracy(reference)
        image, scan = self._shown(scanner_matrix, complex_image=complex_image)
        outputs = (files.image, files.picture, files.certificate)
        with atomic_writes(outputs, overwrite=overwrite) as (written, picture, certificate):
            write_image(
                written,
                image,
                scan,
                description=self._description(),
                reference=dicom_reference,
            )
            write_picture(
                picture,
                [
                    Panel("Zero-filled", self._combined(self.zero_filled)),
                    Panel("FIRENET", self.magnitude, _note(accuracy)),
                ],
                reference=None if reference is None else Panel("Reference", reference),
                geometry=self.scan.geometry,
                caption=self._caption(),
            )
            digests = replace(digests, file=digest_of_file(written))
            signed = replace(self.certificate, digests=digests)
            resized = {"resized_to_the_scanners_grid": list(image.shape)} if scanner_matrix else {}
            write_certificate(certificate, signed, self._report(accuracy) | resized)
        return files

    def save_dicom_series(
        self,
        folder: str | Path,
        *,
        reference: DicomReference | None = None,
        scanner_matrix: bool = False,
        overwrite: bool = False,
    ) -> list[Path]:
        """Write the magnitude as a series of classic MR images, a file a slice; return the files.

        See :func:`firenet_mri.io.image.dicom.write_dicom_series` for the folder, the reference and
        the errors. The certificate's file digest is that of another file, its ``pixels`` are these.
        """
        image, scan = self._shown(scanner_matrix)
        return write_dicom_series(
            Path(folder),
            image.numpy(force=True),
            scan.geometry,
            description=self._description(),
            simulated=self.scan.simulated,
            volume=self.scan.spatial_ndim == 3,
            parameters=self.scan.parameters,
            reference=reference,
            overwrite=overwrite,
        )

    def save_bids_pair(
        self, stem: str | Path, *, scanner_matrix: bool = False, overwrite: bool = False
    ) -> list[Path]:
        """Write magnitude and phase with sidecars as BIDS has them; return the files.

        See :func:`firenet_mri.io.image.bids.write_bids_pair` for the names and the errors.
        """
        if self.settings.map_sets > 1:
            raise UsageError(f"{stem}: several map sets have no one phase; write the magnitude")
        image, scan = self._shown(scanner_matrix, complex_image=True)
        return write_bids_pair(
            Path(stem),
            image.numpy(force=True),
            scan.geometry,
            parameters=self.scan.parameters,
            simulated=self.scan.simulated,
            overwrite=overwrite,
        )

    @property
    def magnitude(self) -> Tensor:
        """(..., *spatial) float32, of several map sets the root-sum-of-squares."""
        return self._combined(self.image)

    def _combined(self, image: Tensor) -> Tensor:
        if self.settings.map_sets == 1:
            return image.abs()
        return torch.linalg.vector_norm(image, dim=0)

    def _shown(
        self, scanner_matrix: bool, *, complex_image: bool = False
    ) -> tuple[Tensor, RawScan]:
        """Return the image and the scan with its geometry, on the scanner's grid if wanted."""
        scan, image = self.scan, self.image
        if scanner_matrix:
            image, scan = on_scanner_grid(image, scan)
        return (image if complex_image else self._combined(image)), scan

    def _description(self) -> str:
        return f"firenet_mri {_version()}, FIRENET {self.settings.preset}, with certificate"

    def _own_digests(self) -> Digests:
        """Return the certificate's digests, after checking that it is that of this image."""
        digests = self.certificate.digests
        if digests is None:
            raise DataError(
                f"{self.scan.name}: the certificate does not say to which image it belongs; save "
                "what reconstruct() returned"
            )
        if digests.pixels != digest_of_tensor(self.image):
            raise DataError(
                f"{self.scan.name}: the image was changed after its certificate was made; save "
                "what reconstruct() returned"
            )
        if digests.parameters != digest_of_data(asdict(self.settings)):
            raise DataError(
                f"{self.scan.name}: the settings are not those of the certificate; save what "
                "reconstruct() returned"
            )
        return digests

    def _accuracy(self, reference: Tensor) -> Accuracy:
        magnitude = self.magnitude
        return Accuracy(
            psnr(reference, magnitude), ssim(reference, magnitude), nmse(reference, magnitude)
        )

    def _caption(self) -> str:
        kind = "simulated scan" if self.scan.simulated else "scan"
        return (
            f"{self.scan.name} ({kind}, {self.scan.coils} coils, "
            f"{100 * self.scan.sampled_fraction:.0f} % sampled)"
        )

    def _report(self, accuracy: Accuracy | None) -> dict[str, object]:
        """Return what is known about this reconstruction as plain data."""
        return {
            "scan": {
                "name": self.scan.name,
                "simulated": self.scan.simulated,
                "coils": self.scan.coils,
                "kspace_shape": list(self.scan.kspace.shape),
                "sampled_fraction": self.scan.sampled_fraction,
            },
            "image_units": "noise standard deviations" if self.settings.whitened else "as the data",
            "accuracy_against_reference": None if accuracy is None else asdict(accuracy),
            "settings": asdict(self.settings),
            "timings": asdict(self.timings),
            "versions": _versions(),
        }


@dataclass(frozen=True)
class Accuracy:
    """Magnitude image against a reference, in fastMRI's definitions."""

    psnr_db: float
    ssim: float
    nmse: float


@dataclass(frozen=True)
class SavedFiles:
    """The three files of a saved reconstruction."""

    image: Path
    picture: Path
    certificate: Path


def output_paths(path: str | Path, *, overwrite: bool = False) -> SavedFiles:
    """Return where image, picture and certificate go, after checking that they can be written.

    Raises
    ------
    UsageError
        If the image's name does not end as one.
    FileError
        If one exists and may not be replaced, or the folder is missing or not writable.
    """
    image = Path(path)
    stem = image_stem(image)
    files = SavedFiles(image, image.with_name(f"{stem}.png"), image.with_name(f"{stem}.json"))
    check_outputs((files.image, files.picture, files.certificate), overwrite=overwrite)
    return files


def reconstruct(
    scan: RawScan,
    *,
    preset: Preset = "accurate",
    lam: float | Literal["auto"] = "auto",
    sparsifier: str | None = None,
    levels: int | None = None,
    layers: int | None = None,
    relative_gap: float | None = None,
    budget: float | None = None,
    reweighting: int = 0,
    maps: MapMethod | Tensor = "espirit",
    map_sets: int = 1,
    coils: int | float | None = None,
    compression: Compression = "svd",
    by_readout: bool = False,
    phase_constraint: float | None = None,
    device: str | torch.device = "cpu",
    jacobian: bool = False,
    recovery: bool = False,
    on_layer: Callable[[int, int], None] | None = None,
    checkpoint: str | Path | None = None,
) -> Reconstruction:
    """Return the image of a scan with its certificate.

    Parameters
    ----------
    scan
        A multi-coil Cartesian scan, as :func:`firenet_mri.read` returns it.
    preset, lam, sparsifier, levels, layers, relative_gap, budget
        The network, see :func:`firenet_mri.firenet.presets.make_network`.
    reweighting
        Number of further passes whose weights come from the image of the pass before, see
        :mod:`firenet_mri.firenet.reweighting`; their Lipschitz constant is not proven.
    maps
        How sensitivity maps are found, "espirit", "jsense", "lowres" or "none" (single coil), or
        the maps themselves, (..., coil, *spatial) complex; given maps are normalised to
        root-sum-of-squares 1.
    map_sets
        Number of sets of sensitivity maps, for a field of view smaller than the object, where a
        pixel shows two of its places; with ESPIRiT on Cartesian scans. The image has an axis of
        sets before all others then, and what is saved is their root-sum-of-squares, unless
        complex.
    coils
        Compress the coils, once the noise is white, to this number, or to as many as hold this
        share of the energy, see :func:`firenet_mri.calibration.compress_coils`; None keeps all.
    compression
        How: "svd" or "geometric".
    by_readout
        Take a volume apart into planes across its readout, see
        :func:`firenet_mri.scan.split_readout`, which need less memory, run side by side and can
        be resumed; the image is sparse plane by plane then. The certificate has an item a plane.
    phase_constraint
        Take the image's phase from its low resolution and let the imaginary part behind it count
        this much, see :class:`firenet_mri.operators.PhaseConstrained`: 0 trusts the phase wholly,
        None uses none. 0.3 gains 1 to 2 dB on simulated brains of smooth phase; on the in-vivo
        brain of docs/performance.md it gains nothing, and less than 0.3 loses. For Cartesian scans
        with a sampled centre. The certificate is about the image behind the constraint.
    device
        Where the network runs, "cpu" or "cuda".
    jacobian
        Measure how strongly the network amplifies a small change of these data, for the
        certificate; takes about twenty times as long as the network.
    recovery
        Verify for the certificate where the optimum and the true image can lie, as far as that can
        be done for this scan; takes minutes on a large one.
    on_layer
        Called after every layer with (layers done, layers in all).
    checkpoint
        Folder in which finished slices are kept, made if it is missing: a second call with the
        same scan and options takes them from there. Remove it when the image is saved.

    Raises
    ------
    UsageError
        If an option is unknown or cannot be used.
    CalibrationError
        If the maps cannot be estimated from this scan.
    ShapeError
        If given maps do not fit the scan.
    """
    _check_options(
        scan,
        preset=preset,
        sparsifier=sparsifier,
        reweighting=reweighting,
        given_maps=isinstance(maps, Tensor),
        map_sets=map_sets,
        compresses=coils is not None,
        by_readout=by_readout,
        phase_constraint=phase_constraint,
        wanted=(jacobian, recovery),
    )
    target = _device(device)
    started = time.perf_counter()
    read = digest_of_scan(scan.kspace, scan.mask, scan.noise)
    whitened = scan.noise is not None
    if whitened:
        scan = whiten(scan)
    if coils is not None:
        scan = compress_coils(scan, coils, compression)
    volume = scan
    if by_readout:
        scan = split_readout(volume)
    first, *others = scan.spatial_shape
    make = partial(
        make_network,
        scan.coils,
        (map_sets * first, *others),
        preset=preset,
        sparsifier=sparsifier,
        levels=levels,
        layers=layers,
        relative_gap=relative_gap,
    )
    net = make(lam=lam, budget=budget)
    if lam == "auto" and map_sets > 1:
        # The rule counts pixels as the data do, not those of all sets.
        net = make(lam=net.lam * math.sqrt(map_sets))
    net = net.to(target)
    settings = Settings(
        preset=preset,
        sparsifier=str(net.sparsifier),
        schedule=str(net.schedule),
        layers=net.depth,
        reweighting=reweighting,
        lam=net.lam,
        maps="given" if isinstance(maps, Tensor) else maps,
        coils=scan.coils,
        map_sets=map_sets,
        by_readout=by_readout,
        phase_constraint=phase_constraint,
        whitened=whitened,
        device=str(target),
    )
    given = _given_maps(scan, maps) if isinstance(maps, Tensor) else None
    items = list(_items(scan, given))
    wanted = (jacobian, recovery)
    kept = None
    if checkpoint is not None:
        run = [*read, asdict(settings), wanted, _versions()]
        kept = Checkpoint(checkpoint, [*run, None if given is None else digest_of_tensor(given)])
    finished = {} if kept is None else kept.finished(len(items))
    if on_layer is not None:
        # The Jacobian is taken along a second run of the network.
        runs = 1 + reweighting + (jacobian and net.solver.is_fixed and reweighting == 0)
        _count_layers(net, (len(items) - len(finished)) * runs, on_layer)
    setup = time.perf_counter() - started

    def work(item: _Item) -> FinishedSlice:
        if item.index in finished:
            return finished[item.index]
        begun = time.perf_counter()
        # The scan's own plane may lie scattered in memory.
        item = replace(item, data=(item.data * item.mask).contiguous())
        coil_maps = item.maps if item.maps is not None else _maps_of(scan, item, maps, map_sets)
        y, encoding = _encoded(item, coil_maps, scan.spatial_ndim)
        calibration_s = time.perf_counter() - begun
        # Its Jacobian is recorded by hooks, which would see the layers of other slices, too.
        own = copy.deepcopy(net) if jacobian else net
        constrained: LinearOperator = encoding
        if phase_constraint is not None:
            phase = _phase_of(scan, item, coil_maps)
            constrained = PhaseConstrained(encoding, phase, phase_constraint)
        result = _reconstruct_slice(own, target, reweighting, wanted, y, encoding, constrained)
        result = replace(
            result, maps_digest=digest_of_tensor(coil_maps), calibration_s=calibration_s
        )
        if kept is not None:
            kept.keep(item.index, result)
        return result

    results = _on_all_cores(work, items) if target.type == "cpu" else list(map(work, items))
    sets = () if map_sets == 1 else (map_sets,)
    image, zero_filled = (
        torch.stack(images).reshape(*scan.batch_shape, *sets, *scan.spatial_shape)
        for images in zip(*((r.image, r.zero_filled) for r in results), strict=True)
    )
    if sets:
        axis = len(scan.batch_shape)
        image, zero_filled = (one.movedim(axis, 0) for one in (image, zero_filled))
    if by_readout:
        plane = len(sets)
        image, zero_filled = (one.movedim(plane, -1).contiguous() for one in (image, zero_filled))
    digests = Digests(
        *read,
        maps=digest_of_data([result.maps_digest for result in results]),
        parameters=digest_of_data(asdict(settings)),
        pixels=digest_of_tensor(image),
    )
    return Reconstruction(
        image=image,
        zero_filled=zero_filled,
        certificate=replace(Certificate.join([r.certificate for r in results]), digests=digests),
        settings=settings,
        timings=Timings(
            setup + sum(result.calibration_s for result in results),
            sum(result.network_s for result in results),
            sum(result.certificate_s for result in results),
        ),
        scan=volume,
    )


def _check_options(
    scan: RawScan,
    *,
    preset: Preset,
    sparsifier: str | None,
    reweighting: int,
    given_maps: bool,
    map_sets: int,
    compresses: bool,
    by_readout: bool,
    phase_constraint: float | None,
    wanted: tuple[bool, bool],
) -> None:
    """Refuse what does not go together, before any work."""
    jacobian, recovery = wanted
    if jacobian and scan.trajectory is not None:
        raise UsageError(
            f"{scan.name}: the amplification is measured on Cartesian scans only; leave it out"
        )
    if reweighting < 0:
        raise UsageError(f"{reweighting} reweighted passes asked for; use 0 or more")
    if given_maps:
        for option, what in {
            "the compression": compresses and "those of the coils as they are",
            "map_sets": map_sets > 1 and "one set",
            "by_readout": by_readout and "those of a volume",
        }.items():
            if what:
                raise UsageError(f"{scan.name}: given maps are {what}; leave {option} out")
    if map_sets > 1 and (scan.trajectory is not None or preset == "paper"):
        raise UsageError(
            f"{scan.name}: {map_sets} map sets serve Cartesian scans and presets other than paper"
        )
    if phase_constraint is None:
        return
    if scan.trajectory is not None or map_sets > 1 or recovery:
        raise UsageError(
            f"{scan.name}: a phase constraint serves Cartesian scans with one map set, and nothing "
            "is verified about recovery with it; leave one out"
        )
    if sparsifier is not None and "tv" in sparsifier:
        raise UsageError(
            f"{scan.name}: with a phase constraint no duality gap is proven for {sparsifier}; use "
            "a sparsifier without tv"
        )


@dataclass(frozen=True, eq=False)
class _Item:
    """A slice: data (coil, *samples), mask, maps if they were given, transform of a trajectory."""

    index: int
    data: Tensor
    mask: Tensor
    maps: Tensor | None
    fourier: NonuniformFourier | None


def _items(scan: RawScan, maps: Tensor | None) -> Iterator[_Item]:
    """Yield every slice of every image."""
    samples = scan.kspace.shape[-scan.sample_ndim - 1 :]
    # Views, unless the layout forbids: a volume that was taken apart is read plane by plane.
    leading = scan.kspace.shape[: -len(samples)]
    where = list(np.ndindex(leading))
    shape = (scan.coils, *scan.spatial_shape)
    each: Sequence[Tensor | None] = [None] * len(where)
    if maps is not None:
        each = list(maps.expand(*scan.batch_shape, *shape).reshape(-1, *shape))
    fourier = None
    if scan.trajectory is not None:
        fourier = compensated(scan.trajectory, scan.spatial_shape)
    for index, (at, one) in enumerate(zip(where, each, strict=True)):
        yield _Item(index, scan.kspace[at], scan.mask[at], one, fourier)


def _maps_of(scan: RawScan, item: _Item, method: MapMethod | Tensor, sets: int) -> Tensor:
    """Return the maps (coil, *spatial) of a slice, (set, coil, *spatial) of several sets."""
    assert not isinstance(method, Tensor)
    if not item.data.any():
        # A slice without signal has no maps of its own, and any serve it.
        shape = (scan.coils, *scan.spatial_shape)
        maps = torch.full(shape, scan.coils**-0.5, dtype=torch.complex64)
        return maps if sets == 1 else torch.stack([maps, *[torch.zeros_like(maps)] * (sets - 1)])
    one = replace(scan, kspace=item.data, mask=item.mask, images=())
    return sensitivity_maps(one, method, sets)


def _phase_of(scan: RawScan, item: _Item, maps: Tensor) -> Tensor:
    """Return exp(i phase) of a slice's low-resolution image."""
    widths = calibration_region(item.mask, scan.spatial_ndim)
    least, most = _PHASE_WIDTHS
    if min(widths) < least:
        raise CalibrationError(
            f"{scan.name}: the sampled centre is {' x '.join(map(str, widths))}; a phase "
            f"constraint needs {least} samples along each axis, leave it out"
        )
    # A finer phase would follow noise and edges.
    return low_resolution_phase(item.data, maps, [min(width, most) for width in widths])


def _encoded(item: _Item, maps: Tensor, spatial_ndim: int) -> tuple[Tensor, Sense | SenseSets]:
    """Return data and encoding operator of a slice.

    Samples along a trajectory are multiplied by the roots of their density weights, which the
    encoding has too: few layers do then.
    """
    if maps.ndim == spatial_ndim + 2:
        spatial = tuple(maps.shape[-spatial_ndim:])
        return item.data, SenseSets(maps, CartesianFourier(item.mask, spatial))
    if item.fourier is None:
        return item.data, encoding_operator(item.mask, maps, spatial_ndim)
    assert item.fourier.root_weights is not None
    root = item.fourier.root_weights.to(item.data.real.dtype)
    return item.data * root, Sense(maps, item.fourier)


def _reconstruct_slice(
    net: FIRENET,
    device: torch.device,
    reweighting: int,
    wanted: tuple[bool, bool],
    y: Tensor,
    encoding: Sense | SenseSets,
    constrained: LinearOperator,
) -> FinishedSlice:
    """Return image and certificate of k-space y, (coil, *samples).

    The network works with ``constrained``: the encoding itself, or with its phase constraint.
    """
    started = time.perf_counter()
    with torch.no_grad():
        encoding, constrained = encoding.to(device), constrained.to(device)
        y = y.to(device)
        state = net.solve(y, constrained)
        for _ in range(reweighting):
            net = reweighted(net, state.x, y, constrained)
            state = net.solve(y, constrained, state.x)
        zero_filled = encoding.adjoint(y)
        if not isinstance(encoding.fourier, CartesianFourier):
            # Density weights leave a factor open; that of least squares, for the picture.
            reached = encoding(zero_filled).norm().clamp(min=torch.finfo(torch.float32).tiny)
            zero_filled *= (zero_filled.norm() / reached) ** 2
        # Where the maps are zero the data say nothing; leaving it out keeps the Lipschitz bound.
        image = state.x * encoding.root_sum_of_squares
        state = state._replace(x=image)
        if isinstance(constrained, PhaseConstrained):
            image = constrained.image(image)
    solved = time.perf_counter()
    certificate = certify(net, y, constrained, state, dual_layers=_DUAL_LAYERS)
    root = getattr(encoding.fourier, "root_weights", None)
    if root is not None:
        certificate = certificate.for_data_times(float(root.max()))
    jacobian, recovery = wanted
    if jacobian:
        certificate = certificate.with_entries(measure_gain(net, y, constrained))
    if recovery:
        certificate = certificate.with_entries(*verify_on_scan(net, y, encoding, state))
    certified = time.perf_counter()
    return FinishedSlice(
        image.cpu(),
        zero_filled.cpu(),
        certificate,
        network_s=solved - started,
        certificate_s=certified - solved,
    )


def _on_all_cores(work: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
    """Return ``work`` of each item, as many at once as torch has threads, each on one thread.

    A layer's passes gain less from a second thread than another slice does.
    """
    threads = torch.get_num_threads()
    if min(threads, len(items)) == 1:
        return [work(item) for item in items]
    pool = ThreadPoolExecutor(
        min(threads, len(items)), initializer=torch.set_num_threads, initargs=(1,)
    )
    try:
        return list(pool.map(work, items))
    finally:
        pool.shutdown(cancel_futures=True)
        # Threads that start later take over what was set last.
        torch.set_num_threads(threads)


def _given_maps(scan: RawScan, maps: Tensor) -> Tensor:
    """Return the caller's maps, normalised."""
    tail = (scan.coils, *scan.spatial_shape)
    fits = maps.shape[-len(tail) :] == tail and maps.shape[: -len(tail)] in ((), scan.batch_shape)
    if not fits:
        raise ShapeError(
            f"{scan.name}: the maps have shape {tuple(maps.shape)}; this scan needs "
            f"{(*scan.batch_shape, *tail)} or {tail}"
        )
    if not maps.is_complex() or not bool(torch.isfinite(torch.view_as_real(maps)).all()):
        raise DataError(
            f"{scan.name}: the maps must be complex and free of NaN and infinite values"
        )
    return normalise_maps(maps.to(torch.complex64), scan.spatial_ndim)


def _count_layers(net: FIRENET, runs: int, on_layer: Callable[[int, int], None]) -> None:
    """Have the network call ``on_layer`` after every layer, with the count over all its runs."""
    counter = itertools.count(1)

    def report(*_: object) -> None:
        on_layer(next(counter), net.depth * runs)

    for module in net.modules():
        if isinstance(module, PrimalDualLayer):
            module.register_forward_hook(report)


def _device(name: str | torch.device) -> torch.device:
    """Return the device if it can be used here."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):
        raise UsageError(f"Device {str(name)!r} is not available here; use cpu") from None
    return device


def _note(accuracy: Accuracy | None) -> str:
    if accuracy is None:
        return ""
    return f"PSNR {accuracy.psnr_db:.1f} dB, SSIM {accuracy.ssim:.3f}"


def _versions() -> dict[str, str]:
    """Return the versions of what computed the image."""
    packages = ("firenet_mri", "torch", "numpy", "sigpy")
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(package: str = "firenet_mri") -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
