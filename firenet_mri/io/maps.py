"""Reads sensitivity maps from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet_mri.errors import DataError, FileError
from firenet_mri.io import bart, npy
from firenet_mri.io.recognise import NPY_SIGNATURE, read_head


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
    array: NDArray[np.generic]
    if cfl is not None:
        array, _ = bart.read_coil_array(cfl)
    elif read_head(path).startswith(NPY_SIGNATURE):
        array = npy.read_array(path)
    else:
        raise FileError(f"{path}: is no file of sensitivity maps; give a .npy or .cfl array")
    if array.dtype.kind != "c":
        raise DataError(f"{path}: the maps are {array.dtype}; they must be complex")
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.complex64))
