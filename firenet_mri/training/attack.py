"""Worst-case perturbations by gradient ascent with momentum.

For a method whose image changes by d(e) under a perturbation e, away from a reference,

    Q(e) = 1/2 ||d(e)||^2 - lam/2 ||e||^2

is climbed with its gradient g (g / ||g|| where gradients are normalised) and steps of length eta:

    v <- mu v + g,    e <- e + eta (g + mu v)  (Nesterov)    or    e <- e + eta v  (heavy ball).

Either e begins with the wanted norm and stays in its ball, or e begins near zero, climbs until it
has the wanted norm, and is held there [1]. The result is a lower bound of the worst case.

[1] Colbrook, Antun, Hansen, PNAS 119(12) e2107151119, 2022, and its published code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from firenet_mri.errors import DataError, UsageError, check_positive
from firenet_mri.operators.denormals import denormals_flushed
from firenet_mri.prox import item_norm

#: Images (batch, y, x), real or complex, from k-space (batch, *data).
Reconstruct = Callable[[Tensor], Tensor]

#: d(e), (batch, *image), from perturbations (batch, *data); items may not influence each other.
Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Ascent:
    """How an attack climbs.

    Parameters
    ----------
    learning_rate, momentum
        eta, relative to the wanted norm where gradients are normalised, and mu.
    lam
        Weight of ||e||^2.
    nesterov
        Nesterov's momentum; False is heavy ball.
    start
        None: e begins at the wanted norm and stays in its ball. A number: its real and imaginary
        parts begin uniform in [0, start), and e climbs until it has the wanted norm.
    steps
        Total number of steps; with a start, the largest number until the norm is reached.
    hold
        With a start: further steps at the norm after it is reached.
    normalised
        Scale every item's gradient to norm 1.

    Raises
    ------
    UsageError
        If a number lies outside its range.
    """

    learning_rate: float = 0.5
    momentum: float = 0.9
    lam: float = 0.0
    nesterov: bool = True
    start: float | None = None
    steps: int = 15
    hold: int = 0
    normalised: bool = True

    def __post_init__(self) -> None:
        for name in ("learning_rate", "start"):
            value = getattr(self, name)
            if value is not None:
                check_positive(name, value)
        if not 0 <= self.lam < math.inf:
            raise UsageError(f"lam is {self.lam}; it must be a number of at least 0")
        if not 0 <= self.momentum < 1:
            raise UsageError(f"momentum is {self.momentum}; it must lie in [0, 1)")
        least = 0 if self.start is None else 1
        if self.steps < least or self.hold < 0:
            raise UsageError(
                f"{self.steps} steps and {self.hold} at a norm asked for; at least {least} and 0 "
                "are needed"
            )


class Momentum(NamedTuple):
    """Where an ascent is: e and v, both (batch, *data)."""

    e: Tensor
    v: Tensor


class Found(NamedTuple):
    """What an ascent found.

    e is (batch, *data), the others (batch): the distance ||d(e)||, that of the beginning, and
    reached, bool, which is False where the steps ended before e had the wanted norm.
    """

    e: Tensor
    distance: Tensor
    first: Tensor
    reached: Tensor


class Perturbation(NamedTuple):
    """Worst perturbations that were found, and what they and random ones do.

    e is (batch, *data), the others (batch): largest distance found, largest distance of the random
    starting points, which have the same size.
    """

    e: Tensor
    change: Tensor
    random_change: Tensor


def worst_perturbation(
    reconstruct: Reconstruct,
    y: Tensor,
    mask: Tensor,
    radius: Tensor,
    *,
    ascent: Ascent,
    restarts: int,
    seed: int,
    start: Tensor | None = None,
    target: Tensor | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Perturbation:
    """Return the perturbations of k-space that move the reconstructions farthest, as found.

    Ascent on ||phi(y + e) - target|| over ||e|| <= radius; the best of all steps and starting
    points. An e for which phi or its gradient is NaN is skipped.

    Parameters
    ----------
    reconstruct
        phi; items of a batch may not influence each other.
    y
        (batch, *data) complex.
    mask
        bool, broadcasts against y; e is zero where it is False.
    radius
        (batch).
    ascent
        How to climb; without a start of its own.
    restarts
        Starting points per item: random ones of norm ``radius``. All run side by side.
    seed
        Of the starting points.
    start
        Replaces the first starting point of each item, scaled to its radius.
    target
        (batch, y, x); None is phi(y), so that the distance is the change.
    on_step
        Called with (steps done, steps in all).

    Raises
    ------
    DataError
        If phi returns NaN or infinite values for y.
    """
    repeated = (restarts, *[1] * (y.ndim - 1))
    radii = radius.repeat(restarts)
    mask = mask.expand(len(y), *mask.shape[-y.ndim + 1 :]) if mask.ndim == y.ndim else mask
    generator = torch.Generator().manual_seed(seed)
    e = (torch.randn(restarts, *y.shape, dtype=y.dtype, generator=generator) * mask).flatten(0, 1)
    if start is not None:
        e = torch.cat([start, e[len(y) :]])
    with torch.no_grad():
        clean = reconstruct(y) if target is None else target
    if not bool(clean.isfinite().all()):
        raise DataError("The method returned NaN or infinite values; nothing can be attacked")
    data, clean = y.repeat(repeated), clean.repeat(restarts, *[1] * (clean.ndim - 1))
    done = 0

    def count() -> None:
        nonlocal done
        if on_step is not None:
            on_step(done, ascent.steps)
        done += 1

    _, found = ascend(
        lambda e: reconstruct(data + e) - clean,
        Momentum(scaled_to(e, radii), torch.zeros_like(e)),
        radii,
        replace(ascent, start=None),
        mask=mask.repeat(repeated) if mask.ndim == y.ndim else mask,
        on_step=count,
    )
    best, index = found.distance.reshape(restarts, -1).max(0)
    e = found.e.reshape(restarts, *y.shape)[index, torch.arange(len(y))]
    randoms = found.first.reshape(restarts, -1)[0 if start is None else 1 :]
    return Perturbation(e, best, randoms.amax(0) if len(randoms) else torch.zeros_like(best))


def ascend(
    change: Change,
    state: Momentum,
    radius: Tensor,
    ascent: Ascent,
    *,
    mask: Tensor | None = None,
    finite: bool = False,
    on_step: Callable[[], None] | None = None,
) -> tuple[Momentum, Found]:
    """Climb until every item has spent its steps; return the state at the best e, and what it does.

    Parameters
    ----------
    change
        d.
    state
        Where to begin.
    radius
        Wanted ||e||, (batch).
    ascent
        How to climb.
    mask
        bool, broadcasts against e; gradients count where it is True.
    finite
        Refuse NaN and infinite values; otherwise such e are skipped.
    on_step
        Called after each e is tried.

    Raises
    ------
    DataError
        If values are not finite but must be.
    """
    in_ball = ascent.start is None
    hold = ascent.steps if in_ball else ascent.hold
    reached = torch.full_like(radius, in_ball, dtype=torch.bool)
    done = torch.zeros_like(reached)
    held = torch.zeros_like(radius, dtype=torch.int64)
    best = Found(state.e, torch.full_like(radius, -1.0), radius, reached)
    for step in range(ascent.steps + (0 if in_ball else hold) + 1):
        reached = reached | (_norms(state.e) >= radius)
        e = state.e if in_ball else _where(reached, scaled_to(state.e, radius), state.e)
        state = state._replace(e=e.detach().requires_grad_())
        difference = change(state.e)
        distance = _norms(difference.detach())
        if finite:
            check_finite(distance, "perturbed data")
        best = _better(best, state.e.detach(), distance, reached, done, is_first=step == 0)
        if on_step is not None:
            on_step()
        done = done | torch.where(reached, held >= hold, torch.tensor(step >= ascent.steps))
        if bool(done.all()):
            break
        held += reached
        gradient = _gradient(difference, state.e, ascent, mask)
        if finite:
            check_finite(gradient, "perturbed data, in its derivative")
        ahead = climb(Momentum(state.e.detach(), state.v), gradient, ascent, radius)
        if in_ball:
            ahead = ahead._replace(e=_into_ball(ahead.e, radius))
        # Items that are done stay where they are: they do not depend on the others' steps.
        state = Momentum(*(_where(done, a, b) for a, b in zip(state, ahead, strict=True)))
    return Momentum(best.e, state.v), best


def climb(state: Momentum, gradient: Tensor, ascent: Ascent, radius: Tensor) -> Momentum:
    """Return the state after one step along a gradient, (batch, *data)."""
    length: float | Tensor = ascent.learning_rate
    if ascent.normalised:
        gradient = gradient / _like(_norms(gradient), gradient).clamp(min=1e-30)
        length = length * _like(radius, gradient)
    v = ascent.momentum * state.v + gradient
    direction = gradient + ascent.momentum * v if ascent.nesterov else v
    return Momentum(state.e + length * direction, v)


def scaled_to(e: Tensor, norm: Tensor) -> Tensor:
    """Return the items of e scaled to norms, (batch)."""
    return _like(norm, e) * e / _like(_norms(e), e).clamp(min=1e-30)


def check_finite(values: Tensor, what: str) -> None:
    """Refuse values of a network that are NaN or infinite.

    Raises
    ------
    DataError
        If there is one.
    """
    if not bool(values.isfinite().all()):
        raise DataError(
            f"The network returned NaN or infinite values for {what}; an attack needs a network "
            "that is finite, check its weights"
        )


def _gradient(difference: Tensor, e: Tensor, ascent: Ascent, mask: Tensor | None) -> Tensor:
    """Return the gradient of Q at e."""
    with denormals_flushed():
        (gradient,) = torch.autograd.grad((difference * difference.conj()).real.sum() / 2, e)
    if ascent.lam > 0:
        gradient = gradient - ascent.lam * e.detach()
    return gradient if mask is None else gradient * mask


def _better(
    best: Found, e: Tensor, distance: Tensor, reached: Tensor, done: Tensor, *, is_first: bool
) -> Found:
    """Return the best so far; where the norm is not reached yet, the last e."""
    # A distance that is NaN is never the larger one.
    better = ~done & (~best.reached | (distance > best.distance))
    return Found(
        _where(better, e, best.e),
        torch.where(better, distance, best.distance),
        distance if is_first else best.first,
        reached,
    )


def _into_ball(e: Tensor, radius: Tensor) -> Tensor:
    return e * (_like(radius, e) / _like(_norms(e), e).clamp(min=1e-30)).clamp(max=1)


def _norms(x: Tensor) -> Tensor:
    """Return the norm of every item, (batch)."""
    return item_norm(x, tuple(range(1 - x.ndim, 0))).flatten()


def _like(values: Tensor, x: Tensor) -> Tensor:
    """Return one value per item, (batch), with the axes of x."""
    return values.reshape(-1, *[1] * (x.ndim - 1))


def _where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return items of a where the condition, (batch), holds, else of b."""
    return torch.where(_like(condition, a), a, b)
