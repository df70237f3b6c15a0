"""NumPy arrays as tensors, whatever their byte order, strides and flags are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet_mri.errors import DataError

# The types that torch computes with, by NumPy's kind; larger types are rounded to these.
_LARGEST = {"f": np.dtype(np.float64), "c": np.dtype(np.complex128)}
# Torch stores unsigned numbers, but has hardly any arithmetic for them.
_SIGNED = {2: np.dtype(np.int32), 4: np.dtype(np.int64), 8: np.dtype(np.int64)}


def tensor_of_array(array: NDArray[Any], name: str = "the array") -> Tensor:
    """Return an array as a tensor, sharing its memory where torch can use it.

    The array is copied if it is big-endian, read-only, has negative strides, or is in extended
    precision or of unsigned numbers, for which torch has no arithmetic.

    Parameters
    ----------
    array
        Real, complex or boolean numbers.
    name
        Name of the array, for messages.

    Raises
    ------
    DataError
        If the array holds anything else.
    """
    array = np.asarray(array)
    if array.dtype.kind not in "biufc":
        raise DataError(f"{name} is an array of {array.dtype}; it must contain numbers")
    dtype: Any = array.dtype.newbyteorder("=")
    largest = _LARGEST.get(dtype.kind)
    if largest is not None and dtype.itemsize > largest.itemsize:
        dtype = largest
    if dtype.kind == "u":
        dtype = _SIGNED.get(dtype.itemsize, dtype)
    native = np.require(array, dtype=dtype, requirements=["C", "W"])
    # Contiguous arrays may have negative strides along axes of size 1.
    is_reversed = any(stride < 0 for stride in native.strides)
    return torch.from_numpy(native.copy() if is_reversed else native)
