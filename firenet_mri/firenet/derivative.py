"""The derivative of a network of fixed depth, at fixed eps_0, applied layer by layer.

It and its transpose each cost about as much as a run of the network: a fraction of what automatic
differentiation takes. The network knows the data y only through b = A^H y and ||y||, and so does
its derivative: for a change u of the data it needs A^H u and <y, u>. With the dual of the data
written v = rho (A m - y), as the layers write it, a change of v is

    dv = A e - kappa y - rho u,

with an image e and a number kappa. With P and D the derivatives of the prox and of the
coefficients' projection, rho' and m' those after the layer, g' = A^H (A m' - y),
h' = <A m' - y, y> and a = rho' / (rho + sigma), a layer becomes

    x+     = P (x - tau (A^H A e - kappa b - rho A^H u + W^H q))
    e      = e + sigma (2 x+ - x)
    omega  = rho' (<g', e> - kappa h' - (rho + sigma) (<m', A^H u> - <y, u>))   where a < 1, else 0
    e+     = a (e - omega rho' m'),   kappa+ = a (kappa - omega rho')
    q+     = D (q + sigma W (2 x+ - x)).

All inner products are real. A^H A is applied as the layers apply it, so that no change of the data
is carried from layer to layer. Where A is A' C with a phase constraint C whose phase changes, too,
by dC, A e becomes A' (C e + rho dC m), A^H v changes by dC A'^H v, and so on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.firenet.primal_dual import LayerState
from firenet_mri.firenet.problem import Problem
from firenet_mri.operators import LinearOperator, PhaseConstrained
from firenet_mri.operators.denormals import denormals_flushed
from firenet_mri.operators.slopes import DualSlopes, Projection, dual_slopes
from firenet_mri.prox import item_norm, over_axes

if TYPE_CHECKING:
    from firenet_mri.firenet.network import FIRENET, Task


class Change(NamedTuple):
    """A change of what a network is given, or what is transposed to it.

    Parameters
    ----------
    back
        A^H u for the change u of the data, (*domain_shape).
    inner
        Re <y, u>.
    phase
        Change of the phase of a phase constraint; None if it is fixed.
    radii
        Relative change of the weights, real, of the coefficients' shape; None if they are fixed.
    """

    back: Tensor
    inner: float
    phase: Tensor | None = None
    radii: Tensor | None = None

    def plus(self, other: Change) -> Change:
        """Return the sum."""
        return Change(
            self.back + other.back,
            self.inner + other.inner,
            _sum(self.phase, other.phase),
            _sum(self.radii, other.radii),
        )


class NetworkDerivative:
    """The derivative of a network's image by data, start image, phase and weights.

    Parameters
    ----------
    net, y, encoding, x0
        The network, its data (*codomain_shape) of one item, its encoding operator and start image;
        None is zero. Everything is computed in the precision of y.
    moving_phase
        The phase of the encoding, which has a phase constraint, changes with the data.

    Raises
    ------
    UsageError
        If the network depends on the data, so that it may have no derivative, or y is a batch.
    """

    def __init__(
        self,
        net: FIRENET,
        y: Tensor,
        encoding: LinearOperator,
        x0: Tensor | None = None,
        *,
        moving_phase: bool = False,
    ) -> None:
        if y.shape != encoding.codomain_shape:
            raise UsageError(
                f"The data have shape {tuple(y.shape)}; the derivative is that of one item, "
                f"{encoding.codomain_shape}"
            )
        with torch.no_grad(), denormals_flushed():
            task = net.task(y, encoding, x0)
            # Data near 1 in double precision are solved as they are.
            self._scale = task.scale
            phase = encoding if moving_phase and isinstance(encoding, PhaseConstrained) else None
            self._data = _Data(task.problem, task.y, phase)
            self._moves = net.weights_depend_on_data
            self._blocks: list[list[_Layer]] = [[] for _ in net.blocks]
            self._latest: _Point | None = None
            self._parts = net.solver.observed(task.problem, task.y, task.x0, self._watch)
            self._last = self._data.point(self._parts.x)
            self._ball = _Ball.of(net, task, self._parts.x)
            x = self._parts.x if self._ball is None else self._ball.image
            self.x = task.image(x)

    def _watch(
        self, block: int, problem: Problem, state: LayerState, tau: Tensor, sigma: Tensor
    ) -> Callable[[LayerState], None]:
        # Before the layer: it overwrites the dual of the coefficients.
        slopes = _slopes(problem, state, tau, sigma, self._moves)
        layers = self._blocks[block]

        def keep(after: LayerState) -> None:
            # A block that begins with a dual of zero does not depend on what came before.
            before = self._latest if float(state.rho) > 0 else None
            numbers = (float(state.rho), float(tau), float(sigma))
            layers.append(_layer(self._data, slopes, numbers, before, after))
            self._latest = layers[-1].after

        return keep

    @torch.no_grad()
    def forward(self, change: Change, x0: Tensor | None = None) -> Tensor:
        """Return the change of the image, (*domain_shape); ``x0`` is that of the start."""
        x = self._before_the_ball(change, x0)
        return x if self._ball is None else self._ball.slope(x)

    def _before_the_ball(self, change: Change, x0: Tensor | None) -> Tensor:
        data, parts = self._data, self._parts
        x = torch.zeros_like(change.back) if x0 is None else x0
        with denormals_flushed():
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
            gradient = data.normal(x, data.turned(self._last.mean, change.phase))
            gradient = gradient - change.back
            if change.phase is not None and data.phase is not None:
                gradient = gradient + data.phase.turned(self._last.plain, change.phase)
            return x - parts.consistency * gradient

    @torch.no_grad()
    def transpose(self, image: Tensor) -> tuple[Change, Tensor]:
        """Return what is transposed to :meth:`forward`: for the change, and for the start image."""
        parts = self._parts
        image = image if self._ball is None else self._ball.slope(image)
        with denormals_flushed():
            x, total = self._transposed_consistency(image)
            state = _at_rest(x)
            for block in reversed(self._blocks):
                share = torch.zeros_like(x)
                if parts.returns_average:
                    state, share = state._replace(x=share), state.x / len(block)
                for layer in reversed(block):
                    state, change = layer.transpose(state._replace(x=state.x + share))
                    total = total.plus(change)
                if not parts.keeps_dual:
                    state = _at_rest(state.x)
            return total, state.x

    def _transposed_consistency(self, image: Tensor) -> tuple[Tensor, Change]:
        """Return what is transposed to the last data-consistency step."""
        data, length = self._data, self._parts.consistency
        if length == 0:
            return image, Change(torch.zeros_like(image), 0.0)
        drawn = -length * image
        plain = data.plain_normal(drawn)
        phase = None
        if data.phase is not None:
            phase = data.phase.turned_back(self._last.mean, plain)
            phase = phase + data.phase.turned_back(self._last.plain, drawn)
        return image + data.constrained(plain), Change(-drawn, 0.0, phase)


class _Ball(NamedTuple):
    """The projection of the image on a ball, where it acts: n = x / ||x|| and the factor of x."""

    direction: Tensor
    factor: Tensor
    image: Tensor

    @classmethod
    def of(cls, net: FIRENET, task: Task, x: Tensor) -> _Ball | None:
        """Return the projection of a network without batch; None where it changes nothing."""
        if net.ball is None:
            return None
        size = item_norm(x, task.problem.image_axes)
        norm = item_norm(task.y, task.problem.data_axes).reshape(size.shape)
        radius = net.radius(task.problem.encoding) * norm
        if not bool(size > radius):
            return None
        return cls(x / size, radius / size, x * (radius / size))

    def slope(self, change: Tensor) -> Tensor:
        """Return the symmetric derivative, at a fixed radius, of a change of the image."""
        return self.factor * (change - inner(self.direction, change) * self.direction)


class _Point(NamedTuple):
    """An image m, and A'^H (A m - y) where A' is A without the phase constraint."""

    mean: Tensor
    plain: Tensor


class _Data:
    """What the layers' derivatives know of the data: b = A^H y, ||y||^2, A^H A."""

    def __init__(self, problem: Problem, y: Tensor, phase: PhaseConstrained | None) -> None:
        self.phase = phase
        encoding = problem.encoding if phase is None else phase.encoding
        self._plain_back = encoding.adjoint(y)
        self.back = self.constrained(self._plain_back)
        self.energy = inner(y, y)
        self._residual_of_zero = encoding.residual(torch.zeros_like(y))

    def constrained(self, x: Tensor) -> Tensor:
        """Return C x."""
        return x if self.phase is None else self.phase.image(x)

    def turned(self, x: Tensor, phase: Tensor | None) -> Tensor | None:
        """Return dC x."""
        return None if self.phase is None or phase is None else self.phase.turned(x, phase)

    def plain_normal(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """Return A'^H A' (C x + added)."""
        x = self.constrained(x)
        return self._residual_of_zero(x if added is None else x + added)[0]

    def normal(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """Return C A'^H A' (C x + added); A^H A x where nothing is added."""
        return self.constrained(self.plain_normal(x, added))

    def point(self, mean: Tensor) -> _Point:
        """Return m with what its residual makes, which only a moving phase needs."""
        if self.phase is None:
            return _Point(mean, mean)
        return _Point(mean, self.plain_normal(mean) - self._plain_back)


class _LayerChange(NamedTuple):
    """A change of a layer's state, or what is transposed to it.

    Forward ``synthesised`` is W^H q; transposed it is the image of which W is still to be added to
    q. None is zero.
    """

    x: Tensor
    e: Tensor | None
    kappa: float = 0.0
    q: Tensor | None = None
    synthesised: Tensor | None = None


def _at_rest(x: Tensor) -> _LayerChange:
    """Return a change of the image alone."""
    return _LayerChange(x, None)


class _Slopes(NamedTuple):
    """The derivatives of a layer's prox or of its dual step; None is not there."""

    threshold: Projection | None
    discs: DualSlopes | None


@dataclass(frozen=True, eq=False)
class _Layer:
    """One layer's derivative.

    ``outside`` is rho' where the dual of the data was projected and else 0, ``total`` is
    rho + sigma, ``before`` and ``after`` are m and m', ``gradient`` and ``offset`` are g' and h'.
    """

    data: _Data
    slopes: _Slopes
    rho: float
    tau: float
    sigma: float
    total: float
    share: float
    outside: float
    before: _Point | None
    after: _Point
    gradient: Tensor
    offset: float

    def forward(self, change: _LayerChange, data: Change) -> _LayerChange:
        """Return how the layer's output changes with its input and the data."""
        x, e, kappa, q, synthesised = change
        slope = synthesised
        # At rest, rho is 0.
        if e is not None:
            slope = _sum(slope, self._slope(e, kappa, data))
        x_next = x if slope is None else torch.sub(x, slope, alpha=self.tau)
        x_next = self._prox(x_next, data.radii)
        # 2 x+ - x in one pass.
        ahead = torch.lerp(x, x_next, 2.0)
        e = self.sigma * ahead if e is None else torch.add(e, ahead, alpha=self.sigma)
        if self.outside > 0:
            turned = self.outside**2 * self._along(e, kappa, data)
            e = torch.sub(e, self.after.mean, alpha=turned).mul_(self.share)
            kappa = self.share * (kappa - turned)
        if self.slopes.discs is not None:
            q = self.slopes.discs.zero(x) if q is None else q
            q, synthesised = self.slopes.discs.step(q, ahead, _one(self.sigma, x), data.radii)
        return _LayerChange(x_next, e, kappa, q, synthesised)

    def _slope(self, e: Tensor, kappa: float, data: Change) -> Tensor:
        """Return the change of A^H v."""
        added = None
        slope = torch.add(self.rho * data.back, self.data.back, alpha=kappa)
        if data.phase is not None and self.data.phase is not None and self.before is not None:
            added = self.rho * self.data.phase.turned(self.before.mean, data.phase)
            turned = self.data.phase.turned(self.before.plain, data.phase)
            slope = torch.sub(slope, turned, alpha=self.rho)
        return self.data.normal(e, added) - slope

    def _along(self, e: Tensor, kappa: float, data: Change) -> float:
        """Return omega / rho'."""
        reached = inner(self.after.mean, data.back) - data.inner
        along = inner(self.gradient, e) - kappa * self.offset - self.total * reached
        moved = self.data.turned(self.after.mean, data.phase)
        return along if moved is None else along + self.total * inner(self.after.plain, moved)

    def transpose(self, change: _LayerChange) -> tuple[_LayerChange, Change]:
        """Return the transposed derivative of the output: for the input, and for the data."""
        x, e, kappa, q, drawn = change
        reached, phase, radii = 0.0, None, None
        if self.outside > 0:
            e = torch.zeros_like(x) if e is None else e
            along = -self.share * self.outside**2 * (inner(self.after.mean, e) + kappa)
            e = torch.add(self.share * e, self.gradient, alpha=along)
            kappa = self.share * kappa - along * self.offset
            reached = -self.total * along
            if self.data.phase is not None:
                phase = self.data.phase.turned_back(self.after.mean, -reached * self.after.plain)
        ahead = torch.zeros_like(x) if e is None else self.sigma * e
        if self.slopes.discs is not None and drawn is not None:
            q = self.slopes.discs.zero(x) if q is None else q
            q, image, radii = self.slopes.discs.transposed_step(q, drawn, _one(1.0, x))
            ahead = torch.add(ahead, image, alpha=self.sigma)
        pulled, of_threshold = self._transposed_prox(torch.add(x, ahead, alpha=2))
        drawn = -self.tau * pulled
        back = torch.sub(reached * self.after.mean, drawn, alpha=self.rho)
        # Where the dual of the data began at zero nothing went into it before.
        if self.before is not None:
            plain = self.data.plain_normal(drawn)
            e = _sum(e, self.data.constrained(plain))
            kappa = kappa - inner(self.data.back, drawn)
            phase = _sum(phase, self._transposed_phase(plain, drawn))
        result = Change(back, -reached, phase, _sum(radii, of_threshold))
        return _LayerChange(pulled - ahead, e, kappa, q, drawn), result

    def _transposed_phase(self, plain: Tensor, drawn: Tensor) -> Tensor | None:
        """Return what is transposed to the change of A^H v by the phase."""
        if self.data.phase is None or self.before is None:
            return None
        of_mean = self.data.phase.turned_back(self.before.mean, self.rho * plain)
        return of_mean + self.data.phase.turned_back(self.before.plain, self.rho * drawn)

    def _prox(self, x: Tensor, radii: Tensor | None) -> Tensor:
        """Return the derivative of the prox: what the projection on discs leaves."""
        projection = self.slopes.threshold
        if projection is None:
            return x
        c = projection.transform(x)
        return projection.transform.adjoint(c - projection(c, radii))

    def _transposed_prox(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return what is transposed to the prox, and to the change of its radii."""
        projection = self.slopes.threshold
        if projection is None:
            return x, None
        c = projection.transform(x)
        radii = projection.of_radii(c)
        image = projection.transform.adjoint(c - projection(c))
        return image, None if radii is None else -radii


def _slopes(
    problem: Problem, state: LayerState, tau: Tensor, sigma: Tensor, moves: bool
) -> _Slopes:
    """Return the derivatives of one step, see :func:`firenet_mri.firenet.primal_dual.step`."""
    axes, transform = problem.image_axes, problem.transform
    moved = state.x - over_axes(tau * state.rho, axes) * state.gradient
    if state.synthesised is None:
        inside = problem.analyse(moved)
        radius = over_axes(tau, problem.coefficient_axes) * problem.threshold(inside)
        return _Slopes(Projection.at(transform, inside, radius, moves=moves), None)
    assert state.q is not None
    moved = moved - over_axes(tau, axes) * state.synthesised
    ahead = 2 * moved - state.x
    limit = problem.threshold(ahead)
    return _Slopes(None, dual_slopes(transform, state.q, ahead, sigma, limit, moves=moves))


def _layer(
    data: _Data,
    slopes: _Slopes,
    numbers: tuple[float, float, float],
    before: _Point | None,
    after: LayerState,
) -> _Layer:
    """Return a layer's derivative, of its slopes, of rho, tau and sigma, and of what came out."""
    rho, tau, sigma = numbers
    # The layer's own sum and quotient, to the last digit.
    rho_next, total = after.rho, rho + sigma
    is_outside = float(rho_next) < total * (1 - torch.finfo(rho_next.dtype).eps)
    return _Layer(
        data,
        slopes,
        rho,
        tau,
        sigma,
        total,
        float(rho_next) / total,
        float(rho_next) if is_outside else 0.0,
        before,
        data.point(after.mean),
        after.gradient,
        inner(after.mean, data.back) - data.energy,
    )


def inner(a: Tensor, b: Tensor) -> float:
    """Return Re <a, b>, summed in double precision where they are double."""
    return float(_row(a) @ _row(b))


def _row(x: Tensor) -> Tensor:
    return (torch.view_as_real(x.resolve_conj()) if x.is_complex() else x).reshape(-1)


def _one(value: float, like: Tensor) -> Tensor:
    """Return a number as the step size of one item."""
    return torch.tensor(value, dtype=like.real.dtype, device=like.device)


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b
