"""ISMRMRD / MRD 1.x: puts readouts, from a file or a stream, into the k-space of one scan.

Each sample has its place by the header: row = kspace_encode_step_1 + N/2 - centre (the same for
step 2), column = N/2 - center_sample + sample. What differs between scanners:

- Readouts that are no image data (navigators, phase correction, dummies, ...) are left out;
  noise readouts become ``RawScan.noise``.
- Calibration-only lines fill rows that no imaging line has, unless they come from a separate scan.
- A k-space point that was measured several times (averages) gets the mean.
- A readout that is zero throughout is padding, not data.
- Repetitions, contrasts (echoes), cardiac phases and sets are images of their own.
- Readout oversampling is removed by the ratio of the fields of view. If the echo is asymmetric,
  the columns that were not measured cannot be told from measured ones after that, so there the
  oversampling stays, and the image keeps the larger field of view.

- Siemens' directions go with the forward Fourier transform from k-space to the image, as mrpro and
  Siemens' FIRE interface take it, everyone else's with the inverse one. No public raw scan comes
  with the scanner's own image, so this is not proven here; ``fft_sign`` says otherwise.

Scans with a system vendor that begins with "simulated" are marked as simulated.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.io.kspace import ismrmrd_trajectory
from firenet_mri.operators.centred import centred_fft, centred_ifft
from firenet_mri.scan import (
    AcquisitionParameters,
    Geometry,
    ImageGrid,
    RawScan,
    readouts_are_whole,
    with_reversed_kspace,
)

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

_SEPARATE_MODES = ("separate", "external")
_IMAGE_COUNTERS = ("repetition", "contrast", "phase", "set")


def assemble(
    header: Any,
    acquisitions: Iterable[Any],
    *,
    name: str = "scan",
    encoding: int | None = None,
    repetitions: Collection[int] | None = None,
    fft_sign: int | None = None,
) -> RawScan:
    """Return the scan that a header and its readouts make.

    Parameters
    ----------
    header
        An ``ismrmrd.xsd.ismrmrdHeader``.
    acquisitions
        ``ismrmrd.Acquisition`` objects in any order.
    name
        What messages call the scan.
    encoding
        Number of the encoding to take, where several have imaging readouts.
    repetitions
        Numbers of the repetitions to take; None takes all.
    fft_sign
        Sign of the exponent from k-space to the image: 1 is the inverse Fourier transform, -1 the
        forward one. None takes the vendor's.

    Returns
    -------
    RawScan
        k-space (slice, coil, y, x) for 2D and (coil, z, y, x) for 3D encoding, with an axis of
        images before these if there are several; along a trajectory (slice, coil, line, sample),
        without the slice axis if there is one slice. Slices are in the order of their positions.

    Raises
    ------
    DataError
        If the readouts are not those of one scan: several encodings, EPI, images without some of
        the slices, several images along a trajectory, a trajectory that the readouts do not hold,
        or samples outside of the matrix.
    ShapeError
        If readouts have different numbers of channels.
    UsageError
        If there are no readouts of the encoding or repetitions asked for, or the sign is another.
    """
    if fft_sign not in (None, 1, -1):
        raise UsageError(f"FFT sign {fft_sign}; give 1 (inverse transform) or -1 (forward)")
    readouts = _chosen(_sort(acquisitions), encoding, repetitions, name)
    scan = _assemble(header, readouts, name)
    sign = fft_sign or (-1 if _vendor(header).startswith("siemens") else 1)
    return scan if sign == 1 else with_reversed_kspace(scan)


def _assemble(header: Any, readouts: _Readouts, name: str) -> RawScan:
    encoding = _common_encoding(header, readouts, name)
    coils = _common_channels(readouts, name)
    grid = _Grid.of(encoding, name)
    lines = readouts.imaging + _useful_calibration(encoding, readouts, name)
    slices = _ordered_slices(lines)
    images = sorted({_image(line) for line in readouts.imaging})
    if grid.nz > 1 and len(slices) > 1:
        raise DataError(f"{name}: {len(slices)} slabs of 3D encoding; split the scan into one each")
    if _trajectory(encoding) != "cartesian":
        if len(images) > 1:
            raise DataError(
                f"{name}: {len(images)} images ({', '.join(_names(images))}) along a trajectory; "
                "split the scan into one file each"
            )
        return _along_trajectory(header, readouts, slices, grid, name)
    _check_complete(readouts.imaging, images, slices, name)
    kspace, counts = _place(lines, images, slices, grid, coils, name)
    mask = counts > 0
    noise = _scaled_noise(header, readouts, name)
    if noise is not None:
        # The mean of n samples has 1/n of the variance; where n varies this is its average.
        noise = noise * float((1 / counts[mask]).mean().sqrt())
    kspace, mask, grid = _remove_oversampling(kspace, mask, grid, encoding)
    geometry = _geometry(grid, slices, name)
    # (image, slice, coil, z, y, x): of slice and z one has the size 1.
    squeeze = 1 if grid.nz > 1 else 3
    names = _names(images)
    kspace, mask = kspace.squeeze(squeeze), mask.squeeze(squeeze)
    return RawScan(
        kspace if names else kspace[0],
        mask if names else mask[0],
        spatial_ndim=3 if grid.nz > 1 else 2,
        noise=noise,
        geometry=geometry,
        name=name,
        simulated=_vendor(header).startswith("simulated"),
        images=names,
        scanner_grid=_scanner_grid(encoding),
        parameters=_parameters(header),
    )


@dataclass
class _Readouts:
    """Readouts by what they are for."""

    imaging: list[Any] = field(default_factory=list)
    calibration: list[Any] = field(default_factory=list)
    noise: list[Any] = field(default_factory=list)
    phase_correction: int = 0


@dataclass(frozen=True)
class _Grid:
    """The encoded matrix (z, y, x), its centres as counters see them, and its extent in mm."""

    nz: int
    ny: int
    nx: int
    centre_z: int
    centre_y: int
    field_of_view_mm: tuple[float, float, float]

    @staticmethod
    def of(encoding: Any, name: str) -> _Grid:
        """Return the grid of an encoding; without limits the counters count from the first row."""
        size, extent = encoding.encodedSpace.matrixSize, encoding.encodedSpace.fieldOfView_mm
        if min(size.x, size.y, size.z) < 1:
            raise DataError(f"{name}: the encoded matrix is {size.x} x {size.y} x {size.z}")
        limits = encoding.encodingLimits
        return _Grid(
            nz=size.z,
            ny=size.y,
            nx=size.x,
            centre_z=_centre(limits, "kspace_encoding_step_2", size.z),
            centre_y=_centre(limits, "kspace_encoding_step_1", size.y),
            field_of_view_mm=(extent.z, extent.y, extent.x),
        )


def _centre(limits: Any, step: str, size: int) -> int:
    limit = getattr(limits, step, None)
    return size // 2 if limit is None else int(limit.center)


def _sort(acquisitions: Iterable[Any]) -> _Readouts:
    """Return the readouts by their flags, without those that are no image data."""
    readouts = _Readouts()
    for acquisition in acquisitions:
        if _has(acquisition, _NOISE):
            readouts.noise.append(acquisition)
        elif any(_has(acquisition, flag) for flag in _NO_IMAGE_DATA):
            readouts.phase_correction += _has(acquisition, _PHASE_CORRECTION)
        elif not acquisition.data.any():
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
            f"{name}: no imaging readouts that are not zero ({len(readouts.noise)} noise, "
            f"{len(readouts.calibration)} calibration readouts); export the image data too"
        )
    references = sorted({line.encoding_space_ref for line in readouts.imaging})
    if len(references) > 1:
        raise DataError(
            f"{name}: imaging readouts of {len(references)} encodings {references}; choose one "
            "with --encoding (encoding= in Python)"
        )
    if references[0] >= len(header.encoding):
        raise DataError(
            f"{name}: readouts refer to encoding {references[0]}, the header has "
            f"{len(header.encoding)}; export the scan again"
        )
    encoding = header.encoding[references[0]]
    if _trajectory(encoding) == "epi":
        raise DataError(
            f"{name}: epi trajectory, which would ghost; correct and regrid the scan first"
        )
    if readouts.phase_correction and any(_has(line, _REVERSE) for line in readouts.imaging):
        raise DataError(
            f"{name}: an EPI scan (reversed lines with phase correction), which would ghost; "
            "correct and regrid it first, only Cartesian scans can be read"
        )
    return encoding


def _trajectory(encoding: Any) -> str:
    return str(getattr(encoding.trajectory, "value", encoding.trajectory))


def _along_trajectory(
    header: Any, readouts: _Readouts, slices: Sequence[Any], grid: _Grid, name: str
) -> RawScan:
    """Return a scan whose readouts hold the points of k-space."""
    shape = (grid.ny, grid.nx) if grid.nz == 1 else (grid.nz, grid.ny, grid.nx)
    kspace, trajectory = ismrmrd_trajectory.place(readouts.imaging, slices, shape, name)
    return RawScan(
        kspace if len(slices) > 1 else kspace[0],
        torch.ones((1, *trajectory.shape[:-1]), dtype=torch.bool),
        spatial_ndim=len(shape),
        noise=_scaled_noise(header, readouts, name),
        geometry=_geometry(grid, slices, name),
        name=name,
        simulated=_vendor(header).startswith("simulated"),
        trajectory=trajectory,
        image_shape=shape,
        parameters=_parameters(header),
    )


def _chosen(
    readouts: _Readouts, encoding: int | None, repetitions: Collection[int] | None, name: str
) -> _Readouts:
    """Return the readouts of the encoding and repetitions asked for."""
    imaging = readouts.imaging
    if encoding is not None:
        found = sorted({line.encoding_space_ref for line in imaging})
        if encoding not in found:
            raise UsageError(f"{name}: encoding {encoding} asked for; there are {found}")
        imaging = [line for line in imaging if line.encoding_space_ref == encoding]
    if repetitions is not None:
        found = sorted({line.idx.repetition for line in imaging})
        missing = sorted(set(repetitions) - set(found))
        if missing or not repetitions:
            raise UsageError(f"{name}: repetitions {missing} asked for; there are {found}")
        imaging = [line for line in imaging if line.idx.repetition in repetitions]
    return dataclasses.replace(readouts, imaging=imaging)


def _image(line: Any) -> tuple[int, ...]:
    """Return the counters that tell a readout's image."""
    return tuple(int(getattr(line.idx, counter)) for counter in _IMAGE_COUNTERS)


