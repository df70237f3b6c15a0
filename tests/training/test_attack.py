"""The attack: beside SVDs and known maxima, its starts, and gradients that are not numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from firenet_mri.prox import item_norm
from firenet_mri.training.attack import Ascent, worst_perturbation


def dense(matrix: torch.Tensor):
    """Return the linear map of 4 x 5 k-spaces as a reconstruction."""
    return lambda y: (y.flatten(1) @ matrix.mT).reshape(-1, 4, 5)


def test_attack_finds_the_largest_singular_value_of_a_linear_map() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(20, 20, dtype=torch.complex64, generator=generator)
    y = torch.randn(2, 4, 5, dtype=torch.complex64, generator=generator)
    mask = torch.ones(4, 5, dtype=torch.bool)
    mask[1, 2] = mask[3, 0] = False
    radius = torch.tensor([0.3, 7.0])
    found = worst_perturbation(
        dense(matrix), y, mask, radius, ascent=Ascent(steps=200), restarts=3, seed=0
    )
    largest = np.linalg.norm(matrix.numpy() * mask.flatten().numpy(), 2)
    gain = (found.change / radius).numpy()
    assert (gain <= largest * (1 + 1e-5)).all()
    assert (gain >= largest * (1 - 1e-3)).all()
    assert (found.random_change < 0.9 * found.change).all()
    assert (torch.linalg.vector_norm(found.e, dim=(1, 2)) <= radius * (1 + 1e-5)).all()
    assert (found.e[:, ~mask] == 0).all()
    # The change is the one that the perturbation makes.
    change = dense(matrix)(y + found.e) - dense(matrix)(y)
    torch.testing.assert_close(torch.linalg.vector_norm(change, dim=(1, 2)), found.change)


def test_attack_goes_on_from_a_given_start() -> None:
    """With no steps left, the start itself, scaled to the radius, is among the candidates."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(20, 20, dtype=torch.complex64, generator=generator)
    y, mask = torch.zeros(1, 4, 5, dtype=torch.complex64), torch.ones(4, 5, dtype=torch.bool)
    first = worst_perturbation(
        dense(matrix), y, mask, torch.ones(1), ascent=Ascent(steps=50), restarts=2, seed=0
    )
    again = worst_perturbation(
        dense(matrix),
        y,
        mask,
        torch.full((1,), 3.0),
        ascent=Ascent(steps=0),
        restarts=2,
        seed=1,
        start=first.e,
    )
    assert float(again.change) == pytest.approx(3 * float(first.change), rel=1e-5)
    assert float(again.random_change) < float(again.change)


def test_attack_starts_on_the_samples() -> None:
    mask = torch.zeros(4, 5, dtype=torch.bool)
    mask[2, 1:4] = True
    y = torch.zeros(1, 4, 5, dtype=torch.complex64)
    found = worst_perturbation(
        lambda data: data, y, mask, torch.ones(1), ascent=Ascent(steps=0), restarts=2, seed=0
    )
    assert torch.equal(found.e[0] != 0, mask)


def test_attack_may_end_inside_the_ball() -> None:
    """The change falls again beyond ||e|| = 1: the worst perturbation is smaller than allowed."""

    def peaked(data: torch.Tensor) -> torch.Tensor:
        size = torch.linalg.vector_norm(data, dim=(1, 2), keepdim=True)
        return data * torch.exp((1 - size**2) / 2)

    y, mask = torch.zeros(1, 4, 5, dtype=torch.complex64), torch.ones(4, 5, dtype=torch.bool)
    found = worst_perturbation(
        peaked, y, mask, torch.full((1,), 1.5), ascent=Ascent(steps=60), restarts=2, seed=0
    )
    assert float(found.change) > 0.95
    assert float(torch.linalg.vector_norm(found.e)) < 1.4


def test_attack_lives_with_gradients_that_are_not_numbers() -> None:
    """The first item has no usable gradient; the second is attacked as if it were alone."""

    def broken(data: torch.Tensor) -> torch.Tensor:
        scale = torch.arange(1.0, 21).reshape(4, 5)
        spoilt = torch.stack([torch.sqrt(0 * data[i].real) for i in range(0, len(data), 2)])
        return torch.stack(
            [scale * item + (spoilt[i // 2] if i % 2 == 0 else 0) for i, item in enumerate(data)]
        )

    y, mask = torch.zeros(2, 4, 5, dtype=torch.complex64), torch.ones(4, 5, dtype=torch.bool)
    found = worst_perturbation(
        broken, y, mask, torch.ones(2), ascent=Ascent(steps=200), restarts=2, seed=0
    )
    assert bool(found.e.isfinite().all())
    assert bool(found.change.isfinite().all())
    assert float(found.change[1]) == pytest.approx(20, rel=1e-2)


def test_attack_with_a_target_goes_away_from_it(randn) -> None:
    y, target = randn(1, 1, 4, 5), randn(1, 4, 5)
    mask = torch.ones(1, 1, 4, 5, dtype=torch.bool)
    found = worst_perturbation(
        lambda k: k[:, 0],
        y,
        mask,
        torch.ones(1, dtype=torch.float64),
        ascent=Ascent(steps=50),
        restarts=1,
        seed=0,
        target=target,
    )
    # The farthest point from the target in a ball around y.
    best = float((y[:, 0] - target).norm()) + 1
    assert float(found.change[0]) == pytest.approx(best, rel=1e-3)


def test_attack_on_a_linear_map_of_coils_finds_its_top_singular_value(randn) -> None:
    matrix = randn(20, 3 * 4 * 5)
    y, mask = randn(2, 3, 4, 5), torch.ones(2, 1, 4, 5, dtype=torch.bool)
    mask[..., 2] = False
    allowed = mask[0].expand(3, 4, 5).flatten()
    largest = torch.linalg.svdvals(matrix[:, allowed])[0]
    found = worst_perturbation(
        lambda k: (k.flatten(1) @ matrix.mT).reshape(-1, 4, 5),
        y,
        mask,
        torch.tensor([0.1, 3.0], dtype=torch.float64),
        ascent=Ascent(steps=200),
        restarts=2,
        seed=0,
    )
    torch.testing.assert_close(
        found.change / item_norm(found.e, (1, 2, 3)).flatten(), largest.expand(2), rtol=1e-3, atol=0
    )
    assert bool((found.e[..., 2] == 0).all())
    torch.testing.assert_close(
        item_norm(found.e, (1, 2, 3)).flatten(), torch.tensor([0.1, 3.0], dtype=torch.float64)
    )
