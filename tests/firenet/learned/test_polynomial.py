"""Constants of data steps against dense grids, dense matrices and closed forms."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from firenet_mri.errors import UsageError
from firenet_mri.firenet.learned import polynomial as polynomials
from firenet_mri.firenet.learned.polynomial import (
    first_step_constant,
    proves_first_step,
    proves_step,
    step_constant,
)

GRID = np.linspace(0, 1, 20001)


def polynomial(bernstein: list[float]) -> np.ndarray:
    """Return power coefficients in single precision of the polynomial with these Bernstein ones."""
    degree = len(bernstein) - 1
    t = np.polynomial.Polynomial([0, 1])
    terms = [
        b * math.comb(degree, j) * t**j * (1 - t) ** (degree - j) for j, b in enumerate(bernstein)
    ]
    total = sum(terms, np.polynomial.Polynomial([0.0]))
    coefficients = np.zeros(degree + 1, dtype=np.float32)
    coefficients[: len(total.coef)] = total.coef
    return coefficients


admissible = st.lists(st.floats(0.001, 1.9), min_size=1, max_size=6).map(polynomial)


def values(coefficients) -> np.ndarray:
    return np.polynomial.polynomial.polyval(GRID, np.asarray(coefficients, dtype=float))


@given(admissible)
def test_the_constant_is_the_maximum_on_a_dense_grid(coefficients) -> None:
    p = values(coefficients)
    assume(p.min() > 0)
    largest = (p / (2 - GRID * p)).max()
    first = (GRID * p**2).max()
    assert largest * (1 - 1e-12) <= step_constant(coefficients) <= largest * 1.00001
    assert first * (1 - 1e-12) <= first_step_constant(coefficients) <= first * 1.00001


@given(admissible)
def test_constants_that_are_slightly_too_small_are_not_proven(coefficients) -> None:
    assume(values(coefficients).min() > 0)
    m, first = step_constant(coefficients), first_step_constant(coefficients)
    assert proves_step(coefficients, m)
    assert not proves_step(coefficients, m * (1 - 2e-6))
    assert proves_first_step(coefficients, first)
    assert not proves_first_step(coefficients, first * (1 - 2e-6))


@given(admissible)
def test_the_first_step_has_the_smaller_constant(coefficients) -> None:
    assume(values(coefficients).min() > 0)
    assert first_step_constant(coefficients) <= step_constant(coefficients) * (1 + 1e-6)


@pytest.mark.parametrize("tau", [1e-30, 0.25, 1.0, 1.5, 1.99])
def test_a_gradient_step_has_the_constant_of_the_closed_form(tau) -> None:
    m = step_constant([tau])
    exact = Fraction(tau) / (2 - Fraction(tau))
    assert exact <= Fraction(m) <= exact * (1 + Fraction(1, 10**6))
    assert Fraction(tau) ** 2 <= Fraction(first_step_constant([tau]))


def test_a_proximal_step_has_half_of_its_inverse_weight() -> None:
    """1 / (t + mu) by a Chebyshev polynomial that is as good as exact: m = 1 / (2 mu) at t = 0."""
    mu = 2.0
    series = np.polynomial.Chebyshev.interpolate(lambda t: 1 / (t + mu), 14, domain=[0, 1])
    power = series.convert(kind=np.polynomial.Polynomial, domain=[-1, 1], window=[-1, 1]).coef
    assert step_constant(power.tolist()) == pytest.approx(1 / (2 * mu), rel=2e-6)


def test_a_poor_first_guess_leads_to_the_same_constant(monkeypatch) -> None:
    """A narrow peak at an irrational point, and a first search at both ends alone."""
    peak = np.polynomial.Polynomial([0.5, 2**0.5, -1]) ** 12
    p = values(peak.coef)
    monkeypatch.setattr(polynomials, "_GRID", 1)
    m = step_constant(peak.coef.tolist())
    assert m == pytest.approx((p / (2 - GRID * p)).max(), rel=2e-6)
    assert proves_step(peak.coef.tolist(), m)


def test_no_step_has_constant_0() -> None:
    assert step_constant([]) == first_step_constant([]) == step_constant([0.0, 0.0]) == 0
    assert proves_step([0.0], 0)
    assert not proves_step([1e-30], 0)
    assert not proves_step([1.0], -1)


def test_nothing_is_proven_of_a_polynomial_that_is_negative_somewhere() -> None:
    assert not proves_step([-1.0], 1.0)
    assert not proves_step([1.0, -1.25], 10.0)


def test_zeros_at_the_ends_are_no_obstacle() -> None:
    assert step_constant([0.0, 1.0]) == pytest.approx(1.0, rel=2e-6)
    assert step_constant([1.0, -1.0]) == pytest.approx(0.5, rel=2e-6)


@pytest.mark.parametrize(
    ("coefficients", "sentence"),
    [
        ([-1e-30], "at least 0"),
        ([1.0, -1.0000001], "at least 0"),
        ([0.2499, -1.0, 1.0], "at least 0"),
        ([2.0], "below 2"),
        ([0.0, 0.0, 2.0000001], "below 2"),
        ([0.0, 16.0, -16.0], "below 2"),
        ([float("nan")], "not finite"),
        ([1.0, float("inf")], "not finite"),
        ([1e-3] * 33, "33 coefficients"),
    ],
)
def test_inadmissible_polynomials_are_refused(coefficients, sentence) -> None:
    for constant in (step_constant, first_step_constant):
        with pytest.raises(UsageError, match=sentence):
            constant(coefficients)


def spread_operator(rng, rows: int, columns: int) -> np.ndarray:
    """Return a dense random A of norm 1 whose squared singular values are spread over [0, 1]."""
    u = np.linalg.qr(rng.standard_normal((rows, rows)) + 1j * rng.standard_normal((rows, rows)))[0]
    v = np.linalg.qr(rng.standard_normal((columns, columns)))[0]
    return u[:, :columns] * np.sqrt(np.linspace(0, 1, columns)) @ v


@pytest.mark.parametrize("seed", range(5))
def test_no_operator_exceeds_the_constant_and_some_attain_it(seed) -> None:
    """(d, e) -> f(N) d + p(N) A^H e in the metric ||d||^2 + m ||e||^2."""
    rng = np.random.default_rng(seed)
    coefficients = polynomial(rng.uniform(0.01, 1.9, 4).tolist())
    m = step_constant(coefficients)
    a = spread_operator(rng, 60, 50)
    n, identity = a.conj().T @ a, np.eye(50)
    p = sum(float(c) * np.linalg.matrix_power(n, i) for i, c in enumerate(coefficients))
    f, h = identity - p @ n, p @ a.conj().T

    def norm(m: float) -> float:
        return float(np.linalg.norm(np.hstack([f, h / m**0.5]), 2))

    assert norm(m) <= 1 + 1e-12
    assert norm(0.97 * m) > 1 + 1e-6
    first = first_step_constant(coefficients)
    assert 0.97 * first <= np.linalg.norm(h, 2) ** 2 <= first * (1 + 1e-12)
