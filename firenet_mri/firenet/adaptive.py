"""The solver that depends on the data: its steps and its end follow the certified duality gap.

Over-relaxed Chambolle-Pock iteration z <- z + rho (T z - z), rho in (0, 2), with tau = 1 / (om L)
and sigma = om / L, z = (x, v, q). The merit m is the certified relative gap of T z or of the
average of all T z since the last restart, whichever is better. With m_0 the merit and z_0 the state
at that restart, n layers ago, the iteration restarts from the better one when

    m <= 0.2 m_0,  or  m <= 0.8 m_0 and m has grown,  or  n >= 0.36 of all layers,

and then balances the steps: om <- sqrt(om ||v - v_0|| / ||x - x_0||) [1], and where that is less
than b = 0.4 L / c, the geometric mean of it and b; it begins with om = 2 ||A|| / ||y||.

c is the strong convexity of f* at the dual: for the square-root LASSO ||A x - y|| where ||v|| = 1,
so that the residual stays at the noise level, and 0 where ||v|| < 1 and the solution fits the data
exactly. Distances alone would make the steps of noisy problems several times too long. The numbers
were chosen by measurement (``firenet benchmark schedules``).

The gap costs no application of A, since A x and A^H v are kept (see
:class:`~firenet_mri.firenet.primal_dual.TrackedState`). It is certified whatever the iteration
does; a rate of convergence is not. The map from data to image need not be continuous, so there is
no Lipschitz bound.

Differs from [1] in: over-relaxation, the role of c, the merit.

[1] Applegate et al., Practical large-scale linear programming using primal-dual hybrid gradient,
    NeurIPS 2021.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.firenet.look import (
    Look,
    SelfStoppingSolver,
    certify_state,
    check_has_gap,
    choose,
    combine,
    divide,
    in_double,
    keep,
    on_coefficients,
    refuse_shifts,
    result_of,
    tighten,
)
from firenet_mri.firenet.primal_dual import PrimalDualLayer, TrackedState, start_tracked
from firenet_mri.firenet.problem import Problem
from firenet_mri.firenet.solver import AdaptiveResult as AdaptiveResult
from firenet_mri.firenet.solver import Schedule
from firenet_mri.operators.base import LinearOperator
from firenet_mri.prox import item_norm, over_axes

_SUFFICIENT, _NECESSARY, _LONGEST = 0.2, 0.8, 0.36
_DAMPING = 0.4
# First omega for data of unit norm.
_START = 2.0


@dataclass(frozen=True)
class AdaptiveSchedule(Schedule):
    """Steps that follow the data until a certified gap is reached.

    Parameters
    ----------
    relative_gap
        Stop where (F(x) - lower bound) / F(x) is at most this. Single precision reaches about 1e-5.
    max_layers
        Stop after this many layers in any case.
    relaxation
        rho, in (0, 2).
    check_every
        Layers between two checks of the gap.
    eps0
        Scale of the first steps; None is ||y|| of each item.

    Raises
    ------
    UsageError
        If a number lies outside its range.
    """

    relative_gap: float = 1e-3
    max_layers: int = 2000
    relaxation: float = 1.8
    check_every: int = 4
    eps0: float | None = None

    def __post_init__(self) -> None:
        check_open("relative_gap", self.relative_gap, 1.0)
        check_open("relaxation", self.relaxation, 2.0)
        if self.eps0 is not None:
            check_open("eps0", self.eps0, math.inf)
        for name in ("max_layers", "check_every"):
            if getattr(self, name) < 1:
                raise UsageError(
                    f"{name} is {getattr(self, name)}; it must be a whole number of at least 1"
                )

    def solver(self, sparsifier: LinearOperator | None, shift_seed: int | None) -> AdaptiveBlock:
        """Return the solver that follows the gap."""
        refuse_shifts(self, shift_seed)
        return AdaptiveBlock(self)

    @property
    def geometric(self) -> None:
        """None: the steps follow the data."""


class AdaptiveBlock(SelfStoppingSolver):
    """The solver as a module: one layer, run until every item has its gap.

    Parameters
    ----------
    schedule
        When to stop, and the relaxation.

    Examples
    --------
    >>> from firenet_mri.firenet.problem import SquareRootLasso
    >>> from firenet_mri.operators import MatrixOperator
    >>> problem = SquareRootLasso(MatrixOperator(torch.eye(3), norm_bound=1.0), lam=0.1)
    >>> y = torch.tensor([1.0, 0.0, 2.0])
    >>> result = AdaptiveBlock(AdaptiveSchedule(1e-4))(problem, y, torch.zeros(3))
    >>> bool(result.converged), bool((result.state.x - y).norm() < 1e-2)
    (True, True)
    """

    schedule: AdaptiveSchedule

    def __init__(self, schedule: AdaptiveSchedule | None = None) -> None:
        super().__init__()
        self.schedule = AdaptiveSchedule() if schedule is None else schedule
        self.layer = PrimalDualLayer()

    @property
    def depth(self) -> int:
        """The largest number of layers."""
        return self.schedule.max_layers

    @property
    def updates(self) -> int:
        """The largest number of looks."""
        return -(-self.schedule.max_layers // self.schedule.check_every)

    def iterates(self, problem: Problem, y: Tensor, x0: Tensor) -> Iterator[AdaptiveResult]:
        """Yield, at every look at the gap, what would be returned if the solver ended there."""
        check_has_gap(problem)
        inner = on_coefficients(problem)
        wanted, last = self.schedule.relative_gap, self.schedule.max_layers
        point = start_tracked(inner, y, x0 if inner is problem else problem.analyse(x0))
        best = certify_state(inner, y, point)
        epoch, total = _first_epoch(inner, y, best, self.schedule.eps0), combine(point, point, -1)
        for layer in range(1, last + 1):
            after = self.layer(inner, y, point, *epoch.steps(inner))
            point = combine(point, combine(after, point, -1), self.schedule.relaxation)
            total = combine(total, after, 1)
            if layer % self.schedule.check_every and layer < last:
                continue
            average = divide(inner, total, layer - epoch.begin)
            look = tighten(inner, y, _better(inner, y, after, average), wanted)
            best = keep(inner, best.relative_gap <= wanted, best, look)
            if layer == last or bool((best.relative_gap <= wanted).all()):
                best = in_double(problem, y, best)
            yield result_of(problem, best, wanted, layer, epoch.restarts)
            if bool((best.relative_gap <= wanted).all()):
                return
            epoch, restarts = _next_epoch(inner, y, epoch, look, layer)
            point = choose(inner, restarts, look.state, point)
            total = choose(inner, restarts, combine(total, total, -1), total)


class _Epoch(NamedTuple):
    """What is known since the last restart, each (*batch) but for the state.

    omega; image, data dual and merit at the restart; the merit and the curvature of the last look;
    the layer of the restart; the number of restarts.
    """

    omega: Tensor
    x: Tensor
    v: Tensor
    merit: Tensor
    last: Tensor
    curvature: Tensor
    begin: Tensor
    restarts: Tensor

    def steps(self, problem: Problem) -> tuple[Tensor, Tensor]:
        """Return tau = 1 / (om L) and sigma = om / L."""
        return 1 / (self.omega * problem.norm_bound), self.omega / problem.norm_bound


def _first_epoch(problem: Problem, y: Tensor, look: Look, eps0: float | None) -> _Epoch:
    merit = look.relative_gap
    scale = item_norm(y, problem.data_axes).reshape(merit.shape)
    if eps0 is not None:
        scale = torch.full_like(scale, eps0)
    # An item without signal keeps its zero image; any positive scale works.
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    omega = _START * problem.encoding.norm_bound / scale
    none = torch.zeros_like(merit, dtype=torch.int64)
    unknown = torch.full_like(merit, math.inf)
    x, v = look.state.x, look.state.v
    return _Epoch(omega, x, v, merit, unknown, torch.zeros_like(merit), none, none)


def _better(problem: Problem, y: Tensor, first: TrackedState, second: TrackedState) -> Look:
    """Return the state with the smaller relative gap, item by item."""
    one, other = certify_state(problem, y, first), certify_state(problem, y, second)
    return keep(problem, one.relative_gap <= other.relative_gap, one, other)


def _next_epoch(
    problem: Problem, y: Tensor, epoch: _Epoch, look: Look, layer: int
) -> tuple[_Epoch, Tensor]:
    """Return what is known after a look at the gap, and which items restart, (*batch) bool."""
    merit = look.relative_gap
    restarts = (
        (merit <= _SUFFICIENT * epoch.merit)
        | ((merit <= _NECESSARY * epoch.merit) & (merit > epoch.last))
        | (layer - epoch.begin >= _LONGEST * layer)
    )
    distance = item_norm(look.state.data - y, problem.data_axes).reshape(merit.shape)
    length = item_norm(look.state.v, problem.data_axes).reshape(merit.shape)
    curvature = problem.dual_curvature(distance, length)
    omega = _balanced(problem, epoch, look.state, torch.minimum(curvature, epoch.curvature))
    following = _Epoch(
        torch.where(restarts, omega, epoch.omega),
        torch.where(over_axes(restarts, problem.image_axes), look.state.x, epoch.x),
        torch.where(over_axes(restarts, problem.data_axes), look.state.v, epoch.v),
        torch.where(restarts, merit, epoch.merit),
        torch.where(restarts, torch.full_like(merit, math.inf), merit),
        curvature,
        torch.where(restarts, torch.full_like(epoch.begin, layer), epoch.begin),
        epoch.restarts + restarts,
    )
    return following, restarts


def _balanced(problem: Problem, epoch: _Epoch, state: TrackedState, curvature: Tensor) -> Tensor:
    """Return the new omega of each item."""
    shape = curvature.shape
    primal = item_norm(state.x - epoch.x, problem.image_axes).reshape(shape)
    dual = item_norm(state.v - epoch.v, problem.data_axes).reshape(shape)
    moved = (primal > 0) & (dual > 0)
    # Where a quotient is not used it must be finite, or its derivative is NaN.
    ratio = torch.where(moved, dual, 1.0) / torch.where(moved, primal, 1.0)
    omega = torch.where(moved, (epoch.omega * ratio).sqrt(), epoch.omega)
    is_curved = curvature > 0
    damped = _DAMPING * problem.norm_bound / torch.where(is_curved, curvature, 1.0)
    return torch.where(is_curved & (damped > omega), (omega * damped).sqrt(), omega)


def check_open(name: str, value: float, end: float) -> None:
    if not 0 < value < end:
        raise UsageError(f"{name} is {value}; it must lie between 0 and {end:g}")
