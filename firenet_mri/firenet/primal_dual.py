"""One step of the Chambolle-Pock iteration for the square-root LASSO, and the layer that runs it.

Synthesis form (W unitary), written for the image x = W^H c:

    x+ = W^H soft(W (x - tau A^H v), tau lam w)
    v+ = Pi(v + sigma (A (2 x+ - x) - y))

Analysis form (W a Parseval frame), with Q the projection on |q_i| <= lam w_i:

    x+ = x - tau (A^H v + W^H q)
    v+ = Pi(v + sigma (A (2 x+ - x) - y))
    q+ = Q(q + sigma W (2 x+ - x))

Pi is the projection on the unit ball of each item. Both need tau sigma ||K||^2 <= 1 with K = A and
K = (A, W) respectively.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from firenet_mri.firenet.problem import SquareRootLasso
from firenet_mri.prox import project_unit_ball


class State(NamedTuple):
    """Where the iteration stands: image x, dual v of the data, dual q of the coefficients."""

    x: Tensor
    v: Tensor
    q: Tensor | None = None


def start(problem: SquareRootLasso, y: Tensor, x: Tensor) -> State:
    """Return the state with image x and zero duals."""
    q = None if problem.is_synthesis else torch.zeros_like(problem.analyse(x))
    return State(x, torch.zeros_like(y), q)


def step(problem: SquareRootLasso, y: Tensor, state: State, tau: Tensor, sigma: Tensor) -> State:
    """Return the state after one primal-dual step.

    Parameters
    ----------
    problem
        Operators, weights and lam.
    y
        Data, (*batch, *codomain_shape).
    state
        Where the iteration stands.
    tau, sigma
        Step sizes, one an item, (*batch).
    """
    x, v, q = state
    tau, sigma_v = _expand(tau, problem.image_axes), _expand(sigma, problem.data_axes)
    gradient = problem.encoding.adjoint(v)
    if q is None:
        x_next = problem.prox(x - tau * gradient, tau)
    else:
        x_next = x - tau * (gradient + problem.synthesise(q))
    ahead = 2 * x_next - x
    v = project_unit_ball(v + sigma_v * (problem.encoding(ahead) - y), problem.data_axes)
    if q is not None:
        sigma_q = _expand(sigma, problem.coefficient_axes)
        q = problem.project_coefficient_dual(q + sigma_q * problem.analyse(ahead))
    return State(x_next, v, q)


def _expand(value: Tensor, axes: tuple[int, ...]) -> Tensor:
    return value.reshape(*value.shape, *[1] * len(axes))


class PrimalDualLayer(nn.Module):
    """One step of the iteration as a layer; it has no parameters."""

    def forward(
        self, problem: SquareRootLasso, y: Tensor, state: State, tau: Tensor, sigma: Tensor
    ) -> State:
        """Return the state after one step, see :func:`step`."""
        return step(problem, y, state, tau, sigma)
