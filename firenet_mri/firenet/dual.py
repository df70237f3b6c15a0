"""Searches for a dual vector that proves a small duality gap, once the image is known.

The image stays as it is. The search is for a pair (v, q) with a large lower bound (see
:mod:`firenet_mri.firenet.problem`), in two stages:

1. Over-relaxed layers, z <- z + r (T z - z) with r = 1.8, from the network's last state on, all
   with one step: tau is proportional to the geometric mean of ||y|| and the residual, and to 1 /
   lam, the size of the image over that of q.
2. Rounds on q alone with v fixed, for the analysis form: q must lie on the discs |q_i| <= lam w_i
   and satisfy W^H q = -A^H v. This is Douglas and Rachford's iteration, which is the primal-dual
   step without the data: u+ = u - (W^H W)^+ (W^H q + A^H v), q+ = Q(q + W (2 u+ - u)).

v = A source - share y is kept as an image and a number: from these and a start for q anybody can
recompute the bound. That start is Q(W (1000 near)), near the last image, see :func:`start_of_q`.

Whatever comes out, the bound is valid: it is evaluated in double precision after the pair was made
feasible.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from firenet_mri.firenet.primal_dual import LayerState, State
from firenet_mri.firenet.problem import Problem
from firenet_mri.operators.base import Residual
from firenet_mri.prox import item_norm, over_axes, relaxed

_RELAXATION = 1.8
_ROUND_RELAXATION = 1.9
# tau over sqrt(||y|| ||A x - y||) where lam is that of white noise;
# see docs/performance_details.md.
_STEP = 0.88
# Far from that lam the rule is no longer followed.
_LEAST_FACTOR, _MOST_FACTOR = 0.25, 4.0
# The signs of the coefficients are what counts.
_START = 1e3


class DualPoint(NamedTuple):
    """A dual vector v = A source - share y, q (analysis form), and an image near the optimum.

    source, near: (*batch, *domain_shape); share: (*batch); q: (*batch, *coefficients) or None.
    """

    source: Tensor
    share: Tensor
    q: Tensor | None
    near: Tensor

    def to(self, dtype: torch.dtype) -> DualPoint:
        """Return the same in another precision, given as that of the data."""
        q = None if self.q is None else self.q.to(dtype)
        share = self.share.to(torch.empty(0, dtype=dtype).real.dtype)
        return DualPoint(self.source.to(dtype), share, q, self.near.to(dtype))

    def dual(self, problem: Problem, y: Tensor) -> Tensor:
        """Return v, of the shape of the data y."""
        return problem.encoding(self.source) - over_axes(self.share, problem.data_axes) * y


def point_of(problem: Problem, y: Tensor, state: State) -> DualPoint:
    """Return the duals of a state; v along the residual where it does not know its own source."""
    if state.source is not None and state.share is not None:
        return DualPoint(state.source, state.share, state.q, state.x)
    distance = item_norm(problem.encoding(state.x) - y, problem.data_axes)
    batch = y.shape[: y.ndim - len(problem.data_axes)]
    share = 1 / torch.where(distance > 0, distance, torch.ones_like(distance)).reshape(batch)
    return DualPoint(over_axes(share, problem.image_axes) * state.x, share, state.q, state.x)


def search_dual(
    problem: Problem, y: Tensor, start: DualPoint, *, layers: int, rounds: int
) -> DualPoint:
    """Return a dual point with a better lower bound than another one, as a rule.

    Parameters
    ----------
    problem, y
        P2 or P3, and its data, (*batch, *codomain_shape), of a size near 1 (see
        :meth:`firenet_mri.firenet.network.FIRENET.task`).
    start
        Where the search begins.
    layers, rounds
        Of the two kinds.
    """
    at = _after_layers(problem, y, start, layers)
    source = over_axes(at.rho, problem.image_axes) * at.mean
    if at.q is None:
        return DualPoint(source, at.rho, None, at.x)
    image = over_axes(at.rho, problem.image_axes) * at.gradient
    if problem.transform.annihilates_constants:
        v = problem.encoding(source) - over_axes(at.rho, problem.data_axes) * y
        _, image = problem.without_constants(v, image)
    assert at.synthesised is not None
    # Its memory is used again.
    begin = _Tightening(at.q, at.synthesised, torch.zeros_like(image))
    q = problem.coefficients(_tighter(problem, image, begin, rounds).q)
    return DualPoint(source, at.rho, q, at.x)


def _after_layers(problem: Problem, y: Tensor, start: DualPoint, layers: int) -> LayerState:
    """Return the state after over-relaxed layers."""
    residual = problem.encoding.residual(y)
    at = _begin(problem, residual, start)
    tau = _step_size(problem, y, residual(start.near)[1])
    sigma = 1 / (problem.norm_bound**2 * tau)
    for layer in range(layers):
        # A relaxed q lies off its discs; the last is not relaxed.
        relaxation = _RELAXATION if layer < layers - 1 else 1.0
        at = _relaxed_step(problem, residual, at, tau, sigma, relaxation)
    return at


def start_of_q(problem: Problem, near: Tensor) -> Tensor:
    """Return q on the discs, (*batch, *coefficients), with the signs of W near."""
    return problem.project_coefficient_dual(problem.analyse(_START * near))


def tightened(
    problem: Problem, image: Tensor, q: Tensor, counts: Sequence[int]
) -> Iterator[Tensor]:
    """Yield q after so many rounds, nearer and nearer to W^H q = -A^H v, on its discs.

    Parameters
    ----------
    problem
        In the analysis form.
    image
        A^H v, (*batch, *domain_shape), without a constant part where W has none
        (:meth:`Problem.without_constants`).
    q
        Where to start, (*batch, *coefficients).
    counts
        Rounds until each result, counted on from the one before.
    """
    begin = problem.transform.laid_out(q), problem.synthesise(q)
    at = _Tightening(*begin, torch.zeros_like(image))
    for count in counts:
        at = _tighter(problem, image, at, count)
        yield problem.coefficients(at.q)


class _Tightening(NamedTuple):
    """q as the sparsifier lays it out, W^H q, and u of Douglas and Rachford's iteration."""

    q: Tensor
    synthesised: Tensor
    u: Tensor


