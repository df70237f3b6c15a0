"""Writes and reads images as ISMRMRD / MRD 1.x: the group ``dataset/image_0`` of an HDF5 file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet_mri.errors import FileError, ShapeError
from firenet_mri.geometry import AcquisitionParameters, Geometry
from firenet_mri.io.hdf5 import open_hdf5, read_whole
from firenet_mri.io.image.labels import ImageLabel, labels_of
from firenet_mri.io.kspace.ismrmrd_times import stamp, stamps_of
from firenet_mri.io.kspace.ismrmrd_writer import image_counters
from firenet_mri.memory import refuse_shortage

_MAGNITUDE, _COMPLEX = 1, 5

#: Attributes with an image's times in ms, from the first image and from the ECG trigger.
FROM_FIRST, FROM_TRIGGER = "TimeFromFirstImage", "TriggerTime"


def write_mrd_images(
    path: Path,
    image: NDArray[np.generic],
    geometry: Geometry | None = None,
    names: Sequence[str] = (),
    *,
    parameters: AcquisitionParameters | None = None,
    simulated: bool = False,
) -> None:
    """Write an image as one MRD image per slice; parameters and errors as in :func:`mrd_images`."""
    made = mrd_images(image, geometry, names, parameters=parameters, simulated=simulated)
    write_images(path, made)


def mrd_images(
    image: NDArray[np.generic],
    geometry: Geometry | None = None,
    names: Sequence[str] = (),
    *,
    parameters: AcquisitionParameters | None = None,
    simulated: bool = False,
) -> list[Any]:
    """Return ``ismrmrd.Image`` objects, (1, 1, y, x), one per slice.

    Parameters
    ----------
    image
        (y, x), (z, y, x) or (image, z, y, x); stored as int16, as complex64 if complex, and
        otherwise as float32.
    geometry
        Field of view in mm, and, if it is placed, position of the centre and directions, LPS.
    names
        Names of the images along the first axis, see :class:`firenet_mri.scan.RawScan`; without
        names they are numbered as repetitions.
    parameters
        Times for the attributes, in ms, and for the time stamps, in Siemens' steps.
    simulated
        Whether the scan was simulated, which the attributes then state.

    Raises
    ------
    ShapeError
        If the image has other axes, or another number of slices than the geometry.
    """
    import ismrmrd

    if not 2 <= image.ndim <= 4:
        raise ShapeError(
            f"The image has shape {image.shape}; give (y, x), (z, y, x) or (image, z, y, x)"
        )
    stack = image.reshape((1,) * (4 - image.ndim) + image.shape)
    if stack.dtype != np.int16:
        stack = stack.astype(np.complex64 if np.iscomplexobj(stack) else np.float32)
    count, slices, rows, columns = stack.shape
    affine = None if geometry is None else geometry.affine_lps((slices, rows, columns))
    known = parameters or AcquisitionParameters()
    attributes = _attributes(count, names, known, simulated)
    made: list[Any] = []
    for index, slice_ in np.ndindex(count, slices):
        one = ismrmrd.Image.from_array(np.ascontiguousarray(stack[index, slice_]), transpose=False)
        one.image_type = _COMPLEX if np.iscomplexobj(stack) else _MAGNITUDE
        one.image_index, one.image_series_index = len(made) + 1, 0
        one.slice = slice_
        one.meta = attributes[index]
        for counter, value in image_counters(names[index] if names else "", index).items():
            setattr(one, counter, value)
        stamp(one, stamps_of(names[index] if names else "", known))
        if geometry is not None and affine is not None:
            spacing = np.linalg.norm(affine[:3, :3], axis=0)
            thickness = geometry.slice_thickness_mm(slices)
            one.field_of_view[:] = spacing[0] * columns, spacing[1] * rows, thickness
            if geometry.is_placed:
                one.position[:] = (affine @ [columns // 2, rows // 2, slice_, 1])[:3]
                one.read_dir[:] = geometry.read_direction
                one.phase_dir[:] = geometry.phase_direction
                one.slice_dir[:] = geometry.slice_direction
        made.append(one)
    return made


def _attributes(
    count: int, names: Sequence[str], known: AcquisitionParameters, simulated: bool
) -> list[dict[str, Any]]:
    """Return the known attributes of each image."""
    labels = labels_of(names, known) if len(names) == count or count == 1 else [None] * count
    fixed: dict[str, Any] = {"ImageProcessingHistory": "simulated"} if simulated else {}
    if known.repetition_time_ms is not None:
        fixed["RepetitionTime"] = known.repetition_time_ms
    return [fixed | ({} if label is None else _times(label)) for label in labels]


def _times(label: ImageLabel) -> dict[str, Any]:
    """Return the attributes with an image's times, in ms."""
    times = {
        "EchoTime": label.echo_time_ms or None,
        FROM_FIRST: label.from_first_ms,
        FROM_TRIGGER: label.from_trigger_ms,
    }
    return {name: value for name, value in times.items() if value is not None}


def write_images(path: Path, images: list[Any]) -> None:
    """Write ``ismrmrd.Image`` objects as the group ``dataset/image_0`` of a file."""
    import ismrmrd

    with ismrmrd.File(str(path), "w") as file:
        file["dataset/image_0"].images = images


def read_mrd_images(path: Path) -> Tensor:
    """Return the images of a file by :func:`write_images`, (image, y, x), without positions.

    Raises
    ------
    FileError
        If the file is missing or damaged, or contains no such images.
    """
    try:
        with open_hdf5(path) as file:
            data = read_whole(file["dataset/image_0/data"], path)
    except FileError:
        raise
    # Damaged files raise exceptions of many kinds.
    except Exception as error:
        refuse_shortage(path, error)
        raise FileError(
            f"{path}: contains no MRD images ({type(error).__name__}); give an image that firenet "
            "wrote"
        ) from None
    # MRD stores complex numbers as pairs of fields.
    values = data["real"] + 1j * data["imag"] if data.dtype.names else data
    return torch.from_numpy(np.ascontiguousarray(values.reshape(-1, *values.shape[-2:])))
