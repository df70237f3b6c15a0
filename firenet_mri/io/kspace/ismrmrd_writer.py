"""Writes a scan as an ISMRMRD / MRD 1.x file, from which exactly the same samples are read.

The header holds matrix, fields of view and limits, and marks simulated scans as simulated. It
contains nothing else from the file that the scan was read from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError
from firenet_mri.geometry import Geometry, ImageGrid
from firenet_mri.io.kspace.ismrmrd_times import OUR_MODEL, stamp, stamps_of
from firenet_mri.io.kspace.trajectory_units import Unit, find_unit

if TYPE_CHECKING:
    from firenet_mri.scan import RawScan

_LARGEST_SIZE = 65_535


def write_acquisitions(path: Path, header: Any, acquisitions: Iterable[Any]) -> None:
    """Write a header and readouts, ``ismrmrd.xsd.ismrmrdHeader`` and ``ismrmrd.Acquisition``."""
    import ismrmrd

    with ismrmrd.File(str(path), "w") as file:
        dataset = file["dataset"]
        dataset.header = header
        dataset.acquisitions = list(acquisitions)


def write_ismrmrd(path: Path, scan: RawScan) -> None:
    """Write a scan, with its noise measurement and, if it is Cartesian, its reference.

    A partly sampled readout is written as several, one for each run of samples. A readout that is
    zero throughout in all coils counts as not measured when the file is read. Along a trajectory
    every readout holds its points.

    Raises
    ------
    DataError
        If the scan has more samples along an axis than the format can count.
    """
    if max(scan.kspace.shape) > _LARGEST_SIZE:
        raise DataError(
            f"{scan.name}: k-space has shape {tuple(scan.kspace.shape)}; ISMRMRD counts to "
            f"{_LARGEST_SIZE}"
        )
    nz, ny, nx = (1, *scan.spatial_shape)[-3:]
    # Without a geometry a pixel counts as 1 mm, and missing directions mark the place as unknown.
    pixels = (float(nz), float(ny), float(nx))
    extent = pixels if scan.geometry is None else scan.geometry.field_of_view_mm
    grid = ImageGrid((nz, ny, nx), extent)
    readouts = _readouts(scan) if scan.trajectory is None else _spokes(scan)
    write_acquisitions(path, header_of(scan, grid, scan.scanner_grid or grid), readouts)


def header_of(scan: RawScan, grid: ImageGrid, shown: ImageGrid) -> Any:
    """Return an ``ismrmrd.xsd.ismrmrdHeader`` with what may be disclosed of a scan.

    Parameters
    ----------
    scan
        The scan; only field strength, times, coils and whether it is simulated are written.
    grid, shown
        The encoded grid, and the grid on which the scanner shows the image.
    """
    from ismrmrd import xsd

    known = scan.parameters
    nz, ny, _ = grid.shape
    parallel = None
    if scan.reference is not None and scan.trajectory is None:
        parallel = xsd.parallelImagingType(
            accelerationFactor=xsd.accelerationFactorType(
                kspace_encoding_step_1=1, kspace_encoding_step_2=1
            ),
            calibrationMode=xsd.calibrationModeType.SEPARATE,
        )
    trajectory = "cartesian" if scan.trajectory is None else "other"
    return xsd.ismrmrdHeader(
        acquisitionSystemInformation=xsd.acquisitionSystemInformationType(
            systemVendor="simulated" if scan.simulated else None,
            systemModel=OUR_MODEL if known.moments else None,
            systemFieldStrength_T=known.field_strength_t,
            receiverChannels=scan.coils,
        ),
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=0),
        encoding=[
            xsd.encodingType(
                encodedSpace=encoding_space(grid),
                reconSpace=encoding_space(shown),
                encodingLimits=xsd.encodingLimitsType(
                    kspace_encoding_step_1=_limit(ny), kspace_encoding_step_2=_limit(nz)
                ),
                trajectory=xsd.trajectoryType(trajectory),
                parallelImaging=parallel,
            )
        ],
        sequenceParameters=xsd.sequenceParametersType(
            TR=_list(known.repetition_time_ms),
            TE=list(known.echo_times_ms),
            TI=_list(known.inversion_time_ms),
            flipAngle_deg=_list(known.flip_angle_deg),
        ),
    )


def _list(value: float | None) -> list[float]:
    return [] if value is None else [value]


def encoding_space(grid: ImageGrid) -> Any:
    """Return a grid as ``ismrmrd.xsd.encodingSpaceType``."""
    from ismrmrd import xsd

    sizes = dict(zip("zyx", grid.shape, strict=True))
    extents = dict(zip("zyx", grid.field_of_view_mm, strict=True))
    return xsd.encodingSpaceType(
        matrixSize=xsd.matrixSizeType(**sizes), fieldOfView_mm=xsd.fieldOfViewMm(**extents)
    )


def _limit(size: int) -> Any:
    from ismrmrd import xsd

    return xsd.limitType(minimum=0, maximum=size - 1, center=size // 2)


def _readouts(scan: RawScan) -> Iterator[Any]:
    """Yield the noise measurement, the reference, then the measured readouts image by image."""
    if scan.reference is not None:
        from ismrmrd import ACQ_IS_PARALLEL_CALIBRATION

        from firenet_mri.io.kspace.references import reference_alone

        for readout in _readouts(reference_alone(scan)):
            readout.setFlag(ACQ_IS_PARALLEL_CALIBRATION)
            yield readout
    if scan.noise is not None:
        yield from _noise(scan.noise.numpy(force=True))
    images = len(scan.images) or 1
    kspace = scan.kspace.numpy(force=True)
    kspace = kspace.reshape(images, -1, scan.coils, *(1, *scan.spatial_shape)[-3:])
    mask = scan.mask.numpy(force=True).reshape(images, -1, *kspace.shape[-3:])
    counters = [image_counters(name, i) for i, name in enumerate(scan.images or ("",))]
    stamps = [stamps_of(name, scan.parameters) for name in scan.images or ("",)]
    for image, slice_, z, y in np.ndindex(*mask.shape[:-1]):
        runs = _runs(mask[image, slice_, z, y])
        for start, stop in runs:
            readout = _readout(kspace[image, slice_, :, z, y], start, stop)
            readout.idx.kspace_encode_step_1, readout.idx.kspace_encode_step_2 = y, z
            readout.idx.slice = slice_
            for counter, value in counters[image].items():
                setattr(readout.idx, counter, value)
            stamp(readout, stamps[image])
            if scan.geometry is not None and scan.geometry.is_placed:
                _place(readout, scan.geometry, slice_)
            yield readout


def _spokes(scan: RawScan) -> Iterator[Any]:
    """Yield the noise measurement, then image by image the readouts with their points."""
    import ismrmrd

    if scan.noise is not None:
        yield from _noise(scan.noise.numpy(force=True))
    points = np.stack([one.numpy(force=True) for one in scan.trajectories])
    points = points.reshape(len(points), -1, *points.shape[-2:])
    # Readers would take points near the centre of k-space for another unit.
    if not _is_read_as_cycles_per_fov(points, scan.spatial_shape):
        points = points / np.array(scan.spatial_shape)
    # The first coordinate is x in the file.
    points = points[..., ::-1].astype(np.float32)
    images = scan.images or ("",)
    lines, columns = points.shape[1:3]
    kspace = scan.kspace.numpy(force=True)
    kspace = kspace.reshape(len(images), -1, scan.coils, lines, columns)
    slices = kspace.shape[1]
    points = np.broadcast_to(points, (len(images) * slices, *points.shape[1:]))
    counters = [image_counters(name, i) for i, name in enumerate(images)]
    stamps = [stamps_of(name, scan.parameters) for name in images]
    for image, slice_, line in np.ndindex(len(images), slices, lines):
        samples = np.ascontiguousarray(kspace[image, slice_, :, line])
        where = np.ascontiguousarray(points[image * slices + slice_, line])
        readout = ismrmrd.Acquisition.from_array(samples, where)
        readout.idx.kspace_encode_step_1, readout.idx.slice = line, slice_
        for counter, value in counters[image].items():
            setattr(readout.idx, counter, value)
        stamp(readout, stamps[image])
        if scan.geometry is not None and scan.geometry.is_placed:
            _place(readout, scan.geometry, slice_)
        yield readout


def _is_read_as_cycles_per_fov(points: NDArray[np.floating], shape: tuple[int, ...]) -> bool:
    try:
        return find_unit(points, shape, "") is Unit.CYCLES_PER_FIELD_OF_VIEW
    except DataError:
        return False


def image_counters(name: str, index: int) -> dict[str, int]:
    """Return the counters in an image's name; any other name counts as a repetition."""
    found = re.findall(r"(repetition|contrast|phase|set) (\d+)", name)
    return {counter: int(value) for counter, value in found} or {"repetition": index}


def _runs(sampled: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return start and end of each run of samples."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], sampled, [False]]).astype(int)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _readout(samples: NDArray[np.complex64], start: int, stop: int) -> Any:
    import ismrmrd

    size = samples.shape[1]
    kept = np.zeros_like(samples)
    kept[:, start:stop] = samples[:, start:stop]
    readout = ismrmrd.Acquisition.from_array(kept, center_sample=size // 2)
    readout.discard_pre, readout.discard_post = start, size - stop
    return readout


def _noise(noise: NDArray[np.complex64]) -> Iterator[Any]:
    import ismrmrd

    for start in range(0, noise.shape[1], _LARGEST_SIZE):
        part = np.ascontiguousarray(noise[:, start : start + _LARGEST_SIZE])
        # Without a dwell time its variance counts as that of an image sample.
        readout = ismrmrd.Acquisition.from_array(part)
        readout.setFlag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
        yield readout


def _place(readout: Any, geometry: Geometry, slice_: int) -> None:
    positions = geometry.positions_mm
    readout.position[:] = positions[slice_ if len(positions) > 1 else 0]
    readout.read_dir[:] = geometry.read_direction
    readout.phase_dir[:] = geometry.phase_direction
    readout.slice_dir[:] = geometry.slice_direction
