"""One step of the Chambolle-Pock iteration, and the layer that runs it.

Synthesis form (W unitary), written for the image x = W^H c:

    x+ = W^H soft(W (x - tau A^H v), tau lam w)
    v+ = prox_{sigma f*}(v + sigma (A (2 x+ - x) - y))

Analysis form (W a Parseval frame), with Q the projection on |q_i| <= lam w_i:

    x+ = x - tau (A^H v + W^H q)
    v+ = prox_{sigma f*}(v + sigma (A (2 x+ - x) - y))
    q+ = Q(q + sigma W (2 x+ - x))

The prox is that of the problem's data term: for the square-root LASSO the projection on the unit
ball of each item. Both forms need tau sigma ||K||^2 <= 1 with K = A and K = (A, W) respectively.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from firenet_mri.firenet.problem import Problem


class State(NamedTuple):
    """Where the iteration stands: image x, dual v of the data, dual q of the coefficients."""

    x: Tensor
    v: Tensor
    q: Tensor | None = None


class TrackedState(NamedTuple):
    """A state with what the operators make of it: A x, A^H v, and W x, W^H q (analysis form).

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

    @property
    def bare(self) -> State:
        """The state without the products."""
        return State(self.x, self.v, self.q)


AnyState = TypeVar("AnyState", State, TrackedState)


def start(problem: Problem, y: Tensor, x: Tensor) -> State:
    """Return the state with image x and zero duals."""
    q = None if problem.is_synthesis else torch.zeros_like(problem.analyse(x))
    return State(x, torch.zeros_like(y), q)


def start_tracked(problem: Problem, y: Tensor, x: Tensor) -> TrackedState:
    """Return the state with image x and zero duals, and its products: one call of A and W."""
    coefficients = None if problem.is_synthesis else problem.analyse(x)
    q = None if coefficients is None else torch.zeros_like(coefficients)
    data = problem.encoding(x)
    zero = torch.zeros_like(x)
    synthesised = None if q is None else zero
    return TrackedState(x, torch.zeros_like(y), q, data, zero, coefficients, synthesised)


def step(problem: Problem, y: Tensor, state: AnyState, tau: Tensor, sigma: Tensor) -> AnyState:
    """Return the state after one primal-dual step, tracked if the given one is.

    Parameters
    ----------
    problem
        Operators, weights, and the data term.
    y
        Data, (*batch, *codomain_shape).
    state
        Where the iteration stands.
    tau, sigma
        Step sizes, one an item, (*batch).
    """
    if isinstance(state, TrackedState):
        return _tracked_step(problem, y, state, tau, sigma)
    x, v, q = state
    tau, sigma_v = _expand(tau, problem.image_axes), _expand(sigma, problem.data_axes)
    gradient = problem.encoding.adjoint(v)
    if q is None:
        x_next = problem.prox(x - tau * gradient, tau)
    else:
        x_next = x - tau * (gradient + problem.synthesise(q))
    ahead = 2 * x_next - x
    v = problem.data_prox(v + sigma_v * (problem.encoding(ahead) - y), sigma_v)
    if q is not None:
        sigma_q = _expand(sigma, problem.coefficient_axes)
        q = problem.project_coefficient_dual(q + sigma_q * problem.analyse(ahead))
    return State(x_next, v, q)


def _tracked_step(
    problem: Problem, y: Tensor, state: TrackedState, tau: Tensor, sigma: Tensor
) -> TrackedState:
    """Return the same step; the operators are applied to what it returns."""
    tau, sigma_v = _expand(tau, problem.image_axes), _expand(sigma, problem.data_axes)
    if state.synthesised is None:
        x = problem.prox(state.x - tau * state.gradient, tau)
    else:
        x = state.x - tau * (state.gradient + state.synthesised)
    data = problem.encoding(x)
    v = problem.data_prox(state.v + sigma_v * (2 * data - state.data - y), sigma_v)
    gradient = problem.encoding.adjoint(v)
    if state.q is None or state.coefficients is None:
        return TrackedState(x, v, None, data, gradient, None, None)
    coefficients = problem.analyse(x)
    sigma_q = _expand(sigma, problem.coefficient_axes)
    ahead = 2 * coefficients - state.coefficients
    q = problem.project_coefficient_dual(state.q + sigma_q * ahead)
    return TrackedState(x, v, q, data, gradient, coefficients, problem.synthesise(q))


def _expand(value: Tensor, axes: tuple[int, ...]) -> Tensor:
    return value.reshape(*value.shape, *[1] * len(axes))


class PrimalDualLayer(nn.Module):
    """One step of the iteration as a layer; it has no parameters."""

    def forward(
        self, problem: Problem, y: Tensor, state: AnyState, tau: Tensor, sigma: Tensor
    ) -> AnyState:
        """Return the state after one step, see :func:`step`."""
        return step(problem, y, state, tau, sigma)
