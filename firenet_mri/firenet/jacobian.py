"""How strongly a network amplifies a small change of given data: a measured lower bound.

J is the Jacobian of data -> image at y, a real-linear map also for complex data. For any u that is
not zero ||J u|| / ||u|| <= ||J||. The u is taken from the Krylov space of J^T J: with an
orthonormal basis u_1..u_k the largest ||J u|| / ||u|| in the space is the root of the largest
eigenvalue of the k x k matrix Re <J u_i, J u_j>. That is at least what k power iterations find.

J and J^T are applied layer by layer, with the derivatives of the thresholds and projections (all of
them symmetric) from one run: each application costs as much as the network, a tenth of what
automatic differentiation takes. At eps_0 = ||y|| the network is positively homogeneous, hence
J y = phi(y), and on all u orthogonal to y it is J at fixed eps_0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.firenet.network import FIRENET
from firenet_mri.firenet.primal_dual import State
from firenet_mri.firenet.problem import Problem
from firenet_mri.operators.base import LinearOperator
from firenet_mri.prox import item_norm, soft_threshold


def jacobian_norm_estimate(
    net: FIRENET,
    y: Tensor,
    encoding: LinearOperator,
    *,
    x0: Tensor | None = None,
    steps: int = 10,
    seed: int = 0,
) -> Tensor:
    """Return a lower bound of the Jacobian's norm at the data of each item, (*batch) float64.

    Parameters
    ----------
    net, y, encoding, x0
        The network, its data (*batch, *codomain_shape), its encoding operator and start image.
    steps
        Dimension of the Krylov space; each step costs two runs of the network.
    seed
        Of the first vector, A times a random image.

    Raises
    ------
    UsageError
        As :class:`Jacobian`; or if steps is below 1.

    Examples
    --------
    >>> from firenet_mri.operators import MatrixOperator
    >>> encoding = MatrixOperator(torch.eye(4), norm_bound=1.0)
    >>> y = torch.tensor([1.0, 0.0, 2.0, 0.0])
    >>> bool(0.9 < jacobian_norm_estimate(FIRENET(lam=0.01), y, encoding) < 2)
    True
    """
    if steps < 1:
        raise UsageError(f"{steps} steps asked for; the Jacobian is measured by at least 1")
    batch = y.shape[: y.ndim - len(encoding.codomain_shape)]
    jacobian = Jacobian(net, y, encoding, x0)
    u = _first_direction(y, encoding, seed)
    basis: list[Tensor] = []
    images: list[Tensor] = []
    for _ in range(steps):
        basis.append(_unit_part(u, basis, batch))
        images.append(jacobian.forward(basis[-1]))
        u = jacobian.transpose(images[-1])
    rows = torch.stack([_real_rows(image, batch).double() for image in images], -2)
    largest = torch.linalg.eigvalsh(rows @ rows.mT)[..., -1]
    return largest.clamp(min=0).sqrt().reshape(batch)


class Jacobian:
    """The derivative of a network's image with respect to its data, a real-linear map.

    Parameters
    ----------
    net, y, encoding, x0
        The network, its data (*batch, *codomain_shape), its encoding operator and start image,
        which does not change with the data.

    Raises
    ------
    UsageError
        If the network looks at the data, so that it may have no Jacobian, or has a start image and
        no fixed scale eps_0.
    """

    def __init__(
        self, net: FIRENET, y: Tensor, encoding: LinearOperator, x0: Tensor | None = None
    ) -> None:
        if x0 is not None and net.schedule.eps0 is None:
            raise UsageError(
                "The Jacobian with a start image is known at a fixed scale only; give eps0"
            )
        self.encoding = encoding
        self.blocks: list[list[_LayerSlopes]] = [[] for _ in net.blocks]
        task = net.task(y, encoding, x0)
        self.problem = task.problem

        def keep(block: int, problem: Problem, state: State, tau: Tensor, sigma: Tensor) -> None:
            self.blocks[block].append(_slopes(problem, task.y, state, tau, sigma))

        with torch.no_grad():
            self.parts = net.solver.observed(task.problem, task.y, task.x0, keep)
        norm = item_norm(task.y, self.problem.data_axes)
        # The network's last step, where it has one: the projection on a ball of radius ~ ||y||.
        self.limit: _Slope | None = None
        image = self.parts.x
        if net.ball is not None:
            size = item_norm(image, self.problem.image_axes)
            radius = net.radius(encoding) * self._on_image(norm)
            self.limit = _slope_of_projection(image, size, radius)
            image = image * self.limit.alpha
        self.radial: tuple[Tensor, Tensor] | None = None
        if net.schedule.eps0 is None:
            norm = torch.where(norm > 0, norm, torch.ones_like(norm))
            self.radial = task.y / norm, image / self._on_image(norm)

    @torch.no_grad()
    def forward(self, u: Tensor) -> Tensor:
        """Return J u, (*batch, *domain_shape), for a change u of the data."""
        if self.radial is None:
            return self._forward(u)
        direction, image = self.radial
        part = _inner(direction, u, self.problem.data_axes)
        return self._forward(u - part * direction) + self._on_image(part) * image

    @torch.no_grad()
    def transpose(self, image: Tensor) -> Tensor:
        """Return J^T of an image, of the shape of the data."""
        data = self._transpose(image)
        if self.radial is None:
            return data
        direction, radial_image = self.radial
        part = _inner(direction, data, self.problem.data_axes)
        radial = _inner(radial_image, image, self.problem.image_axes)
        return data + (radial.reshape(part.shape) - part) * direction

    def _forward(self, u: Tensor) -> Tensor:
        """Return J u at fixed eps_0."""
        x = torch.zeros_like(self.encoding.adjoint(u))
        state = _at_rest(self.problem, u, x)
        for block in self.blocks:
            if not self.parts.keeps_dual:
                state = _at_rest(self.problem, u, x)
            total = torch.zeros_like(x)
            for layer in block:
                state = layer.forward(state, u)
                total = total + state.x
            x = total / len(block) if self.parts.returns_average else state.x
            state = state._replace(x=x)
        x = x - self.parts.consistency * self.encoding.adjoint(self.encoding(x) - u)
        return x if self.limit is None else self.limit.on_items(x, self.problem.image_axes)

    def _transpose(self, image: Tensor) -> Tensor:
        """Return J^T of an image at fixed eps_0."""
        if self.limit is not None:
            image = self.limit.on_items(image, self.problem.image_axes)
        data = self.parts.consistency * self.encoding(image)
        x = image - self.encoding.adjoint(data)
        state = _at_rest(self.problem, data, x)
        for block in reversed(self.blocks):
            share = torch.zeros_like(x)
            if self.parts.returns_average:
                state, share = state._replace(x=share), state.x / len(block)
            for layer in reversed(block):
                state, change = layer.transpose(state._replace(x=state.x + share))
                data = data + change
            if not self.parts.keeps_dual:
                state = _at_rest(self.problem, data, state.x)
        return data

    def _on_image(self, values: Tensor) -> Tensor:
        """Return one number an item with the axes of the image in place of those of the data."""
        batch = values.shape[: values.ndim - len(self.problem.data_axes)]
        return values.reshape(*batch, *[1] * len(self.problem.image_axes))


def _at_rest(problem: Problem, y: Tensor, x: Tensor) -> State:
    """Return image x with zero duals."""
    q = None if problem.is_synthesis else torch.zeros_like(problem.analyse(x))
    return State(x, torch.zeros_like(y), q)


class _Slope(NamedTuple):
    """The symmetric map d -> alpha d + beta <n, d> n with unit vectors n, by numbers or items."""

    alpha: Tensor
    beta: Tensor
    n: Tensor

    def on_numbers(self, d: Tensor, problem: Problem | None = None) -> Tensor:
        """Return the map of every number, or of every group that the problem has."""
        inner = (self.n.conj() * d).real
        inner = inner if problem is None else problem.over_groups(inner)
        return self.alpha * d + (self.beta * inner) * self.n

    def on_items(self, d: Tensor, axes: tuple[int, ...]) -> Tensor:
        """Return the map of every item."""
        return self.alpha * d + (self.beta * _inner(self.n, d, axes)) * self.n


@dataclass(frozen=True, eq=False)
class _LayerSlopes:
    """One layer's derivative: its steps with axes to broadcast, its prox, its projections."""

    problem: Problem
    tau: Tensor
    sigma_v: Tensor
    sigma_q: Tensor
    threshold: _Slope | None
    ball: _Slope
    discs: _Slope | None

    def forward(self, change: State, u: Tensor) -> State:
        """Return how the layer's output changes with its input and the data, by u."""
        problem, (x, v, q) = self.problem, change
        gradient = problem.encoding.adjoint(v)
        if q is not None:
            gradient = gradient + problem.synthesise(q)
        x_next = self._prox(x - self.tau * gradient)
        ahead = 2 * x_next - x
        v = v + self.sigma_v * (problem.encoding(ahead) - u)
        v = self.ball.on_items(v, problem.data_axes)
        if q is not None and self.discs is not None:
            q = self.discs.on_numbers(q + self.sigma_q * problem.analyse(ahead), problem)
        return State(x_next, v, q)

    def transpose(self, change: State) -> tuple[State, Tensor]:
        """Return the transposed derivative of the output: for the input, and for the data."""
        problem, (x, v, q) = self.problem, change
        v = self.ball.on_items(v, problem.data_axes)
        pushed = self.sigma_v * v
        ahead = problem.encoding.adjoint(pushed)
        if q is not None and self.discs is not None:
            q = self.discs.on_numbers(q, problem)
            ahead = ahead + problem.synthesise(self.sigma_q * q)
        x = self._prox(x + 2 * ahead)
        drawn = self.tau * x
        v = v - problem.encoding(drawn)
        if q is not None:
            q = q - problem.analyse(drawn)
        return State(x - ahead, v, q), -pushed

    def _prox(self, x: Tensor) -> Tensor:
        if self.threshold is None:
            return x
        return self.problem.synthesise(self.threshold.on_numbers(self.problem.analyse(x)))


