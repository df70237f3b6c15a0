"""ISMRMRD / MRD 1.x: places readouts, from a file or a stream, in the k-space of one scan.

The header gives the place of each sample: row = kspace_encode_step_1 + N/2 - centre (likewise for
step 2), column = N/2 - center_sample + sample. Scanners differ in these points:

- Readouts that are not image data (navigators, dummies, ...) are left out; noise readouts become
  ``RawScan.noise``.
- Echo trains, whose readouts run forward and backward, perhaps with samples on the gradient's
  ramps, are gridded and corrected with their navigator lines in one linear map, the first of
  ``RawScan.applied`` (:mod:`firenet_mri.io.kspace.echo_planar`).
- Calibration-only lines fill rows that no imaging line covers. Those that were measured separately
  are used only for the maps, as ``RawScan.reference``
  (:mod:`firenet_mri.io.kspace.ismrmrd_references`).
- A k-space point that was measured several times (averages) gets the mean. A point that is repeated
  with the same average number belongs to another image
  (:mod:`firenet_mri.io.kspace.ismrmrd_images`).
- The centre of k-space is where two of header, readouts and energy agree
  (:mod:`firenet_mri.io.kspace.ismrmrd_centre`).
- A readout that is zero throughout is padding, not data.
- Repetitions, contrasts (echoes), cardiac phases and sets are separate images.
- Readout oversampling is removed by the ratio of the fields of view. Afterwards, columns that an
  asymmetric echo left unmeasured could not be told from measured ones. Such a scan therefore keeps
  its oversampling and the larger field of view.

- Siemens' directions require the forward Fourier transform from k-space to the image, as in mrpro
  and Siemens' FIRE interface; those of all other vendors require the inverse one. No public raw
  scan comes with the scanner's own image, so this is not proven here; ``fft_sign`` overrides it.

Scans whose system vendor begins with "simulated" are marked as simulated.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError, FirenetError, ShapeError, UsageError
from firenet_mri.geometry import AcquisitionParameters, Geometry, ImageGrid
from firenet_mri.io.kspace.echo_planar import (
    NAVIGATORS,
    SCAN_WITHOUT_PHASE_ENCODING,
    EchoTrains,
    echo_trains,
    is_echo_planar,
)
from firenet_mri.io.kspace.gaps import check_gaps
from firenet_mri.io.kspace.ismrmrd_centre import centre_step
from firenet_mri.io.kspace.ismrmrd_contradictions import check_discarded, say_exceptions
from firenet_mri.io.kspace.ismrmrd_images import ImageKey, Images, images_of
from firenet_mri.io.kspace.ismrmrd_partitions import without_empty_partitions
from firenet_mri.io.kspace.ismrmrd_references import one_of_each, sorted_references
from firenet_mri.io.kspace.ismrmrd_times import moments_of
from firenet_mri.io.kspace.outline import Outline, check_samples
from firenet_mri.io.kspace.pulseq_readouts import check_readouts_alone, describes_nothing
from firenet_mri.plurals import by_number, counted

if TYPE_CHECKING:
    from torch import Tensor

    from firenet_mri.scan import RawScan

_log = logging.getLogger(__name__)

# Bit numbers of the flags, from 1, as the standard counts them.
_NOISE = 19
_CALIBRATION = 20
_CALIBRATION_AND_IMAGING = 21
_REVERSE = 22
_PHASE_CORRECTION = 24
_NO_IMAGE_DATA = (23, _PHASE_CORRECTION, 26, 27, 28, 29, 30, 31)

# A matrix with more points per sample comes from a damaged header, not from a scan.
_MOST_TIMES = 1000
_ALWAYS_FINE = 1 << 22


def assemble(
    header: Any,
    acquisitions: Iterable[Any],
    *,
    name: str = "scan",
    encoding: int | None = None,
    repetitions: Collection[int] | None = None,
    fft_sign: int | None = None,
    calibration_encoding: int | None = None,
    phase_correction: Sequence[Any] = (),
    admit: Callable[[Extent], None] | None = None,
) -> RawScan:
    """Return the scan that a header and its readouts describe.

    Parameters
    ----------
    header
        An ``ismrmrd.xsd.ismrmrdHeader``.
    acquisitions
        ``ismrmrd.Acquisition`` objects in any order.
    name
        Name of the scan in messages.
    encoding
        Number of the encoding to read, if several have imaging readouts.
    repetitions
        Numbers of the repetitions to read; None reads all.
    fft_sign
        Sign of the exponent from k-space to the image: 1 is the inverse Fourier transform, -1 the
        forward one. None uses the vendor's.
    calibration_encoding
        Number of the encoding whose readouts are used only for the sensitivity maps.
    phase_correction
        Readouts of a scan without phase encoding, which correct echo trains instead of their own
        navigator lines.
    admit
        Called with the sizes of the scan before any memory for it is allocated; to refuse the scan,
        it raises an error.

    Returns
    -------
    RawScan
        k-space (slice, coil, y, x) for 2D and (coil, z, y, x) for 3D encoding; along a trajectory
        (slice, coil, line, sample), without the slice axis if there is one slice of one image.
        Several images have a leading axis. Slices are in the order of their positions.

    Raises
    ------
    DataError
        If the readouts are not those of one scan: several encodings, echo trains without
        navigators, several slices excited at once, images that lack slices, a trajectory that the
        readouts do not contain, or samples outside the matrix.
    ShapeError
        If readouts have different numbers of channels, or images along trajectories have different
        numbers of readouts.
    UsageError
        If the requested encoding or repetitions have no readouts, or the sign is not 1 or -1.
    """
    if fft_sign not in (None, 1, -1):
        raise UsageError(f"FFT sign {fft_sign}; give 1 (inverse transform) or -1 (forward)")
    from firenet_mri.io.kspace.references import with_reference

    sign = fft_sign or _vendors_sign(header)
    every, wanted = _without_encoding(_sort(acquisitions), calibration_encoding, name)
    readouts = _chosen(every, encoding, repetitions, name)
    readouts = dataclasses.replace(readouts, correction_scan=list(phase_correction))
    layout = _laid_out(header, readouts, name)
    if admit is not None:
        admit(layout.extent)
    scan = _turned(_assemble(header, readouts, layout, name), sign)
    if scan.trajectory is None:
        check_gaps(scan.mask.numpy(), scan.spatial_ndim, name)
    lines = wanted or layout.apart
    if not lines:
        return scan
    try:
        return with_reference(
            scan, _reference(header, lines, sign, name, readouts.phase_correction)
        )
    except FirenetError as error:
        # Lines that the caller requested must be usable.
        if wanted:
            raise
        _log.warning("%s; these lines are not used", error)
        return scan


def outline(header: Any, acquisitions: Iterable[Any], *, name: str = "scan") -> Outline | None:
    """Return the outline of the scan that :func:`assemble` makes, without loading torch.

    Return None along a trajectory and for echo trains; errors are those of :func:`assemble`.
    """
    readouts = _sort(acquisitions)
    layout = _laid_out(header, readouts, name)
    if layout.has_trajectory or layout.trains is not None:
        return None
    kspace, counts = _place(layout, name)
    check_samples(kspace, name)
    noise = _scaled_noise(header, readouts, name)
    mask, grid = counts > 0, layout.grid
    columns = _columns_kept(grid, layout.encoding)
    if columns < grid.nx and bool((mask.all(-1) == mask.any(-1)).all()):
        mask, grid = mask[..., :columns], grid.cut_to(columns)
    if _vendors_sign(header) == -1:
        for axis in (-3, -2, -1):
            # For even N the first sample, -N/2, is its own opposite.
            mask = np.roll(np.flip(mask, axis), 1 - mask.shape[axis] % 2, axis)
    names = layout.names
    mask = mask.squeeze(layout.empty_axis)
    return Outline(
        coils=layout.coils,
        spatial_shape=(grid.nz, grid.ny, grid.nx) if grid.nz > 1 else (grid.ny, grid.nx),
        batch_shape=(len(layout.images),) * bool(names) + (len(layout.slices),) * (grid.nz == 1),
        images=names,
        geometry=_geometry(grid, layout.slices, name),
        simulated=_vendor(header).startswith("simulated"),
        noise_samples=0 if noise is None else noise.shape[1],
        mask=mask if names else mask[0],
        reference_lines=len(one_of_each(layout.apart)) if layout.apart else 0,
    )


def geometry_of_slices(
    header: Any,
    acquisitions: Iterable[Any],
    *,
    slices: Sequence[int],
    columns: int,
    name: str = "scan",
    encoding: int | None = None,
    phase_correction: Sequence[Any] = (),
) -> Geometry | None:
    """Return where slices of a scan with several stacks lie; None if they belong to several stacks.

    Parameters
    ----------
    header, acquisitions, name, encoding, phase_correction
        See :func:`assemble`.
    slices
        Numbers of the slices, in the order in which the scan has them.
    columns
        Number of columns of the scan, perhaps without oversampling.
    """
    readouts = _chosen(_sort(acquisitions), encoding, None, name)
    readouts = dataclasses.replace(readouts, correction_scan=list(phase_correction))
    layout = _laid_out(header, readouts, name)
    return _geometry(layout.grid.cut_to(columns), [layout.slices[i] for i in slices], name)


def placed_images(
    images: Sequence[Any], field_of_view_mm: tuple[float, float, float], name: str
) -> tuple[list[Any], Geometry | None]:
    """Return the slices of an image in the order of their positions, and where they lie.

    Parameters
    ----------
    images
        Objects with the position and directions of an ISMRMRD header, one per slice or one volume.
    field_of_view_mm
        (z, y, x) of each; z is the slice thickness.
    name
        Name of the file in messages.
    """
    slices = _in_order_of_height(list(images))
    return slices, _geometry(_Grid(1, 1, 1, 0, 0, field_of_view_mm), slices, name)


def parameters_of(header: Any) -> AcquisitionParameters:
    """Return field strength and times, as far as a header gives them."""
    return _parameters(header)


def is_simulated(header: Any) -> bool:
    """Return whether a header marks the scan as simulated."""
    return _vendor(header).startswith("simulated")


def centre_of(header: Any, acquisitions: Iterable[Any], *, name: str = "scan") -> tuple[int, int]:
    """Return the centre of k-space that :func:`assemble` uses, as steps 1 and 2 count."""
    readouts = _sort(acquisitions)
    encoding = _common_encoding(header, readouts, name)
    encoding = without_empty_partitions(encoding, readouts.imaging, name)
    lines = readouts.imaging if _is_on_grid(encoding) else []
    grid = _Grid.of(encoding, lines, name, readouts.is_reference)
    return grid.centre_y, grid.centre_z


class Extent(NamedTuple):
    """Sizes of the scan that is about to be read.

    Parameters
    ----------
    images, slices, coils
        How many there are.
    encoded
        The encoded matrix, (z, y, x).
    matrix
        The image matrix, perhaps without readout oversampling.
    """

    images: int
    slices: int
    coils: int
    encoded: tuple[int, int, int]
    matrix: tuple[int, int, int]


class _Layout(NamedTuple):
    """The place of every readout in k-space."""

    encoding: Any
    coils: int
    grid: _Grid
    lines: list[Any]
    slices: list[Any]
    images: list[ImageKey]
    told: Images
    apart: list[Any]
    trains: EchoTrains | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names that tell the images apart."""
        return self.told.names(self.images)

    @property
    def has_trajectory(self) -> bool:
        return not _is_on_grid(self.encoding)

    @property
    def columns(self) -> int:
        """Number of columns per readout as placed; for echo trains, of samples as stored."""
        return self.grid.nx if self.trains is None else self.trains.samples

    def samples(self, line: Any) -> tuple[NDArray[np.complex64], int]:
        """Return the samples (coil, n) of a readout and the column of the first."""
        return _samples(line, self.grid.nx) if self.trains is None else (line.data, 0)

    def places(self) -> Iterator[tuple[Any, tuple[int, int], tuple[int, int]]]:
        """Yield every readout with its (image, slice) and its (partition, row)."""
        which = {image: i for i, image in enumerate(self.images)}
        rank = {line.idx.slice: i for i, line in enumerate(self.slices)}
        for line in self.lines:
            yield line, (which[self.told.of(line)], rank[line.idx.slice]), self.grid.steps_of(line)

    @property
    def extent(self) -> Extent:
        """Sizes of what is about to be allocated."""
        grid = self.grid
        kept = _columns_kept(grid, self.encoding)
        rows = (grid.nz, grid.ny)
        counts = (len(self.images), len(self.slices), self.coils)
        return Extent(*counts, (*rows, self.columns), (*rows, kept))

    @property
    def empty_axis(self) -> int:
        """The axis of (image, slice, coil, z, y, x), slice or z, that has size 1."""
        return 1 if self.grid.nz > 1 else 3


