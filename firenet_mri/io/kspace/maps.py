"""Reads sensitivity maps and noise measurements from array files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet_mri.errors import DataError, FileError
from firenet_mri.io.kspace import bart, npy
from firenet_mri.io.kspace.recognise import NPY_SIGNATURE, read_head


def read_maps(path: Path) -> Tensor:
    """Return sensitivity maps (..., coil, *spatial) complex64 from a .npy or a BART .cfl file.

    Raises
    ------
    FileError
        If the file is missing, damaged or of another format.
    DataError
        If the array is not complex.
    ShapeError
        If a .cfl file has several map sets.
    """
    cfl = bart.find_pair(path)
    array: NDArray[np.generic] = (
        _npy(path, "sensitivity maps") if cfl is None else bart.read_coil_array(cfl)[0]
    )
    return _complex(array, path, "maps")


def read_noise(path: Path) -> Tensor:
    """Return a noise measurement (coil, samples) complex64 from a .npy or a BART .cfl file.

    Its samples must have the same noise, and so the same dwell time, as the samples of k-space.

    Raises
    ------
    FileError
        If the file is missing, damaged or of another format.
    DataError
        If the array is not complex, or has NaN or infinite values.
    """
    cfl = bart.find_pair(path)
    array = _npy(path, "a noise measurement") if cfl is None else bart.read_array(cfl)
    if cfl is not None:
        array = array.swapaxes(0, 1)  # Slices come before coils.
    noise = _complex(array.reshape(len(array), -1), path, "noise samples")
    if not torch.isfinite(torch.view_as_real(noise)).all():
        raise DataError(f"{path}: the noise has NaN or infinite samples; measure it again")
    return noise


def _npy(path: Path, what: str) -> NDArray[np.generic]:
    if not read_head(path).startswith(NPY_SIGNATURE):
        raise FileError(f"{path}: is not a file of {what}; give a .npy or .cfl array")
    return npy.read_array(path)


def _complex(array: NDArray[np.generic], path: Path, what: str) -> Tensor:
    if array.dtype.kind != "c":
        raise DataError(f"{path}: the {what} have type {array.dtype}; they must be complex")
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.complex64))