def _tighter(problem: Problem, image: Tensor, at: _Tightening, count: int) -> _Tightening:
    """Return q after so many rounds, perhaps in the memory of the one before."""
    batch = image.shape[: image.ndim - len(problem.image_axes)]
    one = torch.ones(batch, dtype=image.real.dtype, device=image.device)
    q, synthesised, u = at
    for done in range(count):
        # A relaxed q lies off its discs.
        relaxation = _ROUND_RELAXATION if done < count - 1 else 1.0
        change = -problem.transform.solve_gram(synthesised + image)
        q, synthesised = problem.coefficient_step(q, u + 2 * change, one, relaxation)
        u = u + relaxation * change
    return _Tightening(q, synthesised, u)


def _begin(problem: Problem, residual: Residual, start: DualPoint) -> LayerState:
    """Return a dual point as a state from which layers go on."""
    x, is_known = start.near, start.share > 0
    safe = torch.where(is_known, start.share, torch.ones_like(start.share))
    mean = start.source / over_axes(safe, problem.image_axes)
    # v without a share is no multiple of a residual, and begins at 0.
    rho = torch.where(is_known, start.share, torch.zeros_like(safe))
    gradient, _ = residual(mean)
    if problem.is_synthesis:
        return LayerState(x, mean, rho, gradient, None, None)
    if start.q is None:
        zero = problem.zero_coefficient_dual(x)
        return LayerState(x, mean, rho, gradient, zero, torch.zeros_like(x))
    q = problem.transform.laid_out(start.q)
    return LayerState(x, mean, rho, gradient, q, problem.synthesise(start.q))


def _step_size(problem: Problem, y: Tensor, distance: Tensor) -> Tensor:
    """Return tau of each item, (*batch)."""
    size = item_norm(y, problem.data_axes).reshape(distance.shape)
    # The image of white noise alone just vanishes at this lam, see presets.automatic_lam.
    noise = float(problem.transform.band_norms.max()) / math.sqrt(
        math.prod(problem.encoding.codomain_shape)
    )
    factor = min(max(noise / problem.penalty, _LEAST_FACTOR), _MOST_FACTOR)
    tau = _STEP * factor * (size * distance).sqrt()
    # An item without signal or without residual: any positive step works.
    least = torch.where(size > 0, 1e-3 * size, torch.ones_like(size))
    return torch.maximum(tau, least)


def _relaxed_step(
    problem: Problem,
    residual: Residual,
    state: LayerState,
    tau: Tensor,
    sigma: Tensor,
    relaxation: float,
) -> LayerState:
    """Return the state r times the way to what a layer makes of it."""
    axes = problem.image_axes
    x, mean, rho, gradient, q, synthesised = state
    inside = x - over_axes(tau * rho, axes) * gradient
    if synthesised is None:
        x_next = problem.prox(inside, tau)
    else:
        x_next = inside - over_axes(tau, axes) * synthesised
    ahead = 2 * x_next - x
    total = rho + sigma
    mean_next = mean + over_axes(sigma / total, axes) * (ahead - mean)
    gradient_next, norm = residual(mean_next)
    rho_next = total * problem.data_factor(total * norm, sigma)
    share = relaxed(rho, rho_next, relaxation)
    # v stays a positive multiple of a residual; where relaxing would end that, it is omitted.
    is_relaxed = share > 0
    share = torch.where(is_relaxed, share, rho_next)
    part = over_axes(torch.where(is_relaxed, relaxation * rho_next / share, 1.0), axes)
    if q is not None:
        q, synthesised = problem.coefficient_step(q, ahead, sigma, relaxation)
    return LayerState(
        relaxed(x, x_next, relaxation),
        mean + part * (mean_next - mean),
        share,
        gradient + part * (gradient_next - gradient),
        q,
        synthesised,
    )