def _laid_out(header: Any, readouts: _Readouts, name: str) -> _Layout:
    """Return the places of the readouts, after checking that they belong to one scan."""
    encoding = _common_encoding(header, readouts, name)
    encoding = without_empty_partitions(encoding, readouts.imaging, name)
    coils = _common_channels(readouts.imaging, name)
    is_cartesian = _is_on_grid(encoding)
    if describes_nothing(encoding):
        check_readouts_alone(encoding, readouts.imaging, name)
    imaging, calibration = readouts.imaging, readouts.calibration
    check_discarded([*imaging, *calibration, *readouts.phase_correction], name)
    grid = _Grid.of(encoding, imaging if is_cartesian else [], name, readouts.is_reference)
    trains = _echo_trains(encoding, grid, readouts, name)
    if is_cartesian:
        _check_inside(imaging, grid, name, trains)
    told = images_of(imaging, calibration, header, encoding, name) if is_cartesian else Images()
    in_place, apart = sorted_references(calibration, imaging, told, encoding, name)
    if trains is not None and not trains.takes(in_place):
        in_place, apart = [], in_place
    if is_cartesian:
        _check_inside(in_place, grid, name, trains)
    lines = imaging + in_place
    _common_channels(lines, name)
    slices = _ordered_slices(lines)
    images = sorted({told.of(line) for line in imaging})
    if grid.nz > 1 and len(slices) > 1:
        raise DataError(
            f"{name}: has {len(slices)} slabs of 3D encoding; split it into one scan per slab"
        )
    layout = _Layout(encoding, coils, grid, lines, slices, images, told, apart, trains)
    _check_complete(imaging, layout, name)
    if is_cartesian:
        say_exceptions(imaging, name)
    return layout


