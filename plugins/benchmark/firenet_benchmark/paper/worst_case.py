"""Worst-case perturbations of images by gradient ascent with momentum, as the paper looks for them.

For a reconstruction Phi, an encoding operator A, an image x and a reference z, which is Phi(A x)
unless another is given,

    Q(r) = 1/2 ||Phi(A (x + r)) - z||^2 - lam/2 ||r||^2,        r = r_re + i r_im,

is climbed from r_re, r_im uniform in [0, start) with the gradient g and steps of length eta,

    v <- mu v + g,    r <- r + eta (g + mu v)  (Nesterov)    or    r <- r + eta v  (heavy ball),

until ||r|| reaches the wanted norm, then goes on to the next one [1]. What is found is a lower
bound of the worst case.

Differs from [1] in: an r that has reached its norm is scaled to have exactly this norm; the ascent
can be held at a norm for more steps, after each of which r is scaled back to it, and the r with the
largest distance is kept: what the published ascent passes by is not yet the worst.

[1] Colbrook, Antun, Hansen, PNAS 119(12) e2107151119, 2022, and its published code; for AUTOMAP
Antun, Renna, Poon, Adcock, Hansen, PNAS 117(48), 2020.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.prox import item_norm

#: Images (batch, *spatial) from data (batch, *data), or data from images; differentiable, and items
#: of a batch may not influence each other.
BatchMap = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Ascent:
    """How the ascent is run; the default is the one published for FIRENET.

    Parameters
    ----------
    learning_rate, momentum
        eta and mu.
    lam
        Weight of ||r||^2.
    nesterov
        Nesterov's momentum; False is heavy ball.
    start
        Upper end of the uniform distribution of r_re and r_im at the beginning.
    steps
        At most so many for every norm.
    hold
        Steps at a norm after it is reached; 0 as published.
    """

    learning_rate: float = 0.01
    momentum: float = 0.9
    lam: float = 0.01
    nesterov: bool = True
    start: float = 1e-3
    steps: int = 150
    hold: int = 0

    def __post_init__(self) -> None:
        for name in ("learning_rate", "start"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise UsageError(f"{name} is {value}; it must be a positive number")
        if not 0 <= self.lam < math.inf:
            raise UsageError(f"lam is {self.lam}; it must be a number of at least 0")
        if not 0 <= self.momentum < 1:
            raise UsageError(f"momentum is {self.momentum}; it must lie in [0, 1)")
        if self.steps < 1 or self.hold < 0:
            raise UsageError(
                f"{self.steps} steps and {self.hold} at a norm asked for; at least 1 and 0 are "
                "needed"
            )


#: The ascent published for AUTOMAP; its reference is the true image.
AUTOMAP_ASCENT = Ascent(learning_rate=1e-3, lam=0.1, nesterov=False, start=1e-5, steps=24)


class Momentum(NamedTuple):
    """Where an ascent is: r and v, both (batch, *spatial) complex."""

    r: Tensor
    v: Tensor


class Perturbation(NamedTuple):
    """A perturbation of every image.

    r is (batch, *spatial) complex; distance ||Phi(A (x + r)) - z||, (batch); reached, bool (batch):
    False where the steps ended before r had the wanted norm.
    """

    r: Tensor
    distance: Tensor
    reached: Tensor


def climb(state: Momentum, gradient: Tensor, ascent: Ascent) -> Momentum:
    """Return the state after one step along a gradient, (batch, *spatial) complex."""
    v = ascent.momentum * state.v + gradient
    direction = gradient + ascent.momentum * v if ascent.nesterov else v
    return Momentum(state.r + ascent.learning_rate * direction, v)


def worst_case(
    reconstruct: BatchMap,
    encoding: BatchMap,
    images: Tensor,
    norms: Sequence[Tensor],
    ascent: Ascent,
    *,
    seed: int,
    reference: Tensor | None = None,
    on_step: Callable[[], None] | None = None,
) -> list[Perturbation]:
    """Return the perturbations found, one for each norm; each goes on from the one before.

    Parameters
    ----------
    reconstruct, encoding
        Phi and A.
    images
        x, (batch, *spatial), real or complex.
    norms
        Wanted ||r||, each (batch), growing.
    ascent
        How to climb.
    seed
        Of the start.
    reference
        z, of the shape of Phi's images; None is Phi(A x).
    on_step
        Called after every gradient.

    Raises
    ------
    UsageError
        If norms are not positive and growing, or the seed is negative.
    ShapeError
        If norms or reference do not fit the images.
    DataError
        If Phi returns NaN or infinite values.
    """
    _check_norms(norms, images)
    r = _random_start(images, ascent.start, seed)
    with torch.no_grad():
        clean = reconstruct(encoding(images))
    _check_finite(clean, "the clean data")
    if reference is None:
        reference = clean
    elif reference.shape != clean.shape:
        raise ShapeError(
            f"The reference has shape {tuple(reference.shape)}, the reconstruction "
            f"{tuple(clean.shape)}; they must be equal"
        )
    objective = _Objective(reconstruct, encoding, images, reference, ascent.lam)
    state = Momentum(r, torch.zeros_like(r))
    found = []
    for norm in norms:
        state, best = _climb_to(norm, objective, state, ascent, on_step or (lambda: None))
        found.append(best)
    return found


def random_perturbations(images: Tensor, norm: Tensor, count: int, *, seed: int) -> Tensor:
    """Return complex white Gaussian perturbations of a norm, (count, batch, *spatial).

    Parameters
    ----------
    images
        (batch, *spatial).
    norm
        (batch), positive.
    count, seed
        How many, and of which draw.

    Raises
    ------
    UsageError
        If a norm is not positive, the count less than 1, or the seed negative.
    """
    _check_norms([norm], images)
    if count < 1:
        raise UsageError(f"{count} random perturbations asked for; ask for at least 1")
    shape = (count * len(images), *images.shape[1:])
    r = torch.randn(shape, dtype=images.dtype.to_complex(), generator=_generator(seed))
    return _scale(r, norm.repeat(count)).unflatten(0, (count, -1))


@dataclass(frozen=True, eq=False)
class _Objective:
    """Q for a batch of images; items are attacked side by side."""

    reconstruct: BatchMap
    encoding: BatchMap
    images: Tensor
    reference: Tensor
    lam: float

    def gradient(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient of Q at r, and ||Phi(A (x + r)) - z||, (batch)."""
        r = r.detach().requires_grad_()
        change = self.reconstruct(self.encoding(self.images + r)) - self.reference
        distance = _norms(change.detach())
        _check_finite(distance, "perturbed data")
        (gradient,) = torch.autograd.grad((change * change.conj()).real.sum() / 2, r)
        _check_finite(gradient, "perturbed data, in its derivative")
        return gradient - self.lam * r.detach(), distance


