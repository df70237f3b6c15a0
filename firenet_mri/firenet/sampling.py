"""Multilevel random sampling: how many samples each frequency band needs, and patterns with them.

The r sparsity levels l have bands of frequencies as counterparts: along an axis band 1 holds the
lowest ones, band k+1 reaches twice as far as band k, and the product k = (k_1, .., k_d) of bands
along d axes gets m_k samples, drawn at random. The recovery theorem asks for

    m_k >= C kappa M(s, k) L

with a constant C and a factor L of logarithms that are not evaluated here, kappa as in
:mod:`firenet_mri.firenet.levels`, |k| = max_i k_i, and for the Fourier and the Walsh transform with
Haar wavelets

    M_F(s, k) = sum_{l <= |k|} s_l prod_i 2^{-|k_i - l|}
                + sum_{l > |k|} s_l 2^{-2 (l - |k|)} prod_i 2^{-|k_i - l|},
    M_W(s, k) = s_{|k|} prod_i 2^{-(|k| - k_i)}.

Patterns are drawn as in the published code, with samples proportional to a density. For
Fourier and a wavelet with v vanishing moments, whose scaling function's spectrum falls as
|w|^{-q-1},

    D(s, k) = sum_l s_l 2^{-2 v (l - |k|)_+} prod_i (2^{-(2q+1)(k_i - l)} if k_i >= l
                                                     else 2^{-(l - k_i)}),

which is M_F for Haar (v = 1, q = 0); for Walsh and Daubechies wavelets with v >= 2
D = sum_l s_l prod_i 2^{-|k_i - l|}. It is doubled for every k_i = 1, since band 1 has twice the
frequencies that its number says.

Differs from [1] in: the published code uses the last formula for Walsh and Haar too, here Haar has
M_W; what rounding leaves is distributed by a divisor method (Webster), so that a higher rate never
takes samples from a band; the zero frequency, without which no image has a brightness, is always
sampled.

[1] Colbrook, Antun, Hansen, PNAS 119(12) e2107151119, 2022, and its published code; q from
Daubechies, Ten Lectures on Wavelets, 1992, p. 226.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.firenet.levels import (
    PAPER_SPARSITIES,
    LevelStructure,
    check_sparsities,
    image_sparsities,
    level_sizes,
)
from firenet_mri.operators.base import Shape
from firenet_mri.operators.wavelets import OrthogonalWavelet
from firenet_mri.plurals import counted

Transform = Literal["fourier", "walsh"]
#: points: single points of a 2D k-space; lines: whole phase-encode lines, (y, x) with x read out;
#: plane: points of the phase-encode plane of a 3D scan, (z, y, x) with x read out.
Kind = Literal["points", "lines", "plane"]

# q for 1 to 10 vanishing moments.
_SPECTRAL_DECAY = (0.0, 0.339, 0.636, 0.913, 1.177, 1.432, 1.682, 1.927, 2.168, 2.406)

# Largest count in a column of the 256 x 256 phantom of the paper, 7 Haar levels, threshold 0.5.
_COLUMN_SPARSITIES = (4, 3, 4, 4, 4, 4, 4)


@dataclass(frozen=True, eq=False)
class SamplingDesign:
    """A sampling pattern and how it was made.

    Parameters
    ----------
    mask
        bool, (*spatial_shape); True where sampled.
    levels
        Sparsity levels of the axes that are under-sampled, with the theory's weights.
    band_sizes, band_samples
        Frequencies and samples of every band, (r, ..) int64, one axis an under-sampled one.
    measure
        M_F or M_W of every band, (r, ..); None where only Haar's is known.
    """

    mask: Tensor
    levels: LevelStructure
    band_sizes: NDArray[np.int64]
    band_samples: NDArray[np.int64]
    measure: NDArray[np.float64] | None

    @property
    def rate(self) -> float:
        """Part of k-space that is sampled."""
        return float(self.mask.double().mean())

    @property
    def level_samples(self) -> tuple[int, ...]:
        """Samples in the bands with max_i k_i = 1..r."""
        return _sum_by_largest(self.band_samples)

    @property
    def level_frequencies(self) -> tuple[int, ...]:
        """Frequencies in the bands with max_i k_i = 1..r."""
        return _sum_by_largest(self.band_sizes)

    @property
    def margin(self) -> float | None:
        """Least m_k / (kappa M(s, k)) of all bands that are not full.

        The theorem holds where it reaches C L, a constant times logarithms. None where M is not
        known, infinity where all is sampled.
        """
        if self.measure is None:
            return None
        ratio = self.band_samples / (self.levels.kappa * self.measure)
        return float(np.where(self.band_samples < self.band_sizes, ratio, np.inf).min())


def sampling_pattern(
    spatial_shape: Shape,
    rate: float,
    *,
    sparsities: Sequence[int] | None = None,
    wavelet: str = "haar",
    transform: Transform = "fourier",
    kind: Kind = "points",
    calibration: int = 0,
    seed: int = 0,
) -> Tensor:
    """Return a sampling pattern, bool (*spatial_shape), with round(rate N) of N samples.

    The same seed gives the same pattern, and a higher rate one that holds the lower's.

    Parameters
    ----------
    spatial_shape
        Sizes of the axes, (y, x) or (z, y, x); any for Fourier, powers of two for Walsh.
    rate
        Part of the points (or lines) that is sampled, in (0, 1].
    sparsities
        s_1..s_r of the under-sampled axes; None is :func:`default_sparsities`.
    wavelet
        "haar", "db1" to "db10" or "sym2" to "sym10".
    transform
        "fourier", centred as :class:`~firenet_mri.operators.CartesianFourier` has it, or "walsh",
        in sequency order as :class:`~firenet_mri.operators.WalshHadamard`.
    kind
        "points", "lines" or "plane".
    calibration
        Width of a fully sampled centre, for coil maps; its samples count. Fourier only.
    seed
        Of the draw.

    Raises
    ------
    UsageError
        If an argument lies outside its range or does not fit the size.

    Examples
    --------
    >>> mask = sampling_pattern((64, 48), 0.25)
    >>> int(mask.sum()), 64 * 48 // 4
    (768, 768)
    """
    return sampling_design(
        spatial_shape,
        rate,
        sparsities=sparsities,
        wavelet=wavelet,
        transform=transform,
        kind=kind,
        calibration=calibration,
        seed=seed,
    ).mask


def sampling_design(
    spatial_shape: Shape,
    rate: float,
    *,
    sparsities: Sequence[int] | None = None,
    wavelet: str = "haar",
    transform: Transform = "fourier",
    kind: Kind = "points",
    calibration: int = 0,
    seed: int = 0,
) -> SamplingDesign:
    """Return the pattern of :func:`sampling_pattern` with its bands and levels."""
    shape = under_sampled_shape(spatial_shape, kind)
    _check_choice("transform", transform, get_args(Transform))
    _check_transform(shape, transform, calibration)
    if not 0 < rate <= 1:
        raise UsageError(f"rate is {rate}; it must be more than 0 and at most 1")
    if seed < 0:
        raise UsageError(f"seed is {seed}; it must be at least 0")
    if sparsities is None:
        sparsities = default_sparsities(shape)
    levels = _levels(shape, sparsities)
    wanted = density(sparsities, len(shape), wavelet=wavelet, transform=transform)
    band = _band_index(shape, len(sparsities), transform)
    fixed = _fixed_samples(shape, transform, calibration)
    total = round(rate * math.prod(shape))
    if total < 1:
        raise UsageError(
            f"rate is {rate}, less than one of {math.prod(shape)} samples; give at least "
            f"{1 / math.prod(shape):.3g}"
        )
    if fixed.sum() > total:
        raise UsageError(
            f"A calibration region of width {calibration} has {int(fixed.sum())} samples, the "
            f"rate {rate} allows {total}; raise the rate or take a narrower region"
        )
    sizes = np.bincount(band.ravel(), minlength=wanted.size)
    kept = np.bincount(band[fixed], minlength=wanted.size)
    samples = allocate(wanted.ravel(), sizes, total, at_least=kept)
    pattern = _draw(band, samples, fixed, seed)
    return SamplingDesign(
        mask=_over_all_axes(pattern, spatial_shape),
        levels=levels,
        band_sizes=sizes.reshape(wanted.shape),
        band_samples=samples.reshape(wanted.shape),
        measure=_measure(sparsities, len(shape), wavelet, transform),
    )


def under_sampled_shape(spatial_shape: Shape, kind: Kind) -> Shape:
    """Return the sizes of the axes that a kind of pattern under-samples.

    Raises
    ------
    UsageError
        If the kind is unknown or does not go with the number of axes.
    """
    _check_choice("kind", kind, get_args(Kind))
    needed = 3 if kind == "plane" else 2
    if len(spatial_shape) != needed or min(spatial_shape) < 2:
        raise UsageError(
            f"Size {tuple(spatial_shape)} given; the kind {kind!r} needs {needed} axes of at least "
            "2, " + ("(z, y, x)" if needed == 3 else "(y, x)")
        )
    return tuple(spatial_shape[: {"points": 2, "lines": 1, "plane": 2}[kind]])


def default_sparsities(shape: Shape) -> tuple[int, ...]:
    """Return local sparsities for axes of one or two sizes: those of a Shepp-Logan phantom.

    Two axes have the paper's, 15 to 440; one axis has those of a column. There is one level less
    than halvings of the smallest size. Levels finer than the phantom's continue as edges do: each
    has twice as many coefficients in two dimensions, and equally many in one.
    """
    levels = max(1, int(math.log2(min(shape))) - 1)
    table = list(_COLUMN_SPARSITIES if len(shape) == 1 else PAPER_SPARSITIES)
    while len(table) < levels:
        table.append(table[-1] * 2 ** (len(shape) - 1))
    sizes = level_sizes(OrthogonalWavelet("haar", levels, shape))
    return tuple(min(s, size) for s, size in zip(table[:levels], sizes, strict=True))


def measured_sparsities(
    image: Tensor, *, wavelet: str = "haar", kind: Kind = "points", threshold: float = 0.5
) -> tuple[int, ...]:
    """Return the local sparsities of an image, (*spatial), for a kind of pattern.

    For lines and planes the image is divided into columns or planes, one per position along the
    readout; the largest count of each level is taken.

    Parameters
    ----------
    image
        (y, x) or (z, y, x), real or complex.
    wavelet
        Orthogonal wavelet.
    kind
        "points", "lines" or "plane".
    threshold
        Magnitude relative to the largest pixel.

    Raises
    ------
    UsageError
        If kind and axes do not fit, or the image is zero.
    """
    shape = under_sampled_shape(tuple(image.shape), kind)
    sparsifier = OrthogonalWavelet(wavelet, max(1, int(math.log2(min(shape))) - 1), shape)
    items = image if image.ndim == len(shape) else image.movedim(-1, 0)
    return image_sparsities(items, sparsifier, threshold=threshold)


def fourier_haar(sparsities: Sequence[int], ndim: int) -> NDArray[np.float64]:
    """Return M_F(s, k) for k in {1..r}^ndim, (r, ..)."""
    return _spectral_density(sparsities, ndim, moments=1)


def walsh_haar(sparsities: Sequence[int], ndim: int) -> NDArray[np.float64]:
    """Return M_W(s, k) for k in {1..r}^ndim, (r, ..)."""
    k = np.indices((len(sparsities),) * ndim)
    largest = k.max(0)
    result: NDArray[np.float64] = np.asarray(sparsities)[largest] * 2.0 ** -(largest - k).sum(0)
    return result


def density(
    sparsities: Sequence[int], ndim: int, *, wavelet: str, transform: Transform
) -> NDArray[np.float64]:
    """Return to what the samples of bands k in {1..r}^ndim are proportional, (r, ..).

    Raises
    ------
    UsageError
        If the wavelet has no known density.
    """
    moments = _vanishing_moments(wavelet)
    if transform == "fourier":
        result = _spectral_density(sparsities, ndim, moments=moments)
    elif moments == 1:
        result = walsh_haar(sparsities, ndim)
    else:
        k = np.indices((len(sparsities),) * ndim)
        result = sum(s * 2.0 ** -np.abs(k - level).sum(0) for level, s in enumerate(sparsities))
    for axis in range(ndim):
        np.moveaxis(result, axis, 0)[0] *= 2
    return result


def band_of_frequency(size: int, levels: int, transform: Transform) -> NDArray[np.int64]:
    """Return the band, 0 for the lowest up to ``levels`` - 1, of every index along an axis.

    Fourier bands are centred at size // 2; for even sizes -f - 1 lies in the band of f >= 0. Walsh
    bands go up with sequency.
    """
    if transform == "fourier":
        # Even sizes have one more negative frequency than positive ones: bands lie around -1/2.
        distance = np.abs(np.arange(size) - size // 2 + (0.5 if size % 2 == 0 else 0.0))
    else:
        distance = np.arange(size) / 2
    edges = size / 2 * 2.0 ** np.arange(1 - levels, 0)
    band: NDArray[np.int64] = np.searchsorted(edges, distance, side="right")
    return band


def allocate(
    wanted: NDArray[np.float64],
    sizes: NDArray[np.int64],
    total: int,
    *,
    at_least: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Return samples of each band in proportion to a density, no more than its size, in all total.

    It is round(c density), cut to the range from ``at_least`` to ``sizes``, for the right c, found
    by bisection; what rounding leaves goes to the bands that would round up next. So a larger total
    never gives a band less.

    Parameters
    ----------
    wanted, sizes
        Positive density and number of points of each band.
    total
        From the sum of ``at_least`` to the sum of ``sizes``.
    at_least
        Samples that a band has in any case; None is none.
    """
    lowest = np.zeros_like(sizes) if at_least is None else at_least

    def counts(c: float) -> NDArray[np.int64]:
        return np.clip(np.floor(c * wanted + 0.5), lowest, sizes).astype(np.int64)

    low, high = 0.0, float((sizes + 1).max() / wanted.min())
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if counts(middle).sum() <= total else (low, middle)
    samples = counts(low)
    while samples.sum() < total:
        next_up = np.where(samples < sizes, (samples + 0.5) / wanted, np.inf)
        samples[int(next_up.argmin())] += 1
    return samples