def _reference(
    header: Any, lines: Sequence[Any], fft_sign: int, name: str, corrections: list[Any]
) -> RawScan:
    """Return the scan that the reference lines form by themselves."""
    readouts = _Readouts(
        imaging=one_of_each(lines), phase_correction=corrections, is_reference=True
    )
    label = f"{name} (reference lines)"
    layout = _laid_out(header, readouts, label)
    return _turned(_assemble(header, readouts, layout, label), fft_sign)


def _turned(scan: RawScan, fft_sign: int) -> RawScan:
    """Return the scan whose inverse transform is the image, given the sign of its transform."""
    from firenet_mri.scan import with_reversed_kspace

    return scan if fft_sign == 1 else with_reversed_kspace(scan)


def _assemble(header: Any, readouts: _Readouts, layout: _Layout, name: str) -> RawScan:
    import torch

    from firenet_mri.io.kspace.ismrmrd_trains import gridding_of, norms_of_items, whole_readouts
    from firenet_mri.scan import RawScan

    grid, slices = layout.grid, layout.slices
    if layout.has_trajectory:
        return _along_trajectory(header, readouts, layout, name)
    kspace, counts = (torch.from_numpy(array) for array in _place(layout, name))
    mask = counts > 0
    samples = _scaled_noise(header, readouts, name)
    noise = None if samples is None else torch.from_numpy(samples)
    if noise is not None:
        # The mean of n samples has 1/n of the variance; if n varies, the average of 1/n is used.
        noise = noise * float((1 / counts[mask]).mean().sqrt())
    names, axis = layout.names, layout.empty_axis
    kspace, mask = (x.squeeze(axis) if names else x.squeeze(axis)[0] for x in (kspace, mask))
    prepared: dict[str, Any] = {}
    if layout.trains is None:
        kspace, mask, grid = _remove_oversampling(kspace, mask, grid, layout.encoding)
    else:
        ndim = 2 if grid.nz > 1 else 1
        gridding = gridding_of(layout.trains, layout.places(), kspace.shape, ndim, name)
        prepared = {"applied": (gridding,), "norms_as_read": norms_of_items(kspace, ndim)}
        kspace, mask = gridding(kspace), whole_readouts(mask, gridding)
        grid = grid.cut_to(kspace.shape[-1])
        noise = None if noise is None else noise * layout.trains.noise_factor
    return RawScan(
        kspace,
        mask,
        spatial_ndim=3 if grid.nz > 1 else 2,
        noise=noise,
        geometry=_geometry(grid, slices, name),
        name=name,
        simulated=_vendor(header).startswith("simulated"),
        images=names,
        scanner_grid=_scanner_grid(layout.encoding),
        parameters=_timed_parameters(header, layout.lines, layout, name),
        **prepared,
    )


