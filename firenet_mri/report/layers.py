"""The images of a report as PNG data, which the page lays over one another, slice by slice.

In a series the images of one slice follow one another: image number slice * frames + frame.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from firenet_mri.geometry import Geometry
from firenet_mri.io.image.display import WINDOW_PERCENTILE, Display, displayed
from firenet_mri.io.image.png import grey_levels, png_bytes
from firenet_mri.report.series import Series

#: Factor by which errors are shown brighter than the images.
ERROR_SCALE = 5.0

#: Names of the optional layers.
REFERENCE, SENSITIVE = "Reference", "Where small changes matter most"
_ZERO_FILLED = "Zero-filled"

# Limits that keep the page small enough to open: slices or images, and pixels along an edge.
_MOST_SLICES, _MOST_PIXELS = 48, 512
# Limits for a series: slices times images, and pixels along an edge.
_MOST_PICTURES, _MOST_PIXELS_OF_SERIES = 96, 320

Image = Tensor | NDArray[np.generic]


@dataclass(frozen=True)
class Layer:
    """One image of the report as it is shown, such as the zero-filled one.

    Parameters
    ----------
    name
        Name of the image.
    legend
        Explanation of its brightest value.
    png
        One PNG file per slice, or per image of every slice.
    is_grey
        Whether brightness is the magnitude, in the window of the image.
    """

    name: str
    legend: str
    png: tuple[bytes, ...]
    is_grey: bool = False

    def urls(self) -> list[str]:
        """Return the PNG files as data URLs."""
        return [data_url(png) for png in self.png]


@dataclass(frozen=True)
class Layers:
    """All images of a report.

    Parameters
    ----------
    layers
        The images; the page opens with the first two.
    slices
        Names of the slices that are shown.
    count
        Number of slices of the image, of which not all need be shown.
    height_over_width
        Aspect ratio of a slice as it is shown.
    letters
        Orientation letters at the left, right, top and bottom; None if they are not known.
    series
        The images that are shown of every slice; None if there is only one.
    frames
        Number of images of the series, of which not all need be shown.
    mark
        Pixel of the middle slice that changes most over time, as shares of width and height.
    """

    layers: tuple[Layer, ...]
    slices: tuple[str, ...]
    count: int
    height_over_width: float
    letters: tuple[str, str, str, str] | None = None
    series: Series | None = None
    frames: int = 1
    mark: tuple[float, float] = (0.5, 0.5)


@dataclass(frozen=True, eq=False)
class Images:
    """The images of a reconstruction for a report, all of one shape (..., y, x); None is unknown.

    Parameters
    ----------
    image
        The reconstruction.
    zero_filled
        The zero-filled image.
    reference
        The true or reference image.
    sensitive
        Effect on the image of the small change of the data that is amplified most.
    """

    image: Image
    zero_filled: Image | None = None
    reference: Image | None = None
    sensitive: Image | None = None


def layers_of(
    images: Images,
    *,
    geometry: Geometry | None,
    method: str,
    units: str,
    names: Sequence[str] = (),
    series: Series | None = None,
) -> Layers:
    """Return the images as they are shown: one grey window, errors and sensitivity in colours.

    Parameters
    ----------
    images
        The images to show.
    geometry
        Their position; they are oriented as in the picture beside the image.
    method
        The method that made the image, such as "FIRENET".
    units
        Unit of the image, such as "noise standard deviations".
    names
        Names of the slices, which are numbered from 0 by default.
    series
        The series along the first axis, if there are several images.
    """
    stack = _Stack(geometry, series)
    whole = stack.displayed(images.image)
    frames = 1 if series is None else len(series.order)
    count = len(whole.slices) // frames
    shown = _chosen(count) if series is None else _spread(count, max(1, _MOST_PICTURES // frames))
    times = _chosen(frames)
    chosen = [slice_ * frames + frame for slice_ in shown for frame in times]
    edge = _MOST_PIXELS if series is None else _MOST_PIXELS_OF_SERIES
    white = whole.white()
    kinds = {_ZERO_FILLED: images.zero_filled, method: images.image, REFERENCE: images.reference}
    known = {
        name: _at_most(stack.displayed(one).of(chosen), edge)
        for name, one in kinds.items()
        if one is not None
    }
    legend = f"White is {white:.4g} {units} or more."
    layers = [Layer(name, legend, _grey(one, white), is_grey=True) for name, one in known.items()]
    if images.reference is not None:
        layers += _errors(known, white / ERROR_SCALE, units)
    if images.sensitive is not None:
        layers.append(_sensitive(stack.displayed(images.sensitive), chosen, edge))
    every = list(names) if len(names) == count else [str(index) for index in range(count)]
    middle = len(shown) // 2 * len(times)
    return Layers(
        tuple(layers),
        tuple(every[index] for index in shown),
        count,
        known[method].height_over_width,
        known[method].letters,
        None if series is None else series.of(times),
        frames,
        _liveliest(known[method].slices[middle : middle + len(times)]),
    )


@dataclass(frozen=True)
class _Stack:
    """Splits images into slices, oriented by their position; a series is split slice by slice."""

    geometry: Geometry | None
    series: Series | None

    def displayed(self, image: Image) -> Display:
        if self.series is None:
            return displayed(image, self.geometry)
        order = list(self.series.order)
        stack = image.reshape((len(order), -1, *image.shape[-2:]))[order]
        return displayed(stack.swapaxes(0, 1), self.geometry)


def _liveliest(frames: NDArray[np.floating]) -> tuple[float, float]:
    """Return the pixel that changes most, as shares of width and height; one image: its middle."""
    if len(frames) < 2:
        return 0.5, 0.5
    changes = frames.std(axis=0)
    row, column = np.unravel_index(int(np.argmax(changes)), changes.shape)
    return (float(column) + 0.5) / changes.shape[1], (float(row) + 0.5) / changes.shape[0]


def data_url(png: bytes) -> str:
    """Return a PNG file as a data URL."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def coloured(pixels: NDArray[np.floating], brightest: float) -> bytes:
    """Return a PNG in which 0 is black, and values from ``brightest`` on are bright yellow."""
    import matplotlib

    palette = matplotlib.colormaps["inferno"](np.arange(256), bytes=True)[:, :3]
    return png_bytes(grey_levels(pixels, brightest), np.ascontiguousarray(palette))


