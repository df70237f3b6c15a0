"""MONAI's tensors as the package's: no MetaTensor, complex numbers instead of pairs."""

from __future__ import annotations

import torch
from monai.data import MetaTensor
from torch import Tensor

from firenet_mri.errors import ShapeError


def plain(x: Tensor) -> Tensor:
    """Return a plain tensor: a MetaTensor would cost a dispatch at every operation."""
    return x.as_tensor() if isinstance(x, MetaTensor) else x


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
    result = MetaTensor(image, meta=dict(kspace.meta), applied_operations=[])
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
            f"{name} is real and has shape {tuple(x.shape)}; its last axis must hold real and "
            "imaginary part, or the tensor must be complex. MONAI's loaders drop the imaginary "
            "part unless they are given dtype=numpy.complex64"
        )
    return torch.view_as_complex(x.float().contiguous())
