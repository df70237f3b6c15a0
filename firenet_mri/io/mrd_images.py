"""Writes images as ISMRMRD / MRD 1.x: the group ``dataset/image_0`` of an HDF5 file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import ShapeError
from firenet_mri.scan import Geometry

_MAGNITUDE, _COMPLEX = 1, 5


def write_mrd_images(
    path: Path, image: NDArray[np.generic], geometry: Geometry | None = None
) -> None:
    """Write an image, one MRD image a slice.

    Parameters
    ----------
    path
        The file; one that exists is replaced.
    image
        (y, x), (z, y, x) or (image, z, y, x); real, stored as float32, or complex, as complex64.
        The last is numbered as repetitions.
    geometry
        Field of view in mm, position of the centre and directions, LPS, if it is placed.

    Raises
    ------
    ShapeError
        If the image has other axes, or not as many slices as the geometry.
    """
    import ismrmrd

    if not 2 <= image.ndim <= 4:
        raise ShapeError(
            f"{path}: the image has shape {image.shape}; give (y, x), (z, y, x) or (image, z, y, x)"
        )
    stack = image.reshape((1,) * (4 - image.ndim) + image.shape)
    stack = stack.astype(np.complex64 if np.iscomplexobj(stack) else np.float32)
    repetitions, slices, rows, columns = stack.shape
    affine = None if geometry is None else geometry.affine_lps((slices, rows, columns))
    made: list[Any] = []
    for repetition, slice_ in np.ndindex(repetitions, slices):
        one = ismrmrd.Image.from_array(stack[repetition, slice_], transpose=False)
        one.image_type = _COMPLEX if np.iscomplexobj(stack) else _MAGNITUDE
        one.image_index = len(made) + 1
        one.image_series_index = 0
        one.slice, one.repetition = slice_, repetition
        if geometry is not None and affine is not None:
            spacing = np.linalg.norm(affine[:3, :3], axis=0)
            extent = spacing[0] * columns, spacing[1] * rows, _thickness(geometry, slices)
            one.field_of_view[:] = extent
            if geometry.is_placed:
                centre = affine @ [columns // 2, rows // 2, slice_, 1]
                one.position[:] = centre[:3]
                one.read_dir[:] = geometry.read_direction
                one.phase_dir[:] = geometry.phase_direction
                one.slice_dir[:] = geometry.slice_direction
        made.append(one)
    write_images(path, made)


def write_images(path: Path, images: list[Any]) -> None:
    """Write ``ismrmrd.Image`` objects as the group ``dataset/image_0`` of a file."""
    import ismrmrd

    with ismrmrd.File(str(path), "w") as file:
        file["dataset/image_0"].images = images


def _thickness(geometry: Geometry, slices: int) -> float:
    """Return the thickness of a slice, mm; a volume's field of view is that of all of them."""
    many = len(geometry.positions_mm) > 1
    return geometry.field_of_view_mm[0] / (1 if many else slices)
