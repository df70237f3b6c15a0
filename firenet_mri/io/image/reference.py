"""Reads a reference image for comparison with a reconstruction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet_mri.errors import DataError, ShapeError
from firenet_mri.io.image.nifti_files import load_nifti, voxels_of
from firenet_mri.io.kspace import npy
from firenet_mri.io.kspace.recognise import NPY_SIGNATURE, read_head


def read_reference(path: Path, *, shape: tuple[int, ...] | None = None) -> Tensor:
    """Return the magnitude of the image in a .nii, .nii.gz or .npy file, float32.

    Parameters
    ----------
    path
        NIfTI with axes (x, y, z), returned as (z, y, x), or .npy with (y, x) or (z, y, x). With
        ``shape`` it may also be a series: NIfTI (x, y, z, image), or .npy (image, z, y, x).
    shape
        Shape of the image for comparison; axes of size 1 are added or dropped to fit it.

    Raises
    ------
    FileError
        If the file is missing, damaged, or neither NIfTI nor .npy.
    ShapeError
        If the image has other axes or does not fit ``shape``.
    DataError
        If values are NaN, infinite or not numeric.
    """
    path = Path(path)
    is_npy = read_head(path).startswith(NPY_SIGNATURE)
    array = npy.read_array(path) if is_npy else _read_nifti(path)
    if array.dtype.kind not in "biufc":
        raise DataError(f"{path}: the reference has type {array.dtype}; it must be numeric")
    # Without a shape only one image is simulated or measured, so a series is refused.
    if array.ndim not in ((2, 3) if shape is None else (2, 3, 4)):
        series = "" if shape is None else ", or a series of these"
        raise ShapeError(
            f"{path}: the reference has shape {array.shape}; "
            f"it must be one image or one volume{series}"
        )
    if not np.isfinite(array).all():
        raise DataError(f"{path}: the reference has NaN or infinite values; export it again")
    magnitude = torch.from_numpy(np.ascontiguousarray(np.abs(array), dtype=np.float32))
    return magnitude if shape is None else _fit(magnitude, shape, path)


def _read_nifti(path: Path) -> NDArray[np.generic]:
    """Return a NIfTI's voxels, (z, y, x)."""
    voxels = voxels_of(load_nifti(path), path)
    # A fourth axis with a single entry is common and has no meaning.
    voxels = voxels[..., 0] if voxels.ndim == 4 and voxels.shape[3] == 1 else voxels
    return voxels.T


def _fit(image: Tensor, shape: tuple[int, ...], path: Path) -> Tensor:
    """Return the image in the given shape if it differs by axes of size 1 only."""
    if [n for n in image.shape if n > 1] != [n for n in shape if n > 1]:
        raise ShapeError(
            f"{path}: the reference has shape {tuple(image.shape)}, but the reconstruction has "
            f"{shape}; give a reference on the same grid"
        )
    return image.reshape(shape)
