"""Checks whether a written image is the expected one, by its pixels and any position."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from firenet_mri.errors import DataError, FileError
from firenet_mri.io.hdf5 import open_hdf5
from firenet_mri.io.image.dicom_door import read_dataset, stored_pixels
from firenet_mri.io.image.nifti_files import load_nifti, voxels_of
from firenet_mri.io.image.suffixes import image_stem
from firenet_mri.io.image.writing import write_image
from firenet_mri.scan import RawScan

# Tolerance relative to the largest value: rounding of DICOM's integers, else single precision.
_WHOLE_NUMBERS, _SINGLE = 2e-5, 1e-5
_AFFINE = "affine matrix"
_UNREADABLE = (OSError, KeyError, ValueError, AttributeError, TypeError, IndexError, EOFError)

# Fields of an MRD header that describe what an image is and where it lies.
_MRD_PLACE = (
    *("position", "read_dir", "phase_dir", "slice_dir", "field_of_view", "matrix_size"),
    *("image_type", "slice", "contrast", "phase", "repetition", "set", "average"),
)


_NO_PLACE = (
    "Position of the DICOM image, patient, window and overlays: the position may come from another "
    "series."
)


class _Found(NamedTuple):
    """The pixels of a file, and the fields that give their position, by name."""

    pixels: NDArray[Any]
    place: Mapping[str, NDArray[Any]]


def compare_image(path: Path, image: Tensor, scan: RawScan, *, also: Tensor) -> list[str]:
    """Return what could not be compared, after checking that a file contains an image.

    The image is written once more (not as DICOM), and both files are read.

    Parameters
    ----------
    path
        The file, in any format of :func:`firenet_mri.io.image.writing.write_image`.
    image
        The magnitude that it should hold.
    scan
        The scan with its position.
    also
        The complex image, which is expected instead if the file is complex.

    Raises
    ------
    DataError
        If the pixels or their position differ.
    FileError
        If the file cannot be read.
    """
    found = _read(path, also.numel())
    expected = _expected(path, also if np.iscomplexobj(found.pixels) else image, scan)
    # Some writers omit axes of size 1.
    pixels, wanted = found.pixels.squeeze(), expected.pixels.squeeze()
    if pixels.shape != wanted.shape:
        raise DataError(f"{path}: has shape {pixels.shape}, but the evidence gives {wanted.shape}")
    largest = float(np.abs(wanted).max(initial=0.0))
    away = float(np.abs(pixels - wanted).max(initial=0.0))
    tolerance = _WHOLE_NUMBERS if path.suffix == ".dcm" else _SINGLE
    # The comparison is written so that NaN fails.
    if not away <= tolerance * largest:
        raise DataError(
            f"{path}: is not the image of the evidence; pixels differ by up to {away:.4g}, while "
            f"the largest is {largest:.4g}"
        )
    for name, value in expected.place.items():
        said = found.place.get(name)
        if said is None or (scan.geometry is None and name == _AFFINE and _is_plain(said)):
            continue
        if not np.allclose(said, value, atol=1e-3):
            raise DataError(f"{path}: does not lie where the scan does; its {name} differs")
    return [_NO_PLACE] if path.suffix == ".dcm" else []


def _expected(path: Path, image: Tensor, scan: RawScan) -> _Found:
    """Return what a file of this kind should contain of an image."""
    if path.suffix == ".dcm":
        stack: NDArray[Any] = image.numpy(force=True)
        return _Found(stack.reshape(-1, *stack.shape[-2:]).squeeze(), {})
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / ("again" + path.name.removeprefix(image_stem(path)))
        write_image(again, image, scan)
        return _read(again, image.numel())


def _read(path: Path, count: int) -> _Found:
    """Return the content of an image file, refusing files with more than ``count`` pixels."""
    try:
        if path.suffix == ".dcm":
            return _Found(_dicom_pixels(path, count), {})
        if path.suffix in (".h5", ".mrd"):
            return _mrd(path, count)
        return _nifti(path, count)
    except _UNREADABLE as error:
        raise FileError(f"{path}: cannot be read as an image ({type(error).__name__})") from None


def _nifti(path: Path, count: int) -> _Found:
    image = load_nifti(path)
    _check_shape(path, image.shape, count)
    header = image.header
    quaternion, _ = header.get_qform(coded=True)
    place = {
        _AFFINE: np.asarray(image.affine),
        "size of the pixels": np.asarray(header["pixdim"])[1:4],
    }
    # Other writers omit these fields, which does not contradict them.
    if quaternion is not None:
        place["quaternion"] = quaternion
    if header["xyzt_units"]:
        # The other bits give the unit of time.
        place["unit of the pixels"] = np.asarray(header["xyzt_units"] & 7)
    return _Found(voxels_of(image, path), place)


def _is_plain(affine: NDArray[Any]) -> bool:
    """Return whether an affine matrix is a writer's default for an image of unknown position."""
    return any(np.array_equal(affine, np.diag([sign, sign, 1, 1])) for sign in (1, -1))


def _dicom_pixels(path: Path, count: int) -> NDArray[Any]:
    data = read_dataset(path, with_pixels=True)
    _check_shape(path, (data.get("NumberOfFrames", 1), data.Rows, data.Columns), count)
    if data.PhotometricInterpretation != "MONOCHROME2" or data.get("PixelPaddingValue") is not None:
        raise DataError(f"{path}: has another display transform than images that firenet writes")
    shared = data.SharedFunctionalGroupsSequence[0]
    groups = data.PerFrameFunctionalGroupsSequence
    per_frame = [one for one in groups if "PixelValueTransformationSequence" in one]
    pixels = stored_pixels(data, str(path)).astype(np.float64).reshape(-1, data.Rows, data.Columns)
    rescales = [
        (one if per_frame else shared).PixelValueTransformationSequence[0]
        for one in (per_frame or [shared])
    ]
    # Classic attributes are for other readers, and must not contradict the functional groups.
    classic = float(data.get("RescaleIntercept", 0) or 0)
    slopes, intercepts = (
        np.asarray([float(getattr(one, name)) for one in rescales]).reshape(-1, 1, 1)
        for name in ("RescaleSlope", "RescaleIntercept")
    )
    shown: NDArray[Any] = (pixels * slopes + intercepts + classic).squeeze()
    return shown


def _mrd(path: Path, count: int) -> _Found:
    with open_hdf5(path) as file:
        groups = [*file], [*file["dataset"]]
        if groups != (["dataset"], ["image_0"]):
            raise DataError(f"{path}: contains further images")
        values, header = file["dataset/image_0/data"], file["dataset/image_0/header"]
        _check_shape(path, values.shape, count)
        _check_shape(path, header.shape, count)
        data, header = np.asarray(values), np.asarray(header)
    place = {name: np.asarray(header[name]) for name in _MRD_PLACE}
    # MRD stores complex numbers as pairs of fields.
    return _Found(data["real"] + 1j * data["imag"] if data.dtype.names else data, place)


def _check_shape(path: Path, shape: Sequence[int], count: int) -> None:
    """Refuse a file whose header states more pixels than expected, before reading them."""
    if math.prod(map(int, shape)) > count:
        raise DataError(f"{path}: has shape {tuple(shape)}, which is more than the evidence gives")
