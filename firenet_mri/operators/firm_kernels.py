"""The firm projection of groups and its derivative, compiled by numba, see ``kernels``.

A group has K bands; at a pixel its real and imaginary parts are a 2 x K matrix C. With the
eigenvalues l_i = t_i^2 of C C^T, P(C) = M C where M has the eigenvalues

    g(t_i),   g(t) = min(1, max(0, r (1 + rho) / t - rho)),

in the eigenvectors of C C^T. The derivative is in ``firenet/learned/firm.py``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

# Keeps quotients finite where a group is zero; g is 1 there in any case.
_TINY = 1e-18


def firm_project(
    c: Array, radii: Array, firmness: Array, sizes: NDArray[np.int64], out: Array
) -> None:
    """Set out to P(c) of one item; out may be c itself.

    Parameters
    ----------
    c, out
        (2, bands, pixels).
    radii, firmness
        r and rho of each group.
    sizes
        Number of bands of each group; the groups follow one another.
    """
    pixels = c.shape[2]
    aa, bb, dd = np.empty(pixels, c.dtype), np.empty(pixels, c.dtype), np.empty(pixels, c.dtype)
    first = 0
    for group in range(sizes.size):
        last = first + sizes[group]
        r, rho = radii[group], firmness[group]
        gram(c, first, last, aa, bb, dd)
        top = r * (1 + rho)
        if last - first == 1:
            for i in range(pixels):
                t = math.sqrt(max(aa[i] + dd[i], _TINY))
                aa[i] = min(1, max(0, top / t - rho))
            for i in range(pixels):
                out[0, first, i] = aa[i] * c[0, first, i]
                out[1, first, i] = aa[i] * c[1, first, i]
        else:
            for i in range(pixels):
                mean, half = (aa[i] + dd[i]) / 2, (aa[i] - dd[i]) / 2
                rad = math.sqrt(half * half + bb[i] * bb[i])
                t1 = math.sqrt(max(mean + rad, _TINY))
                t2 = math.sqrt(max(mean - rad, _TINY))
                g1 = min(1, max(0, top / t1 - rho))
                g2 = min(1, max(0, top / t2 - rho))
                turn = (g1 - g2) / (2 * max(rad, _TINY))
                aa[i] = (g1 + g2) / 2 + turn * half
                dd[i] = (g1 + g2) / 2 - turn * half
                bb[i] = turn * bb[i]
            for band in range(first, last):
                for i in range(pixels):
                    p, q = c[0, band, i], c[1, band, i]
                    out[0, band, i] = aa[i] * p + bb[i] * q
                    out[1, band, i] = bb[i] * p + dd[i] * q
        first = last


def gram(c: Array, first: int, last: int, aa: Array, bb: Array, dd: Array) -> None:
    """Set aa, bb, dd to the entries of C C^T of the bands from first to last - 1."""
    for i in range(aa.size):
        p, q = c[0, first, i], c[1, first, i]
        aa[i], bb[i], dd[i] = p * p, p * q, q * q
    for band in range(first + 1, last):
        for i in range(aa.size):
            p, q = c[0, band, i], c[1, band, i]
            aa[i] += p * p
            bb[i] += p * q
            dd[i] += q * q


def cross(
    c: Array, cotangent: Array, first: int, last: int, h1: Array, h2: Array, h12: Array
) -> None:
    """Set h1, h2, h12 to the entries of the symmetric part of K C^T, K the cotangent's bands."""
    for i in range(h1.size):
        h1[i], h2[i], h12[i] = 0, 0, 0
    for band in range(first, last):
        for i in range(h1.size):
            p, q = c[0, band, i], c[1, band, i]
            u, v = cotangent[0, band, i], cotangent[1, band, i]
            h1[i] += u * p
            h2[i] += v * q
            h12[i] += (u * q + v * p) / 2


def firm_slopes(
    c: Array,
    radii: Array,
    firmness: Array,
    sizes: NDArray[np.int64],
    cotangent: Array,
    out: Array,
    slopes: Array,
) -> None:
    """Set out to D cotangent, with D the derivative of P at c, which is symmetric.

    Parameters
    ----------
    c, cotangent, out
        (2, bands, pixels); out may be the cotangent.
    radii, firmness, sizes
        See :func:`firm_project`.
    slopes
        (2, groups), set to <cotangent, dP / dr> and <cotangent, dP / drho>.
    """
    pixels = c.shape[2]
    buffers = np.empty((9, pixels), c.dtype)
    aa, bb, dd = buffers[0], buffers[1], buffers[2]
    h1, h2, h12 = buffers[3], buffers[4], buffers[5]
    w1, w2, w12 = buffers[6], buffers[7], buffers[8]
    first = 0
    for group in range(sizes.size):
        last = first + sizes[group]
        r, rho = radii[group], firmness[group]
        gram(c, first, last, aa, bb, dd)
        cross(c, cotangent, first, last, h1, h2, h12)
        top = r * (1 + rho)
        by_radius, by_firmness = 0.0, 0.0
        for i in range(pixels):
            mean, half = (aa[i] + dd[i]) / 2, (aa[i] - dd[i]) / 2
            rad = math.sqrt(half * half + bb[i] * bb[i])
            t1 = math.sqrt(max(mean + rad, _TINY))
            t2 = math.sqrt(max(mean - rad, _TINY))
            raw1, raw2 = top / t1 - rho, top / t2 - rho
            in1 = 1.0 if 0 < raw1 < 1 else 0.0
            in2 = 1.0 if 0 < raw2 < 1 else 0.0
            g1, g2 = min(1, max(0, raw1)), min(1, max(0, raw2))
            f1, f2 = -in1 * top / (2 * t1 * t1 * t1), -in2 * top / (2 * t2 * t2 * t2)
            is_apart = rad > 1e-6 * mean
            width = rad if is_apart else 1.0
            f12 = (g1 - g2) / (2 * width) if is_apart else f1
            cos = half / width if is_apart else 1.0
            sin = bb[i] / width if is_apart else 0.0
            hm, hd = (h1[i] + h2[i]) / 2, (h1[i] - h2[i]) / 2
            along = hd * cos + h12[i] * sin
            e1, e2, e12 = hm + along, hm - along, h12[i] * cos - hd * sin
            by_radius += (1 + rho) * (in1 * e1 / t1 + in2 * e2 / t2)
            by_firmness += in1 * e1 * (r / t1 - 1) + in2 * e2 * (r / t2 - 1)
            k1, k2, k12 = f1 * e1, f2 * e2, f12 * e12
            km, kd = (k1 + k2) / 2, (k1 - k2) / 2
            w1[i] = 2 * (km + kd * cos - k12 * sin)
            w2[i] = 2 * (km - kd * cos + k12 * sin)
            w12[i] = 2 * (kd * sin + k12 * cos)
            turn, gm = (g1 - g2) / 2, (g1 + g2) / 2
            aa[i], dd[i], bb[i] = gm + turn * cos, gm - turn * cos, turn * sin
        slopes[0, group], slopes[1, group] = by_radius, by_firmness
        for band in range(first, last):
            for i in range(pixels):
                p, q = c[0, band, i], c[1, band, i]
                u, v = cotangent[0, band, i], cotangent[1, band, i]
                out[0, band, i] = aa[i] * u + bb[i] * v + w1[i] * p + w12[i] * q
                out[1, band, i] = bb[i] * u + dd[i] * v + w12[i] * p + w2[i] * q
        first = last
