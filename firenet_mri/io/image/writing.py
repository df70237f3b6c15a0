"""Writes an image in the format that its file name implies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from firenet_mri.io.image.dicom import DicomReference, write_enhanced_dicom
from firenet_mri.io.image.labels import labels_of, time_between
from firenet_mri.io.image.mrd_images import write_mrd_images
from firenet_mri.io.image.nifti import write_nifti
from firenet_mri.scan import RawScan


def write_image(
    path: Path,
    image: Tensor,
    scan: RawScan,
    *,
    description: str = "",
    reference: DicomReference | None = None,
) -> None:
    """Write the image of a scan.

    Parameters
    ----------
    path
        File name that ends in one of ``IMAGE_SUFFIXES``.
    image
        (y, x), (z, y, x) or (image, z, y, x), real or complex; DICOM stores the magnitude of a
        complex image.
    scan
        Scan that gives geometry, parameters, and whether it was simulated.
    description
        How the image was made, up to 79 ASCII characters.
    reference
        Series whose study a DICOM image takes over.

    Raises
    ------
    DataError, ShapeError, FileError
        As for the writers of the formats.
    """
    if path.name.endswith((".nii", ".nii.gz")):
        write_nifti(
            path,
            image,
            scan.geometry,
            description=description,
            time_between_ms=time_between(labels_of(scan.images, scan.parameters)),
        )
        return
    array: np.ndarray = image.detach().cpu().numpy()
    if path.suffix == ".dcm":
        write_enhanced_dicom(
            path,
            array,
            scan.geometry,
            description=description,
            simulated=scan.simulated,
            parameters=scan.parameters,
            names=scan.images,
            reference=reference,
        )
    else:
        write_mrd_images(
            path,
            array,
            scan.geometry,
            scan.images,
            parameters=scan.parameters,
            simulated=scan.simulated,
        )