@dataclass
class _Readouts:
    """Readouts sorted by purpose."""

    imaging: list[Any] = field(default_factory=list)
    calibration: list[Any] = field(default_factory=list)
    noise: list[Any] = field(default_factory=list)
    phase_correction: list[Any] = field(default_factory=list)
    correction_scan: list[Any] = field(default_factory=list)
    is_reference: bool = False


@dataclass(frozen=True)
class _Grid:
    """The encoded matrix (z, y, x), its centres in counter steps, and its extent in mm."""

    nz: int
    ny: int
    nx: int
    centre_z: int
    centre_y: int
    field_of_view_mm: tuple[float, float, float]

    @staticmethod
    def of(encoding: Any, lines: Sequence[Any], name: str, is_reference: bool) -> _Grid:
        """Return the grid of an encoding; without limits the counters start at the first row.

        The centre also depends on what its Cartesian readouts ``lines`` state.
        """
        size, extent = encoding.encodedSpace.matrixSize, encoding.encodedSpace.fieldOfView_mm
        if min(size.x, size.y, size.z) < 1:
            raise DataError(f"{name}: the encoded matrix is {size.x} x {size.y} x {size.z}")
        centres = {
            step: centre_step(
                lines, step, _stated(encoding, step), n, name, is_reference=is_reference
            )
            if lines
            else n // 2
            for step, n in (("kspace_encode_step_1", size.y), ("kspace_encode_step_2", size.z))
        }
        return _Grid(
            nz=size.z,
            ny=size.y,
            nx=size.x,
            centre_z=centres["kspace_encode_step_2"],
            centre_y=centres["kspace_encode_step_1"],
            field_of_view_mm=(extent.z, extent.y, extent.x),
        )

    def steps_of(self, line: Any) -> tuple[int, int]:
        """Return the partition and row on which a readout falls."""
        z = line.idx.kspace_encode_step_2 + self.nz // 2 - self.centre_z
        return z, line.idx.kspace_encode_step_1 + self.ny // 2 - self.centre_y

    def cut_to(self, columns: int) -> _Grid:
        """Return the grid with another number of columns of the same size."""
        fov_z, fov_y, fov_x = self.field_of_view_mm
        fov = (fov_z, fov_y, fov_x * columns / self.nx)
        return dataclasses.replace(self, nx=columns, field_of_view_mm=fov)


def _stated(encoding: Any, step: str) -> int | None:
    """Return the centre of a counter that the header states, else None."""
    limit = getattr(encoding.encodingLimits, step.replace("encode", "encoding"), None)
    return None if limit is None else int(limit.center)


