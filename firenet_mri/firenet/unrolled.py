"""The solver of fixed depth: blocks of layers whose steps are known before any data are seen."""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from firenet_mri.errors import UsageError
from firenet_mri.firenet.lipschitz import ProvenBound, proof_of, share_of_data
from firenet_mri.firenet.monotonicity import UnrolledIteration
from firenet_mri.firenet.primal_dual import LayerState, PrimalDualLayer, start
from firenet_mri.firenet.problem import Problem
from firenet_mri.firenet.rational import length_above
from firenet_mri.firenet.solver import LinearParts, Observer, Progress, Schedule, Solver
from firenet_mri.operators.base import LinearOperator, Residual
from firenet_mri.operators.shift import CyclicShift
from firenet_mri.prox import item_norm


class Steps(NamedTuple):
    """Step sizes of one layer for data of unit norm."""

    tau: float
    sigma: float


class FixedSchedule(Schedule):
    """How many layers, which steps, what each block returns; all fixed before any data are seen."""

    @property
    @abstractmethod
    def depths(self) -> tuple[int, ...]:
        """Layers of each block."""

    @property
    @abstractmethod
    def returns_average(self) -> bool:
        """True: a block returns its ergodic average; False: its last iterate."""

    @property
    @abstractmethod
    def keeps_dual(self) -> bool:
        """True: a block starts from the dual of the block before; False: from zero."""

    @property
    @abstractmethod
    def data_consistency(self) -> float:
        """Length a of a last step x - (a / ||A||^2) A^H (A x - y), 0 to 1; 0 leaves it out."""

    @abstractmethod
    def blocks(self, norm_bound: float) -> tuple[tuple[Steps, ...], ...]:
        """Return the steps of every block for an operator of norm at most ``norm_bound``."""

    @property
    @abstractmethod
    def iteration(self) -> UnrolledIteration:
        """What Lipschitz bounds need to know of the layers; tau_k sigma_k is the same in all."""

    @abstractmethod
    def step_length(self, norm_bound: float) -> float | None:
        """Return sqrt(tau sigma), at most 1/L; None if it is longer, so that nothing is proven."""

    def proven_bound(
        self, norm_bound: float, data_share: tuple[Fraction, Fraction] | None = None
    ) -> ProvenBound | None:
        """Return a proven Lipschitz constant at fixed eps_0, None if there is none.

        It is for the layers alone, without the data-consistency step: the bound of the iteration
        for an operator of norm 1 times sqrt(tau sigma) (docs/theory.md, sections 3.3 and 3.4).

        Parameters
        ----------
        norm_bound
            L, a proven bound of ||K||.
        data_share
            See :class:`~firenet_mri.firenet.monotonicity.UnrolledIteration`.
        """
        length = self.step_length(norm_bound)
        proof = proof_of(replace(self.iteration, data_share=data_share))
        return None if length is None or proof is None else ProvenBound(proof.value * length, proof)

    def lipschitz_bound(self, norm_bound: float) -> float | None:
        """Return the number of :meth:`proven_bound` for an operator of which L alone is known."""
        proven = self.proven_bound(norm_bound)
        return None if proven is None else proven.value

    def solver(self, sparsifier: LinearOperator | None, shift_seed: int | None) -> UnrolledSolver:
        """Return the layers of this schedule, with the grid shifted where a seed is given."""
        return UnrolledSolver(self, sparsifier, shift_seed)


#: Called before a layer with its problem, the state, and tau and sigma of each item; what it
#: returns is called with the state after the layer.
BlockObserver = Callable[[Problem, LayerState, Tensor, Tensor], Callable[[LayerState], None]]


