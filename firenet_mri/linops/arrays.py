"""Tensors and arrays that share their memory: NumPy on the CPU, CuPy through DLPack on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import sigpy
import torch
import torch.utils.dlpack
from torch import Tensor

from firenet_mri.arrays import tensor_of_array
from firenet_mri.errors import UsageError


def as_array(x: Tensor) -> Any:
    """Return a tensor as a contiguous NumPy or CuPy array that shares its memory.

    Only a tensor that is not contiguous, or has a pending conjugation or sign, is copied.

    Raises
    ------
    UsageError
        If no array library for the tensor's device is installed.
    """
    plain = x.detach().resolve_conj().resolve_neg().contiguous()
    if plain.device.type == "cpu":
        return plain.numpy()
    if plain.device.type != "cuda" or not sigpy.config.cupy_enabled:
        raise UsageError(
            f"SigPy has no arrays on {x.device}; move the tensor to the CPU, or install CuPy "
            "for CUDA"
        )
    return sigpy.Device(plain.device.index).xp.from_dlpack(plain)


def as_tensor(array: Any) -> Tensor:
    """Return an array as a tensor that shares its memory.

    A NumPy array is copied if torch cannot use it directly, see
    :func:`firenet_mri.arrays.tensor_of_array`.
    """
    if isinstance(array, np.ndarray | np.generic):
        return tensor_of_array(np.asarray(array))
    result: Tensor = torch.utils.dlpack.from_dlpack(array)
    return result
