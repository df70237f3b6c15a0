"""What the solvers that stop by themselves know when they check the gap.

The gap costs no application of A, since A x and A^H v are kept (see
:class:`~firenet_mri.firenet.primal_dual.TrackedState`). In single precision it is as good as that
precision; what is returned is evaluated again in double precision, from image and duals alone.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from firenet_mri.errors import UsageError
from firenet_mri.firenet.primal_dual import State, TrackedState
from firenet_mri.firenet.problem import Problem
from firenet_mri.firenet.solver import AdaptiveResult, Observer, Progress, Schedule, Solver
from firenet_mri.prox import over_axes

# Rounds that tighten the dual of the analysis form: at every look, and where the gap is within
# reach of the wanted one.
_ROUNDS, _MORE_ROUNDS, _WITHIN_REACH = 2, 20, 4.0


class SelfStoppingSolver(Solver):
    """One layer, run until every item has a certified gap; its steps depend on the data."""

    is_fixed = False
    carried_images = 3
    schedule: Schedule

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()

    @abstractmethod
    def iterates(self, problem: Problem, y: Tensor, x0: Tensor) -> Iterator[AdaptiveResult]:
        """Yield, at every look at the gap, what would be returned if the solver ended there.

        The gap of the last one is certified in double precision.
        """

    def forward(self, problem: Problem, y: Tensor, x0: Tensor) -> AdaptiveResult:
        """Return image, duals and certified gap of each item.

        Parameters
        ----------
        problem, y
            P2 or P3 and its data, (*batch, *codomain_shape).
        x0
            Start image, (*batch, *domain_shape).

        Raises
        ------
        UsageError
            For P1, whose iterates are not feasible, so that they have no finite gap.
        """
        for latest in self.iterates(problem, y, x0):
            result = latest
        return result

    def converge(self, problem: Problem, y: Tensor, x0: Tensor) -> AdaptiveResult:
        """Return image, duals and certified gap of each item, as :meth:`forward`."""
        result: AdaptiveResult = self(problem, y, x0)
        return result

    def run(self, problem: Problem, y: Tensor, x0: Tensor) -> Progress:
        """Return where the solver ends."""
        return self.converge(problem, y, x0).progress

    def progress(self, problem: Problem, y: Tensor, x0: Tensor) -> Iterator[Progress]:
        """Yield where the solver stands at every look at the gap."""
        for result in self.iterates(problem, y, x0):
            yield result.progress

    def observed(self, problem: Problem, y: Tensor, x0: Tensor, observe: Observer) -> NoReturn:
        """Refuse: there may be no derivative."""
        raise UsageError(
            f"{type(self.schedule).__name__} lets the data decide what is done, so that the "
            "network may have no Jacobian; use a schedule of fixed depth"
        )

    def proven_bound(self, problem: Problem) -> None:
        """Return None: the image may jump."""

    def obstacle(self) -> str:
        """Return why no Lipschitz constant can be proven."""
        name = type(self.schedule).__name__
        return (
            f"{name} uses the data to decide when to restart and stop, so that the image may jump."
        )

    def extra_repr(self) -> str:
        """Return the schedule, for printing."""
        return f"{self.schedule}"


def refuse_shifts(schedule: Schedule, shift_seed: int | None) -> None:
    """Raise UsageError if the grid is to be shifted from layer to layer."""
    if shift_seed is not None:
        raise UsageError(
            f"{type(schedule).__name__} follows the duality gap of one problem; shifts "
            "would change it from layer to layer, leave out shift_seed"
        )


class Look(NamedTuple):
    """A state, F(x) and a lower bound of F, (*batch), and the q that gives this bound."""

    state: TrackedState
    q: Tensor | None
    objective: Tensor
    bound: Tensor

    @property
    def relative_gap(self) -> Tensor:
        """(F(x) - bound) / F(x), (*batch); 0 where F(x) is 0."""
        gap = self.objective - self.bound
        return torch.where(self.objective > 0, gap / self.objective, torch.zeros_like(gap))


def check_has_gap(problem: Problem) -> None:
    """Raise UsageError for P1, whose iterates are not feasible."""
    if not problem.has_gap:
        raise UsageError(
            "The iterates of basis pursuit violate its constraint, so that they have no duality "
            "gap to follow; use a fixed schedule and restore(), or the square-root LASSO"
        )


def on_coefficients(problem: Problem) -> Problem:
    """Return the problem of the coefficients c = W x for unitary W, A W^H in place of A."""
    if problem.sparsifier is None or not problem.is_synthesis:
        return problem
    return replace(problem, encoding=problem.encoding @ problem.sparsifier.H, sparsifier=None)


def result_of(
    problem: Problem, look: Look, wanted: float, layers: int, restarts: Tensor
) -> AdaptiveResult:
    """Return a look as a result, its image in place of coefficients."""
    gap = look.relative_gap.clamp(min=0)
    return AdaptiveResult(_state(problem, look), layers, restarts, gap, gap <= wanted)


def in_double(problem: Problem, y: Tensor, look: Look) -> Look:
    """Return a look whose objective and bound are evaluated in double precision.

    They are those of the image and the duals that :func:`result_of` returns; what the iteration
    tracked in single precision does not go into them.
    """
    if y.real.dtype == torch.float64:
        return look
    double = torch.promote_types(y.dtype, torch.float64)
    state = _state(problem, look)
    with torch.no_grad():
        data, q = y.to(double), None if state.q is None else state.q.to(double)
        objective = problem.objective(state.x.to(double), data)
        bound = problem.dual_value(state.v.to(double), data, q)
    return look._replace(objective=objective, bound=bound)


def _state(problem: Problem, look: Look) -> State:
    """Return image and duals of a look, the image in place of coefficients."""
    x, source = look.state.x, look.state.source
    if problem.is_synthesis:
        x, source = problem.synthesise(x), problem.synthesise(source)
    return State(x, look.state.v, look.q, source, look.state.share)


def certify_state(problem: Problem, y: Tensor, state: TrackedState) -> Look:
    """Return objective and lower bound of a state; A is not applied.

    In the analysis form the dual is tightened by a few rounds.
    """
    if state.q is None or state.coefficients is None:
        objective = problem.objective_of(state.x, state.data, y)
        return Look(state, None, objective, problem.dual_value_of(state.v, -state.gradient, y))
    v, gradient = problem.without_constants(state.v, state.gradient)
    q = problem.tighten_dual_of(gradient, state.q, _ROUNDS)
    objective = problem.objective_of(state.coefficients, state.data, y)
    return Look(state, q, objective, problem.dual_value_of(v, q, y))


def tighten(problem: Problem, y: Tensor, look: Look, wanted: float) -> Look:
    """Return the look with a better dual where that may reduce the gap to the wanted one."""
    state, gap = look.state, look.relative_gap
    within_reach = (gap > wanted) & (gap <= _WITHIN_REACH * wanted)
    if state.q is None or not bool(within_reach.any()):
        return look
    v, gradient = problem.without_constants(state.v, state.gradient)
    q = problem.tighten_dual_of(gradient, state.q, _MORE_ROUNDS)
    tighter = look._replace(q=q, bound=problem.dual_value_of(v, q, y))
    return keep(problem, within_reach & (tighter.bound > look.bound), tighter, look)


def keep(problem: Problem, mask: Tensor, first: Look, second: Look) -> Look:
    """Return the first look of the items where the mask, (*batch), is True, else the second."""
    return Look(
        choose(problem, mask, first.state, second.state),
        _select(mask, first.q, second.q, problem.coefficient_axes),
        torch.where(mask, first.objective, second.objective),
        torch.where(mask, first.bound, second.bound),
    )


def choose(
    problem: Problem, mask: Tensor, first: TrackedState, second: TrackedState
) -> TrackedState:
    """Return the first state of the items where the mask, (*batch), is True, else the second."""
    pairs = zip(first, second, _axes(problem), strict=True)
    return TrackedState(*(_select(mask, a, b, over) for a, b, over in pairs))  # type: ignore[arg-type]


def _select(
    mask: Tensor, first: Tensor | None, second: Tensor | None, axes: tuple[int, ...]
) -> Tensor | None:
    if first is None or second is None:
        return None
    return torch.where(over_axes(mask, axes), first, second)


def combine(first: TrackedState, second: TrackedState, factor: float) -> TrackedState:
    """Return first + factor second; what the operators make of a state is linear in it."""
    fields = (
        None if a is None or b is None else a + factor * b
        for a, b in zip(first, second, strict=True)
    )
    return TrackedState(*fields)  # type: ignore[arg-type]


def divide(problem: Problem, total: TrackedState, count: Tensor) -> TrackedState:
    """Return the average of each item's states."""
    pairs = zip(total, _axes(problem), strict=True)
    return TrackedState(*(None if a is None else a / over_axes(count, over) for a, over in pairs))  # type: ignore[arg-type]


def _axes(problem: Problem) -> tuple[tuple[int, ...], ...]:
    """Return the axes of one item in each field of a tracked state."""
    image, data, coefficients = problem.image_axes, problem.data_axes, problem.coefficient_axes
    return (image, data, coefficients, data, image, coefficients, image, image, ())
