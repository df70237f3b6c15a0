"""The ascent: beside torch's optimiser and an SVD, its stopping, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from firenet_benchmark.paper.worst_case import (
    AUTOMAP_ASCENT,
    FIRENET_ASCENT,
    random_perturbations,
    worst_case,
)
from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.training.attack import Ascent, Momentum, climb

LONG = replace(FIRENET_ASCENT, learning_rate=0.3, lam=0.0, start=1e-6, steps=400, hold=200)


@pytest.fixture
def matrices(randn) -> tuple[torch.Tensor, torch.Tensor]:
    """Return Phi, (20, 12), and A, (12, 20), of norms 1 and about 1."""
    phi, a = randn(20, 12), randn(12, 20)
    return phi / torch.linalg.matrix_norm(phi, 2), a / torch.linalg.matrix_norm(a, 2)


def linear(matrix: torch.Tensor):
    """Return the map of (batch, 4, 5) or (batch, 12) by a matrix, as images if it has 20 rows."""

    def apply(x):
        out = x.flatten(1).to(matrix.dtype) @ matrix.mT
        return out.reshape(-1, 4, 5) if out.shape[1] == 20 else out

    return apply


@pytest.mark.parametrize("nesterov", [True, False])
def test_steps_are_those_of_torch_sgd(randn, nesterov) -> None:
    """The objective is a fourth-order polynomial, so that gradients change along the way."""
    hessian = randn(20, 20)
    hessian = hessian / torch.linalg.matrix_norm(hessian, 2)
    ascent = replace(FIRENET_ASCENT, learning_rate=0.03, momentum=0.8, nesterov=nesterov)

    def minus_q(r):
        change = hessian @ r
        return -(change.abs().square().sum() - 0.1 * change.abs().pow(4).sum())

    start = 0.1 * randn(20)
    theirs = start.clone().requires_grad_()
    optimizer = torch.optim.SGD([theirs], lr=0.03, momentum=0.8, nesterov=nesterov)
    mine = Momentum(start, torch.zeros_like(start))
    for _ in range(10):
        optimizer.zero_grad()
        minus_q(theirs).backward()
        optimizer.step()
        r = mine.e.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(minus_q(r), r)
        mine = climb(mine, -gradient, ascent, torch.ones(1))
        torch.testing.assert_close(mine.e, theirs.detach(), rtol=1e-13, atol=1e-15)
    assert torch.linalg.vector_norm(mine.e - start) > 0.01


def test_whole_ascent_is_that_of_torch_sgd(matrices, randn) -> None:
    """Until the norm is reached, r is what torch's optimiser makes of -Q, real and imaginary."""
    phi, a = (linear(m) for m in matrices)
    x = randn(1, 4, 5)
    ascent = replace(FIRENET_ASCENT, learning_rate=0.2, lam=0.05, start=0.1, steps=12)
    (found,) = worst_case(phi, a, x, [torch.tensor([1e9])], ascent, seed=4)
    assert not found.reached.item()
    parts = torch.rand(2, 1, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    parts = (0.1 * parts).requires_grad_()
    optimizer = torch.optim.SGD([parts], lr=0.2, momentum=0.9, nesterov=True)
    for _ in range(12):
        r = torch.complex(parts[0], parts[1])
        change = phi(a(x + r)) - phi(a(x))
        q = (change.abs().square().sum() - 0.05 * r.abs().square().sum()) / 2
        optimizer.zero_grad()
        (-q).backward()
        optimizer.step()
    torch.testing.assert_close(
        found.r, torch.complex(parts[0], parts[1]).detach(), rtol=1e-12, atol=1e-14
    )


def test_constants_are_the_published_ones() -> None:
    assert Ascent(0.01, 0.9, 0.01, True, 1e-3, 150, 0, False) == FIRENET_ASCENT
    assert Ascent(0.001, 0.9, 0.1, False, 1e-5, 24, 0, False) == AUTOMAP_ASCENT


def test_ascent_finds_the_worst_direction_of_a_linear_map(matrices, randn) -> None:
    phi, a = (linear(m) for m in matrices)
    _, values, directions = np.linalg.svd((matrices[0] @ matrices[1]).numpy())
    x = randn(3, 4, 5)
    norms = [torch.tensor([0.1, 2.0, 30.0]), torch.tensor([0.2, 3.0, 100.0])]
    for norm, found in zip(norms, worst_case(phi, a, x, norms, LONG, seed=0), strict=True):
        assert found.reached.all()
        np.testing.assert_allclose(torch.linalg.vector_norm(found.r, dim=(1, 2)), norm, rtol=1e-12)
        gain = (found.distance / norm).numpy()
        assert (gain <= values[0] * (1 + 1e-12)).all()
        np.testing.assert_allclose(gain, values[0], rtol=1e-4)
        # Rows of the SVD's third factor are conjugates of directions.
        overlap = np.abs(found.r.flatten(1).numpy() @ directions[0]) / norm.numpy()
        assert (overlap > 0.99).all()


def test_ascent_stops_where_the_norm_is_reached(matrices, randn) -> None:
    """One step less than it took does not reach the norm; the distance is that of the r."""
    phi, a = (linear(m) for m in matrices)
    x, norm = randn(1, 4, 5), torch.tensor([0.5])
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    ascent = replace(FIRENET_ASCENT, learning_rate=0.1, steps=500)
    (found,) = worst_case(phi, a, x, [norm], ascent, seed=0, on_step=count)
    # The first gradient is that of the start.
    taken = steps - 1
    assert found.reached.item()
    assert 1 < taken < 500
    assert torch.linalg.vector_norm(found.r).item() == pytest.approx(0.5, rel=1e-12)
    distance = torch.linalg.vector_norm(phi(a(x + found.r)) - phi(a(x)))
    assert found.distance.item() == pytest.approx(distance.item(), rel=1e-12)
    enough = replace(FIRENET_ASCENT, learning_rate=0.1, steps=taken)
    assert worst_case(phi, a, x, [norm], enough, seed=0)[0].reached.item()
    less = replace(FIRENET_ASCENT, learning_rate=0.1, steps=taken - 1)
    (short,) = worst_case(phi, a, x, [norm], less, seed=0)
    assert not short.reached.item()
    assert 0 < torch.linalg.vector_norm(short.r) < 0.5


def test_ascent_keeps_the_best_that_it_has_seen_at_a_norm(randn) -> None:
    """Steps that are far too long pass by better perturbations than they end at."""
    x = randn(1, 4, 5)
    seen: list[float] = []

    def wave(y):
        return y + torch.sin(7 * y.real) + 1j * torch.sin(9 * y.imag)

    def phi(y):
        out = wave(y)
        seen.append(float(torch.linalg.vector_norm((out - wave(x)).detach())))
        return out

    ascent = replace(FIRENET_ASCENT, learning_rate=3.0, start=1.0, steps=5, hold=20)
    (found,) = worst_case(phi, lambda image: image, x, [torch.tensor([1.5])], ascent, seed=0)
    assert found.distance.item() == pytest.approx(max(seen[1:]), rel=1e-12)
    assert seen[-1] < max(seen)


def test_holding_finds_more_than_passing_by(matrices, randn) -> None:
    phi, a = (linear(m) for m in matrices)
    x, norm = randn(1, 4, 5), torch.tensor([0.1])
    distances = [
        worst_case(
            phi,
            a,
            x,
            [norm],
            replace(FIRENET_ASCENT, learning_rate=0.3, steps=300, hold=hold),
            seed=0,
        )[0]
        for hold in (0, 5, 30)
    ]
    first, second, third = (found.distance.item() for found in distances)
    assert first < second < third


@pytest.mark.parametrize("norm", [1e9, 0.02])
def test_batch_items_do_not_talk(matrices, randn, norm) -> None:
    """Neither another image nor how many steps it takes changes what is found for the first."""
    phi, a = (linear(m) for m in matrices)
    ascent = replace(FIRENET_ASCENT, learning_rate=0.3, steps=30, hold=4)

    def nonlinear(y):
        return torch.sin(phi(y).real) + 1j * phi(y).imag

    one = randn(1, 4, 5)
    runs = [
        worst_case(
            nonlinear,
            a,
            torch.cat([one, other]),
            [torch.tensor([norm, size]), torch.tensor([2 * norm, 2 * size])],
            ascent,
            seed=0,
        )
        for other, size in ((randn(1, 4, 5), 1e-3), (100 * randn(1, 4, 5), 0.5))
    ]
    for first, second in zip(*runs, strict=True):
        assert torch.equal(first.r[0], second.r[0])
        assert not torch.equal(first.r[1], second.r[1])
        assert first.reached[0] == (norm < 1)


def test_reference_is_what_the_ascent_moves_away_from(matrices, randn) -> None:
    """For a small r the worst direction is the gradient of the distance, not the SVD's."""
    phi, a = (linear(m) for m in matrices)
    product = matrices[0] @ matrices[1]
    x = randn(1, 4, 5)
    target = phi(a(x)) - 10 * randn(1, 4, 5)
    norm = torch.tensor([1e-3])
    (found,) = worst_case(phi, a, x, [norm], LONG, seed=0, reference=target)
    gradient = ((phi(a(x)) - target).flatten() @ product.conj()).reshape(1, 4, 5)
    best = 1e-3 * gradient / torch.linalg.vector_norm(gradient)
    torch.testing.assert_close(found.r, best, rtol=0, atol=1e-6)


def test_random_perturbations_have_their_norm_and_no_direction(randn) -> None:
    x = randn(2, 30, 40)
    r = random_perturbations(x, torch.tensor([2.0, 5.0]), 3, seed=1)
    assert r.shape == (3, 2, 30, 40)
    np.testing.assert_allclose(
        torch.linalg.vector_norm(r, dim=(2, 3)), [[2.0, 5.0]] * 3, rtol=1e-12
    )
    assert (r.mean((2, 3)).abs() < 5 / 1200**0.5 * 0.2).all()
    ratio = r.real.square().sum() / r.imag.square().sum()
    assert 0.9 < ratio < 1.1


def test_same_seed_gives_the_same_perturbation(matrices, randn) -> None:
    phi, a = (linear(m) for m in matrices)
    x, norm = randn(1, 4, 5), torch.tensor([0.5])
    ascent = replace(FIRENET_ASCENT, learning_rate=0.1, steps=20)
    first, second, other = (
        worst_case(phi, a, x, [norm], ascent, seed=seed)[0].r for seed in (3, 3, 4)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    "norms",
    [[-0.1], [0.0], [float("nan")], [float("inf")], [0.2, 0.1], [0.1, 0.1]],
)
def test_sizes_that_are_not_positive_and_growing_are_refused(matrices, randn, norms) -> None:
    phi, a = (linear(m) for m in matrices)
    with pytest.raises(UsageError, match="positive and grow"):
        worst_case(
            phi, a, randn(1, 4, 5), [torch.tensor([n]) for n in norms], FIRENET_ASCENT, seed=0
        )


def test_networks_that_return_nan_are_refused(matrices, randn) -> None:
    _, a = (linear(m) for m in matrices)
    norms = [torch.tensor([0.1])]
    with pytest.raises(DataError, match="NaN or infinite values for the clean data"):
        worst_case(lambda y: y * torch.nan, a, randn(1, 4, 5), norms, FIRENET_ASCENT, seed=0)
    x = randn(1, 4, 5)
    clean = a(x)

    def fails_if_perturbed(y):
        return y if torch.equal(y, clean) else y / 0

    with pytest.raises(DataError, match="for perturbed data;"):
        worst_case(fails_if_perturbed, a, x, norms, FIRENET_ASCENT, seed=0)

    def has_no_slope(y):
        # The square root of 0 has an infinite one.
        return torch.sqrt((y - y.detach()).real) + 0 * y

    with pytest.raises(DataError, match="derivative"):
        worst_case(has_no_slope, a, x, norms, FIRENET_ASCENT, seed=0)


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"start": -1.0},
        {"lam": -0.1},
        {"momentum": 1.0},
        {"momentum": -0.1},
        {"steps": 0},
        {"hold": -1},
    ],
)
def test_impossible_ascents_are_refused(change) -> None:
    with pytest.raises(UsageError, match=str(next(iter(change.values())))):
        replace(FIRENET_ASCENT, **change)


def test_other_bad_input_is_refused(matrices, randn) -> None:
    phi, a = (linear(m) for m in matrices)
    x, norm = randn(1, 4, 5), torch.tensor([0.1])
    with pytest.raises(UsageError, match="seed is -1"):
        worst_case(phi, a, x, [norm], FIRENET_ASCENT, seed=-1)
    with pytest.raises(ShapeError, match="one norm each"):
        worst_case(phi, a, x, [torch.ones(2)], FIRENET_ASCENT, seed=0)
    with pytest.raises(ShapeError, match="reference"):
        worst_case(phi, a, x, [norm], FIRENET_ASCENT, seed=0, reference=x[:, :2])
    with pytest.raises(UsageError, match="0 random perturbations"):
        random_perturbations(x, norm, 0, seed=0)
