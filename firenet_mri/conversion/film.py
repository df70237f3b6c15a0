"""Images of a file as a film: NIfTI with a fourth axis, or MRD images."""

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
    """What was written.

    Parameters
    ----------
    files
        The film.
    pace
        How fast it runs.
    """

    files: tuple[Path, ...]
    pace: Pace

    @property
    def notes(self) -> tuple[str, ...]:
        """What a viewer has to know."""
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
        .gif, or .mp4 where there is an encoder.
    options
        ``frame_rate`` and, of MRD images, ``series``; the others mean nothing for a film.
    overwrite
        Replace a film that exists.

    Raises
    ------
    FirenetError
        If the images cannot be read, or are no film; nothing is written then.
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
            f"{source}: is one image; a film needs several that follow one another, as firenet "
            "recon --joint or a scan of several repetitions gives"
        )
    with atomic_writes([output], overwrite=overwrite) as (path,):
        write_film(path, image, geometry, pace)
    return ConvertedFilm((output,), pace)


def _read(
    source: Path, options: ConversionOptions
) -> tuple[NDArray[np.generic], Geometry | None, Pace]:
    """Return images, where they lie, and how fast their film runs."""
    if source.is_dir() or is_dicom(read_head(source)):
        raise UsageError(
            f"{source}: films are made of NIfTI or MRD images; of a DICOM series dcm2niix makes "
            "NIfTI"
        )
    if not source.name.endswith((".nii", ".nii.gz")):
        series = read_mrd_images(source, options.series)
        labels = labels_of(series.names, series.parameters)
        stack: NDArray[Any] = series.image
        if stack.ndim == 4:
            stack = stack[order_of(labels)]
        return stack, series.geometry, pace_of_images(labels, options.frame_rate)
    if options.series is not None:
        raise UsageError(f"{source}: a series can only be chosen among MRD images; leave it out")
    image, geometry = read_image(source, several=True)
    return image.numpy(), geometry, pace_of(time_of_nifti(source), options.frame_rate)
