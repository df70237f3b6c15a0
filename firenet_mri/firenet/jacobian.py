"""The derivative of a network's image with respect to its data, applied layer by layer.

J, a real-linear map also for complex data, and J^T each cost about as much as a run of the network:
a fraction of what automatic differentiation takes. The network knows the data y only through
b = A^H y and ||y||, and so does its derivative: for a change u of the data it needs A^H u and
c = <y, u>. With the dual of the data written v = rho (A m - y), as the layers write it, a change of
v is

    dv = A e - kappa y - rho u,

with an image e and a number kappa, and a layer becomes, with P and D the derivatives of the prox
and of the coefficients' projection, rho' and m' those after the layer, g' = A^H (A m' - y),
h' = <A m' - y, y>, and a = rho' / (rho + sigma),

    x+     = P (x - tau (A^H A e - kappa b - rho A^H u + W^H q))
    e      = e + sigma (2 x+ - x)
    omega  = rho' (<g', e> - kappa h' - (rho + sigma) (<m', A^H u> - c))   where a < 1, else 0
    e+     = a (e - omega rho' m'),   kappa+ = a (kappa - omega rho')
    q+     = D (q + sigma W (2 x+ - x)).

All inner products are real. A^H A is applied as the layers apply it, so that no change of the data
is carried from layer to layer. At eps_0 = ||y|| the network is positively homogeneous, hence J y is
its image, and on all u orthogonal to y J is that of fixed eps_0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.firenet.network import FIRENET
from firenet_mri.firenet.primal_dual import LayerState
from firenet_mri.firenet.problem import Problem
from firenet_mri.operators.base import LinearOperator
from firenet_mri.operators.denormals import denormals_flushed
from firenet_mri.operators.slopes import DualSlopes, Projection, dual_slopes
from firenet_mri.prox import item_norm, soft_threshold


class Jacobian:
    """The derivative of a network's image with respect to its data, a real-linear map.

    Parameters
    ----------
    net, y, encoding, x0
        The network, its data (*batch, *codomain_shape), its encoding operator and start image,
        which does not change with the data. Everything is computed in the precision of y.

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
        with torch.no_grad(), denormals_flushed():
            task = net.task(y, encoding, x0)
            self._data = _Data(task.problem, task.y)
            self._blocks: list[list[_Layer]] = [[] for _ in net.blocks]
            self._parts = net.solver.observed(task.problem, task.y, task.x0, self._watch)
            self._radial: tuple[Tensor, Tensor] | None = None
            if net.schedule.eps0 is None:
                norm = item_norm(task.y, task.problem.data_axes)
                norm = torch.where(norm > 0, norm, torch.ones_like(norm))
                self._radial = task.y / norm, self._parts.x / self._data.on_image(norm)

    def _watch(
        self, block: int, problem: Problem, state: LayerState, tau: Tensor, sigma: Tensor
    ) -> Callable[[LayerState], None]:
        # Before the layer: it overwrites the dual of the coefficients.
        slopes = _slopes(problem, state, tau, sigma)

        def keep(after: LayerState) -> None:
            layer = _layer(self._data, problem, slopes, (state.rho, tau, sigma), after)
            self._blocks[block].append(layer)

        return keep

    @torch.no_grad()
    def forward(self, u: Tensor) -> Tensor:
        """Return J u, (*batch, *domain_shape), for a change u of the data."""
        with denormals_flushed():
            if self._radial is None:
                return self._forward(u)
            direction, image = self._radial
            part = _inner(direction, u, self._data.data_axes)
            return self._forward(u - part * direction) + self._data.on_image(part) * image

    @torch.no_grad()
    def transpose(self, image: Tensor) -> Tensor:
        """Return J^T of an image, of the shape of the data."""
        with denormals_flushed():
            data = self._transpose(image)
            if self._radial is None:
                return data
            direction, radial_image = self._radial
            part = _inner(direction, data, self._data.data_axes)
            radial = _inner(radial_image, image, self._data.image_axes)
            return data + (radial.reshape(part.shape) - part) * direction

    def _forward(self, u: Tensor) -> Tensor:
        """Return J u at fixed eps_0."""
        data, parts = self._data, self._parts
        change = _DataChange(
            self.encoding.adjoint(u), data.on_image(_inner(data.y, u, data.data_axes))
        )
        x = torch.zeros_like(change.back)
        state = _at_rest(x)
        for block in self._blocks:
            if not parts.keeps_dual:
                state = _at_rest(x)
            total = torch.zeros_like(x)
            for layer in block:
                state = layer.forward(state, change)
                total = total + state.x
            x = total / len(block) if parts.returns_average else state.x
            state = state._replace(x=x)
        if parts.consistency == 0:
            return x
        return x - parts.consistency * (data.normal(x) - change.back)

    def _transpose(self, image: Tensor) -> Tensor:
        """Return J^T of an image at fixed eps_0."""
        data, parts = self._data, self._parts
        back = parts.consistency * image
        x = image if parts.consistency == 0 else image - parts.consistency * data.normal(image)
        state = _at_rest(x)
        total = _DataChange(back, torch.zeros_like(state.kappa))
        for block in reversed(self._blocks):
            share = torch.zeros_like(x)
            if parts.returns_average:
                state, share = state._replace(x=share), state.x / len(block)
            for layer in reversed(block):
                state, change = layer.transpose(state._replace(x=state.x + share))
                total = _DataChange(total.back + change.back, total.inner + change.inner)
            if not parts.keeps_dual:
                state = _at_rest(state.x)
        inner = total.inner.reshape(data.norm_shape)
        result: Tensor = self.encoding(total.back) + inner * data.y
        return result


