"""The norm of filters against dense matrices, dense grids and cosines from elsewhere."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.firenet.learned import filters_norm
from firenet_mri.firenet.learned.filters_norm import scaled, squared_norm


def dense(
    filters: np.ndarray, shape: tuple[int, int], *, dilation: int, circular: bool
) -> np.ndarray:
    """Return the matrix of the correlations with all filters, (n * pixels, pixels)."""
    size, (height, width) = filters.shape[1], shape
    matrix = np.zeros((len(filters), height, width, height, width))
    for i, j, a, b in np.ndindex(height, width, size, size):
        u, v = i + dilation * (a - size // 2), j + dilation * (b - size // 2)
        if circular:
            u, v = u % height, v % width
        if 0 <= u < height and 0 <= v < width:
            matrix[:, i, j, u, v] += filters[:, a, b]
    return matrix.reshape(-1, height * width)


@pytest.mark.parametrize("circular", [True, False])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("shape", [(3, 2), (7, 5), (12, 12)])
def test_no_image_size_exceeds_the_bound(shape, dilation, circular) -> None:
    rng = np.random.default_rng(0)
    filters = rng.standard_normal((3, 4, 4)).astype(np.float32)
    weights = rng.random(3)
    matrix = dense(filters, shape, dilation=dilation, circular=circular)
    rows = np.sqrt(np.repeat(weights, math.prod(shape)))[:, None]
    assert np.linalg.norm(matrix, 2) ** 2 <= squared_norm(filters)
    assert np.linalg.norm(rows * matrix, 2) ** 2 <= squared_norm(filters, weights)


def test_large_images_attain_the_bound() -> None:
    """Zeros beyond the border: filters whose largest frequency is 0, on 24 x 24 pixels."""
    filters = np.full((2, 3, 3), 1 / 9)
    norm = np.linalg.norm(dense(filters, (24, 24), dilation=1, circular=False), 2) ** 2
    assert 0.95 * squared_norm(filters) < norm < squared_norm(filters) == pytest.approx(2, rel=4e-4)


def largest_on_a_fine_grid(filters: np.ndarray, weights: np.ndarray) -> float:
    transform = np.abs(np.fft.fft2(filters.astype(float), s=(401, 401))) ** 2
    return float((weights[:, None, None] * transform).sum(0).max())


@given(
    size=st.integers(1, 5),
    count=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
    exponent=st.integers(-18, 18),
)
def test_the_bound_is_close_above_the_values_on_another_grid(size, count, seed, exponent) -> None:
    rng = np.random.default_rng(seed)
    filters = (rng.standard_normal((count, size, size)) * 10.0**exponent).astype(np.float32)
    weights = rng.random(count)
    largest = largest_on_a_fine_grid(filters, weights)
    assert largest * (1 - 1e-12) <= squared_norm(filters, weights) <= largest * 1.001


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_the_factor_of_the_grid_is_attained(degree, monkeypatch) -> None:
    """(1 - cos n u) (1 - cos n v), and a grid of 9 n points that has its peaks half way between."""
    line = np.zeros(degree + 1)
    line[0], line[-1] = 1, -1
    filters = np.outer(line, line)[None]
    points = 9 * degree
    on_grid = filters_norm._values(filters_norm._correlation(filters, np.ones(1)), points).max()
    factor = math.cos(math.pi * degree / (2 * points)) ** -4
    assert on_grid * factor == pytest.approx(16, rel=1e-12)
    monkeypatch.setattr(filters_norm, "_POINTS_PER_DEGREE", 9)
    assert 16 <= squared_norm(filters) < 16.02


def test_values_are_those_of_the_fourier_transform() -> None:
    rng = np.random.default_rng(1)
    filters, weights = rng.standard_normal((5, 3, 3)), rng.random(5)
    values = filters_norm._values(filters_norm._correlation(filters, weights), 12)
    expected = (weights[:, None, None] * np.abs(np.fft.fft2(filters, s=(12, 12))) ** 2).sum(0)
    np.testing.assert_allclose(values, expected[:7], rtol=1e-13)


@pytest.mark.parametrize("points", [1, 128, 384, 1280])
def test_the_table_has_the_cosines_and_sines_of_numpy(points) -> None:
    cosines, sines = filters_norm._table(points)
    angles = 2 * np.pi * np.arange(points) / points
    np.testing.assert_allclose(cosines, np.cos(angles), atol=1e-15)
    np.testing.assert_allclose(sines, np.sin(angles), atol=1e-15)


def test_rounding_errors_stay_below_their_bound() -> None:
    """Against integers: filters of many numbers of alternating sign, where sums cancel."""
    rng = np.random.default_rng(2)
    filters = rng.integers(-(2**12), 2**12, (40, 5, 5)).astype(np.float64)
    filters *= 1 + 2.0**-23
    weights = rng.random(40)
    computed = filters_norm._values(filters_norm._correlation(filters, weights), 4)
    # At multiples of a right angle all factors are whole numbers.
    units = np.array([[1, -1j, -1, 1j][a * j % 4] for a in range(5) for j in range(4)])
    waves = units.reshape(5, 4).astype(np.clongdouble)
    transform = np.einsum("fab,au,bv->fuv", filters.astype(np.longdouble), waves, waves)
    exact = np.einsum("f,fuv->uv", weights.astype(np.longdouble), np.abs(transform) ** 2)[:3]
    moduli = (weights * np.abs(filters).sum((1, 2)) ** 2).sum()
    assert np.abs(computed - exact).max() <= filters_norm._rounding(40, 5) * moduli


@pytest.mark.parametrize("seed", range(8))
def test_the_bound_is_above_the_exact_sum_of_filters_of_one_pixel(seed) -> None:
    """Nothing lies between the points of the grid: only the rounding errors are left."""
    rng = np.random.default_rng(seed)
    values, weights = rng.standard_normal(40), rng.random(40)
    exact = sum(Fraction(w) * Fraction(h) ** 2 for w, h in zip(weights, values, strict=True))
    bound = squared_norm(values[:, None, None], weights)
    assert exact <= Fraction(bound) <= exact * (1 + Fraction(1, 10**12))


def test_scaled_filters_have_a_proven_norm_within_the_limit() -> None:
    filters = np.random.default_rng(3).standard_normal((8, 5, 5)).astype(np.float32)
    result = scaled(filters, 2.0)
    assert 2 * (1 - 1e-6) < squared_norm(result) <= 2
    np.testing.assert_array_equal(scaled(result, 2.0), result)
    np.testing.assert_allclose(result / filters, (result / filters).mean(), rtol=1e-5)


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan])
def test_limits_that_are_not_positive_are_refused(limit) -> None:
    with pytest.raises(UsageError, match="limit"):
        scaled(np.ones((2, 3, 3)), limit)


def test_no_filters_and_filters_of_zeros_have_norm_0() -> None:
    assert squared_norm(np.zeros((0, 3, 3))) == squared_norm(np.zeros((2, 3, 3))) == 0
    assert squared_norm(np.ones((2, 3, 3)), np.zeros(2)) == 0


@pytest.mark.parametrize("filters", [np.zeros((2, 3, 4)), np.zeros((3, 3)), np.zeros((2, 0, 0))])
def test_filters_of_other_shapes_are_refused(filters) -> None:
    with pytest.raises(ShapeError, match=r"\(n, k, k\)"):
        squared_norm(filters)


def test_weights_of_another_number_are_refused() -> None:
    with pytest.raises(ShapeError, match="one per filter"):
        squared_norm(np.ones((2, 3, 3)), np.ones(3))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e39])
def test_numbers_that_are_not_finite_are_refused(bad) -> None:
    filters = np.ones((2, 3, 3))
    filters[1, 2, 0] = bad
    with pytest.raises(UsageError, match="not finite"):
        squared_norm(filters)
    with pytest.raises(UsageError, match="not finite"):
        squared_norm(np.ones((2, 3, 3)), np.array([1, bad]))


def test_negative_weights_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 0"):
        squared_norm(np.ones((2, 3, 3)), np.array([1.0, -0.1]))
