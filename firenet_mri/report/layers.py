"""The images of a report as PNG data: what can be laid over one another, slice by slice."""

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

#: How much brighter than the images errors are shown.
ERROR_SCALE = 5.0

#: What the layers are called that are not always there.
REFERENCE, SENSITIVE = "Reference", "Where small changes matter most"
_ZERO_FILLED = "Zero-filled"

# A page of more would be too large to open: slices, and pixels along an edge.
_MOST_SLICES, _MOST_PIXELS = 48, 512

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
        A PNG file for every slice.
    """

    name: str
    legend: str
    png: tuple[bytes, ...]

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
    """

    layers: tuple[Layer, ...]
    slices: tuple[str, ...]
    count: int
    height_over_width: float
    letters: tuple[str, str, str, str] | None = None


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
    """
    whole = displayed(images.image, geometry)
    count = len(whole.slices)
    white = whole.white()
    chosen = _chosen(count)
    image = _fitting(whole.of(chosen))
    shown = {_ZERO_FILLED: images.zero_filled, method: images.image, REFERENCE: images.reference}
    known = {
        name: _fitting(displayed(one, geometry).of(chosen))
        for name, one in shown.items()
        if one is not None
    }
    legend = f"White is {white:.4g} {units} or more."
    layers = [Layer(name, legend, _grey(one, white)) for name, one in known.items()]
    if images.reference is not None:
        layers += _errors(known, white / ERROR_SCALE, units)
    if images.sensitive is not None:
        layers.append(_sensitive(displayed(images.sensitive, geometry), chosen))
    every = list(names) if len(names) == count else [str(index) for index in range(count)]
    slices = tuple(every[index] for index in chosen)
    return Layers(tuple(layers), slices, count, image.height_over_width, image.letters)


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
    if count <= _MOST_SLICES:
        return list(range(count))
    places = np.linspace(0, count - 1, _MOST_SLICES)
    return [int(place) for place in np.round(places)]


def _fitting(display: Display) -> Display:
    return _at_most(display, _MOST_PIXELS)


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


def _sensitive(whole: Display, chosen: list[int]) -> Layer:
    brightest = float(np.percentile(whole.slices, WINDOW_PERCENTILE)) or 1.0
    shown = _fitting(whole.of(chosen))
    return Layer(
        SENSITIVE,
        f"What the most amplified change of the data does to the image: bright yellow is "
        f"{brightest:.2g} for a change of size 1.",
        tuple(coloured(pixels, brightest) for pixels in shown.slices),
    )
