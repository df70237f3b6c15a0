"""Draws a reconstruction beside images for comparison: all slices, and a line over time."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from firenet_mri.errors import ShapeError
from firenet_mri.geometry import Geometry
from firenet_mri.io.image.display import Display, displayed
from firenet_mri.io.image.over_time import FEWEST_FRAMES, LineOverTime, liveliest_line
from firenet_mri.io.image.png import grey_levels, png_bytes

_log = logging.getLogger(__name__)

# Inches of a panel: for a single slice, for each of several slices, and at most.
_PANEL_INCHES, _TILE_INCHES, _MOST_INCHES = 3.6, 1.8, 10.0
_LINE_INCHES = 0.16
_STRIP_INCHES = 1.5
_DPI = 150
# Font size of a slice's number in points, and the width of a digit.
_NUMBER_POINTS, _DIGIT_POINTS = 7.0, 4.5
_INK = "#e6e6e6"
_PAPER = "#101010"
_LETTER = "#f2c14e"


@dataclass(frozen=True, eq=False)
class Panel:
    """An image with its title.

    Parameters
    ----------
    title
        What the image is, such as "Zero-filled".
    image
        (..., y, x) real or complex; the magnitude of all slices is shown.
    note
        A second line, such as "PSNR 38.1 dB, SSIM 0.97".
    """

    title: str
    image: Tensor | NDArray[np.generic]
    note: str = ""


def write_picture(
    path: Path,
    panels: Sequence[Panel],
    *,
    reference: Panel | None = None,
    geometry: Geometry | None = None,
    caption: str = "",
    names: Sequence[str] = (),
    film: Sequence[int] = (),
    error_scale: float = 5.0,
) -> None:
    """Write panels side by side, all with the same grey window, to a PNG file.

    A panel of several slices is a montage of all of them, row by row.

    Parameters
    ----------
    panels
        The images, the reconstruction last: its 99.8th percentile is white.
    reference
        Shown at the right. The error | |image| - |reference| | times ``error_scale`` is then shown
        below each panel.
    geometry
        Gives the shape of a voxel. If it is placed, the image is oriented as radiologists view it
        (the patient's right at the left, anterior or superior at the top), with letters at the
        edges. Otherwise rows go down and columns right, as stored.
    caption
        The text below, such as the name of the scan and whether it is simulated.
    names
        Names of the slices, such as "3"; by default they are numbered from 0.
    film
        Indices of slices that are consecutive in time. The line in which the last panel changes
        most is then drawn over time below each panel, and marked in the first frame.
    error_scale
        Factor by which errors are shown brighter than the images.

    Raises
    ------
    ShapeError
        If the images differ in shape.

    Notes
    -----
    If drawing fails, the images are written side by side without text, and the failure is logged.
    """
    shown = [*panels] if reference is None else [*panels, reference]
    displays = [displayed(panel.image, geometry) for panel in shown]
    if len({display.slices.shape for display in displays}) > 1:
        shapes = ", ".join(str(tuple(panel.image.shape)) for panel in shown)
        raise ShapeError(f"{path}: images of different shapes cannot be compared: {shapes}")
    white = displays[len(panels) - 1].white()
    scale = None if reference is None else error_scale
    line = liveliest_line(displays[len(panels) - 1], film) if len(film) >= FEWEST_FRAMES else None
    try:
        with warnings.catch_warnings():
            # A box replaces a letter that the font does not have.
            warnings.filterwarnings("ignore", "Glyph")
            printable = [_printable(name) for name in names]
            sheet = _Sheet(displays, shown, white, scale, printable, line)
            _draw_all(sheet, path, _printable(caption))
    except OSError:
        raise
    # If drawing fails, the reconstructed image must not be lost with its picture.
    except Exception as error:
        _log.warning(
            "%s: the picture could not be drawn (%s) and shows only the images",
            path.name,
            type(error).__name__,
        )
        together = np.hstack([display.montage() for display in displays])
        path.write_bytes(png_bytes(grey_levels(together, white)))


@dataclass(frozen=True, eq=False)
class _Sheet:
    """Content of a figure: images, titles, window, brightness of errors, line over time."""

    displays: Sequence[Display]
    shown: Sequence[Panel]
    white: float
    error_scale: float | None
    names: Sequence[str]
    line: LineOverTime | None

    @property
    def first(self) -> Display:
        """The first image, whose shape all images have."""
        return self.displays[0]

    @property
    def panel_inches(self) -> tuple[float, float]:
        """Width and height of a panel."""
        rows, columns = self.first.grid()
        width = _PANEL_INCHES
        if columns > 1:
            width = min(_MOST_INCHES, max(width, _TILE_INCHES * columns))
        return width, width / columns * rows * self.first.height_over_width

    def montage(self, display: Display) -> NDArray[np.floating]:
        """Return all slices, with at most as many pixels as the panel has."""
        _, columns = self.first.grid()
        factor = math.ceil(columns * self.first.shape[1] / (self.panel_inches[0] * _DPI))
        # A single slice keeps all its pixels.
        whole = display if factor == 1 or columns == 1 else display.shrunk(factor)
        return whole.montage()


def _draw_all(sheet: _Sheet, path: Path, caption: str) -> None:
    """Draw the figure, with errors below it if there is a scale for them, and write it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = sheet.panel_inches
    heights = [height + 0.25] * (1 if sheet.error_scale is None else 2)
    heights += [_STRIP_INCHES] if sheet.line is not None else []
    lines = caption.count("\n")
    figure = Figure(
        figsize=(width * len(sheet.shown), sum(heights) + 0.5 + _LINE_INCHES * lines),
        facecolor=_PAPER,
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(heights), len(sheet.shown), squeeze=False, height_ratios=heights)
    for axis, panel, display in zip(axes[0], sheet.shown, sheet.displays, strict=True):
        _draw(axis, display, sheet, cmap="gray", white=sheet.white)
        _title(axis, panel.title, panel.note)
        _letters(axis, display)
        _numbers(axis, sheet)
    if sheet.error_scale is not None:
        _draw_errors(figure, axes[1], sheet, sheet.error_scale)
    if sheet.line is not None:
        _draw_strips(axes, sheet, sheet.line)
    count = len(sheet.first.slices)
    what = "slices" if sheet.line is None else "images"
    place = f"{count} {what}, from left to right and down" if count > 1 else ""
    # The number of slices belongs to the first line, that of the scan.
    first, newline, rest = caption.partition("\n")
    text = " · ".join(part for part in (first, place) if part) + newline + rest
    if text:
        figure.supxlabel(text, color=_INK, fontsize=9, parse_math=False)
    figure.savefig(path, dpi=_DPI, facecolor=_PAPER, format="png", metadata={"Software": None})


def _printable(text: str) -> str:
    """Return a text without characters that no font has, such as bytes that are not UTF-8."""
    whole = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(c if c == "\n" or c.isprintable() else "\ufffd" for c in whole)


def _draw(axis: Any, display: Display, sheet: _Sheet, *, cmap: str, white: float) -> Any:
    axis.set_axis_off()
    rows, columns = sheet.first.grid()
    height, width = sheet.first.shape
    return axis.imshow(
        np.ma.masked_invalid(sheet.montage(display)),
        cmap=cmap,
        vmin=0,
        vmax=white,
        aspect=sheet.first.pixel_aspect,
        interpolation="nearest",
        # The extent counts pixels of the whole image, whether it was shrunk or not.
        extent=(-0.5, columns * width - 0.5, rows * height - 0.5, -0.5),
    )


def _title(axis: Any, title: str, note: str) -> None:
    text = _printable(f"{title}\n{note}" if note else title)
    axis.set_title(text, color=_INK, fontsize=11, parse_math=False)


def _letters(axis: Any, display: Display) -> None:
    """Write the patient's sides, which all slices share, at the edges of the first slice."""
    if display.letters is None:
        return
    height, width = display.shape
    places = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.02), (0.5, 0.98))
    alignments = (("left", "center"), ("right", "center"), ("center", "top"), ("center", "bottom"))
    for letter, (x, y), (across, along) in zip(display.letters, places, alignments, strict=True):
        axis.text(
            x * width - 0.5,
            y * height - 0.5,
            letter,
            color=_LETTER,
            fontsize=9,
            ha=across,
            va=along,
        )


