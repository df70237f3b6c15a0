"""Draws a reconstruction beside what it is to be compared with, as a PNG."""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from firenet_mri.errors import ShapeError
from firenet_mri.scan import Geometry

_log = logging.getLogger(__name__)

_PANEL_INCHES = 3.6
_LINE_INCHES = 0.16
_WINDOW_PERCENTILE = 99.8
_INK = "#e6e6e6"
_PAPER = "#101010"


@dataclass(frozen=True, eq=False)
class Panel:
    """An image with its title.

    Parameters
    ----------
    title
        What the image is, such as "Zero-filled".
    image
        (..., y, x) real or complex; the magnitude is shown, of volumes the middle slice.
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
    error_scale: float = 5.0,
) -> None:
    """Write panels side by side, all with the same grey window, to a PNG file.

    Parameters
    ----------
    panels
        The images, the reconstruction last: its 99.8th percentile is white.
    reference
        Shown at the right; below each panel then stands its error, | |image| - |reference| |
        times ``error_scale``.
    geometry
        Gives the shape of a voxel, and turns the image as radiologists look at it (the patient's
        right at the left, anterior or superior up), with letters at the edges, if it is placed.
        Otherwise rows go down and columns right, as stored.
    caption
        What stands below, such as the name of the scan and whether it is simulated.

    Raises
    ------
    ShapeError
        If the images differ in shape.

    Notes
    -----
    If drawing fails, the images are written side by side without text, and that is logged.
    """
    shown = [*panels] if reference is None else [*panels, reference]
    views = [_view(panel.image, geometry) for panel in shown]
    if len({(view.pixels.shape) for view in views}) > 1:
        shapes = ", ".join(str(tuple(panel.image.shape)) for panel in shown)
        raise ShapeError(f"{path}: images of different shapes cannot be compared: {shapes}")
    white = float(np.percentile(views[len(panels) - 1].pixels, _WINDOW_PERCENTILE)) or 1.0
    scale = None if reference is None else error_scale
    try:
        with warnings.catch_warnings():
            # A box stands for a letter that the font does not have.
            warnings.filterwarnings("ignore", "Glyph")
            _draw_all(views, shown, white, path, _printable(caption), scale)
    except OSError:
        raise
    # Whatever fails in drawing, the image that was reconstructed must not be lost with its picture.
    except Exception as error:
        _log.warning(
            "%s: the picture could not be drawn (%s) and shows the images alone",
            path.name,
            type(error).__name__,
        )
        _write_pixels(path, [view.pixels for view in views], white)


def _draw_all(
    views: Sequence[_View],
    shown: Sequence[Panel],
    white: float,
    path: Path,
    caption: str,
    error_scale: float | None,
) -> None:
    """Draw the figure, with errors below it if there is a scale for them, and write it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = 1 if error_scale is None else 2
    height = _PANEL_INCHES * views[0].height_over_width
    lines = caption.count("\n")
    figure = Figure(
        figsize=(_PANEL_INCHES * len(shown), rows * (height + 0.25) + 0.5 + _LINE_INCHES * lines),
        facecolor=_PAPER,
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, len(shown), squeeze=False)
    for axis, panel, view in zip(axes[0], shown, views, strict=True):
        _draw(axis, view.pixels, view, cmap="gray", white=white)
        _title(axis, panel.title, panel.note)
        _letters(axis, view)
    if error_scale is not None:
        _draw_errors(figure, axes[1], views, white, error_scale)
    slices = views[0].slices
    place = f"slice {views[0].index + 1} of {slices}" if slices > 1 else ""
    # Which slice it is belongs to the first line, the scan's.
    first, newline, rest = caption.partition("\n")
    text = " · ".join(part for part in (first, place) if part) + newline + rest
    if text:
        figure.supxlabel(text, color=_INK, fontsize=9, parse_math=False)
    figure.savefig(path, dpi=150, facecolor=_PAPER, format="png", metadata={"Software": None})


def _printable(text: str) -> str:
    """Return a text without what no font can show, such as bytes of a name that is not UTF-8."""
    whole = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(c if c == "\n" or c.isprintable() else "\ufffd" for c in whole)


def _write_pixels(path: Path, images: Sequence[NDArray[np.floating]], white: float) -> None:
    """Write images side by side as a grey PNG, with nothing but the standard library."""
    together = np.nan_to_num(np.hstack(images) / white)
    grey = np.round(255 * np.clip(together, 0, 1)).astype(np.uint8)
    height, width = grey.shape
    rows = b"".join(b"\0" + row.tobytes() for row in grey)
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