def _names(images: Sequence[tuple[int, ...]]) -> tuple[str, ...]:
    """Return what tells the images from each other; nothing for a single one."""
    varying = [i for i in range(len(_IMAGE_COUNTERS)) if len({image[i] for image in images}) > 1]
    if not varying:
        return ()
    return tuple(", ".join(f"{_IMAGE_COUNTERS[i]} {image[i]}" for i in varying) for image in images)


def _check_complete(
    lines: Sequence[Any], images: Sequence[tuple[int, ...]], slices: Sequence[Any], name: str
) -> None:
    """Refuse a scan in which an image has no readout of a slice, as after an interruption."""
    found = {(_image(line), line.idx.slice) for line in lines}
    numbers = [line.idx.slice for line in slices]
    for image, label in zip(images, _names(images) or ("the image",), strict=True):
        missing = [number for number in numbers if (image, number) not in found]
        if missing:
            raise DataError(
                f"{name}: {label} has no imaging readouts of slices {missing}; the scan was "
                "interrupted or is truncated; choose complete repetitions (--repetitions)"
            )


def _common_channels(readouts: _Readouts, name: str) -> int:
    """Return the number of channels of all readouts."""
    counts = {line.active_channels for line in readouts.imaging + readouts.calibration}
    if len(counts) > 1:
        raise ShapeError(
            f"{name}: readouts have {sorted(counts)} channels; export them with the same coils"
        )
    noise = {readout.active_channels for readout in readouts.noise}
    if noise - counts:
        raise ShapeError(
            f"{name}: noise readouts have {sorted(noise)} channels, imaging readouts "
            f"{sorted(counts)}; export them with the same coils"
        )
    return int(counts.pop())