def _climb_to(
    norm: Tensor,
    objective: _Objective,
    state: Momentum,
    ascent: Ascent,
    on_step: Callable[[], None],
) -> tuple[Momentum, Perturbation]:
    """Climb until every item has been held at its norm or has spent its steps; return the best."""
    reached = done = torch.zeros_like(norm, dtype=torch.bool)
    held = torch.zeros_like(norm, dtype=torch.int64)
    best = Perturbation(state.r, torch.full_like(norm, -1.0), reached)
    for step in range(ascent.steps + ascent.hold + 1):
        reached = reached | (_norms(state.r) >= norm)
        state = state._replace(r=_where(reached, _scale(state.r, norm), state.r))
        gradient, distance = objective.gradient(state.r)
        # Where the norm is not reached yet, the last r stands for the best.
        better = ~done & (~best.reached | (distance > best.distance))
        best = Perturbation(
            _where(better, state.r, best.r), torch.where(better, distance, best.distance), reached
        )
        on_step()
        done = done | torch.where(reached, held >= ascent.hold, torch.tensor(step >= ascent.steps))
        if bool(done.all()):
            break
        held += reached
        ahead = climb(state, gradient, ascent)
        # Items that are done stay where they are: they do not depend on the others' steps.
        state = Momentum(_where(done, state.r, ahead.r), _where(done, state.v, ahead.v))
    return state._replace(r=best.r), best


def _random_start(images: Tensor, start: float, seed: int) -> Tensor:
    parts = torch.rand(2, *images.shape, dtype=images.real.dtype, generator=_generator(seed))
    return start * torch.complex(parts[0], parts[1])


def _generator(seed: int) -> torch.Generator:
    if seed < 0:
        raise UsageError(f"seed is {seed}; it must be at least 0")
    return torch.Generator().manual_seed(seed)


def _norms(x: Tensor) -> Tensor:
    """Return the norm of every item, (batch)."""
    return item_norm(x, tuple(range(1 - x.ndim, 0))).flatten()


def _scale(r: Tensor, norm: Tensor) -> Tensor:
    """Return the items of r scaled to norms, (batch)."""
    return r * (norm / _norms(r)).reshape(-1, *[1] * (r.ndim - 1))


def _where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return items of a where the condition, (batch), holds, else of b."""
    return torch.where(condition.reshape(-1, *[1] * (a.ndim - 1)), a, b)


def _check_norms(norms: Sequence[Tensor], images: Tensor) -> None:
    if images.ndim < 2 or any(norm.shape != images.shape[:1] for norm in norms):
        raise ShapeError(
            f"Norms of shapes {[tuple(norm.shape) for norm in norms]} given for images of shape "
            f"{tuple(images.shape)}; the images need a batch axis, and one norm each"
        )
    before = torch.zeros(len(images))
    for norm in norms:
        if not bool((norm > before).all() and norm.isfinite().all()):
            raise UsageError(
                f"Sizes of perturbations {[n.tolist() for n in norms]} asked for; they must be "
                "positive and grow"
            )
        before = norm


def _check_finite(values: Tensor, what: str) -> None:
    if not bool(values.isfinite().all()):
        raise DataError(
            f"The network returned NaN or infinite values for {what}; an attack needs a network "
            "that is finite, check its weights"
        )