def _spectral_density(sparsities: Sequence[int], ndim: int, *, moments: int) -> NDArray[np.float64]:
    """Return D(s, k) of the Fourier transform without the doubling, (r, ..)."""
    decay = 2 * _SPECTRAL_DECAY[moments - 1] + 1
    k = np.indices((len(sparsities),) * ndim)
    result = np.zeros(k.shape[1:])
    for level, sparsity in enumerate(sparsities):
        exponent = np.where(k >= level, decay * (k - level), level - k).sum(0)
        exponent = exponent + 2 * moments * np.maximum(level - k.max(0), 0)
        result += sparsity * 2.0**-exponent
    return result


def _measure(
    sparsities: Sequence[int], ndim: int, wavelet: str, transform: Transform
) -> NDArray[np.float64] | None:
    if _vanishing_moments(wavelet) > 1:
        return None
    return (fourier_haar if transform == "fourier" else walsh_haar)(sparsities, ndim)


def _vanishing_moments(wavelet: str) -> int:
    if wavelet == "haar":
        return 1
    match = re.fullmatch(r"(db|sym)([1-9]\d*)", wavelet)
    if match is None or int(match[2]) > len(_SPECTRAL_DECAY):
        raise UsageError(
            f"Wavelet {wavelet!r} has no known sampling density; use haar, db1 to db10 or sym2 to "
            "sym10"
        )
    return int(match[2])