def _numbers(axis: Any, sheet: _Sheet) -> None:
    """Write the name of each slice into its corner, if there are several and it fits."""
    count = len(sheet.first.slices)
    names = sheet.names if len(sheet.names) == count else [str(index) for index in range(count)]
    room = 72 * sheet.panel_inches[0] / sheet.first.grid()[1]
    if count == 1 or max(map(len, names)) * _DIGIT_POINTS > room:
        return
    inset = 0.03 * min(sheet.first.shape)
    for (top, left), name in zip(sheet.first.corners(), names, strict=True):
        axis.text(
            left + inset,
            top + inset,
            name,
            color=_INK,
            fontsize=_NUMBER_POINTS,
            ha="left",
            va="top",
            parse_math=False,
        )


def _draw_strips(axes: Any, sheet: _Sheet, line: LineOverTime) -> None:
    """Draw each panel's line over time in the last row, and mark it in the first row."""
    top, left = list(sheet.first.corners())[line.frames[0]]
    height, _ = sheet.first.shape
    place = left + line.column
    for axis, strip, display in zip(axes[0], axes[-1], sheet.displays, strict=True):
        ends = [top - 0.5, top + height - 0.5]
        axis.plot([place, place], ends, color=_LETTER, linewidth=0.8, linestyle=":")
        strip.set_axis_off()
        strip.imshow(
            line.of(display),
            cmap="gray",
            vmin=0,
            vmax=sheet.white,
            aspect="auto",
            interpolation="nearest",
        )
        strip.set_title("The dotted line over time", color=_INK, fontsize=9)


def _draw_errors(figure: Any, axes: Sequence[Any], sheet: _Sheet, scale: float) -> None:
    """Draw the error of each panel, and a colour bar below the reference."""
    truth = sheet.displays[-1]
    top = sheet.white / scale
    for axis, display in zip(axes, sheet.displays[:-1], strict=False):
        drawn = _draw(axis, display.error_of(truth), sheet, cmap="inferno", white=top)
        _title(axis, f"Error, {scale:g} times", "")
    axes[-1].set_axis_off()
    bar = figure.colorbar(drawn, cax=axes[-1].inset_axes((0.12, 0.1, 0.07, 0.8)))
    bar.set_label("absolute error, in units of the image", color=_INK, fontsize=9)
    bar.ax.tick_params(colors=_INK, labelsize=8)
    bar.outline.set_edgecolor(_INK)