def _useful_calibration(encoding: Any, readouts: _Readouts, name: str) -> list[Any]:
    """Return the calibration lines that fill rows without an imaging line."""
    parallel = encoding.parallelImaging
    mode = getattr(parallel, "calibrationMode", None)
    if getattr(mode, "value", mode) in _SEPARATE_MODES:
        if readouts.calibration:
            _log.warning(
                "%s: %d calibration readouts of a separate scan are not used",
                name,
                len(readouts.calibration),
            )
        return []
    reference = readouts.imaging[0].encoding_space_ref
    taken = {_row(line) for line in readouts.imaging}
    images = {_image(line) for line in readouts.imaging}
    return [
        line
        for line in readouts.calibration
        if line.encoding_space_ref == reference
        and _row(line) not in taken
        and _image(line) in images
    ]


def _row(line: Any) -> tuple[int, ...]:
    steps = line.idx.kspace_encode_step_2, line.idx.kspace_encode_step_1
    return (*_image(line), line.idx.slice, *steps)


def _ordered_slices(lines: Sequence[Any]) -> list[Any]:
    """Return one line of each slice, in the order of positions (of numbers, where these are equal).

    Slice numbers may count in order of acquisition, in which neighbours are not next to each other.
    """
    first: dict[int, Any] = {}
    for line in lines:
        first.setdefault(line.idx.slice, line)
    slices = [first[number] for number in sorted(first)]
    direction = np.array(slices[0].slice_dir[:], dtype=float)
    height = np.array([np.array(line.position[:]) @ direction for line in slices])
    step = np.diff(height)
    if np.unique(height).size < len(slices) or (step > 0).all() or (step < 0).all():
        return slices
    return [slices[i] for i in np.argsort(height)]


