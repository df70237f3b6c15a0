"""Names of image files: the format of a suffix, and the name without it."""

from __future__ import annotations

from pathlib import Path

from firenet_mri.errors import UsageError

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".dcm", ".h5", ".mrd")


def image_stem(path: Path) -> str:
    """Return the name of an image file without its suffix.

    Raises
    ------
    UsageError
        If the suffix is not one of ``IMAGE_SUFFIXES``, or nothing precedes it.
    """
    for suffix in IMAGE_SUFFIXES:
        if path.name.endswith(suffix) and path.name != suffix:
            return path.name.removesuffix(suffix)
    raise UsageError(
        f"{path}: images are written as NIfTI (.nii.gz, .nii), enhanced DICOM (.dcm) or MRD (.h5, "
        ".mrd); end the name in one of these"
    )
