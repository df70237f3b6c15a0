"""Writes a scan in the format that a file's name asks for."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError, FileError, UsageError
from firenet_mri.io.kspace.bart import write_cfl
from firenet_mri.io.kspace.ismrmrd_writer import write_ismrmrd
from firenet_mri.io.outputs import atomic_writes, check_outputs
from firenet_mri.scan import RawScan

_ISMRMRD = (".h5", ".mrd")
_SUFFIXES = (*_ISMRMRD, ".cfl", ".npy")


def check_conversion(source: Path, output: Path, *, overwrite: bool = False) -> None:
    """Refuse an output that cannot be written, or is the source itself.

    Raises
    ------
    UsageError
        If the suffix is none of .h5, .mrd, .cfl and .npy.
    FileError
        If the output exists and may not be replaced, is the source, or its folder is not writable.
    """
    if output.suffix not in _SUFFIXES:
        raise UsageError(f"{output}: scans are written as {', '.join(_SUFFIXES)}; end the name so")
    if output.exists() and source.exists() and output.samefile(source):
        raise FileError(f"{output}: is the scan itself; give another name")
    check_outputs(_targets(output), overwrite=overwrite)


def write_scan(output: Path, scan: RawScan, *, overwrite: bool = False) -> list[Path]:
    """Write a scan as ISMRMRD (.h5, .mrd), BART (.cfl) or NumPy (.npy) file; return what was.

    BART and NumPy files hold k-space alone, zero where it was not sampled, (coil, y, x) or
    (coil, z, y, x), in BART files with slices; a noise measurement is written beside it, as
    NAME_noise of the same format.

    Raises
    ------
    UsageError
        If the suffix is another.
    FileError
        If an output exists and may not be replaced, or its folder is not writable.
    DataError
        If the format cannot hold the scan.
    """
    if scan.trajectory is not None:
        raise DataError(f"{scan.name}: has a trajectory; only Cartesian scans are converted")
    if scan.images and output.suffix == ".cfl":
        raise DataError(
            f"{scan.name}: {len(scan.images)} images; a .cfl file holds one, choose one or write "
            ".h5 or .npy"
        )
    if output.suffix == ".npy" and math.prod(scan.batch_shape) > 1:
        raise DataError(
            f"{scan.name}: {math.prod(scan.batch_shape)} slices or images; a .npy file holds one, "
            "whose axes would be taken for those of a volume; write .h5 or .cfl"
        )
    kspace = (scan.kspace * scan.mask).numpy(force=True)
    if output.suffix == ".npy":
        kspace = kspace.reshape(kspace.shape[-scan.spatial_ndim - 1 :])
    arrays = {output: kspace}
    if scan.noise is not None and output.suffix not in _ISMRMRD:
        beside = output.with_name(f"{output.stem}_noise{output.suffix}")
        arrays[beside] = scan.noise.numpy(force=True)
    targets = [target for path in arrays for target in _targets(path)]
    with atomic_writes(targets, overwrite=overwrite) as paths:
        if output.suffix in _ISMRMRD:
            write_ismrmrd(paths[0], scan)
            return targets
        files = [path for path in paths if path.suffix == output.suffix]
        for path, array in zip(files, arrays.values(), strict=True):
            if output.suffix == ".npy":
                np.save(path, array)
            else:
                write_cfl(path, _with_bart_axes(array, scan))
    return targets


def _targets(output: Path) -> list[Path]:
    """Return the files that a name stands for: a .cfl file has a header of its own."""
    return [output, output.with_suffix(".hdr")] if output.suffix == ".cfl" else [output]


def _with_bart_axes(
    array: NDArray[np.complexfloating], scan: RawScan
) -> NDArray[np.complexfloating]:
    """Return (..., coil, z, y, x) of k-space, or of a noise measurement (coil, samples)."""
    if array.ndim == 2:
        return array[:, None, None]
    return array if scan.spatial_ndim == 3 else array[..., None, :, :]
