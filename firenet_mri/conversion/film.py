"""Converts the images of a file to a film: NIfTI with a fourth axis, or MRD images."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firenet_mri.conversion.options import ConversionOptions
from firenet_mri.errors import FileError, UsageError
from firenet_mri.geometry import Geometry
from firenet_mri.io.image.film import (
    Pace,
    check_film,
    order_of,
    pace_of,
    pace_of_images,
    write_film,
)
from firenet_mri.io.image.labels import labels_of
from firenet_mri.io.image.mrd_series import read_mrd_images
from firenet_mri.io.image.nifti_files import time_of_nifti
from firenet_mri.io.image.reading import read_image
from firenet_mri.io.kspace.recognise import is_dicom, read_head
from firenet_mri.io.outputs import atomic_writes, check_apart, check_outputs

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class ConvertedFilm:
    """Result of a conversion to a film.

    Parameters
    ----------
    files
        The files of the film.
    pace
        How fast the film runs.
    """

    files: tuple[Path, ...]
    pace: Pace

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the viewer."""
        return (self.pace.note,) if self.pace.note else ()


def convert_film(
    source: PathLike,
    output: PathLike,
    options: ConversionOptions | None = None,
    *,
    overwrite: bool = False,
) -> ConvertedFilm:
    """Write the images of a file as a film.

    Parameters
    ----------
    source
        NIfTI image with a fourth axis, or a file of MRD images.
    output
        .gif, or .mp4 if an encoder is installed.
    options
        ``frame_rate`` and, for MRD images, ``series``; other options do not apply to a film.
    overwrite
        Replace a film that exists.

    Raises
    ------
    FirenetError
        If the images cannot be read, or do not form a film; then nothing is written.
    """
    options = options or ConversionOptions()
    source, output = Path(source), Path(output)
    options.check_only("series", "frame_rate", what="a film")
    check_film(output)
    check_apart([output], [source])
    check_outputs([output], overwrite=overwrite)
    image, geometry, pace = _read(source, options)
    if image.ndim != 4 or len(image) < 2:
        raise FileError(
            f"{source}: is one image; a film needs several consecutive images, such as those of "
            "firenet recon --joint or of a scan with several repetitions"
        )
    with atomic_writes([output], overwrite=overwrite) as (path,):
        write_film(path, image, geometry, pace)
    return ConvertedFilm((output,), pace)


def _read(
    source: Path, options: ConversionOptions
) -> tuple[NDArray[np.generic], Geometry | None, Pace]:
    """Return images, their geometry, and how fast their film runs."""
    if source.is_dir() or is_dicom(read_head(source)):
        raise UsageError(
            f"{source}: films are made from NIfTI or MRD images; from a DICOM series dcm2niix "
            "makes NIfTI"
        )
    if not source.name.endswith((".nii", ".nii.gz")):
        series = read_mrd_images(source, options.series)
        labels = labels_of(series.names, series.parameters)
        stack: NDArray[Any] = series.image
        if stack.ndim == 4:
            stack = stack[order_of(labels)]
        return stack, series.geometry, pace_of_images(labels, options.frame_rate)
    if options.series is not None:
        raise UsageError(f"{source}: a series can be chosen only among MRD images; omit it")
    image, geometry = read_image(source, several=True)
    return image.numpy(), geometry, pace_of(time_of_nifti(source), options.frame_rate)
