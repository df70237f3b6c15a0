"""Writes an image as NIfTI-1, magnitude or complex, in scanner coordinates."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from firenet_mri.errors import DataError, FileError, ShapeError
from firenet_mri.io.image.nifti_files import shape_of_nifti
from firenet_mri.scan import Geometry

_SCANNER = 1
_UNKNOWN = 0
_DESCRIPTION_BYTES = 79


def axes_of(path: Path) -> int:
    """Return the number of axes of a NIfTI image; 0 if the file is not one."""
    try:
        return len(shape_of_nifti(path))
    except FileError:
        return 0


def write_nifti(
    path: Path,
    image: Tensor | NDArray[np.generic],
    geometry: Geometry | None = None,
    *,
    description: str = "",
    time_between_ms: float | None = None,
) -> None:
    """Write an image to ``path``, .nii or .nii.gz.

    Parameters
    ----------
    image
        (y, x), (z, y, x), where z counts slices, or (image, z, y, x); real, stored as float32, or
        complex, stored as complex64.
    geometry
        Geometry for the affine, which is marked as scanner coordinates (code 1). Without a geometry
        voxels are 1 mm. The codes mark the position as unknown (0) without a geometry or if it is
        not placed.
    description
        Free text in ASCII, up to 79 characters; never anything about a patient.
    time_between_ms
        The time between images (pixdim[4], in seconds); None if the fourth axis is not time, or
        if it is not known.

    Raises
    ------
    FileError
        If the suffix is not .nii or .nii.gz.
    ShapeError
        If the image does not have 2 to 4 axes, or has another number of slices than the geometry.
    DataError
        If the description is too long or not ASCII.
    """
    if not path.name.endswith((".nii", ".nii.gz")):
        raise FileError(f"{path}: NIfTI files end in .nii or .nii.gz; rename the output")
    if not description.isascii() or len(description) > _DESCRIPTION_BYTES:
        raise DataError(
            f"{path}: the description must be ASCII of at most {_DESCRIPTION_BYTES} characters"
        )
    array = image.detach().cpu().numpy() if isinstance(image, Tensor) else image
    if array.ndim not in (2, 3, 4):
        raise ShapeError(
            f"{path}: the image has shape {array.shape}; NIfTI needs (y, x), (z, y, x) or "
            "(image, z, y, x)"
        )
    volume = array.reshape((1,) * (3 - array.ndim) + array.shape)
    volume = volume.astype(np.complex64 if np.iscomplexobj(volume) else np.float32)
    z, y, x = volume.shape[-3:]
    affine = np.eye(4) if geometry is None else geometry.affine_ras((z, y, x))
    nibabel: Any = importlib.import_module("nibabel")
    nifti = nibabel.Nifti1Image(volume.T, affine)
    code = _SCANNER if geometry is not None and geometry.is_placed else _UNKNOWN
    nifti.set_sform(affine, code)
    nifti.set_qform(affine, code)
    # A quaternion cannot describe slices that are shifted sideways; then only the sform is right.
    if not np.allclose(nifti.get_qform(), affine, atol=1e-2):
        nifti.set_qform(None, _UNKNOWN)
    nifti.header.set_xyzt_units("mm")
    if time_between_ms is not None and volume.ndim == 4:
        nifti.header.set_xyzt_units("mm", "sec")
        nifti.header["pixdim"][4] = time_between_ms / 1000
    nifti.header["descrip"] = description.encode()
    nibabel.save(nifti, path)