def _sort(acquisitions: Iterable[Any]) -> _Readouts:
    """Return the readouts by their flags, without those that are not image data."""
    readouts = _Readouts()
    for acquisition in acquisitions:
        if _has(acquisition, _NOISE):
            readouts.noise.append(acquisition)
        elif _has(acquisition, _PHASE_CORRECTION):
            readouts.phase_correction.append(acquisition)
        elif any(_has(acquisition, flag) for flag in _NO_IMAGE_DATA) or not acquisition.data.any():
            continue
        elif _has(acquisition, _CALIBRATION) and not _has(acquisition, _CALIBRATION_AND_IMAGING):
            readouts.calibration.append(acquisition)
        else:
            readouts.imaging.append(acquisition)
    return readouts


def _has(acquisition: Any, flag: int) -> bool:
    return bool(acquisition.flags >> (flag - 1) & 1)


def _common_encoding(header: Any, readouts: _Readouts, name: str) -> Any:
    """Return the one encoding of the imaging lines, which must be Cartesian."""
    if not readouts.imaging:
        raise DataError(
            f"{name}: all imaging readouts are missing or zero (noise readouts: "
            f"{len(readouts.noise)}, calibration readouts: {len(readouts.calibration)}); export "
            "the image data too"
        )
    references = sorted({line.encoding_space_ref for line in readouts.imaging})
    if len(references) > 1:
        raise DataError(
            f"{name}: has imaging readouts of {len(references)} encodings {references}; choose one "
            "with --encoding (encoding= in Python)"
        )
    if references[0] >= len(header.encoding):
        raise DataError(
            f"{name}: readouts refer to encoding {references[0]}, but the number of encodings in "
            f"the header is {len(header.encoding)}; export the scan again"
        )
    encoding = header.encoding[references[0]]
    bands = getattr(getattr(encoding.parallelImaging, "multiband", None), "multiband_factor", 1)
    if bands and bands > 1:
        raise DataError(
            f"{name}: {bands} slices are excited at once (SMS); their slices must be separated "
            "first"
        )
    return encoding


def _echo_trains(encoding: Any, grid: _Grid, readouts: _Readouts, name: str) -> EchoTrains | None:
    """Return the gridding of echo trains; None if the scan has none."""
    reference = readouts.imaging[0].encoding_space_ref
    own = [one for one in readouts.phase_correction if one.encoding_space_ref == reference]
    # Reference lines may have separate navigators.
    of_references = [one for one in own if _has(one, _CALIBRATION)]
    of_image = [one for one in own if not _has(one, _CALIBRATION)]
    own = (of_references if readouts.is_reference else of_image) or own
    found = readouts.correction_scan
    if not is_echo_planar(_trajectory(encoding), readouts.imaging, found or own):
        if found:
            raise UsageError(
                f"{name}: is not an echo-planar scan, the only kind that is corrected; omit "
                "--phase-correction (phase_correction_file= in Python)"
            )
        return None
    source = SCAN_WITHOUT_PHASE_ENCODING if found else NAVIGATORS
    columns = _columns_kept(grid, encoding)
    return echo_trains(encoding, readouts.imaging, found or own, source, columns, name)


def _is_on_grid(encoding: Any) -> bool:
    """Return whether readouts are lines of a Cartesian grid, echo trains included."""
    return _trajectory(encoding) in ("cartesian", "epi")


def _trajectory(encoding: Any) -> str:
    return str(getattr(encoding.trajectory, "value", encoding.trajectory))


def _along_trajectory(header: Any, readouts: _Readouts, layout: _Layout, name: str) -> RawScan:
    """Return a scan whose readouts contain their k-space points."""
    import torch

    from firenet_mri.io.kspace import ismrmrd_trajectory
    from firenet_mri.scan import RawScan

    grid, slices, names = layout.grid, layout.slices, layout.names
    shape = (grid.ny, grid.nx) if grid.nz == 1 else (grid.nz, grid.ny, grid.nx)
    samples, trajectory = ismrmrd_trajectory.place(_items(readouts.imaging, layout), shape, name)
    # As for Cartesian scans, but a single slice of a single image has no slice axis.
    has_slices = grid.nz == 1 and (bool(names) or len(slices) > 1)
    batch = (len(layout.images),) * bool(names) + (len(slices),) * has_slices
    kspace = samples.reshape(*batch, *samples.shape[1:])
    noise = _scaled_noise(header, readouts, name)
    return RawScan(
        kspace,
        torch.ones((1, *kspace.shape[-2:]), dtype=torch.bool),
        spatial_ndim=len(shape),
        noise=None if noise is None else torch.from_numpy(noise),
        geometry=_geometry(grid, slices, name),
        name=name,
        simulated=_vendor(header).startswith("simulated"),
        trajectory=trajectory,
        image_shape=shape,
        images=names,
        parameters=_timed_parameters(header, readouts.imaging, layout, name),
    )


