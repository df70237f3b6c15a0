"""The report of an image in a file, with its certificate and its scan if they are available."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from firenet_mri.digests import digest_of_file
from firenet_mri.errors import FileError, ShapeError
from firenet_mri.geometry import Geometry
from firenet_mri.io.certificates import SavedCertificate, read_certificate
from firenet_mri.io.image.mrd_images import read_mrd_images
from firenet_mri.io.image.nifti_files import time_of_nifti
from firenet_mri.io.image.reading import read_image
from firenet_mri.io.image.suffixes import IMAGE_SUFFIXES
from firenet_mri.io.kspace.recognise import read_head
from firenet_mri.metrics import units_factor
from firenet_mri.reconstruction.options import ReconstructionOptions
from firenet_mri.reconstruction.prepare import prepare
from firenet_mri.reconstruction.result import image_of
from firenet_mri.reconstruction.solve import zero_filled
from firenet_mri.report.content import Content, content_of_image, content_of_saved
from firenet_mri.report.layers import Images
from firenet_mri.report.sampling import SamplingPicture, sampling_of
from firenet_mri.scan import RawScan

_NPY = ".npy"


@dataclass(frozen=True, eq=False)
class SavedImage:
    """An image in a file.

    Parameters
    ----------
    path
        The file, or the folder of a DICOM series.
    image
        ([image,] z, y, x) float32 magnitude.
    geometry
        The position of the image; None if it is not known.
    saved
        Its certificate, after a check that it belongs to the image; None if there is none beside
        it.
    between_ms
        The time between the images of a series; None if it is not known.
    """

    path: Path
    image: Tensor
    geometry: Geometry | None
    saved: SavedCertificate | None = None
    between_ms: float | None = None


@dataclass(frozen=True, eq=False)
class ZeroFilled:
    """The parts of a report that come from the scan alone, without running a network.

    Parameters
    ----------
    image
        (..., *spatial) float32 magnitude of A^H y.
    sampling
        Where k-space was sampled.
    geometry
        The position of the image; None if it is not known.
    """

    image: Tensor
    sampling: SamplingPicture
    geometry: Geometry | None


def certificate_beside(path: Path) -> Path | None:
    """Return the certificate file beside an image; None if there is none."""
    for suffix in (*IMAGE_SUFFIXES, _NPY):
        if path.name.endswith(suffix):
            beside = path.with_name(path.name.removesuffix(suffix) + ".json")
            return beside if _is_certificate(beside) else None
    return None


def is_image(path: Path) -> bool:
    """Return whether a file or folder is an image and not a scan.

    It is one if a certificate beside it names this very file, if its name ends as that of a NIfTI
    or DICOM file, if it holds a real NumPy array, or if it is a folder of DICOM files.
    """
    if path.name.endswith((".nii", ".nii.gz", ".dcm")):
        return True
    if path.is_dir():
        return any(_is_dicom(file) for file in sorted(path.iterdir())[:3])
    beside = certificate_beside(path)
    if beside is not None:
        return read_certificate(beside).digests.file == digest_of_file(path)
    if path.suffix == _NPY and path.is_file():
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False).dtype.kind != "c"
        except (ValueError, OSError, EOFError):
            return False
    return _is_dicom(path)


def read_saved(path: Path) -> SavedImage:
    """Return an image with the certificate beside it, after checking that the two belong together.

    Raises
    ------
    FileError
        If the file is missing, damaged or not an image.
    DataError
        If the certificate belongs to another image, or was changed.
    """
    beside = certificate_beside(path)
    saved = None if beside is None else read_certificate(beside)
    if saved is not None:
        saved.check_image(path)
    if path.suffix in (".h5", ".mrd"):
        image, geometry = read_mrd_images(path), None
    else:
        image, geometry = read_image(path, several=True)
    is_nifti = path.name.endswith((".nii", ".nii.gz"))
    between_ms = time_of_nifti(path) if is_nifti else None
    return SavedImage(path, image.abs().float(), geometry, saved, between_ms)


def content_of_file(
    found: SavedImage, *, reference: Tensor | None = None, scan: ZeroFilled | None = None
) -> Content:
    """Return the report of an image in a file.

    Parameters
    ----------
    found
        The image.
    reference
        Magnitude image for comparison, of the same shape except for axes of size 1.
    scan
        The parts of the report that come from the scan.

    Raises
    ------
    ShapeError
        If reference or scan have another size.
    """
    shape = found.image.shape
    before = None if scan is None else _alike(scan.image, shape, "the scan's image")
    truth = None if reference is None else _alike(reference, shape, "the reference")
    if truth is not None:
        truth = units_factor(truth, found.image) * truth
    if found.saved is None:
        images = Images(found.image, before, truth)
        return content_of_image(
            found.path.name, images, found.geometry, between_ms=found.between_ms
        )
    geometry = found.geometry if scan is None else scan.geometry
    return content_of_saved(
        found.saved.report,
        found.saved.certificate,
        Images(found.image, before, truth),
        geometry=geometry,
        sampling=None if scan is None else scan.sampling,
    )


def zero_filled_of(scan: RawScan, options: ReconstructionOptions) -> ZeroFilled:
    """Return the zero-filled image of a scan and its sampling; no network is run.

    Raises
    ------
    CalibrationError
        If the maps cannot be estimated from this scan.
    """
    prepared = prepare(scan, options)
    prepared.check_calibration()
    with torch.no_grad():
        images = [zero_filled(prepared.encoded(item)[0]) for item in prepared.items]
    image = image_of(prepared, images)
    magnitude = image.abs() if options.map_sets == 1 else torch.linalg.vector_norm(image, dim=0)
    return ZeroFilled(magnitude, sampling_of(prepared.scan), prepared.scan.geometry)


def _alike(image: Tensor, shape: torch.Size, what: str) -> Tensor:
    """Return an image reshaped to another one's axes; the two may differ by axes of size 1."""
    if [n for n in image.shape if n > 1] != [n for n in shape if n > 1]:
        raise ShapeError(
            f"{what} has shape {tuple(image.shape)}, the image {tuple(shape)}; give one on the "
            "same grid"
        )
    return image.reshape(shape)


def _is_certificate(path: Path) -> bool:
    try:
        return path.is_file() and b'"firenet certificate"' in path.read_bytes()[:200]
    except OSError:
        return False


def _is_dicom(path: Path) -> bool:
    try:
        return path.is_file() and read_head(path)[128:132] == b"DICM"
    except FileError:
        return False