class _Data:
    """What the layers' derivatives know of the data: y, b = A^H y, ||y||^2, A^H A."""

    def __init__(self, problem: Problem, y: Tensor) -> None:
        self.y = y
        self.data_axes, self.image_axes = problem.data_axes, problem.image_axes
        self.back = problem.encoding.adjoint(y)
        self.norm_shape = item_norm(y, problem.data_axes).shape
        self.energy = self.on_image(_inner(y, y, problem.data_axes))
        self._residual_of_zero = problem.encoding.residual(torch.zeros_like(y))

    def normal(self, x: Tensor) -> Tensor:
        """Return A^H A x."""
        return self._residual_of_zero(x)[0]

    def on_image(self, values: Tensor) -> Tensor:
        """Return one number an item with the axes of the image in place of those of the data."""
        batch = values.shape[: values.ndim - len(self.data_axes)]
        return values.reshape(*batch, *[1] * len(self.image_axes))


class _DataChange(NamedTuple):
    """A change u of the data as a layer knows it: A^H u, and <y, u> on the axes of the image."""

    back: Tensor
    inner: Tensor


class _Change(NamedTuple):
    """A change of a layer's state, or what is transposed to it.

    Forward ``synthesised`` is W^H q; transposed it is the image of which W times a length is still
    to be added to q. None is zero.
    """

    x: Tensor
    e: Tensor | None
    kappa: Tensor
    q: Tensor | None = None
    synthesised: Tensor | None = None


def _at_rest(x: Tensor) -> _Change:
    """Return a change of the image alone."""
    return _Change(x, None, torch.zeros((), dtype=x.real.dtype, device=x.device))


class _Slopes(NamedTuple):
    """The derivatives of a layer's prox or of its dual step; None is not there."""

    threshold: Projection | None
    discs: DualSlopes | None


