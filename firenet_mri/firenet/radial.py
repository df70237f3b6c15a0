"""Restarts that need no knowledge of the problem: a search over sharpness constants [1].

The objective is sharp with constants (alpha, beta) where

    ||x - x*|| <= (2 eps / alpha)^{1/beta}   whenever  F(x) - F* <= eps,

for data of unit norm. With known constants p = ceil(2 L delta / (r eps)) iterations with
tau = delta / L, sigma = 1 / (delta L), delta = (2 eps / alpha)^{1/beta} bring the gap from eps to
r eps. Here alpha_i = alpha_0 a^i for i = -n..n and several beta_j are tried side by side. Each pair
has its own count of restarts U, its eps = r^U ||y||, its dual, and V iterations spent; the next to
run is the one for which

    (|i| + 1)^2 (j + 1)^2 (V + p)

is least, starting from the best image found by any pair; the best of all, by objective, is kept. So
the rate is that of the best pair up to a constant factor. Only which image is kept depends on the
data, so that all items of a batch run the same iterations.

Differs from [1] in: the last iterate competes with the average, the grid of alpha is finite,
and the solver stops on the certified duality gap.

[1] Adcock, Colbrook, Neyra-Nesterenko, Restarts subject to approximate sharpness: a parameter-free
    and optimal scheme for first-order methods, 2023, and its published code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.firenet.adaptive import check_open
from firenet_mri.firenet.look import (
    Look,
    SelfStoppingSolver,
    certify_state,
    check_has_gap,
    combine,
    in_double,
    keep,
    on_coefficients,
    refuse_shifts,
    result_of,
    tighten,
)
from firenet_mri.firenet.primal_dual import PrimalDualLayer, TrackedState, start_tracked
from firenet_mri.firenet.problem import Problem
from firenet_mri.firenet.solver import AdaptiveResult, Schedule
from firenet_mri.operators.base import LinearOperator
from firenet_mri.prox import item_norm

_ROUNDING = 1e-16


@dataclass(frozen=True)
class RadialSchedule(Schedule):
    """A grid of sharpness constants, and when to stop.

    Parameters
    ----------
    relative_gap
        Stop where (F(x) - lower bound) / F(x) is at most this.
    max_layers
        Stop before more layers than this.
    alpha
        alpha_0, the middle of the grid.
    factor
        a, the ratio of neighbouring alphas, more than 1.
    half_width
        n: alpha_i for i = -n..n.
    exponents
        beta_j, at least 1; (1,) where the problem is known to be sharp.
    decrease
        r, in (0, 1).
    eps0
        First eps; None is ||y|| of each item.

    Raises
    ------
    UsageError
        If a number lies outside its range.
    """

    relative_gap: float = 1e-3
    max_layers: int = 2000
    alpha: float = 0.1
    factor: float = math.e
    half_width: int = 4
    exponents: tuple[float, ...] = (1.0,)
    decrease: float = math.exp(-1)
    eps0: float | None = None

    def __post_init__(self) -> None:
        check_open("relative_gap", self.relative_gap, 1.0)
        check_open("decrease", self.decrease, 1.0)
        check_open("alpha", self.alpha, math.inf)
        if self.eps0 is not None:
            check_open("eps0", self.eps0, math.inf)
        if self.max_layers < 1:
            raise UsageError(f"max_layers is {self.max_layers}; it must be at least 1")
        if self.half_width < 0:
            raise UsageError(f"half_width is {self.half_width}; it must be at least 0")
        if not 1 < self.factor < math.inf:
            raise UsageError(f"factor is {self.factor}; it must be more than 1")
        if not self.exponents or not all(1 <= beta < math.inf for beta in self.exponents):
            raise UsageError(f"exponents are {self.exponents}; give one or more of at least 1")

    def runs(self) -> tuple[GridRun, ...]:
        """Return the first run of every pair of constants."""
        return tuple(
            GridRun(
                self.alpha * self.factor**i,
                beta,
                (abs(i) + 1) ** 2 * (j + 1) ** 2,
                self.decrease,
            )
            for i in range(-self.half_width, self.half_width + 1)
            for j, beta in enumerate(self.exponents)
        )

    def order(self) -> Iterator[tuple[int, GridRun]]:
        """Yield the number of a pair of constants and its next run, until the layers are used up.

        The data do not change the order; they only end it where the gap is reached.
        """
        runs, layers = list(self.runs()), 0
        while True:
            index = min(range(len(runs)), key=lambda entry: runs[entry].due)
            run = runs[index]
            layers += 0 if math.isinf(run.due) else run.iterations
            if math.isinf(run.due) or layers > self.max_layers:
                return
            runs[index] = run.following()
            yield index, run

    def solver(self, sparsifier: LinearOperator | None, shift_seed: int | None) -> RadialBlock:
        """Return the solver that searches the grid."""
        refuse_shifts(self, shift_seed)
        return RadialBlock(self)

    @property
    def geometric(self) -> None:
        """None: the steps are those of a search."""


@dataclass(frozen=True)
class GridRun:
    """The next run of one pair of constants, for data of unit norm and an operator of norm 1.

    Parameters
    ----------
    alpha, beta
        The constants.
    price
        (|i| + 1)^2 (j + 1)^2.
    decrease
        r.
    done
        U, runs done.
    spent
        V, iterations spent.
    """

    alpha: float
    beta: float
    price: int
    decrease: float
    done: int = 0
    spent: int = 0

    @property
    def distance(self) -> float:
        """delta, (2 eps / alpha)^{1/beta}; not less than 2 eps / alpha where that is above 1."""
        ratio = 2 * self.decrease**self.done / self.alpha
        return ratio if ratio > 1 else ratio ** (1 / self.beta)

    @property
    def iterations(self) -> int:
        """p = ceil(2 delta / (r eps))."""
        return math.ceil(2 * self.distance / self.decrease ** (self.done + 1))

    @property
    def due(self) -> float:
        """When it is its turn: the least is next; never once eps is lost in rounding."""
        if self.decrease**self.done < _ROUNDING:
            return math.inf
        return self.price * (self.spent + self.iterations)

    def following(self) -> GridRun:
        """Return the run after this one."""
        return GridRun(
            self.alpha,
            self.beta,
            self.price,
            self.decrease,
            self.done + 1,
            self.spent + self.iterations,
        )


class RadialBlock(SelfStoppingSolver):
    """The solver as a module: one layer, run until every item has its gap.

    Parameters
    ----------
    schedule
        The grid, and when to stop.

    Examples
    --------
    >>> from firenet_mri.firenet.problem import SquareRootLasso
    >>> from firenet_mri.operators import MatrixOperator
    >>> problem = SquareRootLasso(MatrixOperator(torch.eye(3), norm_bound=1.0), lam=0.1)
    >>> y = torch.tensor([1.0, 0.0, 2.0])
    >>> bool(RadialBlock(RadialSchedule(1e-2))(problem, y, torch.zeros(3)).converged)
    True
    """

    schedule: RadialSchedule

    def __init__(self, schedule: RadialSchedule | None = None) -> None:
        super().__init__()
        self.schedule = RadialSchedule() if schedule is None else schedule
        self.layer = PrimalDualLayer()

    @property
    def depth(self) -> int:
        """The largest number of layers."""
        return self.schedule.max_layers

    @property
    def updates(self) -> int:
        """At most so many looks: one before the first run, and one after each."""
        return 1 + sum(1 for _ in self.schedule.order())

    def iterates(self, problem: Problem, y: Tensor, x0: Tensor) -> Iterator[AdaptiveResult]:
        """Yield, first and after every run, what would be returned if the solver ended there."""
        check_has_gap(problem)
        inner = on_coefficients(problem)
        wanted, layers = self.schedule.relative_gap, 0
        begin = start_tracked(inner, y, x0 if inner is problem else problem.analyse(x0))
        best = certify_state(inner, y, begin)
        scale = self._scale(inner, y).reshape(best.objective.shape)
        duals = [begin] * len(self.schedule.runs())
        restarts = torch.zeros_like(scale, dtype=torch.int64)
        for following in (*self.schedule.order(), None):
            if following is None or bool((best.relative_gap <= wanted).all()):
                best = in_double(problem, y, best)
            finished = best.relative_gap <= wanted
            yield result_of(problem, best, wanted, layers, restarts)
            if following is None or bool(finished.all()):
                return
            index, run = following
            average, last = self._run(inner, y, _join(best.state, duals[index]), run, scale)
            duals[index] = last
            layers += run.iterations
            found = best
            for state in (average, last):
                found = _better(inner, found, certify_state(inner, y, state))
            best = keep(inner, finished, best, tighten(inner, y, found, wanted))
            restarts = restarts + ~finished

    def _scale(self, problem: Problem, y: Tensor) -> Tensor:
        """Return eps_0 of every item."""
        norm = item_norm(y, problem.data_axes)
        if self.schedule.eps0 is not None:
            return torch.full_like(norm, self.schedule.eps0)
        # An item without signal keeps its zero image; any positive scale works.
        return torch.where(norm > 0, norm, torch.ones_like(norm))

    def _run(
        self, problem: Problem, y: Tensor, begin: TrackedState, run: GridRun, scale: Tensor
    ) -> tuple[TrackedState, TrackedState]:
        """Return average and last state of a run."""
        norm = problem.norm_bound
        length = run.distance * scale / problem.encoding.norm_bound
        total, state = None, begin
        for _ in range(run.iterations):
            state = self.layer(problem, y, state, length / norm, 1 / (length * norm))
            total = state if total is None else combine(total, state, 1.0)
        assert total is not None
        return combine(total, total, 1 / run.iterations - 1), state


def _join(image: TrackedState, dual: TrackedState) -> TrackedState:
    """Return the image of one state with the duals of another."""
    return image._replace(
        v=dual.v,
        q=dual.q,
        gradient=dual.gradient,
        synthesised=dual.synthesised,
        source=dual.source,
        share=dual.share,
    )


def _better(problem: Problem, first: Look, second: Look) -> Look:
    """Return the image with the lower objective and the dual with the higher bound."""
    image = keep(problem, first.objective <= second.objective, first, second)
    dual = keep(problem, first.bound >= second.bound, first, second)
    return Look(_join(image.state, dual.state), dual.q, image.objective, dual.bound)
