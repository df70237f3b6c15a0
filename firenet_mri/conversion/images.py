"""Converts MRD images to NIfTI, DICOM or BIDS, with their position and no patient data."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from firenet_mri.conversion.options import ConversionOptions
from firenet_mri.errors import FileError, UsageError
from firenet_mri.io.image.bids import Part, write_bids
from firenet_mri.io.image.dicom import Component, write_dicom_series, write_enhanced_dicom
from firenet_mri.io.image.labels import labels_of, time_between
from firenet_mri.io.image.mrd_series import ImageSeries, read_mrd_images
from firenet_mri.io.image.nifti import write_nifti
from firenet_mri.io.kspace.targets import image_target_of
from firenet_mri.io.outputs import atomic_writes, check_outputs

PathLike = str | os.PathLike[str]

_PARTS: dict[str, Part | None] = {
    "magnitude": None,
    "phase": "phase",
    "real": "real",
    "imaginary": "imag",
    "complex": None,
}
_DESCRIPTION = "Converted from MRD images by firenet_mri"


@dataclass(frozen=True, eq=False)
class ConvertedImages:
    """Result of a conversion of images.

    Parameters
    ----------
    files
        All files that were written.
    series
        The series in these files.
    notes
        Parts of the series that are not in the files or are not known, one sentence each.
    """

    files: tuple[Path, ...]
    series: ImageSeries
    notes: tuple[str, ...]


def convert_images(
    source: PathLike,
    output: PathLike,
    options: ConversionOptions | None = None,
    *,
    overwrite: bool = False,
) -> ConvertedImages:
    """Write a series of MRD images as NIfTI, DICOM or BIDS.

    Parameters
    ----------
    source
        HDF5 file with groups of images, as Gadgetron, FIRE and ``firenet serve`` write them, or a
        stream of image messages.
    output
        .nii or .nii.gz; .dcm (enhanced, one image), or a folder with ``to="dicom"`` (one series per
        image); a stem such as sub-01_T1w with ``to="bids"``.
    options
        ``to`` and ``series``; other options do not apply to images.
    overwrite
        Replace files that exist.

    Raises
    ------
    FirenetError
        If the images cannot be read, or the format cannot store them; then nothing is written.
    """
    options = options or ConversionOptions()
    source, output = Path(source), Path(output)
    target = image_target_of(output, options.to)
    if target is None:
        raise UsageError(
            f"{output}: images are written as .nii.gz, .nii, .dcm, or with --to dicom or bids"
        )
    options.check_only("to", "series", what="images, which are written as they are")
    if output.exists() and source.exists() and output.samefile(source):
        raise FileError(f"{output}: is the source of the images; give another name")
    series = read_mrd_images(source, options.series)
    if target == "nifti":
        files = _write_nifti(output, series, overwrite)
    elif target == "dicom":
        files = _write_dicom(output, series, overwrite)
    else:
        files = write_bids(
            output,
            series.image,
            series.geometry,
            parameters=series.parameters,
            names=series.names,
            part=_PARTS[series.component],
            simulated=series.simulated,
            method=None,
            overwrite=overwrite,
        )
    return ConvertedImages(tuple(files), series, _notes(series, target))


def _write_nifti(output: Path, series: ImageSeries, overwrite: bool) -> list[Path]:
    with atomic_writes([output], overwrite=overwrite) as (path,):
        write_nifti(
            path,
            series.image,
            series.geometry,
            description=_DESCRIPTION + (", simulated" if series.simulated else ""),
            time_between_ms=time_between(labels_of(series.names, series.parameters)),
        )
    return [output]


def _write_dicom(output: Path, series: ImageSeries, overwrite: bool) -> list[Path]:
    """Write an enhanced file, or a folder of classic ones, with the magnitude of complex images."""
    component: Component = "magnitude" if series.component == "complex" else series.component
    shared: dict[str, Any] = {
        "description": _DESCRIPTION,
        "simulated": series.simulated,
        "parameters": series.parameters,
        "names": series.names,
        "component": component,
        # The title must not contain a name that somebody gave the series.
        "title": f"MRD images, series {series.number}",
    }
    if output.suffix != ".dcm":
        return write_dicom_series(
            output, series.image, series.geometry, overwrite=overwrite, **shared
        )
    check_outputs([output], overwrite=overwrite)
    with atomic_writes([output], overwrite=overwrite) as (path,):
        write_enhanced_dicom(path, series.image, series.geometry, **shared)
    return [output]


def _notes(series: ImageSeries, target: str) -> tuple[str, ...]:
    found = []
    if series.geometry is None or not series.geometry.is_placed:
        found.append("The position of the images is not known.")
    if target == "dicom" and series.component == "complex":
        found.append("The phase is omitted; the DICOM images contain the magnitude.")
    if series.component == "phase" and float(np.abs(series.image).max(initial=0)) > np.pi + 0.01:
        found.append("The unit of the phase is not known; the numbers are those of the file.")
    return tuple(found)