def _place(
    lines: Sequence[Any],
    images: Sequence[tuple[int, ...]],
    slices: Sequence[Any],
    grid: _Grid,
    coils: int,
    name: str,
) -> tuple[Tensor, Tensor]:
    """Return k-space (image, slice, coil, z, y, x), averaged, and how often each was measured."""
    which = {image: i for i, image in enumerate(images)}
    rank = {line.idx.slice: i for i, line in enumerate(slices)}
    leading = (len(images), len(slices))
    size = math.prod((*leading, coils, grid.nz, grid.ny, grid.nx))
    measured = sum(line.number_of_samples * line.active_channels for line in lines)
    if size > max(_ALWAYS_FINE, _MOST_TIMES * measured):
        raise DataError(
            f"{name}: a matrix of {grid.nx} x {grid.ny} x {grid.nz} has {size / measured:.0f} "
            "points for each sample that was measured; correct the header's matrix"
        )
    kspace = np.zeros((*leading, coils, grid.nz, grid.ny, grid.nx), np.complex64)
    counts = np.zeros((*leading, 1, grid.nz, grid.ny, grid.nx), np.float32)
    for line in lines:
        i = which[_image(line)], rank[line.idx.slice]
        z = line.idx.kspace_encode_step_2 + grid.nz // 2 - grid.centre_z
        y = line.idx.kspace_encode_step_1 + grid.ny // 2 - grid.centre_y
        samples, start = _samples(line, grid.nx)
        stop = start + samples.shape[1]
        if not (0 <= z < grid.nz and 0 <= y < grid.ny and start >= 0 and stop <= grid.nx):
            raise DataError(
                f"{name}: a readout (step 1 {line.idx.kspace_encode_step_1}, step 2 "
                f"{line.idx.kspace_encode_step_2}, centre sample {line.center_sample}) falls on "
                f"row {y}, partition {z}, columns {start} to {stop - 1}, outside of the encoded "
                f"matrix {grid.nx} x {grid.ny} x {grid.nz}; correct the header's matrix or limits"
            )
        kspace[i][:, z, y, start:stop] += samples
        counts[i][:, z, y, start:stop] += 1
    kspace /= np.maximum(counts, 1)
    return torch.from_numpy(kspace), torch.from_numpy(counts)


def _samples(line: Any, columns: int) -> tuple[NDArray[np.complex64], int]:
    """Return the samples (coil, n) of a readout from left to right, and the column of the first.

    ``center_sample`` counts in the readout as stored, before anything is cut or reversed.
    """
    total = line.number_of_samples
    samples = line.data[:, line.discard_pre : total - line.discard_post]
    first = line.discard_pre - line.center_sample
    if _has(line, _REVERSE):
        samples = samples[:, ::-1]
        first = -(first + samples.shape[1] - 1)
    return samples, columns // 2 + first