def _slopes(problem: Problem, y: Tensor, state: State, tau: Tensor, sigma: Tensor) -> _LayerSlopes:
    """Return the derivative of one step, see :func:`firenet_mri.firenet.primal_dual.step`."""
    x, v, q = state
    tau_x = _expand(tau, problem.image_axes)
    sigma_v = _expand(sigma, problem.data_axes)
    sigma_q = _expand(sigma, problem.coefficient_axes)
    gradient = problem.encoding.adjoint(v)
    threshold = discs = None
    if q is None:
        inside = problem.analyse(x - tau_x * gradient)
        radius = tau_x * problem.threshold(inside)
        threshold = _slope_of_threshold(inside, radius)
        x_next = problem.synthesise(soft_threshold(inside, radius))
    else:
        x_next = x - tau_x * (gradient + problem.synthesise(q))
    ahead = 2 * x_next - x
    if q is not None:
        inside = q + sigma_q * problem.analyse(ahead)
        discs = _slope_of_projection(inside, problem.modulus(inside), problem.threshold(inside))
    inside = v + sigma_v * (problem.encoding(ahead) - y)
    ball = _slope_of_projection(inside, item_norm(inside, problem.data_axes), 1.0)
    return _LayerSlopes(problem, tau_x, sigma_v, sigma_q, threshold, ball, discs)


