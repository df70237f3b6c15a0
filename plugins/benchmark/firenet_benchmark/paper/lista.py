"""Learned ISTA (LISTA), many small networks trained side by side.

With matrices A of unit norm, x_0 = 0 and one learned matrix and threshold per layer,

    x_{k+1} = soft(x_k + W_k (y - A x_k), theta_k),        theta_k >= 0.

Training begins at ISTA, W_k = A^T and theta_k = 0. The loss is the mean squared error of x.

Source: Gregor, LeCun, Learning fast approximations of sparse coding, ICML 2010, in the form with
A kept in the layers, as the published code of [1] has it.

Differs from [1] in: A is scaled to norm 1 and is the matrix that the network is given, in training
and in use, where the published test puts the matrix of the true problem into the layers, beside
weights trained with another; the published layers divide x by 10 ||A||; training starts at ISTA,
where the published W_k start at random and theta_k in [0, 1e-7]; |theta_k| in place of a projection
after each step; fewer items and steps (4000 items and 600 steps of 250 by default, published 8000
items and 4000 epochs of 8 steps with 1000), a rate that falls along a cosine, the best of three, in
place of 2e-4 10^{-K/3}; the last weights in place of those of the best epoch.

[1] Colbrook, Antun, Hansen, PNAS 119(12) e2107151119, 2022: inexact_input of the published code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from firenet_mri.errors import UsageError
from firenet_mri.prox import soft_threshold


class Lista(nn.Module):
    """Several LISTA networks, one for each matrix; they share nothing.

    Parameters
    ----------
    matrices
        A of each network, (networks, m, n) real, of norm 1.
    layers
        Number of layers.
    """

    matrices: Tensor

    def __init__(self, matrices: Tensor, layers: int) -> None:
        super().__init__()
        self.register_buffer("matrices", matrices, persistent=False)
        self.weights = nn.ParameterList(matrices.mT.clone() for _ in range(layers))
        self.thresholds = nn.ParameterList(
            torch.zeros(len(matrices), 1, 1, dtype=matrices.dtype) for _ in range(layers)
        )

    def forward(self, y: Tensor) -> Tensor:
        """Return x, (networks, items, n), for data y of shape (networks, items, m)."""
        x = torch.zeros(*y.shape[:-1], self.matrices.shape[-1], dtype=y.dtype)
        for weight, theta in zip(self.weights, self.thresholds, strict=True):
            residual = y - x @ self.matrices.mT
            # |theta| keeps the threshold from becoming negative.
            x = soft_threshold(x + residual @ weight.mT, theta.abs())
        return x


@dataclass(frozen=True, eq=False)
class Training:
    """The best of a few trainings of every network.

    Parameters
    ----------
    network
        With the chosen weights.
    learning_rate
        Which rate was best on the validation data, (networks) float64.
    curves
        Relative validation error ||x - x_true|| / ||x_true|| of the chosen training, first before
        any step, (networks, checks + 1) float64.
    steps
        Steps between two checks.
    """

    network: Lista
    learning_rate: Tensor
    curves: Tensor
    steps: int


@dataclass(frozen=True)
class Recipe:
    """How the networks are trained: Adam, rate falling to 1/1000 along a cosine.

    Parameters
    ----------
    layers, steps, batch
        Layers of a network, optimiser steps, items per step.
    learning_rates
        What is tried; the best on the validation data is taken.
    checks
        How often the validation error is taken.
    """

    layers: int = 10
    steps: int = 600
    batch: int = 250
    learning_rates: tuple[float, ...] = (3e-2, 1e-2, 3e-3)
    checks: int = 30

    def __post_init__(self) -> None:
        if self.steps < self.checks:
            raise UsageError(f"steps is {self.steps}; train at least {self.checks}")


def train(
    matrices: Tensor,
    data: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    *,
    recipe: Recipe,
    seed: int,
    on_step: Callable[[int, int], None] | None = None,
) -> Training:
    """Return the networks with the learning rate that is best for each.

    Parameters
    ----------
    matrices
        A of each network, (networks, m, n), of norm 1.
    data, validation
        y (networks, items, m) and the wanted x (networks, items, n).
    recipe
        How to train.
    seed
        Of the order of the items.
    on_step
        Called after each step with (steps done, steps in all).
    """
    total = recipe.steps * len(recipe.learning_rates)
    runs = []
    for i, rate in enumerate(recipe.learning_rates):

        def report(step: int, before: int = i * recipe.steps) -> None:
            if on_step is not None:
                on_step(before + step, total)

        runs.append(_train_once(matrices, data, validation, recipe, rate, seed, report))
    curves = torch.stack([curve for _, curve in runs])
    best = curves[:, :, -1].argmin(0)
    network = _choose([network for network, _ in runs], best)
    rates = torch.tensor(recipe.learning_rates, dtype=torch.float64)[best]
    chosen = curves[best, torch.arange(len(matrices))]
    return Training(network, rates, chosen, recipe.steps // recipe.checks)


def relative_error(network: Lista, y: Tensor, x: Tensor) -> Tensor:
    """Return ||network(y) - x|| / ||x|| over all items, (networks)."""
    with torch.no_grad():
        error = torch.linalg.vector_norm(network(y) - x, dim=(-2, -1))
    return error / torch.linalg.vector_norm(x, dim=(-2, -1))


def _train_once(
    matrices: Tensor,
    data: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    recipe: Recipe,
    learning_rate: float,
    seed: int,
    on_step: Callable[[int], None],
) -> tuple[Lista, Tensor]:
    """Return the networks trained with one learning rate, and their validation errors."""
    y, x = data
    network = Lista(matrices, recipe.layers)
    optimizer = torch.optim.Adam(network.parameters(), learning_rate)
    fall = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 1e-3 ** ((1 - math.cos(math.pi * step / recipe.steps)) / 2)
    )
    generator = torch.Generator().manual_seed(seed)
    errors = [relative_error(network, *validation)]
    for step in range(1, recipe.steps + 1):
        items = torch.randint(y.shape[1], (recipe.batch,), generator=generator)
        optimizer.zero_grad()
        # The sum of the networks' losses: none sees the gradient of another.
        (network(y[:, items]) - x[:, items]).square().mean((1, 2)).sum().backward()
        optimizer.step()
        fall.step()
        if step % (recipe.steps // recipe.checks) == 0:
            errors.append(relative_error(network, *validation))
        on_step(step)
    return network, torch.stack(errors, dim=-1)


def _choose(networks: Sequence[Lista], best: Tensor) -> Lista:
    """Return networks that take the weights of item i from run best[i]."""
    chosen = Lista(networks[0].matrices, len(networks[0].weights))
    index = torch.arange(len(best))
    with torch.no_grad():
        for target, *sources in zip(
            chosen.parameters(), *(n.parameters() for n in networks), strict=True
        ):
            target.copy_(torch.stack(list(sources))[best, index])
    return chosen
