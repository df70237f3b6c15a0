"""One step of the Chambolle-Pock iteration, and the layer that runs it.

Synthesis form (W unitary), written for the image x = W^H c:

    x+ = W^H soft(W (x - tau A^H v), tau lam w)
    v+ = prox_{sigma f*}(v + sigma (A (2 x+ - x) - y))

Analysis form (W a frame or differences), with Q the projection onto |q_i| <= lam w_i:

    x+ = x - tau (A^H v + W^H q)
    v+ = prox_{sigma f*}(v + sigma (A (2 x+ - x) - y))
    q+ = Q(q + sigma W (2 x+ - x))

The prox is that of the problem's data term: for the square-root LASSO the projection on the unit
ball of each item. Both forms need tau sigma ||K||^2 <= 1 with K = A and K = (A, W) respectively.

The dual of the data need not be stored. The prox only changes the length of its argument, so that
from v = 0 on v = rho (A m - y), with a number rho and a running mean m of the points 2 x+ - x:

    m+ = m + sigma / (rho + sigma) (2 x+ - x - m),   rho+ = (rho + sigma) s,

where s is the factor of the prox at (rho + sigma) ||A m+ - y||. A layer thus applies A^H (A . - y)
once and keeps images only.
"""

from __future__ import annotations

from typing import NamedTuple, overload

import torch
from torch import Tensor, nn

from firenet_mri.firenet.problem import Problem
from firenet_mri.firenet.updates import descended, extrapolated
from firenet_mri.operators.base import Residual
from firenet_mri.prox import item_norm, over_axes


class State(NamedTuple):
    """Image x, dual v of the data, dual q of the coefficients (None in the synthesis form).

    Where they are known, v = A source - share y: an image, (*batch, *domain_shape), and a number of
    each item, (*batch), from which v can be made again.
    """

    x: Tensor
    v: Tensor
    q: Tensor | None = None
    source: Tensor | None = None
    share: Tensor | None = None


class LayerState(NamedTuple):
    """What a layer passes to the next: images, one number per item, and the coefficients' dual.

    v = rho (A mean - y) is the dual of the data and ``gradient`` is A^H (A mean - y). ``q`` has the
    sparsifier's own layout and ``synthesised`` is W^H q; both are None in the synthesis
    form.
    """

    x: Tensor
    mean: Tensor
    rho: Tensor
    gradient: Tensor
    q: Tensor | None
    synthesised: Tensor | None

    def bare(self, problem: Problem, y: Tensor) -> State:
        """Return image and duals in full; costs one application of A."""
        v = over_axes(self.rho, problem.data_axes) * (problem.encoding(self.mean) - y)
        q = None if self.q is None else problem.coefficients(self.q)
        return State(self.x, v, q, over_axes(self.rho, problem.image_axes) * self.mean, self.rho)


class TrackedState(NamedTuple):
    """A state with what the operators make of it: A x, A^H v, and W x, W^H q (analysis form).

    v = A source - share y.

    A step from it costs no more operator calls than one from the bare state, and objective and dual
    bound of what it returns cost no call of A. q, ``coefficients`` and ``synthesised`` are None in
    the synthesis form.
    """

    x: Tensor
    v: Tensor
    q: Tensor | None
    data: Tensor
    gradient: Tensor
    coefficients: Tensor | None
    synthesised: Tensor | None
    source: Tensor
    share: Tensor

    @property
    def bare(self) -> State:
        """The state without the products."""
        return State(self.x, self.v, self.q, self.source, self.share)


def start(problem: Problem, x: Tensor) -> LayerState:
    """Return the state with image x, (*batch, *domain_shape), and zero duals."""
    rho, zero = _no_share(problem, x), torch.zeros_like(x)
    if problem.is_synthesis:
        return LayerState(x, x, rho, zero, None, None)
    return LayerState(x, x, rho, zero, problem.zero_coefficient_dual(x), zero)


def start_tracked(problem: Problem, y: Tensor, x: Tensor) -> TrackedState:
    """Return the state with image x and zero duals, and its products: one call of A and W."""
    coefficients = None if problem.is_synthesis else problem.analyse(x)
    q = None if coefficients is None else torch.zeros_like(coefficients)
    data = problem.encoding(x)
    zero = torch.zeros_like(x)
    synthesised = None if q is None else zero
    v, share = torch.zeros_like(y), _no_share(problem, x)
    return TrackedState(x, v, q, data, zero, coefficients, synthesised, zero, share)


