"""The updates of a layer's images, compiled by numba, see ``kernels``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


def descend(x: Array, first: Array, a: float, second: Array, b: float, out: Array) -> None:
    """Set out to x + a first + b second.

    Parameters
    ----------
    x, first, out
        (n).
    second
        (n), or (0) to omit it.
    """
    if second.size == 0:
        for i in range(x.size):
            out[i] = x[i] + a * first[i]
    else:
        for i in range(x.size):
            out[i] = x[i] + a * first[i] + b * second[i]


def extrapolate(
    x: Array, following: Array, mean: Array, share: float, ahead: Array, out: Array
) -> None:
    """Set ahead to 2 following - x, and out to mean + share (ahead - mean).

    Parameters
    ----------
    x, following, mean, out
        (n).
    ahead
        (n), or (0) to omit it.
    """
    if ahead.size == 0:
        for i in range(x.size):
            out[i] = mean[i] + share * (following[i] + following[i] - x[i] - mean[i])
    else:
        for i in range(x.size):
            point = following[i] + following[i] - x[i]
            ahead[i] = point
            out[i] = mean[i] + share * (point - mean[i])