def _levels(shape: Shape, sparsities: Sequence[int]) -> LevelStructure:
    most = int(math.log2(min(shape)))
    if not 1 <= len(sparsities) <= most:
        raise UsageError(
            f"{counted(len(sparsities), 'sparsity', 'sparsities')} given; axes of size {shape} "
            f"allow from 1 to {most} levels, with one sparsity each"
        )
    sizes = level_sizes(OrthogonalWavelet("haar", len(sparsities), shape))
    check_sparsities(sparsities, sizes)
    return LevelStructure.balanced(sparsities, sizes)


def _band_index(shape: Shape, levels: int, transform: Transform) -> NDArray[np.int64]:
    """Return the band of every frequency, (*shape), numbered as (levels, ..) is flattened."""
    result = np.zeros((1,) * len(shape), dtype=np.int64)
    for axis, size in enumerate(shape):
        band = band_of_frequency(size, levels, transform)
        result = result * levels + band.reshape(
            [size if i == axis else 1 for i in range(len(shape))]
        )
    return result


def _fixed_samples(shape: Shape, transform: Transform, calibration: int) -> NDArray[np.bool_]:
    """Return True at the zero frequency and in the calibration region, (*shape)."""
    fixed = np.zeros(shape, dtype=bool)
    if transform == "walsh":
        fixed[(0,) * len(shape)] = True
        return fixed
    widths = [min(max(calibration, 1), size) for size in shape]
    starts = [size // 2 - width // 2 for size, width in zip(shape, widths, strict=True)]
    fixed[tuple(slice(a, a + width) for a, width in zip(starts, widths, strict=True))] = True
    return fixed


def _draw(
    band: NDArray[np.int64], samples: NDArray[np.int64], fixed: NDArray[np.bool_], seed: int
) -> NDArray[np.bool_]:
    """Return a random pattern with so many samples in each band, the fixed ones among them."""
    rank = np.where(fixed, -1.0, np.random.default_rng(seed).random(band.shape))
    order = np.lexsort((rank.ravel(), band.ravel()))
    sorted_band = band.ravel()[order]
    place = np.arange(len(order)) - np.searchsorted(sorted_band, sorted_band)
    pattern = np.zeros(band.size, dtype=bool)
    pattern[order[place < samples[sorted_band]]] = True
    return pattern.reshape(band.shape)


def _over_all_axes(pattern: NDArray[np.bool_], spatial_shape: Shape) -> Tensor:
    trailing = (1,) * (len(spatial_shape) - pattern.ndim)
    mask = torch.from_numpy(pattern).reshape(*pattern.shape, *trailing)
    return mask.expand(spatial_shape).clone()


def _sum_by_largest(values: NDArray[np.int64]) -> tuple[int, ...]:
    largest = np.indices(values.shape).max(0)
    sums = np.bincount(largest.ravel(), weights=values.ravel())
    return tuple(int(total) for total in sums)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"Unknown {name} {value!r}; use one of {', '.join(choices)}")


def _check_transform(shape: Shape, transform: Transform, calibration: int) -> None:
    if calibration < 0:
        raise UsageError(f"calibration is {calibration}; it must be a width of at least 0")
    if transform == "walsh" and calibration:
        raise UsageError(
            f"calibration is {calibration}; a Walsh pattern has no calibration region, use 0"
        )
    if transform == "walsh" and any(size & (size - 1) for size in shape):
        raise UsageError(f"Size {shape} given; the Walsh transform needs powers of two")
