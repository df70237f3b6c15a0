"""Writes the report of a reconstruction beside its image."""

from __future__ import annotations

import contextlib
from pathlib import Path

from torch import Tensor

from firenet_mri.io.image.suffixes import image_stem
from firenet_mri.io.outputs import atomic_writes
from firenet_mri.reconstruction.result import Reconstruction
from firenet_mri.report.content import content_of
from firenet_mri.report.page import GENERATOR, page_of

# Bytes at the start of a page within which it names its generator.
_HEAD_BYTES = 2000


def report_path(image: str | Path) -> Path:
    """Return the path of an image's report: ``NAME.html`` beside it."""
    path = Path(image)
    return path.with_name(f"{image_stem(path)}.html")


def reports_beside(image: Path) -> list[Path]:
    """Return the path of the report beside an image, if there is one and we wrote it."""
    path = report_path(image)
    with contextlib.suppress(OSError), path.open("rb") as file:
        if GENERATOR.encode() in file.read(_HEAD_BYTES):
            return [path]
    return []


def report_page(result: Reconstruction, *, reference: Tensor | None = None) -> str:
    """Return the report of a reconstruction as one HTML page that loads nothing.

    Parameters
    ----------
    result
        The value that :func:`firenet_mri.reconstruct` returned.
    reference
        Magnitude image of the same shape, for an error map, PSNR and SSIM.
    """
    return page_of(content_of(result, reference=reference))


def write_report(
    path: str | Path,
    result: Reconstruction,
    *,
    reference: Tensor | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the report of a reconstruction to an HTML file, and return it.

    Parameters
    ----------
    path
        The file, as returned by :func:`report_path`, for example.
    result, reference
        See :func:`report_page`.
    overwrite
        Replace a file that exists.

    Raises
    ------
    FileError
        If the file exists or cannot be written.
    """
    page = report_page(result, reference=reference)
    with atomic_writes([Path(path)], overwrite=overwrite) as (file,):
        file.write_text(page, encoding="utf-8")
    return Path(path)
