"""Proven upper bounds of the norms of SigPy's operators, derived from their structure.

``sigpy.app.MaxEig`` is a power iteration and approaches a norm from below, but step sizes and
certificates need a bound from above. With |A| the matrix of moduli, the rules are:

1. ||A B|| <= ||A|| ||B||, ||A + B|| <= ||A|| + ||B||. For rows of blocks (U_i M_i), ||.||^2 is at
   most the sum of the ||U_i M_i||^2, and at most max ||U_i||^2 times ||(M_i)||^2.
2. ||A|| <= || |A| ||, and for nonnegative A and any p > 0, ||A||^2 <= max_i (A^T A p)_i / p_i
   (Collatz and Wielandt); p is improved by a few power steps, each of which gives a bound. This
   covers multiplications, sums, copies, rearrangements, blocks and interpolation, and products of
   these; it is exact if A^T A is diagonal.
3. FFTs are unitary. A convolution is a part of a circular one of size m + n - 1, so that its norm
   is at most the largest norm over the frequencies of the filter's Fourier transform.

Rounding errors of the bounds themselves are not bounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from types import EllipsisType
from typing import Any

import numpy as np
import sigpy
from sigpy import linop as linops

from firenet_mri.errors import UsageError
from firenet_mri.linops.torch_linop import TorchLinop

Linop = Any
_POWER_STEPS = 20

# Affordable size for the norm of a NUFFT: multiplications, and entries or samples at once.
_LARGEST_PRODUCT = 2 * 10**10
_LARGEST_BLOCK = 2**23
_POSITIONS = 4096


def norm_bound(linop: Linop) -> float:
    """Return a proven upper bound of the spectral norm of a Linop.

    Raises
    ------
    UsageError
        If a part of it is neither an operator of SigPy or ours nor has a known bound.
    """
    bounds = [_nonnegative_bound(modulus)] if (modulus := _modulus(linop)) is not None else []
    rule = _RULES.get(type(linop))
    if rule is not None:
        bounds.append(rule(linop))
    if not bounds:
        raise UsageError(
            f"No norm bound is known for {linop!r}; give a proven one, "
            "from_sigpy(linop, norm_bound=...)"
        )
    return min(bounds)


def _nonnegative_bound(linop: Linop) -> float:
    """Return a bound for a Linop with a nonnegative matrix: Collatz and Wielandt's, improved."""
    # The smaller side costs less, and sums of squares over coils are diagonal on it.
    if math.prod(linop.ishape) > math.prod(linop.oshape):
        linop = linop.H
    p = np.ones(linop.ishape)
    bound = math.inf
    for _ in range(_POWER_STEPS):
        following = linop.H(linop(p))
        latest = float((following / p).max(initial=0.0))
        if not latest < 0.999 * bound:
            break
        bound = latest
        if bound == 0:
            break
        # A step with A^T A + bound keeps entries positive and converges.
        p = p + following / bound
        p /= p.max()
    return math.sqrt(min(latest, bound))


def _modulus(linop: Linop) -> Linop | None:
    """Return a Linop whose nonnegative matrix dominates |A|; None if there is no simple one."""
    kind = type(linop)
    if kind in _NONNEGATIVE or (kind in (linops.Slice, linops.Embed) and _is_basic(linop.idx)):
        return linop
    if kind is linops.Multiply:
        size = np.abs(sigpy.to_device(np.asarray(linop.mult))).astype(float)
        return linops.Multiply(linop.ishape, float(size) if size.ndim == 0 else size)
    if kind is linops.Conj:
        return _modulus(linop.A)
    if kind not in _CONTAINERS:
        return None
    parts = [_modulus(part) for part in linop.linops]
    if any(part is None for part in parts):
        return None
    return _CONTAINERS[kind](linop, parts)