def _no_share(problem: Problem, x: Tensor) -> Tensor:
    """Return a real zero of each item, (*batch), for images x."""
    batch = x.shape[: x.ndim - len(problem.image_axes)]
    return torch.zeros(batch, dtype=x.real.dtype, device=x.device)


@overload
def step(
    problem: Problem, data: Residual, state: LayerState, tau: Tensor, sigma: Tensor
) -> LayerState: ...


@overload
def step(
    problem: Problem, data: Tensor, state: TrackedState, tau: Tensor, sigma: Tensor
) -> TrackedState: ...


def step(
    problem: Problem,
    data: Residual | Tensor,
    state: LayerState | TrackedState,
    tau: Tensor,
    sigma: Tensor,
) -> LayerState | TrackedState:
    """Return the state after one primal-dual step, tracked if the given one is.

    Parameters
    ----------
    problem
        Operators, weights, and the data term.
    data
        ``problem.encoding.residual(y)`` for data y, (*batch, *codomain_shape); y itself for a
        tracked state.
    state
        Where the iteration stands.
    tau, sigma
        Step sizes, one per item, (*batch).
    """
    if isinstance(state, TrackedState):
        assert isinstance(data, Tensor)
        return _tracked_step(problem, data, state, tau, sigma)
    assert isinstance(data, Residual)
    return _step(problem, data, state, tau, sigma)


def _step(
    problem: Problem, residual: Residual, state: LayerState, tau: Tensor, sigma: Tensor
) -> LayerState:
    x, mean, rho, gradient, q, synthesised = state
    x_next = descended(x, gradient, tau * rho, synthesised, tau)
    if q is None:
        x_next = problem.prox(x_next, tau)
    total = rho + sigma
    ahead, mean = extrapolated(x, x_next, mean, sigma / total, needs_point=q is not None)
    gradient, norm = residual(mean)
    rho = total * problem.data_factor(total * norm, sigma)
    if q is not None and ahead is not None:
        q, synthesised = problem.coefficient_step(q, ahead, sigma)
    return LayerState(x_next, mean, rho, gradient, q, synthesised)


def _tracked_step(
    problem: Problem, y: Tensor, state: TrackedState, tau: Tensor, sigma: Tensor
) -> TrackedState:
    """Return the same step; the operators are applied to what it returns."""
    tau_x, sigma_v = over_axes(tau, problem.image_axes), over_axes(sigma, problem.data_axes)
    if state.synthesised is None:
        x = problem.prox(state.x - tau_x * state.gradient, tau)
    else:
        x = state.x - tau_x * (state.gradient + state.synthesised)
    data = problem.encoding(x)
    inside = state.v + sigma_v * (2 * data - state.data - y)
    factor = problem.data_factor(item_norm(inside, problem.data_axes), sigma_v)
    v = factor * inside
    factor = factor.reshape(sigma.shape)
    source = state.source + over_axes(sigma, problem.image_axes) * (2 * x - state.x)
    source, share = over_axes(factor, problem.image_axes) * source, factor * (state.share + sigma)
    gradient = problem.encoding.adjoint(v)
    if state.q is None or state.coefficients is None:
        return TrackedState(x, v, None, data, gradient, None, None, source, share)
    coefficients = problem.analyse(x)
    sigma_q = over_axes(sigma, problem.coefficient_axes)
    ahead = 2 * coefficients - state.coefficients
    q = problem.project_coefficient_dual(state.q + sigma_q * ahead)
    synthesised = problem.synthesise(q)
    return TrackedState(x, v, q, data, gradient, coefficients, synthesised, source, share)


class PrimalDualLayer(nn.Module):
    """One step of the iteration as a layer; it has no parameters."""

    @overload
    def forward(
        self, problem: Problem, data: Residual, state: LayerState, tau: Tensor, sigma: Tensor
    ) -> LayerState: ...

    @overload
    def forward(
        self, problem: Problem, data: Tensor, state: TrackedState, tau: Tensor, sigma: Tensor
    ) -> TrackedState: ...

    def forward(self, problem, data, state, tau, sigma):  # type: ignore[no-untyped-def]
        """Return the state after one step, see :func:`step`."""
        return step(problem, data, state, tau, sigma)
