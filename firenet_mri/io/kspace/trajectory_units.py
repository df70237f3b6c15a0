"""Finds the unit of a trajectory's points, by the same rule for every source.

The rule uses the number N of pixels along the longest axis, and the largest |k| of all points:

- up to 1/2: cycles per pixel, multiplied by the sizes of the image;
- from pi/2 to pi, if N/2 is more than twice that: radians per pixel, 2 pi times the cycles per
  pixel;
- otherwise: cycles per field of view, used unchanged.

If N/2 is larger, a largest |k| between 1/2 and pi/2 fits none of these units and is refused.
"""

from __future__ import annotations

import logging
import math
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError

_log = logging.getLogger(__name__)

_ROUNDING = 1 + 1e-3


class Unit(Enum):
    """Unit of a trajectory; the value is its name in messages."""

    CYCLES_PER_PIXEL = "cycles per pixel"
    RADIANS_PER_PIXEL = "radians per pixel"
    CYCLES_PER_FIELD_OF_VIEW = "cycles per field of view"


def in_cycles_per_fov(
    points: NDArray[np.floating], shape: tuple[int, ...], name: str
) -> NDArray[np.float64]:
    """Return the points in cycles per field of view, and log the unit that was found.

    Parameters
    ----------
    points
        (*samples, ndim) real, the last axis in the order of the image's axes.
    shape
        Sizes of the image.
    name
        Name of the trajectory in messages.

    Raises
    ------
    DataError
        If no unit fits, or the axes seem to have different units.
    """
    points = np.asarray(points, np.float64)
    unit = find_unit(points, shape, name)
    scale = {
        Unit.CYCLES_PER_PIXEL: np.array(shape, float),
        Unit.RADIANS_PER_PIXEL: np.array(shape, float) / (2 * math.pi),
        Unit.CYCLES_PER_FIELD_OF_VIEW: np.ones(len(shape)),
    }[unit]
    level = logging.INFO if unit is Unit.CYCLES_PER_FIELD_OF_VIEW else logging.WARNING
    _log.log(
        level, "%s: points reach %.4g, so they are read as %s", name, _reach(points), unit.value
    )
    return points * scale


def find_unit(points: NDArray[np.floating], shape: tuple[int, ...], name: str) -> Unit:
    """Return the unit of points (*samples, ndim) of an image; see :func:`in_cycles_per_fov`."""
    reach, half = _reach(points), max(shape) / 2
    if reach <= 0.5 * _ROUNDING:
        return Unit.CYCLES_PER_PIXEL
    has_room = half > 2 * math.pi
    if has_room and math.pi / 2 <= reach <= math.pi * _ROUNDING:
        return Unit.RADIANS_PER_PIXEL
    if has_room and reach < math.pi / 2:
        raise DataError(
            f"{name}: points reach {reach:.4g}, which is neither 0.5 (cycles per pixel) nor pi "
            f"(radians per pixel) nor {half:g} (cycles per field of view of {max(shape)} pixels); "
            "give them in cycles per field of view"
        )
    _check_axes(points, shape, name)
    return Unit.CYCLES_PER_FIELD_OF_VIEW


def check_has_unit(points: NDArray[np.floating], name: str) -> None:
    """Raise DataError if points could be per pixel, which would not give the image size."""
    reach = _reach(points)
    if reach <= math.pi * _ROUNDING:
        raise DataError(
            f"{name}: points reach {reach:.4g}, so they seem to be in cycles or radians per pixel; "
            "give the size of the image with --matrix-size (matrix_size= in Python)"
        )


def _check_axes(points: NDArray[np.floating], shape: tuple[int, ...], name: str) -> None:
    """Refuse an axis in another unit than the rest, as in a stack of spirals in two units."""
    for axis, size in enumerate(shape):
        reach = _reach(points[..., axis])
        # A single spoke along one axis has only rounding errors on the other.
        if 1e-4 * _reach(points) < reach <= 0.5 * _ROUNDING and size >= 8:
            raise DataError(
                f"{name}: points reach {reach:.4g} on axis {axis}, of {size} pixels, and "
                f"{_reach(points):.4g} on another; give all axes in cycles per field of view"
            )


def _reach(points: NDArray[np.floating]) -> float:
    return float(np.abs(points).max(initial=0.0))