def thumbnail(image: Image, geometry: Geometry | None, edge: int = 96) -> bytes:
    """Return the middle slice as a small PNG with square pixels."""
    display = displayed(image, geometry)
    middle = display.of([len(display.slices) // 2])
    return png_bytes(grey_levels(_at_most(middle, edge).slices[0], display.white()))


def _chosen(count: int) -> list[int]:
    """Return the slices that are shown: all, or evenly spaced ones."""
    return _spread(count, _MOST_SLICES)


def _spread(count: int, most: int) -> list[int]:
    """Return at most ``most`` indices, evenly spaced; a single one is the middle."""
    if count <= most:
        return list(range(count))
    if most == 1:
        return [count // 2]
    return [int(place) for place in np.round(np.linspace(0, count - 1, most))]


def _at_most(display: Display, edge: int) -> Display:
    """Return an image with a limited number of pixels along each edge."""
    factor = math.ceil(max(display.shape) / edge)
    return display if factor == 1 else display.shrunk(factor)


def _grey(display: Display, white: float) -> tuple[bytes, ...]:
    return tuple(png_bytes(grey_levels(pixels, white)) for pixels in display.slices)


def _errors(known: dict[str, Display], brightest: float, units: str) -> list[Layer]:
    """Return the errors of all images but the reference, the reconstruction's first."""
    truth = known[REFERENCE]
    legend = f"Bright yellow is an error of {brightest:.4g} {units} or more."
    return [
        Layer(
            f"Error of {_ZERO_FILLED.lower() if name == _ZERO_FILLED else name}",
            legend,
            tuple(coloured(pixels, brightest) for pixels in one.error_of(truth).slices),
        )
        for name, one in reversed(known.items())
        if name != REFERENCE
    ]


def _sensitive(whole: Display, chosen: list[int], edge: int) -> Layer:
    brightest = float(np.percentile(whole.slices, WINDOW_PERCENTILE)) or 1.0
    shown = _at_most(whole.of(chosen), edge)
    return Layer(
        SENSITIVE,
        f"Effect on the image of the change of the data that is amplified most: bright yellow is "
        f"{brightest:.2g} for a change of size 1.",
        tuple(coloured(pixels, brightest) for pixels in shown.slices),
    )
