"""Reads an image, real or complex, with its position, to simulate a scan of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet_mri.errors import DataError, FileError, ShapeError, UsageError
from firenet_mri.io.image.complex_dicom import read_dicom_image
from firenet_mri.io.image.complex_nifti import read_complex_nifti
from firenet_mri.io.image.nifti_files import load_nifti, voxels_of
from firenet_mri.io.image.options import ImageReadOptions
from firenet_mri.io.kspace import npy
from firenet_mri.io.kspace.recognise import NPY_SIGNATURE, is_dicom, read_head
from firenet_mri.scan import Geometry


def read_image(
    path: Path, options: ImageReadOptions | None = None, *, several: bool = False
) -> tuple[Tensor, Geometry | None]:
    """Return slices (z, y, x) complex64 and their geometry.

    Parameters
    ----------
    path
        NIfTI (magnitude, complex, or a pair of files with BIDS names), a DICOM series (folder or
        file; magnitude or complex), or .npy with (y, x) or (z, y, x), which has no position.
    options
        Series, echo and repetition to read from DICOM files; not allowed for other files.
    several
        Also accept several images at the same position, returned as (image, z, y, x).

    Raises
    ------
    FileError
        If the file is missing, damaged or of another format.
    ShapeError
        If the image has more than three axes.
    DataError
        If it has NaN or infinite values, a geometry that no scan can have, or several images.
    UsageError
        If options do not apply to the file, or the chosen series or echo does not exist.
    """
    options = options or ImageReadOptions()
    affine: NDArray[np.float64] | None
    voxels: NDArray[Any]
    is_placed = True
    if path.is_dir() or (path.is_file() and is_dicom(read_head(path))):
        dicom = read_dicom_image(path, options)
        voxels, affine = np.asarray(dicom.image), dicom.affine_ras
    elif options.given():
        raise UsageError(
            f"{path}: {', '.join(options.given())} can only be used with DICOM images, and this is "
            "not one; omit these options"
        )
    elif path.name.endswith((".nii", ".nii.gz")):
        voxels, affine, is_placed = _nifti(path)
    elif read_head(path).startswith(NPY_SIGNATURE):
        voxels, affine = npy.read_array(path).T, None
    else:
        raise FileError(f"{path}: is not an image; give NIfTI, a DICOM series or .npy")
    if voxels.dtype.kind not in "biufc":
        raise DataError(f"{path}: the image has type {voxels.dtype}; it must be numeric")
    voxels = voxels.reshape(voxels.shape[:3]) if voxels[..., :1].size == voxels.size else voxels
    if voxels.ndim not in ((2, 3, 4) if several else (2, 3)):
        raise ShapeError(
            f"{path}: the image has shape {voxels.shape}; give one image or one volume"
        )
    if not np.isfinite(voxels).all():
        raise DataError(f"{path}: the image has NaN or infinite values; export it again")
    sizes = voxels.shape if voxels.ndim == 4 else (*voxels.shape, 1)[:3]
    image = np.ascontiguousarray(voxels.reshape(sizes).T, np.complex64)
    nz, ny, nx = image.shape[-3:]
    if affine is None:
        return torch.from_numpy(image), None
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    try:
        return torch.from_numpy(image), Geometry.from_affine(lps, (nz, ny, nx), is_placed=is_placed)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _nifti(path: Path) -> tuple[NDArray[Any], NDArray[np.float64], bool]:
    """Return voxels (x, y, z), the affine, and whether its codes mark it as valid."""
    image = load_nifti(path)
    voxels = voxels_of(image, path)
    codes = int(image.header["sform_code"]), int(image.header["qform_code"])
    if "_part-" in path.name and not np.iscomplexobj(voxels):
        pair = read_complex_nifti(path)
        return np.asarray(pair.image), pair.affine_ras, max(codes) > 0
    return voxels, np.asarray(image.affine, float), max(codes) > 0
