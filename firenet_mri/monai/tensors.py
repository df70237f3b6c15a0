"""MONAI's tensors as the package's: no MetaTensor, complex numbers instead of pairs."""

from __future__ import annotations

import numpy as np
import torch
from monai.config import NdarrayOrTensor
from monai.data import MetaTensor
from torch import Tensor

from firenet_mri.arrays import tensor_of_array
from firenet_mri.domain import DOMAIN, IMAGE, check_is_kspace
from firenet_mri.errors import DataError, ShapeError
from firenet_mri.operators.base import records_graph


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
    result.meta = {**kspace.meta, DOMAIN: IMAGE}
    result.applied_operations = []
    result.is_batch = kspace.is_batch
    return result


def native_kspace(
    x: NdarrayOrTensor, spatial_dims: int, name: str = "k-space", *, looks: bool = True
) -> Tensor:
    """Return k-space in single precision, native complex, after checking that it is not an image.

    Parameters
    ----------
    x
        (..., coil, *spatial) complex; or real (..., 2), real and imaginary part in the last axis.
        A MetaTensor's metadata are looked at.
    spatial_dims
        2 or 3.
    name
        What it is, for messages.
    looks
        Look at the numbers, too; False where a mask is still to be applied, and real numbers are
        looked at all the same.

    Raises
    ------
    DataError
        If it is an image, see :func:`firenet_mri.domain.check_is_kspace`.
    ShapeError
        If it is real and its last axis does not have size 2.
    """
    given = plain(x, name)
    metadata = x.meta if isinstance(x, MetaTensor) else None
    is_pair = not given.is_complex() and given.ndim > 0 and given.shape[-1] == 2
    kspace = native_complex(given, name) if is_pair else given
    if not records_graph():
        looks = looks or not kspace.is_complex()
        check_is_kspace(kspace, spatial_dims, name=name, metadata=metadata, looks=looks)
    return native_complex(kspace, name)


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
            "real and imaginary part, or the tensor must be complex. An image does not become "
            "k-space by complex numbers: give it to SimulateKspace. Of k-space, MONAI drops the "
            "imaginary part in LoadImage unless given dtype=numpy.complex64, and in "
            "ScaleIntensity, NormalizeIntensity, Resize, Spacing, GibbsNoise, CastToType and "
            "others: use them on the image"
        )
    return torch.view_as_complex(x.float().contiguous())