@dataclass(frozen=True, eq=False)
class _View:
    """A slice as it is shown: magnitude, the shape of a pixel, and letters for its four edges."""

    pixels: NDArray[np.floating]
    pixel_aspect: float
    index: int
    slices: int
    letters: tuple[str, str, str, str] | None

    @property
    def height_over_width(self) -> float:
        rows, columns = self.pixels.shape
        return rows * self.pixel_aspect / columns


def _view(image: Tensor | NDArray[np.generic], geometry: Geometry | None) -> _View:
    """Return the middle slice, turned for display where the geometry is known."""
    array = image.detach().cpu().numpy() if isinstance(image, Tensor) else image
    if array.ndim < 2:
        raise ShapeError(f"An image of shape {array.shape} cannot be shown; it needs (..., y, x)")
    stack = array.reshape(-1, *array.shape[-2:])
    index = len(stack) // 2
    pixels = np.abs(stack[index])
    if geometry is None:
        return _View(pixels, 1.0, index, len(stack), None)
    rows, columns = pixels.shape
    _, fov_y, fov_x = geometry.field_of_view_mm
    down, right = np.array(geometry.phase_direction), np.array(geometry.read_direction)
    aspect = (fov_y / rows) / (fov_x / columns)
    if not geometry.is_placed:
        return _View(pixels, aspect, index, len(stack), None)
    want_right, want_down = _display_axes(np.array(geometry.slice_direction))
    if abs(right @ want_right) < abs(down @ want_right):
        pixels, aspect, down, right = pixels.T, 1 / aspect, right, down
    if right @ want_right < 0:
        pixels, right = pixels[:, ::-1], -right
    if down @ want_down < 0:
        pixels, down = pixels[::-1], -down
    letters = (_letter(-right), _letter(right), _letter(-down), _letter(down))
    return _View(pixels, aspect, index, len(stack), letters)


def _display_axes(
    normal: NDArray[np.floating],
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return the LPS directions that go right and down on a radiologist's screen."""
    left, posterior, superior = np.eye(3)
    plane = int(np.argmax(np.abs(normal)))
    if plane == 0:
        return posterior, -superior
    return left, -superior if plane == 1 else posterior


def _letter(direction: NDArray[np.floating]) -> str:
    """Return the letter of the patient side to which a direction in LPS mostly goes."""
    axis = int(np.argmax(np.abs(direction)))
    return ("LPS" if direction[axis] > 0 else "RAI")[axis]


def _draw(axis: Any, pixels: NDArray[np.floating], view: _View, *, cmap: str, white: float) -> Any:
    axis.set_axis_off()
    return axis.imshow(
        pixels, cmap=cmap, vmin=0, vmax=white, aspect=view.pixel_aspect, interpolation="nearest"
    )


def _title(axis: Any, title: str, note: str) -> None:
    text = _printable(f"{title}\n{note}" if note else title)
    axis.set_title(text, color=_INK, fontsize=11, parse_math=False)


def _letters(axis: Any, view: _View) -> None:
    """Write the patient's sides at the edges of the image."""
    if view.letters is None:
        return
    places = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.98), (0.5, 0.02))
    alignments = (("left", "center"), ("right", "center"), ("center", "top"), ("center", "bottom"))
    for letter, place, (across, along) in zip(view.letters, places, alignments, strict=True):
        axis.text(
            *place,
            letter,
            transform=axis.transAxes,
            color="#f2c14e",
            fontsize=9,
            ha=across,
            va=along,
        )


def _draw_errors(
    figure: Any, axes: Sequence[Any], views: Sequence[_View], white: float, scale: float
) -> None:
    """Draw the error of every panel, and a colour bar where the reference has no error."""
    truth = views[-1].pixels
    top = white / scale
    for axis, view in zip(axes, views[:-1], strict=False):
        drawn = _draw(axis, np.abs(view.pixels - truth), view, cmap="inferno", white=top)
        _title(axis, f"Error, {scale:g} times", "")
    axes[-1].set_axis_off()
    bar = figure.colorbar(drawn, cax=axes[-1].inset_axes((0.12, 0.1, 0.07, 0.8)))
    bar.set_label("absolute error, in units of the image", color=_INK, fontsize=9)
    bar.ax.tick_params(colors=_INK, labelsize=8)
    bar.outline.set_edgecolor(_INK)
