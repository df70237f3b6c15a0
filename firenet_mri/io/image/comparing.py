"""Says whether a written image is the one that it should be: pixels, and place where it has one."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from firenet_mri.errors import DataError, FileError
from firenet_mri.io.image.writing import image_stem, write_image
from firenet_mri.scan import RawScan

# Of the largest value: what whole numbers of DICOM leave, and single precision elsewhere.
_WHOLE_NUMBERS, _SINGLE = 2e-5, 1e-5


def compare_image(path: Path, image: Tensor, scan: RawScan, *, also: Tensor) -> None:
    """Check that a file holds an image, by writing it once more (not as DICOM) and reading both.

    Parameters
    ----------
    path
        The file, in any format of :func:`firenet_mri.io.image.writing.write_image`.
    image
        The magnitude that it should hold.
    scan
        The scan with its place.
    also
        The complex image, which it holds if complex numbers are in it.

    Raises
    ------
    DataError
        If the pixels or their place are others.
    FileError
        If the file cannot be read.
    """
    found, affine = _pixels(path)
    wanted = also if np.iscomplexobj(found) else image
    expected, place = _expected(path, wanted, scan)
    # Some writers leave out axes of size 1.
    found, expected = found.squeeze(), expected.squeeze()
    if found.shape != expected.shape:
        raise DataError(f"{path}: has shape {found.shape}; the evidence gives {expected.shape}")
    largest = float(np.abs(expected).max(initial=0.0))
    away = float(np.abs(found - expected).max(initial=0.0))
    tolerance = _WHOLE_NUMBERS if path.suffix == ".dcm" else _SINGLE
    # Written so that NaN fails.
    if not away <= tolerance * largest:
        raise DataError(
            f"{path}: is not the image of the evidence; pixels differ by up to {away:.4g}, and the "
            f"largest is {largest:.4g}"
        )
    if affine is None or place is None or scan.geometry is None:
        # A scan without a place lies nowhere.
        return
    if not np.allclose(affine, place, atol=1e-3):
        raise DataError(f"{path}: lies elsewhere than the scan; its affine matrix is another")


def _expected(
    path: Path, image: Tensor, scan: RawScan
) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
    """Return the pixels that a file of this kind has of an image, and the affine matrix."""
    if path.suffix == ".dcm":
        # Its place may come from another series, so that it is not written again.
        stack: NDArray[Any] = image.numpy(force=True)
        return stack.reshape(-1, *stack.shape[-2:]).squeeze(), None
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / ("again" + path.name.removeprefix(image_stem(path)))
        write_image(again, image, scan)
        return _pixels(again)


def _pixels(path: Path) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
    """Return the pixels of an image's file, and its affine matrix where NIfTI has one."""
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        if path.suffix == ".dcm":
            return _dicom_pixels(path), None
        if path.suffix in (".h5", ".mrd"):
            return _mrd_pixels(path), None
        image: Any = nibabel.load(path)
        return np.asarray(image.dataobj), np.asarray(image.affine)
    except (OSError, KeyError, ValueError, AttributeError, ImageFileError) as error:
        raise FileError(f"{path}: cannot be read as an image ({type(error).__name__})") from None


def _dicom_pixels(path: Path) -> NDArray[Any]:
    import pydicom

    data = pydicom.dcmread(path)
    shared = data.SharedFunctionalGroupsSequence[0]
    rescale = shared.get("PixelValueTransformationSequence")
    pixels = data.pixel_array.astype(np.float64).squeeze()
    if rescale is None:
        groups = data.PerFrameFunctionalGroupsSequence
        slopes = [float(one.PixelValueTransformationSequence[0].RescaleSlope) for one in groups]
        return pixels * np.asarray(slopes).reshape(-1, *[1] * (pixels.ndim - 1))
    return pixels * float(rescale[0].RescaleSlope)


def _mrd_pixels(path: Path) -> NDArray[Any]:
    import h5py

    with h5py.File(path, "r") as file:
        data = np.asarray(file["dataset/image_0/data"])
    # Complex numbers of MRD are pairs of fields.
    return data["real"] + 1j * data["imag"] if data.dtype.names else data
