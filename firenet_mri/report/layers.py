"""The images of a report as PNG data: what can be laid over one another, slice by slice.

Of a series the images of a slice follow one another: number slice * frames + frame.
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

#: How much brighter than the images errors are shown.
ERROR_SCALE = 5.0

#: What the layers are called that are not always there.
REFERENCE, SENSITIVE = "Reference", "Where small changes matter most"
_ZERO_FILLED = "Zero-filled"

# A page of more would be too large to open: slices or images of a series, and pixels along an edge.
_MOST_SLICES, _MOST_PIXELS = 48, 512
# Of a series: slices times images, and pixels.
_MOST_PICTURES, _MOST_PIXELS_OF_SERIES = 96, 320

Image = Tensor | NDArray[np.generic]


@dataclass(frozen=True)
class Layer:
    """One image of the report, such as the zero-filled one, as it is shown.

    Parameters
    ----------
    name
        What it is.
    legend
        What its brightest value is, in words.
    png
        A PNG file for every slice, or every image of every slice.
    is_grey
        Whether brightness is the magnitude, in the window of the image.
    """

    name: str
    legend: str
    png: tuple[bytes, ...]
    is_grey: bool = False

    def urls(self) -> list[str]:
        """Return the files as data URLs."""
        return [data_url(png) for png in self.png]


@dataclass(frozen=True)
class Layers:
    """All images of a report.

    Parameters
    ----------
    layers
        The images; the first two are shown first.
    slices
        What the slices that are shown are called.
    count
        How many slices the image has, of which not all need be shown.
    height_over_width
        Of a slice, as it is shown.
    letters
        Of the patient's sides at the left, right, top and bottom; None if they are not known.
    series
        The images that are shown of every slice; None if it is one.
    frames
        How many images the series has, of which not all need be shown.
    mark
        Where in the middle slice most changes over time, as shares of width and height.
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
    """What a report shows of a reconstruction, of one shape (..., y, x) each; None is unknown.

    Parameters
    ----------
    image
        The reconstruction.
    zero_filled
        What the data give without the method.
    reference
        What the image should be.
    sensitive
        What the most amplified small change of the data does to the image.
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
        What there is.
    geometry
        Where they lie; they are turned as in the picture beside the image.
    method
        What made the image, such as "FIRENET".
    units
        What the image is counted in, such as "noise standard deviations".
    names
        Of the slices; they are numbered from 0 by default.
    series
        What the images along the first axis are, if there are several.
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
    """How images become slices: turned by their place, those of a series slice by slice."""

    geometry: Geometry | None
    series: Series | None

    def displayed(self, image: Image) -> Display:
        if self.series is None:
            return displayed(image, self.geometry)
        order = list(self.series.order)
        stack = image.reshape((len(order), -1, *image.shape[-2:]))[order]
        return displayed(stack.swapaxes(0, 1), self.geometry)


def _liveliest(frames: NDArray[np.floating]) -> tuple[float, float]:
    """Return where most changes, as shares of width and height; of one image its middle."""
    if len(frames) < 2:
        return 0.5, 0.5
    changes = frames.std(axis=0)
    row, column = np.unravel_index(int(np.argmax(changes)), changes.shape)
    return (float(column) + 0.5) / changes.shape[1], (float(row) + 0.5) / changes.shape[0]


def data_url(png: bytes) -> str:
    """Return a PNG file as a data URL."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def coloured(pixels: NDArray[np.floating], brightest: float) -> bytes:
    """Return a PNG in which 0 is black, and ``brightest`` and above bright yellow."""
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
    """Return so many places at most, evenly spaced; a single one is the middle."""
    if count <= most:
        return list(range(count))
    if most == 1:
        return [count // 2]
    return [int(place) for place in np.round(np.linspace(0, count - 1, most))]


def _at_most(display: Display, edge: int) -> Display:
    """Return an image with at most so many pixels along each edge."""
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
        f"What the most amplified change of the data does to the image: bright yellow is "
        f"{brightest:.2g} for a change of size 1.",
        tuple(coloured(pixels, brightest) for pixels in shown.slices),
    )