def _is_basic(index: object) -> bool:
    """Return whether an index selects every entry at most once, as slices and integers do."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(isinstance(part, slice | int | EllipsisType | None) for part in parts)


def _compose(linop: Linop) -> float:
    """Return the product of the bounds; adjacent factors with a modulus are bounded together."""
    return _product(linop.linops)


def _product(pieces: Sequence[Linop]) -> float:
    bound = 1.0
    for has_modulus, group in groupby(pieces, key=lambda piece: _modulus(piece) is not None):
        run = list(group)
        each = math.prod(norm_bound(piece) for piece in run)
        if has_modulus and len(run) > 1:
            each = min(each, _nonnegative_bound(linops.Compose([*map(_modulus, run)])))
        bound *= each
    return bound


def _rows(parts: Sequence[Linop]) -> float:
    """Return a bound for stacked parts (A_i) that act on the same input."""
    each = math.hypot(*(norm_bound(part) for part in parts))
    split = [_split(part) for part in parts]
    tails = [
        linops.Compose([_modulus(piece) for piece in tail])
        if tail
        else linops.Identity(part.ishape)
        for part, (_, tail) in zip(parts, split, strict=True)
    ]
    heads = max(_product(head) for head, _ in split)
    return min(each, heads * _nonnegative_bound(linops.Vstack(tails)))


def _split(linop: Linop) -> tuple[list[Linop], list[Linop]]:
    """Return the factors U and M of a product U M, where M is the longest with a modulus."""
    pieces = list(linop.linops) if type(linop) is linops.Compose else [linop]
    count = len(pieces)
    while count and _modulus(pieces[count - 1]) is not None:
        count -= 1
    return pieces[:count], pieces[count:]


def _matrix(linop: Linop) -> float:
    """Return the norm of x -> M x: the largest of the matrices that act on separate columns.

    If one x is copied to several matrices, they are stacked on top of each other.
    """
    matrix = sigpy.to_device(linop.mat)
    if linop.adjoint:
        matrix = matrix.conj().swapaxes(-1, -2)
    if type(linop) is linops.RightMatMul:
        matrix = matrix.swapaxes(-1, -2)
    ndim = max(matrix.ndim, len(linop.ishape))
    matrix = matrix.reshape([1] * (ndim - matrix.ndim) + list(matrix.shape))
    shape = [1] * (ndim - len(linop.ishape)) + list(linop.ishape)
    copied = [axis for axis in range(ndim - 2) if shape[axis] == 1]
    others = [axis for axis in range(ndim - 2) if shape[axis] != 1]
    stacked = matrix.transpose([*others, *copied, ndim - 2, ndim - 1])
    stacked = stacked.reshape(*[matrix.shape[axis] for axis in others], -1, matrix.shape[-1])
    return float(np.linalg.norm(stacked, 2, axis=(-2, -1)).max())


def _convolution(linop: Linop) -> float:
    """Return the largest norm over frequencies of the matrix of a convolution."""
    filters = type(linop) is linops.ConvolveFilter
    fixed = sigpy.to_device(linop.data if filters else linop.filt)
    ndim = len(linop.ishape if filters else fixed.shape) - 2 * linop.multi_channel
    sizes = [a + b - 1 for a, b in zip(linop.ishape[-ndim:], fixed.shape[-ndim:], strict=True)]
    response = np.fft.fftn(fixed, s=sizes, axes=range(-ndim, 0))
    # Data (batch, channel, *m) give a matrix batch x channel; one filter gives a matrix 1 x 1.
    channels = response.shape[-ndim - 1] if linop.multi_channel else 1
    matrices = np.moveaxis(response.reshape(-1, channels, math.prod(sizes)), -1, 0)
    return float(np.linalg.norm(matrices, 2, axis=(-2, -1)).max())


def _wavelet(linop: Linop) -> float:
    """Return a bound for an orthogonal wavelet with zero padding.

    One level is a restriction of the filter bank on all integers. The entries of its Gram matrix
    are the correlations of the filters at even lags, so its norm is at most the largest row sum of
    moduli (Gershgorin): 1 + 1e-10 for tabulated orthogonal filters.
    """
    # The PyWavelets module that SigPy itself uses.
    pywt = sigpy.wavelet.pywt
    wavelet = pywt.Wavelet(linop.wave_name)
    if not wavelet.orthogonal:
        raise UsageError(
            f"SigPy's adjoint of the biorthogonal wavelet {linop.wave_name} is wrong; use an "
            "orthogonal one such as db4"
        )
    low, high = np.asarray(wavelet.dec_lo), np.asarray(wavelet.dec_hi)
    cross = _even_lags(low, high)
    gram = max(_even_lags(low, low), _even_lags(high, high)) + cross
    shape = linop.ishape if type(linop) is linops.Wavelet else linop.oshape
    axes = range(len(shape)) if linop.axes is None else linop.axes
    even = [2 * math.ceil(shape[axis] / 2) for axis in axes]
    levels = linop.level
    if levels is None:
        levels = min(pywt.dwt_max_level(size, wavelet.dec_len) for size in even)
    return max(1.0, math.sqrt(gram)) ** (levels * len(even))


def _even_lags(first: np.ndarray, second: np.ndarray) -> float:
    correlation = np.abs(np.correlate(first, second, "full"))
    return float(correlation[(len(second) - 1) % 2 :: 2].sum())


def nufft_norm_bound(linop: Linop, weights: np.ndarray | None = None) -> float:
    """Return a proven upper bound of the norm of sqrt(weights) A for a ``sigpy.linop.NUFFT`` A.

    The bound uses the exact transform E: A_jn = c_jn E_jn, with c a product of one factor per axis,
    and ||c E|| <= (1 + max_j ||c_j - 1||) ||E|| for entrywise products, since c_jn - 1 is the inner
    product of its row j with the unit vector n. If that takes too long, the bound uses the steps of
    the NUFFT; their scaling varies much over the image, which makes this bound loose.

    Parameters
    ----------
    linop
        The NUFFT.
    weights
        At least 0, one per sample; None means 1.
    """
    ndim = linop.coord.shape[-1]
    sizes = linop.ishape[-ndim:]
    coord = sigpy.to_device(linop.coord).reshape(-1, ndim).astype(float)
    weights = np.ones(len(coord)) if weights is None else np.asarray(weights, float).reshape(-1)
    if 2**ndim * math.prod(sizes) * len(coord) > _LARGEST_PRODUCT:
        return _gridded(sizes, coord, linop) * math.sqrt(weights.max())
    worst = [0.0] * ndim
    for axis, size in enumerate(sizes):
        for positions in np.array_split(coord[:, axis], math.ceil(len(coord) / _POSITIONS)):
            approximate = sigpy.nufft(
                np.eye(size, dtype=complex), positions[:, None], linop.oversamp, linop.width
            )
            phases = np.outer(np.arange(size) - size // 2, positions / size)
            ratio = approximate * math.sqrt(size) * np.exp(2j * np.pi * phases)
            worst[axis] = max(worst[axis], float(np.linalg.norm(ratio - 1, axis=0).max()))
    return _transform_bound(sizes, coord, weights) * math.prod(1 + value for value in worst)


def _transform_bound(sizes: Sequence[int], coord: np.ndarray, weights: np.ndarray) -> float:
    """Return a bound for E_jn = sqrt(weights_j / prod N) exp(-2 pi i <k_j, n / N>).

    E^H E depends only on the difference of two pixels. It is therefore a part of a circulant matrix
    of twice the size, whose norm is the largest modulus of its Fourier coefficients.
    """
    waves = [
        np.exp(2j * np.pi / size * np.outer(coord[:, axis], np.arange(1 - size, size)))
        for axis, size in enumerate(sizes)
    ]
    # A sum over samples of products over axes; all axes but the last are flattened, in blocks.
    lags: np.ndarray[Any, np.dtype[Any]] = np.zeros(())
    count = math.ceil(len(coord) * math.prod(2 * size for size in sizes[:-1]) / _LARGEST_BLOCK)
    for block in np.array_split(np.arange(len(coord)), count):
        product = weights[block, None]
        for wave in waves[:-1]:
            product = (product[:, :, None] * wave[block, None]).reshape(len(block), -1)
        lags = lags + product.T @ waves[-1][block]
    lags = np.reshape(lags, [2 * size - 1 for size in sizes])
    circulant = np.pad(lags, [(0, 1)] * len(sizes)) / math.prod(sizes)
    return math.sqrt(float(np.abs(np.fft.fftn(circulant)).max()))


def _gridded(sizes: Sequence[int], coord: np.ndarray, linop: Linop) -> float:
    """Return a bound for I F P D: scaling, zero-padding, Fourier transform, interpolation."""
    width, oversamp = linop.width, linop.oversamp
    grid = [math.ceil(oversamp * size) for size in sizes]
    beta = np.pi * (((width / oversamp) * (oversamp - 0.5)) ** 2 - 0.8) ** 0.5
    scale = np.array([large / size for large, size in zip(grid, sizes, strict=True)])
    centred = coord * scale + np.array([large // 2 for large in grid])
    interpolation = linops.Interpolate(grid, centred, "kaiser_bessel", width, beta)
    scaling = 1.0
    for large, size in zip(grid, sizes, strict=True):
        offset = np.pi * width * (np.arange(size) - size // 2) / large
        root = np.emath.sqrt(beta**2 - offset**2)
        scaling *= float(np.abs(root / np.sinh(root)).max())
    fourier = math.sqrt(math.prod(grid) / math.prod(sizes))
    return norm_bound(interpolation) * scaling * fourier / width ** len(sizes)


def _of_adjoint(linop: Linop) -> float:
    return norm_bound(linop.H)


# Operators whose matrices have no negative entries.
_NONNEGATIVE = {
    linops.Identity,
    linops.Reshape,
    linops.Transpose,
    linops.Flip,
    linops.Circshift,
    linops.Resize,
    linops.Downsample,
    linops.Upsample,
    linops.Sum,
    linops.Tile,
    linops.ArrayToBlocks,
    linops.BlocksToArray,
    linops.Interpolate,
    linops.Gridding,
}

_CONTAINERS: dict[Any, Callable[[Linop, list[Linop]], Linop]] = {
    linops.Compose: lambda _, parts: linops.Compose(parts),
    linops.Add: lambda _, parts: linops.Add(parts),
    linops.Vstack: lambda linop, parts: linops.Vstack(parts, axis=linop.axis),
    linops.Hstack: lambda linop, parts: linops.Hstack(parts, axis=linop.axis),
    linops.Diag: lambda linop, parts: linops.Diag(parts, oaxis=linop.oaxis, iaxis=linop.iaxis),
}

_RULES: dict[Any, Callable[[Linop], float]] = {
    TorchLinop: lambda linop: linop.operator.norm_bound,
    linops.FFT: lambda _: 1.0,
    linops.IFFT: lambda _: 1.0,
    # The array does not change.
    linops.ToDevice: lambda _: 1.0,
    # ||conj(A conj(x))|| = ||A conj(x)||.
    linops.Conj: lambda linop: norm_bound(linop.A),
    linops.Compose: _compose,
    linops.Add: lambda linop: sum(norm_bound(part) for part in linop.linops),
    linops.Vstack: lambda linop: _rows(linop.linops),
    # ||A|| = ||A^H||.
    linops.Hstack: lambda linop: _rows([part.H for part in linop.linops]),
    # Parts act on separate inputs and give separate outputs.
    linops.Diag: lambda linop: max(norm_bound(part) for part in linop.linops),
    linops.MatMul: _matrix,
    linops.RightMatMul: _matrix,
    linops.ConvolveData: _convolution,
    linops.ConvolveFilter: _convolution,
    linops.ConvolveDataAdjoint: _of_adjoint,
    linops.ConvolveFilterAdjoint: _of_adjoint,
    linops.Wavelet: _wavelet,
    linops.InverseWavelet: _wavelet,
    linops.NUFFT: nufft_norm_bound,
    linops.NUFFTAdjoint: _of_adjoint,
}
