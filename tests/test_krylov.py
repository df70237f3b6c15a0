"""The upper bound from a Krylov space is never below the truth but with the stated probability."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from firenet_mri.krylov import KrylovSpace


def spectrum(kind: str, size: int, generator: torch.Generator) -> Tensor:
    """Return eigenvalues of at least 0, the largest about 1."""
    uniform = torch.rand(size, dtype=torch.float64, generator=generator)
    if kind == "one alone":
        return torch.cat([uniform[1:] / 2, torch.ones(1, dtype=torch.float64)])
    if kind == "crowded":
        return 1 - uniform**2 / 100
    if kind == "few":
        return (3 * uniform).floor() / 3 + 1 / 3
    return uniform


def space_of(values: Tensor, steps: int, generator: torch.Generator) -> KrylovSpace:
    """Return the space of a diagonal map, which stands for every map with these eigenvalues."""
    start = torch.randn(len(values), dtype=torch.float64, generator=generator)
    space = KrylovSpace(start)
    for _ in range(steps):
        space.extend(values * space.last)
    return space


@pytest.mark.parametrize("kind", ["uniform", "one alone", "crowded", "few"])
def test_both_sides_enclose_the_largest_eigenvalue(kind) -> None:
    generator = torch.Generator().manual_seed(1)
    for size, steps in ((2, 1), (30, 4), (400, 3), (400, 12), (400, 30)):
        for _ in range(10):
            values = spectrum(kind, size, generator)
            space = space_of(values, steps, generator)
            largest = float(values.max())
            assert space.below() <= largest * (1 + 1e-12)
            assert space.above(1e-9) >= largest * (1 - 1e-12)


@pytest.mark.parametrize("failure", [0.1, 0.3])
@pytest.mark.parametrize("size", [3, 40])
def test_it_fails_as_often_as_it_says_at_most_and_not_much_less(failure, size) -> None:
    """One large eigenvalue that the space hardly sees, the worst there is for the bound."""
    generator = torch.Generator().manual_seed(2)
    values = torch.zeros(size, dtype=torch.float64)
    values[0], values[1:] = 1e6, 1.0
    tries = 1000
    fails = sum(space_of(values, 1, generator).above(failure) < 1e6 for _ in range(tries))
    spread = 3 * math.sqrt(failure * (1 - failure) / tries)
    assert fails / tries < failure + spread
    assert fails > 0.2 * failure * tries


def chebyshev_bound(values: Tensor, start: Tensor, degree: int, centre: float, t: float) -> float:
    """Return (b/2) (1 + cosh(arccosh(max(1, X)) / d)), X = ||q(G) u|| / t (THEORY 9.3)."""
    mapped = 2 * values / centre - 1
    inside = torch.cos(degree * torch.arccos(mapped.clamp(-1, 1)))
    outside = torch.cosh(degree * torch.arccosh(mapped.clamp(min=1)))
    applied = torch.where(mapped > 1, outside, inside) * start / torch.linalg.vector_norm(start)
    ratio = max(1.0, float(torch.linalg.vector_norm(applied)) / t)
    return centre / 2 * (1 + math.cosh(math.acosh(ratio) / degree))


@pytest.mark.parametrize("kind", ["uniform", "one alone", "crowded"])
def test_no_chebyshev_polynomial_of_the_same_run_is_sharper(kind) -> None:
    failure = 1e-9
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        values = spectrum(kind, 300, generator)
        start = torch.randn(300, dtype=torch.float64, generator=generator)
        space = KrylovSpace(start)
        t = failure * math.sqrt(math.pi / (2 * 300))
        for degree in range(1, 25):
            space.extend(values * space.last)
            centres = space.below() * torch.linspace(0.5, 1.2, 15, dtype=torch.float64)
            others = [chebyshev_bound(values, start, degree, float(b), t) for b in centres]
            assert space.above(failure) <= min(others) * (1 + 1e-9)
    # And not because it is no bound at all.
    assert space.above(failure) >= float(values.max())


def test_more_applications_tighten_both_sides() -> None:
    generator = torch.Generator().manual_seed(3)
    values = spectrum("uniform", 200, generator)
    space = KrylovSpace(torch.randn(200, dtype=torch.float64, generator=generator))
    found = []
    for _ in range(20):
        space.extend(values * space.last)
        found.append((space.below(), space.above(1e-9)))
    lower, upper = zip(*found, strict=True)
    assert list(lower) == sorted(lower)
    assert list(upper) == sorted(upper, reverse=True)
    assert upper[-1] < 1.4 * lower[-1]


def test_a_map_that_is_zero_or_a_multiple_of_one_is_known_at_once() -> None:
    for factor in (0.0, 3.0):
        space = KrylovSpace(torch.ones(50, dtype=torch.float64))
        space.extend(factor * space.last)
        assert space.below() == pytest.approx(factor)
        assert space.is_invariant
        assert factor <= space.above(1e-9) * (1 + 1e-12) < 1.01 * factor + 1e-9


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_nothing_overflows(scale) -> None:
    generator = torch.Generator().manual_seed(4)
    values = scale * spectrum("uniform", 100, generator)
    space = space_of(values, 60, generator)
    largest = float(values.max())
    assert space.below() <= largest * (1 + 1e-12)
    assert largest * (1 - 1e-12) <= space.above(1e-300) < math.inf


def test_the_vector_has_the_value_that_is_stated() -> None:
    generator = torch.Generator().manual_seed(5)
    values = spectrum("uniform", 60, generator)
    space = space_of(values, 9, generator)
    vector = space.vector()
    assert float(vector @ vector) == pytest.approx(1)
    assert float(vector @ (values * vector)) == pytest.approx(space.below())
