"""MONAI's tensors as the package's: no MetaTensor, complex numbers instead of pairs."""

from __future__ import annotations

import numpy as np
import torch
from monai.config import NdarrayOrTensor
from monai.data import MetaTensor
from torch import Tensor

from firenet_mri.arrays import tensor_of_array
from firenet_mri.errors import DataError, ShapeError


def plain(x: NdarrayOrTensor, name: str = "k-space") -> Tensor:
    """Return a plain tensor: a MetaTensor would cost a dispatch at every operation.

    Parameters
    ----------
    x
        A tensor or a NumPy array.
    name
        What it is, for messages.

    Raises
    ------
    DataError
        If x is neither.
    """
    if isinstance(x, MetaTensor):
        return x.as_tensor()
    if isinstance(x, np.ndarray):
        return tensor_of_array(x, name)
    if not isinstance(x, Tensor):
        raise DataError(
            f"{name} is a {type(x).__name__}; it must be a tensor or an array: read files with "
            "LoadKspace or LoadImage first"
        )
    return x


def with_metadata(image: Tensor, kspace: Tensor) -> Tensor:
    """Return the image as a MetaTensor with the metadata of k-space, if that is one.

    Operations that were applied to k-space are not the image's. A batch stays one: MONAI's
    ``decollate_batch`` gives every image the metadata of its item.

    Parameters
    ----------
    image
        (batch, ...), plain.
    kspace
        (batch, ...).
    """
    if not isinstance(kspace, MetaTensor):
        return image
    # Not by the constructor: it takes a batch's metadata for those of one image, and fails.
    result = MetaTensor(image)
    result.meta = dict(kspace.meta)
    result.applied_operations = []
    result.is_batch = kspace.is_batch
    return result


def native_complex(x: Tensor, name: str = "k-space") -> Tensor:
    """Return x in single precision, native complex.

    Parameters
    ----------
    x
        Complex, any shape; or real (..., 2), real and imaginary part in the last axis.
    name
        What the tensor is, for messages.

    Raises
    ------
    ShapeError
        If x is real and its last axis does not have size 2.
    """
    if x.is_complex():
        return x.to(torch.complex64)
    if x.ndim == 0 or x.shape[-1] != 2:
        raise ShapeError(
            f"{name} is real ({x.dtype}) and has shape {tuple(x.shape)}; its last axis must hold "
            "real and imaginary part, or the tensor must be complex. MONAI drops the imaginary "
            "part in LoadImage unless given dtype=numpy.complex64, and in ScaleIntensity, "
            "NormalizeIntensity, Resize, Spacing, GibbsNoise, CastToType and others: use them on "
            "the image"
        )
    return torch.view_as_complex(x.float().contiguous())