class RestartBlock(nn.Module):
    """The layers between two restarts, one step per layer.

    Parameters
    ----------
    depth
        Number of layers.
    returns_average
        Pass on the average of the block's iterates instead of the last one.
    sparsifiers
        The sparsifier of each layer, where it changes; None takes the problem's.
    """

    def __init__(
        self,
        depth: int,
        returns_average: bool,
        sparsifiers: Sequence[LinearOperator] | None = None,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(PrimalDualLayer() for _ in range(depth))
        self.returns_average = returns_average
        self.sparsifiers = None if sparsifiers is None else nn.ModuleList(sparsifiers)

    def iterates(
        self,
        problem: Problem,
        residual: Residual,
        state: LayerState,
        steps: tuple[Steps, ...],
        eps0: Tensor,
        observe: BlockObserver | None = None,
    ) -> Iterator[LayerState]:
        """Yield after every layer the state in which the block would end there."""
        total = torch.zeros_like(state.x) if self.returns_average else None
        for count, (layer, pair) in enumerate(zip(self.layers, steps, strict=True), 1):
            layer_problem = self._problem(problem, count - 1)
            tau, sigma = pair.tau * eps0, pair.sigma / eps0
            finish = None if observe is None else observe(layer_problem, state, tau, sigma)
            state = layer(layer_problem, residual, state, tau, sigma)
            if finish is not None:
                finish(state)
            if total is None:
                yield state
            else:
                total = total + state.x
                yield state._replace(x=total / count)

    def forward(
        self,
        problem: Problem,
        residual: Residual,
        state: LayerState,
        steps: tuple[Steps, ...],
        eps0: Tensor,
        observe: BlockObserver | None = None,
    ) -> LayerState:
        """Return the state at the end of the block.

        Parameters
        ----------
        problem
            The problem.
        residual
            ``problem.encoding.residual(y)`` for the data y, (*batch, *codomain_shape).
        state
            Where the block starts.
        steps
            Steps of every layer for data of unit norm.
        eps0
            Scale of the steps of each item, (*batch).
        observe
            Called before every layer, see :data:`BlockObserver`.
        """
        # Not ``*_, last = ...``: that would keep the states of all layers in memory.
        for after in self.iterates(problem, residual, state, steps, eps0, observe):
            last = after
        return last

    def _problem(self, problem: Problem, index: int) -> Problem:
        """Return the problem of one layer."""
        if self.sparsifiers is None:
            return problem
        sparsifier: Any = self.sparsifiers[index]
        return replace(problem, sparsifier=sparsifier)


class UnrolledSolver(Solver):
    """A network of fixed depth.

    Parameters
    ----------
    schedule
        Depths, steps, and what a block passes on.
    sparsifier
        The sparsifier whose grid is shifted; without shifts it is the problem's.
    shift_seed
        Of the shifts, 0 to 2^32 - 1; None: no shifts.

    Raises
    ------
    UsageError
        If shifts are requested without an orthogonal wavelet.
    """

    is_fixed = True

    def __init__(
        self,
        schedule: FixedSchedule,
        sparsifier: LinearOperator | None = None,
        shift_seed: int | None = None,
    ) -> None:
        super().__init__()
        self.schedule = schedule
        self.carried_images = 4 if schedule.returns_average else 3
        shifted = _shifted(sparsifier, shift_seed, self.depth)
        self.blocks = nn.ModuleList(
            RestartBlock(
                depth,
                schedule.returns_average,
                None if shifted is None else list(itertools.islice(shifted, depth)),
            )
            for depth in schedule.depths
        )

    @property
    def depth(self) -> int:
        """Number of layers."""
        return sum(self.schedule.depths)

    @property
    def updates(self) -> int:
        """One per layer."""
        return self.depth

    def progress(self, problem: Problem, y: Tensor, x0: Tensor) -> Iterator[Progress]:
        """Yield where the network would end after every layer."""
        residual, eps0 = problem.encoding.residual(y), self._scale(problem, y)
        state = start(problem, x0)
        for block, steps in self._blocks(problem):
            begin = self._restart(problem, state)
            for after in block.iterates(problem, residual, begin, steps, eps0):
                yield self._progress(problem, residual, y, after)
                state = after

    def run(self, problem: Problem, y: Tensor, x0: Tensor) -> Progress:
        """Return where the network ends."""
        return self._run(problem, y, x0)

    def converge(self, problem: Problem, y: Tensor, x0: Tensor) -> NoReturn:
        """Refuse: the depth is fixed."""
        raise UsageError(
            f"{type(self.schedule).__name__} has a fixed depth; use solve(), or give an "
            "AdaptiveSchedule"
        )

    def observed(self, problem: Problem, y: Tensor, x0: Tensor, observe: Observer) -> LinearParts:
        """Run, and show the observer what goes into every layer and what comes out."""
        x = self._run(problem, y, x0, observe).x
        schedule = self.schedule
        consistency = schedule.data_consistency / problem.encoding.norm_bound**2
        return LinearParts(schedule.keeps_dual, schedule.returns_average, consistency, x)

    def proven_bound(self, problem: Problem) -> ProvenBound | None:
        """Return a proven Lipschitz constant of data -> image at fixed eps_0; None if none is.

        A last data-consistency step maps (x, y / ||A||) to a vector that is no longer
        (docs/theory.md, section 3.3), hence sqrt(b^2 + 1 / ||A||^2).
        """
        norm = problem.encoding.norm_bound
        share = None
        if not problem.is_synthesis:
            share = share_of_data(norm, problem.transform.norm_bound)
        proven = self.schedule.proven_bound(problem.norm_bound, share)
        if proven is None or self.schedule.data_consistency == 0:
            return proven
        return proven._replace(value=length_above(proven.value, math.nextafter(1 / norm, math.inf)))

    def obstacle(self) -> None:
        """Return None: whether a bound is proven depends on the steps alone."""

    def _run(
        self, problem: Problem, y: Tensor, x0: Tensor, observe: Observer | None = None
    ) -> Progress:
        residual, eps0 = problem.encoding.residual(y), self._scale(problem, y)
        state = start(problem, x0)
        for index, (block, steps) in enumerate(self._blocks(problem)):
            begin = self._restart(problem, state)
            watch = None if observe is None else partial(observe, index)
            state = block(problem, residual, begin, steps, eps0, watch)
        return self._progress(problem, residual, y, state)

    def _progress(
        self, problem: Problem, residual: Residual, y: Tensor, state: LayerState
    ) -> Progress:
        """Return a layer's state as progress."""
        x = self._enforce_data(problem, residual, state.x)
        return Progress(x, False, lambda: state._replace(x=x).bare(problem, y))

    def _blocks(self, problem: Problem) -> Iterator[tuple[RestartBlock, tuple[Steps, ...]]]:
        """Return the blocks with their steps."""
        blocks: Any = self.blocks
        return zip(blocks, self.schedule.blocks(problem.norm_bound), strict=True)

    def _restart(self, problem: Problem, state: LayerState) -> LayerState:
        """Return the state in which the next block begins."""
        return state if self.schedule.keeps_dual else start(problem, state.x)

    def _enforce_data(self, problem: Problem, residual: Residual, x: Tensor) -> Tensor:
        """Return x after the schedule's data-consistency step."""
        length = self.schedule.data_consistency
        if length == 0:
            return x
        gradient, _ = residual(x)
        return x - length / problem.encoding.norm_bound**2 * gradient

    def _scale(self, problem: Problem, y: Tensor) -> Tensor:
        """Return eps_0 of every item, (*batch)."""
        batch = y.shape[: y.ndim - len(problem.data_axes)]
        if self.schedule.eps0 is not None:
            return torch.full(batch, self.schedule.eps0, dtype=y.real.dtype, device=y.device)
        norm = item_norm(y, problem.data_axes).reshape(batch)
        # An item without signal keeps its zero image; any positive scale works.
        return torch.where(norm > 0, norm, torch.ones_like(norm))


def _shifted(
    sparsifier: LinearOperator | None, seed: int | None, depth: int
) -> Iterator[LinearOperator] | None:
    """Return W S for the shift S of every layer, None if there are no shifts."""
    if seed is None:
        return None
    if sparsifier is None or not sparsifier.is_unitary:
        raise UsageError(
            "Shifts need an orthogonal wavelet as sparsifier; the undecimated one is "
            "shift-invariant as it is"
        )
    shape = sparsifier.domain_shape
    # Not by torch: an exported graph would draw other shifts at every call.
    numbers = np.random.RandomState(seed).bytes(4 * depth * len(shape))
    draws = (np.frombuffer(numbers, "<u4") % 2**24 / 2**24).reshape(depth, len(shape))
    shifts = [CyclicShift(tuple(row), shape) for row in (draws * shape).astype(int).tolist()]
    return iter([sparsifier @ shift for shift in shifts])