def _items(lines: Sequence[Any], layout: _Layout) -> list[tuple[str, list[Any]]]:
    """Return the name and the readouts of every slice of every image, in the scan's order."""
    found: dict[tuple[ImageKey, int], list[Any]] = {}
    for line in lines:
        found.setdefault((layout.told.of(line), line.idx.slice), []).append(line)
    names = layout.names or ("",)
    return [
        (f"{label + ', ' if label else ''}slice {first.idx.slice}", found[image, first.idx.slice])
        for image, label in zip(layout.images, names, strict=True)
        for first in layout.slices
    ]


def _without_encoding(
    readouts: _Readouts, encoding: int | None, name: str
) -> tuple[_Readouts, list[Any]]:
    """Return the readouts without those of an encoding, and the readouts of that encoding."""
    if encoding is None:
        return readouts, []
    lines = readouts.imaging + readouts.calibration
    chosen = [line for line in lines if line.encoding_space_ref == encoding]
    if not chosen:
        found = sorted({line.encoding_space_ref for line in lines})
        raise UsageError(
            f"{name}: encoding {encoding} was requested for the maps, but the scan has {found}"
        )
    imaging, calibration = (
        [line for line in some if line.encoding_space_ref != encoding]
        for some in (readouts.imaging, readouts.calibration)
    )
    return dataclasses.replace(readouts, imaging=imaging, calibration=calibration), chosen


def _chosen(
    readouts: _Readouts, encoding: int | None, repetitions: Collection[int] | None, name: str
) -> _Readouts:
    """Return the readouts of the requested encoding and repetitions."""
    imaging = readouts.imaging
    if encoding is not None:
        found = sorted({line.encoding_space_ref for line in imaging})
        if encoding not in found:
            raise UsageError(f"{name}: encoding {encoding} was requested, but the scan has {found}")
        imaging = [line for line in imaging if line.encoding_space_ref == encoding]
    if repetitions is not None:
        found = sorted({line.idx.repetition for line in imaging})
        missing = sorted(set(repetitions) - set(found))
        if missing or not repetitions:
            raise UsageError(
                f"{name}: repetitions {missing} were requested, but the scan has {found}"
            )
        imaging = [line for line in imaging if line.idx.repetition in repetitions]
    return dataclasses.replace(readouts, imaging=imaging)


def _check_complete(lines: Sequence[Any], layout: _Layout, name: str) -> None:
    """Refuse a scan in which a slice of an image has no readout, as after an interruption."""
    found = {(layout.told.of(line), line.idx.slice) for line in lines}
    numbers = [line.idx.slice for line in layout.slices]
    for image, label in zip(layout.images, layout.names or ("the image",), strict=True):
        missing = [number for number in numbers if (image, number) not in found]
        if missing:
            raise DataError(
                f"{name}: {label} has no imaging readouts of slices {missing}, so the scan was "
                "interrupted or is truncated; choose complete repetitions (--repetitions)"
            )


def _common_channels(lines: Sequence[Any], name: str) -> int:
    """Return the number of channels, after checking that it is the same in all readouts."""
    counts = {line.active_channels for line in lines}
    if len(counts) > 1:
        raise ShapeError(
            f"{name}: readouts have {sorted(counts)} channels; export them with the same coils"
        )
    return int(counts.pop())


def _ordered_slices(lines: Sequence[Any]) -> list[Any]:
    """Return one line of each slice, in the order of positions (of numbers if positions coincide).

    Slice numbers may follow the order of acquisition, in which neighbours are not consecutive.
    """
    first: dict[int, Any] = {}
    for line in lines:
        first.setdefault(line.idx.slice, line)
    slices = [first[number] for number in sorted(first)]
    stacks = _stacks(slices)
    if len(stacks) > 1:
        return [line for stack in stacks for line in _in_order_of_height(stack)]
    return _in_order_of_height(slices)


def _stacks(slices: Sequence[Any]) -> list[list[Any]]:
    """Return the slices grouped by their directions, in the order of their numbers."""
    stacks: list[list[Any]] = []
    for line in slices:
        same = (stack for stack in stacks if _parallel(stack[0], line))
        found = next(same, None)
        if found is None:
            stacks.append([line])
        else:
            found.append(line)
    return stacks


def _parallel(one: Any, other: Any) -> bool:
    pairs = ((one.read_dir, other.read_dir), (one.phase_dir, other.phase_dir))
    return all(np.allclose(a[:], b[:], atol=1e-3) for a, b in pairs) and np.allclose(
        one.slice_dir[:], other.slice_dir[:], atol=1e-3
    )


def _in_order_of_height(slices: list[Any]) -> list[Any]:
    direction = np.array(slices[0].slice_dir[:], dtype=float)
    height = np.array([np.array(line.position[:]) @ direction for line in slices])
    step = np.diff(height)
    if np.unique(height).size < len(slices) or (step > 0).all() or (step < 0).all():
        return slices
    return [slices[i] for i in np.argsort(height)]


