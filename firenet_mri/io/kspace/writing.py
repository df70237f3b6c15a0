"""Writes a scan in the requested format, or in the one that a file's name implies."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError, FileError
from firenet_mri.io.kspace.bart import SLICE, TIME, find_pair, write_cfl
from firenet_mri.io.kspace.fastmri_writer import PhaseAxis, write_fastmri
from firenet_mri.io.kspace.ismrmrd_writer import write_ismrmrd
from firenet_mri.io.kspace.targets import AnyTarget, Target, beside, files_of, target_of
from firenet_mri.io.outputs import atomic_writes, check_outputs
from firenet_mri.scan import RawScan

_Array = NDArray[np.generic]


def check_conversion(
    source: Path, output: Path, *, to: AnyTarget | None = None, overwrite: bool = False
) -> None:
    """Refuse an output that cannot be written, or that is the source itself.

    Raises
    ------
    UsageError
        If the suffix does not fit the format or, without a format, is not .h5, .mrd, .cfl or .npy.
    FileError
        If the output exists and may not be replaced, is the source, or lies in a folder that is not
        writable.
    """
    target_of(output, to)
    files = [path for path in {source, find_pair(source) or source} if path.exists()]
    if output.exists() and any(output.samefile(path) for path in files):
        raise FileError(f"{output}: is the scan itself; give another name")
    check_outputs(files_of(output), overwrite=overwrite)


def write_scan(
    output: Path,
    scan: RawScan,
    *,
    to: Target | None = None,
    overwrite: bool = False,
    phase_axis: PhaseAxis | None = None,
) -> list[Path]:
    """Write a scan as an ISMRMRD, fastMRI, BART or NumPy file, and return the paths written.

    BART and NumPy files hold only k-space, zero where it was not sampled: (coil, y, x) or (coil, z,
    y, x), and in BART files slices. A noise measurement and a trajectory are written beside it, as
    NAME_noise and NAME_trajectory in the same format. Along trajectories the files may also hold
    several images of one slice, in BART files along dimension 10 (time). The content of fastMRI
    files is described in :func:`firenet_mri.io.kspace.fastmri_writer.write_fastmri`.

    Parameters
    ----------
    output
        The file.
    scan
        The scan to write.
    to
        "mrd" (.h5, .mrd), "fastmri" (.h5), "bart" (.cfl) or "npy" (.npy); None decides by the
        suffix, where .h5 means ISMRMRD.
    overwrite
        Replace files that exist.
    phase_axis
        For fastMRI files only; see there.

    Raises
    ------
    UsageError
        If the suffix does not fit the format.
    FileError
        If an output exists and may not be replaced, or lies in a folder that is not writable.
    DataError
        If the format cannot store the scan.
    """
    target = target_of(output, to)
    arrays: dict[Path, _Array] = {}
    if target in ("bart", "npy"):
        arrays = _arrays(output, scan, target)
    targets = [file for path in arrays or [output] for file in files_of(path)]
    with atomic_writes(targets, overwrite=overwrite) as paths:
        if target == "mrd":
            write_ismrmrd(paths[0], scan)
        elif target == "fastmri":
            write_fastmri(paths[0], scan, phase_axis=phase_axis)
        files = [path for path in paths if path.suffix == output.suffix]
        for path, array in zip(files, arrays.values(), strict=False):
            if target == "npy":
                np.save(path, array)
            else:
                fifth = TIME if len(scan.images) > 1 else SLICE
                write_cfl(path, array, fifth=fifth)  # type: ignore[arg-type]
    return targets


def _arrays(output: Path, scan: RawScan, target: Target) -> dict[Path, _Array]:
    """Return the arrays of a scan's BART or NumPy files, by path."""
    _check_fits(scan, target)
    kspace = (scan.kspace * scan.mask).numpy(force=True)
    # The axis of a single image is dropped, and so is that of a single slice.
    images = (len(scan.images),) if len(scan.images) > 1 else ()
    if target == "npy" or images:
        kspace = kspace.reshape(*images, *kspace.shape[-scan.sample_ndim - 1 :])
    else:
        kspace = kspace.reshape(kspace.shape[bool(scan.images) :])
    bart = target == "bart"
    arrays: dict[Path, _Array] = {output: _with_bart_axes(kspace, scan) if bart else kspace}
    if scan.noise is not None:
        noise = scan.noise.numpy(force=True)
        arrays[beside(output, "noise")] = noise[:, None, None] if bart else noise
    if scan.trajectories:
        each = [one.numpy(force=True) for one in scan.trajectories]
        points = each[0] if len(each) == 1 else np.stack(each)[:, None]
        arrays[beside(output, "trajectory")] = _bart_trajectory(points) if bart else points
    return arrays


def _check_fits(scan: RawScan, target: Target) -> None:
    slices = math.prod(scan.batch_shape) // max(len(scan.images), 1)
    if len(scan.images) > 1 and (scan.trajectory is None or slices > 1):
        raise DataError(
            f"{scan.name}: has {len(scan.images)} images ({scan.images[0]}, ...); a {target} file "
            "holds one, so choose one (--repetitions) or write mrd"
        )
    if target == "npy" and slices > 1:
        raise DataError(
            f"{scan.name}: has {slices} slices; a .npy file holds one, since a slice axis would be "
            "taken for that of a volume, so choose one (--slices) or write mrd or bart"
        )
    if target == "bart" and scan.trajectory is not None and scan.sample_ndim > 2:
        raise DataError(
            f"{scan.name}: has samples along {scan.sample_ndim} axes; BART has samples and lines, "
            "so give the trajectory as (line, sample, axes)"
        )


def _with_bart_axes(array: NDArray[np.complexfloating], scan: RawScan) -> _Array:
    """Return (..., coil, z, y, x), or along a trajectory (..., coil, line, sample, 1)."""
    if scan.trajectory is None:
        return array if scan.spatial_ndim == 3 else array[..., None, :, :]
    lines = array if scan.sample_ndim == 2 else array[..., None, :]
    return lines[..., None]


def _bart_trajectory(points: _Array) -> _Array:
    """Return (line, sample, 3) complex64, x first, from (*samples, ndim) with x last.

    For several images, return (image, 1, line, sample, 3) from (image, 1, *samples, ndim).
    """
    lines = points if points.ndim > 4 else points.reshape(-1, *points.shape[-2:])
    padded = np.zeros((*lines.shape[:-1], 3), np.complex64)
    padded[..., : lines.shape[-1]] = lines[..., ::-1]
    return padded