def _slope_of_threshold(z: Tensor, threshold: Tensor | float) -> _Slope:
    """Return the derivative of max(|z| - t, 0) z / |z| at every number."""
    size = z.abs()
    passes = size > threshold
    safe = torch.where(passes, size, torch.ones_like(size))
    beta = torch.where(passes, threshold / safe, torch.zeros_like(size))
    return _Slope(passes.to(beta.dtype) - beta, beta, z / safe)


def _slope_of_projection(z: Tensor, size: Tensor, radius: Tensor | float) -> _Slope:
    """Return the derivative of the projection on a ball of that radius at z of that size."""
    outside = size > radius
    safe = torch.where(outside, size, torch.ones_like(size))
    ratio = radius / safe
    alpha = torch.where(outside, ratio, torch.ones_like(size))
    return _Slope(alpha, torch.where(outside, -ratio, torch.zeros_like(size)), z / safe)


def _first_direction(y: Tensor, encoding: LinearOperator, seed: int) -> Tensor:
    """Return A times a random image of each item: a change that a scan can have."""
    batch = y.shape[: y.ndim - len(encoding.codomain_shape)]
    generator = torch.Generator().manual_seed(seed)
    shape = (*batch, *encoding.domain_shape)
    image = torch.randn(shape, dtype=y.dtype, generator=generator)
    with torch.no_grad():
        direction: Tensor = encoding(image.to(y.device))
    return direction


def _unit_part(u: Tensor, basis: list[Tensor], batch: torch.Size) -> Tensor:
    """Return the part of u orthogonal to the basis, of unit length in each item; 0 if it is 0."""
    rows = _real_rows(u, batch)
    # Twice: once leaves rounding errors of the size of what is taken off.
    for _ in range(2):
        for other in basis:
            direction = _real_rows(other, batch)
            rows = rows - (rows * direction).sum(-1, keepdim=True) * direction
    norm = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    rows = rows / torch.where(norm > 0, norm, torch.ones_like(norm))
    if not u.is_complex():
        return rows.reshape(u.shape)
    return torch.view_as_complex(rows.reshape(*u.shape, 2).contiguous())


def _real_rows(values: Tensor, batch: torch.Size) -> Tensor:
    """Return the items as rows of real numbers."""
    flat = torch.view_as_real(values.resolve_conj()) if values.is_complex() else values
    return flat.reshape(batch.numel(), -1)


def _inner(a: Tensor, b: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return Re <a, b> over the axes, kept with size 1."""
    return (a.conj() * b).real.sum(axes, keepdim=True)


def _expand(values: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return one number an item with axes of size 1 after it."""
    return values.reshape(*values.shape, *[1] * len(axes))
