"""Gridding along the readout: image pixels from samples at uneven points of k-space.

The image z of samples s at the points k, in cycles per encoded field of view of N pixels
x = -N//2, ..., is found from s = A z, A = exp(-2 pi i k x / N) / sqrt(N), as

    z = W A^H (A W A^H + mu)^-1 s,

the most likely image for pixels of variance W, which is 1 inside the field of view that is kept and
less outside it. If A A^H = 1, as for even spacing, z = A^H s: then the adjoint is the inverse.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Standard deviation of a pixel outside the field of view, relative to one inside.
_OUTSIDE = 0.3
# mu as a share of the mean eigenvalue of A W A^H.
_MU = 1e-3
# If A A^H differs from 1 by less than this, it counts as 1.
_UNITARY = 1e-4


def readout_matrix(places: NDArray[np.float64], size: int, columns: int) -> NDArray[np.complex128]:
    """Return the matrix from samples to the image along the readout, (columns, samples).

    Parameters
    ----------
    places
        Points of the samples, (samples,), in cycles per field of view of ``size`` pixels.
    size
        Number of pixels of the encoded field of view.
    columns
        Number of pixels that are kept in its middle.
    """
    x = np.arange(size) - size // 2
    start = size // 2 - columns // 2
    kept = slice(start, start + columns)
    transform = np.exp(-2j * np.pi * np.outer(places, x) / size) / np.sqrt(size)
    gram = transform @ transform.conj().T
    if np.abs(gram - np.eye(len(places))).max() < _UNITARY:
        return np.ascontiguousarray(transform.conj().T[kept])
    weights = np.full(size, _OUTSIDE**2)
    weights[kept] = 1.0
    gram = (transform * weights) @ transform.conj().T
    gram += _MU * np.trace(gram).real / len(places) * np.eye(len(places))
    found = np.linalg.solve(gram, transform * weights).conj().T
    return np.ascontiguousarray(found[kept])


def trapezoid_places(
    up: float, flat: float, down: float, delay: float, duration: float, samples: int, size: int
) -> NDArray[np.float64]:
    """Return the k-space points of samples taken at even times during a trapezoidal gradient.

    Parameters
    ----------
    up, flat, down
        Times of the ramps and of the flat top.
    delay, duration
        Time from the start of the ramp to the first sample, and duration of all samples.
    samples
        Number of samples.
    size
        Range that the samples cover, in cycles per field of view.
    """

    def area(t: NDArray[np.float64]) -> NDArray[np.float64]:
        rising, rest = np.clip(t, 0, up), np.clip(t - up - flat, 0, down)
        on_ramp = rising**2 / (2 * up) if up > 0 else 0.0 * t
        falling = rest - rest**2 / (2 * down) if down > 0 else 0.0 * t
        return on_ramp + np.clip(t - up, 0, flat) + falling

    ends = area(np.array([delay, delay + duration]))
    found = area(delay + (np.arange(samples) + 0.5) * duration / samples)
    return (found - ends.mean()) / (ends[1] - ends[0]) * size
