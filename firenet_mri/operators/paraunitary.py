"""Filters of a Parseval frame from arbitrary numbers: a paraunitary cascade.

K_0 (band, *taps) are filters of a Parseval frame, and K_0(f) are their transforms at a frequency f,
a column of unit length. A stage

    K <- D_s^H Q D_s K

mixes the bands by an orthogonal matrix Q. Before that it moves every band by s times the band's own
pixels, and afterwards it moves the band back. D_s(f) is diagonal with entries of modulus 1, so that
K(f)^H K(f) = K_0(f)^H K_0(f) = 1 for every Q, every s and every frequency, hence on every image
size. With Q = identity nothing changes; otherwise filters grow on both sides (:func:`reach`) [1].
Q = exp(S) with skew-symmetric S is orthogonal for any S. Bands of averages are left out: a mixture
with a small part of them would be large wherever an image is bright. So the other bands keep zero
means, whatever Q is.

This holds in real arithmetic. For stored filters, whose floating-point numbers are taken as exact,
:func:`parseval_deviation` proves how far they deviate from it.

[1] P. P. Vaidyanathan, Multirate Systems and Filter Banks, 1993, chapter 14; M. Unser,
    S. Ducotterd, Parseval convolution operators and neural networks, arXiv 2408.09981.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from firenet_mri.errors import UsageError

# Filters are multiples of 2^-60, so that sums of their products are exact.
_BITS = 60


def rotation(skew: Tensor, size: int) -> Tensor:
    """Return exp(S), (size, size) float64 and orthogonal, for any skew-symmetric S.

    Parameters
    ----------
    skew
        (size (size - 1) / 2), the entries of S above the diagonal, row by row.
    size
        Number of rows.
    """
    rows, columns = torch.triu_indices(size, size, 1, device=skew.device)
    upper = torch.zeros(size, size, dtype=torch.float64, device=skew.device)
    upper = upper.index_put((rows, columns), skew.double())
    q = torch.linalg.matrix_exp(upper - upper.mT)
    # One step of Newton and Schulz leaves only rounding errors.
    return 1.5 * q - 0.5 * q @ (q.mT @ q)


def cascade(start: Tensor, skews: Tensor, distances: Sequence[int], kept: int = 0) -> Tensor:
    """Return the filters after all stages, (band, *taps) float64, differentiable by the skews.

    They have ``reach(distances)`` more taps on either side than the start filters. At a skew of 0
    they are the start filters, padded with zeros.

    Parameters
    ----------
    start
        K_0, (band, *taps).
    skews
        (stage, n (n - 1) / 2) for the n bands that are mixed, see :func:`rotation`.
    distances
        s of every stage, at least 0; 0 mixes the bands without moving them.
    kept
        Number of leading bands that are not mixed.

    Raises
    ------
    UsageError
        If a distance is negative, or the number of rows of skews is not that of the distances.
    """
    bands, ndim = start.shape[0] - kept, start.ndim - 1
    if skews.shape != (len(distances), bands * (bands - 1) // 2) or min(distances) < 0:
        raise UsageError(
            f"Distances {tuple(distances)} and angles of shape {tuple(skews.shape)} were given; "
            f"{bands} bands need {bands * (bands - 1) // 2} angles per distance of at least 0"
        )
    margin = reach(distances)
    averages = F.pad(start[:kept].double(), (margin, margin) * ndim)
    kernels = start[kept:].double()
    for skew, distance in zip(skews, distances, strict=True):
        kernels = F.pad(kernels, (distance, distance) * ndim)
        moved = _moved(kernels, distance)
        kernels = _moved(torch.tensordot(rotation(skew, bands), moved, dims=1), -distance)
    # Moves of one stage that the next reverses leave zeros.
    excess = sum(distances) - margin
    return torch.cat([averages, F.pad(kernels, (-excess, -excess) * ndim)])


def reach(distances: Sequence[int]) -> int:
    """Return the number of taps by which the filters of a cascade grow on either side.

    A path through the stages, in each of which a band moves by s or not, moves a tap by
    sum_k s_k (m_k - m_{k-1}) with m_k of 0 or 1, hence by (s_1 + sum_k |s_{k+1} - s_k| + s_K) / 2
    at most; for increasing distances this is the last one.
    """
    ends = [0, *distances, 0]
    return sum(abs(after - before) for before, after in itertools.pairwise(ends)) // 2


def rounded(kernels: Tensor) -> Tensor:
    """Return filters as multiples of 2^-60, so that sums of their products are exact."""
    return torch.round(kernels.double() * 2.0**_BITS) / 2.0**_BITS


def parseval_deviation(kernels: Tensor) -> Fraction:
    """Return a proven bound of || W^H W - identity || on images of any size with periodic ends.

    W^H W is the convolution with a_d = sum_b sum_t k_b[t] k_b[t + d]; on any grid its distance from
    the identity is at most |a_0 - 1| + sum_{d != 0} |a_d|. All of this is computed in integers.

    Parameters
    ----------
    kernels
        (band, *taps), what :func:`rounded` returns.

    Raises
    ------
    UsageError
        If a filter is NaN, larger than 1, or not rounded.
    """
    numbers = kernels.detach().double().cpu()
    scaled = numbers * 2.0**_BITS
    if not bool((numbers.abs() <= 1).all()) or not torch.equal(scaled, scaled.round()):
        raise UsageError("Filters of a Parseval frame are numbers of at most 1, unlike these")
    exact = scaled.to(torch.int64).numpy().astype(object)
    total = 0
    for lag in itertools.product(*(range(1 - size, size) for size in exact.shape[1:])):
        # Each lag contributes as much as its opposite.
        if lag < tuple([0] * len(lag)):
            continue
        product = int((_from(exact, lag) * _from(exact, [-d for d in lag])).sum())
        total += 2 * abs(product) if any(lag) else abs(product - (1 << 2 * _BITS))
    return Fraction(total, 1 << 2 * _BITS)


def norm_bound(deviation: Fraction) -> float:
    """Return a number that is at least sqrt(1 + deviation), a bound of ||W||."""
    value = math.sqrt(1 + float(deviation))
    while Fraction(value) ** 2 < 1 + deviation:
        value = math.nextafter(value, math.inf)
    return value


def _moved(kernels: Tensor, distance: int) -> Tensor:
    """Return every band moved by its own share of a distance, along the first axes: D."""
    axes = tuple(range(kernels.ndim - 1))
    shifts = [tuple(distance * (band >> axis & 1) for axis in axes) for band in range(len(kernels))]
    return torch.stack([torch.roll(k, s, axes) for k, s in zip(kernels, shifts, strict=True)])


def _from(values: np.ndarray, lag: Sequence[int]) -> np.ndarray:
    """Return (band, *taps) without the first d taps of each axis; for -d without the last d."""
    slices = [slice(d, None) if d >= 0 else slice(None, d) for d in lag]
    return values[(slice(None), *slices)]