def _place(layout: _Layout, name: str) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    """Return averaged k-space (image, slice, coil, z, y, x), and the count of each point."""
    coils, grid, lines, slices, images = layout[1:6]
    leading = (len(images), len(slices))
    columns = layout.columns
    size = math.prod((*leading, coils, grid.nz, grid.ny, columns))
    measured = sum(line.number_of_samples * line.active_channels for line in lines)
    if size > max(_ALWAYS_FINE, _MOST_TIMES * measured):
        raise DataError(
            f"{name}: a matrix of {columns} x {grid.ny} x {grid.nz} has {size / measured:.0f} "
            "points per measured sample; correct the header's matrix"
        )
    kspace = np.zeros((*leading, coils, grid.nz, grid.ny, columns), np.complex64)
    counts = np.zeros((*leading, 1, grid.nz, grid.ny, columns), np.float32)
    for line, i, (z, y) in layout.places():
        samples, start = layout.samples(line)
        stop = start + samples.shape[1]
        kspace[i][:, z, y, start:stop] += samples
        counts[i][:, z, y, start:stop] += 1
    kspace /= np.maximum(counts, 1)
    return kspace, counts


def _check_inside(
    lines: Sequence[Any], grid: _Grid, name: str, trains: EchoTrains | None = None
) -> None:
    """Refuse a readout outside the matrix, except along the gridded axis of echo trains."""
    for line in lines:
        (z, y), (samples, start) = grid.steps_of(line), _samples(line, grid.nx)
        stop = start + samples.shape[1]
        if trains is not None:
            start, stop = 0, grid.nx
        if not (0 <= z < grid.nz and 0 <= y < grid.ny and start >= 0 and stop <= grid.nx):
            raise DataError(
                f"{name}: a readout (step 1 {line.idx.kspace_encode_step_1}, step 2 "
                f"{line.idx.kspace_encode_step_2}, centre sample {line.center_sample}) falls on "
                f"row {y}, partition {z}, columns {start} to {stop - 1}, outside the encoded "
                f"matrix {grid.nx} x {grid.ny} x {grid.nz}; correct the header's matrix or limits"
            )


def _samples(line: Any, columns: int) -> tuple[NDArray[np.complex64], int]:
    """Return the samples (coil, n) of a readout from left to right, and the column of the first.

    ``center_sample`` refers to the readout as stored, before it is cut or reversed.
    """
    total = line.number_of_samples
    samples = line.data[:, line.discard_pre : total - line.discard_post]
    first = line.discard_pre - line.center_sample
    if _has(line, _REVERSE):
        samples = samples[:, ::-1]
        first = -(first + samples.shape[1] - 1)
    return samples, columns // 2 + first


def _scaled_noise(header: Any, readouts: _Readouts, name: str) -> NDArray[np.complex64] | None:
    """Return the noise samples (coil, n), scaled to the noise variance of an image sample.

    Noise power is proportional to the receiver bandwidth, the inverse of the dwell time; the
    receiver filter passes ``relativeReceiverNoiseBandwidth`` of it in the noise measurement. So
    image variance = noise variance / (image dwell / noise dwell * bandwidth), as in Gadgetron. If a
    dwell time is missing, the two are assumed to be equal.
    """
    measured = _noise_of_the_coils(readouts, name)
    if not measured:
        return None
    system = header.acquisitionSystemInformation
    bandwidth = getattr(system, "relativeReceiverNoiseBandwidth", None) or 1.0
    image_dwell = readouts.imaging[0].sample_time_us
    scaled: list[NDArray[np.complex64]] = []
    for readout in measured:
        dwell = readout.sample_time_us
        ratio = image_dwell / dwell if image_dwell > 0 and dwell > 0 else 1.0
        stop = max(readout.discard_pre, readout.number_of_samples - readout.discard_post)
        samples = readout.data[:, readout.discard_pre : stop]
        scaled.append(samples / np.float32(np.sqrt(ratio * bandwidth)))
    noise = np.concatenate(scaled, axis=1)
    if not np.isfinite(noise).all():
        raise DataError(
            f"{name}: the noise measurement has NaN or infinite samples; export it again"
        )
    return noise


def _noise_of_the_coils(readouts: _Readouts, name: str) -> list[Any]:
    """Return the noise readouts with the image's number of channels; others cannot whiten it."""
    coils = readouts.imaging[0].active_channels
    measured = [readout for readout in readouts.noise if readout.active_channels == coils]
    others = len(readouts.noise) - len(measured)
    if others:
        _log.warning(
            "%s: %s of other coils %s not used (%s channels, the image has %d)",
            name,
            counted(others, "noise readout"),
            by_number(others, "is", "are"),
            sorted({one.active_channels for one in readouts.noise} - {coils}),
            coils,
        )
    return measured


def _remove_oversampling(
    kspace: Tensor, mask: Tensor, grid: _Grid, encoding: Any
) -> tuple[Tensor, Tensor, _Grid]:
    """Return k-space cropped in image space along the readout to the field of view requested."""
    from firenet_mri.operators.centred import centred_fft, centred_ifft
    from firenet_mri.scan import readouts_are_whole

    columns = _columns_kept(grid, encoding)
    if columns == grid.nx or not readouts_are_whole(mask):
        return kspace, mask, grid
    start = grid.nx // 2 - columns // 2
    image = centred_ifft(kspace, [-1])[..., start : start + columns]
    return centred_fft(image, [-1]), mask[..., :columns].contiguous(), grid.cut_to(columns)