@dataclass(frozen=True, eq=False)
class _Layer:
    """One layer's derivative; numbers have the axes of the image, ``lengths`` are sigma, (*batch).

    ``outside`` is rho' where the dual of the data was projected and 0 elsewhere, ``total`` is
    rho + sigma, ``mean``, ``gradient`` and ``offset`` are m', g' and h'.
    """

    data: _Data
    slopes: _Slopes
    lengths: Tensor
    rho: Tensor
    tau: Tensor
    sigma: Tensor
    total: Tensor
    share: Tensor
    outside: Tensor
    mean: Tensor
    gradient: Tensor
    offset: Tensor

    def forward(self, change: _Change, data: _DataChange) -> _Change:
        """Return how the layer's output changes with its input and the data."""
        x, e, kappa, q, synthesised = change
        # Not to be computed at the start, where all is zero.
        slope = 0 if e is None else self.data.normal(e) - kappa * self.data.back
        slope = slope - self.rho * data.back
        if synthesised is not None:
            slope = slope + synthesised
        x_next = self._prox(x - self.tau * slope)
        ahead = 2 * x_next - x
        e = self.sigma * ahead if e is None else e + self.sigma * ahead
        reached = _inner(self.mean, data.back, self.data.image_axes) - data.inner
        along = _inner(self.gradient, e, self.data.image_axes) - kappa * self.offset
        turned = self.outside**2 * (along - self.total * reached)
        e = self.share * (e - turned * self.mean)
        kappa = self.share * (kappa - turned)
        if self.slopes.discs is not None:
            q = self.slopes.discs.zero(x) if q is None else q
            q, synthesised = self.slopes.discs.step(q, ahead, self.lengths)
        return _Change(x_next, e, kappa, q, synthesised)

    def transpose(self, change: _Change) -> tuple[_Change, _DataChange]:
        """Return the transposed derivative of the output: for the input, and for the data."""
        axes = self.data.image_axes
        x, e, kappa, q, drawn = change
        e = torch.zeros_like(x) if e is None else e
        turned = -self.share * self.outside**2 * (_inner(self.mean, e, axes) + kappa)
        e = self.share * e + turned * self.gradient
        kappa = self.share * kappa - turned * self.offset
        reached = -self.total * turned
        ahead = self.sigma * e
        if self.slopes.discs is not None and drawn is not None:
            q = self.slopes.discs.zero(x) if q is None else q
            q, image = self.slopes.discs.step(q, drawn, torch.ones_like(self.lengths))
            ahead = ahead + self.sigma * image
        pulled = self._prox(x + 2 * ahead)
        drawn = -self.tau * pulled
        data = _DataChange(reached * self.mean - self.rho * drawn, -reached)
        # Where the dual of the data began at zero nothing went into it before.
        if bool((self.rho > 0).any()):
            e = e + self.data.normal(drawn)
            kappa = kappa - _inner(self.data.back, drawn, axes)
        return _Change(pulled - ahead, e, kappa, q, drawn), data

    def _prox(self, x: Tensor) -> Tensor:
        """Return the derivative of the prox: what the projection on discs leaves."""
        projection = self.slopes.threshold
        if projection is None:
            return x
        c = projection.transform(x)
        return projection.transform.adjoint(c - projection(c))


def _slopes(problem: Problem, state: LayerState, tau: Tensor, sigma: Tensor) -> _Slopes:
    """Return the derivatives of one step, see :func:`firenet_mri.firenet.primal_dual.step`."""
    axes, transform = problem.image_axes, problem.transform
    moved = state.x - _expand(tau * state.rho, axes) * state.gradient
    if state.synthesised is None:
        inside = problem.analyse(moved)
        radius = _expand(tau, problem.coefficient_axes) * problem.threshold(inside)
        return _Slopes(Projection.at(transform, inside, radius), None)
    assert state.q is not None
    moved = moved - _expand(tau, axes) * state.synthesised
    ahead = 2 * moved - state.x
    radius = problem.threshold(ahead)
    return _Slopes(None, dual_slopes(transform, state.q, ahead, sigma, radius))


def _layer(
    data: _Data,
    problem: Problem,
    slopes: _Slopes,
    numbers: tuple[Tensor, Tensor, Tensor],
    after: LayerState,
) -> _Layer:
    """Return a layer's derivative, of its slopes, of rho, tau and sigma, and of what came out."""
    rho, tau, sigma = (_expand(number, problem.image_axes) for number in numbers)
    rho_next, total = _expand(after.rho, problem.image_axes), rho + sigma
    offset = _inner(after.mean, data.back, problem.image_axes) - data.energy
    return _Layer(
        data,
        slopes,
        numbers[2],
        rho,
        tau,
        sigma,
        total,
        rho_next / total,
        torch.where(rho_next < total, rho_next, torch.zeros_like(total)),
        after.mean,
        after.gradient,
        offset,
    )


def _inner(a: Tensor, b: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return Re <a, b> over the axes, kept with size 1."""
    return (a.conj() * b).real.sum(axes, keepdim=True)


def _expand(values: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return one number an item with axes of size 1 after it."""
    return values.reshape(*values.shape, *[1] * len(axes))