def _scaled_noise(header: Any, readouts: _Readouts, name: str) -> Tensor | None:
    """Return the noise samples (coil, n), with the variance that an image sample's noise has.

    Noise power goes with the receiver bandwidth, which is one over the dwell time; the receiver
    filter passes ``relativeReceiverNoiseBandwidth`` of it in the noise measurement. So
    image variance = noise variance / (image dwell / noise dwell * bandwidth), as Gadgetron has it.
    Where a dwell time is missing they are taken as equal.
    """
    if not readouts.noise:
        return None
    system = header.acquisitionSystemInformation
    bandwidth = getattr(system, "relativeReceiverNoiseBandwidth", None) or 1.0
    image_dwell = readouts.imaging[0].sample_time_us
    scaled: list[NDArray[np.complex64]] = []
    for readout in readouts.noise:
        dwell = readout.sample_time_us
        ratio = image_dwell / dwell if image_dwell > 0 and dwell > 0 else 1.0
        samples = readout.data[
            :, readout.discard_pre : readout.number_of_samples - readout.discard_post
        ]
        scaled.append(samples / np.float32(np.sqrt(ratio * bandwidth)))
    noise = torch.from_numpy(np.concatenate(scaled, axis=1))
    if not torch.isfinite(torch.view_as_real(noise)).all():
        raise DataError(
            f"{name}: the noise measurement has NaN or infinite samples; export it again"
        )
    return noise


def _remove_oversampling(
    kspace: Tensor, mask: Tensor, grid: _Grid, encoding: Any
) -> tuple[Tensor, Tensor, _Grid]:
    """Return k-space cropped in image space along the readout to the field of view asked for."""
    fov_z, fov_y, fov_x = grid.field_of_view_mm
    wanted = encoding.reconSpace.fieldOfView_mm.x
    columns = round(grid.nx * wanted / fov_x) if 0 < wanted < fov_x else grid.nx
    if not 0 < columns < grid.nx or not readouts_are_whole(mask):
        return kspace, mask, grid
    start = grid.nx // 2 - columns // 2
    image = centred_ifft(kspace, [-1])[..., start : start + columns]
    cropped = _Grid(
        grid.nz,
        grid.ny,
        columns,
        grid.centre_z,
        grid.centre_y,
        (fov_z, fov_y, fov_x * columns / grid.nx),
    )
    return centred_fft(image, [-1]), mask[..., :columns].contiguous(), cropped


def _geometry(grid: _Grid, slices: Sequence[Any], name: str) -> Geometry | None:
    """Return where the image lies; None if the file does not say it or if one affine cannot.

    Without directions only the sizes are known.
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
    steps = np.diff(positions, axis=0)
    parallel = all(
        np.allclose([line.read_dir[:], line.phase_dir[:], line.slice_dir[:]], directions, atol=1e-3)
        for line in slices
    )
    if not parallel or not np.allclose(steps, steps[:1], atol=0.05) or _coincide(steps):
        _log.warning(
            "%s: the slices are not parallel and evenly spaced; the image gets no position", name
        )
        return None
    read, phase, slice_ = (tuple(direction) for direction in directions.tolist())
    centres = tuple(tuple(position) for position in positions.tolist())
    return Geometry(grid.field_of_view_mm, centres, read, phase, slice_)


def _coincide(steps: NDArray[np.floating]) -> bool:
    return len(steps) > 0 and bool(np.linalg.norm(steps, axis=1).min() < 1e-3)


def _scanner_grid(encoding: Any) -> ImageGrid | None:
    space = encoding.reconSpace
    size, extent = space.matrixSize, space.fieldOfView_mm
    if min(size.x, size.y, size.z) < 1 or min(extent.x, extent.y, extent.z) <= 0:
        return None
    return ImageGrid((size.z, size.y, size.x), (extent.z, extent.y, extent.x))


def _vendor(header: Any) -> str:
    return (getattr(header.acquisitionSystemInformation, "systemVendor", None) or "").lower()


def _parameters(header: Any) -> AcquisitionParameters:
    """Return field strength and times; 0 and numbers that are none stand for not known."""
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