def _columns_kept(grid: _Grid, encoding: Any) -> int:
    """Return how many columns cover the field of view requested."""
    extent, wanted = grid.field_of_view_mm[2], encoding.reconSpace.fieldOfView_mm.x
    columns = round(grid.nx * wanted / extent) if 0 < wanted < extent else grid.nx
    return columns if columns > 0 else grid.nx


def _geometry(grid: _Grid, slices: Sequence[Any], name: str) -> Geometry | None:
    """Return where the image lies; None if this is not known or one affine cannot describe it.

    If the file has no directions, only the sizes are known.
    """
    first = slices[0]
    directions = np.array([first.read_dir[:], first.phase_dir[:], first.slice_dir[:]], dtype=float)
    if min(grid.field_of_view_mm) <= 0:
        return None
    if not directions.any():
        step = grid.field_of_view_mm[0]
        made_up = tuple((0.0, 0.0, step * (i - len(slices) // 2)) for i in range(len(slices)))
        return Geometry(grid.field_of_view_mm, made_up, is_placed=False)
    positions = np.array([line.position[:] for line in slices], dtype=float)
    positions *= _millimetres(positions, grid, name)
    steps = np.diff(positions, axis=0)
    stacks = _stacks(slices)
    if len(stacks) > 1:
        _log.warning(
            "%s: the slices form %d stacks (%s), and a single image of all of them has no "
            "position; choose one stack with --slices (slices= in Python)",
            name,
            len(stacks),
            ", ".join(_numbers_of(stack, slices) for stack in stacks),
        )
        return None
    if not np.allclose(steps, steps[:1], atol=0.05) or _coincide(steps):
        _log.warning("%s: the slices are not evenly spaced; the image gets no position", name)
        return None
    read, phase, slice_ = (tuple(direction) for direction in directions.tolist())
    centres = tuple(tuple(position) for position in positions.tolist())
    return Geometry(grid.field_of_view_mm, centres, read, phase, slice_)


def _millimetres(positions: NDArray[np.floating], grid: _Grid, name: str) -> float:
    """Return 1000 if the slice spacing indicates positions in metres, else 1."""
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    thickness = grid.field_of_view_mm[0]
    is_metres = len(steps) > 0 and 0.3 * thickness < 1e3 * steps.max() < 5 * thickness
    if is_metres:
        _log.warning("%s: the slice positions are interpreted as metres", name)
    return 1e3 if is_metres else 1.0


def _numbers_of(stack: Sequence[Any], slices: Sequence[Any]) -> str:
    """Return the range of a stack's slice numbers, which are consecutive."""
    first = next(i for i, line in enumerate(slices) if line is stack[0])
    return f"{first}-{first + len(stack) - 1}" if len(stack) > 1 else str(first)


def _coincide(steps: NDArray[np.floating]) -> bool:
    return len(steps) > 0 and bool(np.linalg.norm(steps, axis=1).min() < 1e-3)


def _scanner_grid(encoding: Any) -> ImageGrid | None:
    space = encoding.reconSpace
    size, extent = space.matrixSize, space.fieldOfView_mm
    if min(size.x, size.y, size.z) < 1 or min(extent.x, extent.y, extent.z) <= 0:
        return None
    return ImageGrid((size.z, size.y, size.x), (extent.z, extent.y, extent.x))


def _vendors_sign(header: Any) -> int:
    return -1 if _vendor(header).startswith("siemens") else 1


def _vendor(header: Any) -> str:
    return (getattr(header.acquisitionSystemInformation, "systemVendor", None) or "").lower()


def _timed_parameters(
    header: Any, lines: Iterable[Any], layout: _Layout, name: str
) -> AcquisitionParameters:
    """Return the parameters, including the times at which these images were acquired."""
    numbers = {image: number for number, image in enumerate(layout.images)}
    found = ((line, numbers[layout.told.of(line)]) for line in lines)
    moments = moments_of(header, found, layout.names, name)
    return dataclasses.replace(_parameters(header), moments=moments)


def _parameters(header: Any) -> AcquisitionParameters:
    """Return field strength and times; 0, NaN and infinity mean unknown."""
    system, sequence = header.acquisitionSystemInformation, header.sequenceParameters

    def known(values: Iterable[Any]) -> tuple[float, ...]:
        return tuple(float(value) for value in values if value and 0 < value < math.inf)

    def first(name: str) -> float | None:
        return next(iter(known((getattr(sequence, name, None) or [])[:1])), None)

    return AcquisitionParameters(
        field_strength_t=next(iter(known([getattr(system, "systemFieldStrength_T", None)])), None),
        repetition_time_ms=first("TR"),
        echo_times_ms=known(getattr(sequence, "TE", None) or []),
        inversion_time_ms=first("TI"),
        flip_angle_deg=first("flipAngle_deg"),
    )
