"""Conversion of scanner data to common formats: one scan, or a resumable study of many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firenet_mri._lazy import lazy

if TYPE_CHECKING:
    from firenet_mri.conversion.convert import Converted, convert_scan
    from firenet_mri.conversion.film import ConvertedFilm, convert_film
    from firenet_mri.conversion.images import ConvertedImages, convert_images
    from firenet_mri.conversion.options import ConversionOptions
    from firenet_mri.conversion.study import Conversion, convert_study, summary_path
    from firenet_mri.io.kspace.folders import find_scans

__all__ = [
    "Conversion",
    "ConversionOptions",
    "Converted",
    "ConvertedFilm",
    "ConvertedImages",
    "convert_film",
    "convert_images",
    "convert_scan",
    "convert_study",
    "find_scans",
    "summary_path",
]

__getattr__ = lazy(
    __name__,
    {
        "Conversion": "firenet_mri.conversion.study",
        "ConversionOptions": "firenet_mri.conversion.options",
        "Converted": "firenet_mri.conversion.convert",
        "ConvertedFilm": "firenet_mri.conversion.film",
        "ConvertedImages": "firenet_mri.conversion.images",
        "convert_film": "firenet_mri.conversion.film",
        "convert_images": "firenet_mri.conversion.images",
        "convert_scan": "firenet_mri.conversion.convert",
        "convert_study": "firenet_mri.conversion.study",
        "find_scans": "firenet_mri.io.kspace.folders",
        "summary_path": "firenet_mri.conversion.study",
    },
)
