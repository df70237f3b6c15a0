"""FIRENET: the restarted primal-dual iteration unrolled into a network without training."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.firenet.adaptive import AdaptiveBlock, AdaptiveResult, AdaptiveSchedule
from firenet_mri.firenet.primal_dual import LayerState, PrimalDualLayer, State, start
from firenet_mri.firenet.problem import SquareRootLasso
from firenet_mri.firenet.radial import RadialBlock, RadialSchedule
from firenet_mri.firenet.schedules import PaperSchedule, Schedule, Steps
from firenet_mri.operators.base import LinearOperator, Residual
from firenet_mri.operators.denormals import denormals_flushed
from firenet_mri.operators.shift import CyclicShift
from firenet_mri.prox import item_norm


class RestartBlock(nn.Module):
    """The layers between two restarts, one step a layer.

    Parameters
    ----------
    depth
        Number of layers.
    returns_average
        Hand on the average of the block's iterates instead of the last one.
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
        problem: SquareRootLasso,
        residual: Residual,
        state: LayerState,
        steps: tuple[Steps, ...],
        eps0: Tensor,
    ) -> Iterator[LayerState]:
        """Yield after every layer the state in which the block would end there."""
        total = torch.zeros_like(state.x) if self.returns_average else None
        for count, (layer, (tau, sigma)) in enumerate(zip(self.layers, steps, strict=True), 1):
            layer_problem = self._problem(problem, count - 1)
            state = layer(layer_problem, residual, state, tau * eps0, sigma / eps0)
            if total is None:
                yield state
            else:
                total = total + state.x
                yield state._replace(x=total / count)

    def forward(
        self,
        problem: SquareRootLasso,
        residual: Residual,
        state: LayerState,
        steps: tuple[Steps, ...],
        eps0: Tensor,
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
        """
        # Not ``*_, last = ...``: that would keep the states of all layers in memory.
        for after in self.iterates(problem, residual, state, steps, eps0):
            last = after
        return last

    def _problem(self, problem: SquareRootLasso, index: int) -> SquareRootLasso:
        """Return the problem of one layer."""
        if self.sparsifiers is None:
            return problem
        sparsifier: Any = self.sparsifiers[index]
        return replace(problem, sparsifier=sparsifier)


def _solver(schedule: AdaptiveSchedule | RadialSchedule) -> AdaptiveBlock | RadialBlock:
    """Return the module that runs a schedule which looks at the data."""
    if isinstance(schedule, AdaptiveSchedule):
        return AdaptiveBlock(schedule)
    return RadialBlock(schedule)


class FIRENET(nn.Module):
    """Fast Iterative REstarted NETwork for the weighted square-root LASSO.

    Parameters
    ----------
    sparsifier
        W: unitary (synthesis form), a Parseval frame (analysis form), or None for the identity.
    lam
        Weight of the sparsity; it has no scale, since the problem is homogeneous.
    weights
        Positive weights of the coefficients, broadcast against them; None is 1.
    schedule
        Step sizes, see :mod:`firenet_mri.firenet.schedules`: a network of fixed depth. With an
        ``AdaptiveSchedule`` or ``RadialSchedule`` the same layer runs until a certified gap is
        reached: more accurate, but what is done depends on the data, so that no Lipschitz constant
        exists.
    shift_seed
        Shift the grid of an orthogonal wavelet in every layer by random numbers of pixels that this
        seed, 0 to 2^32 - 1, fixes (cycle spinning): less of the grid is seen, at a few percent of
        time. The network stays one fixed map and its Lipschitz bound holds; the duality gap is that
        of the problem with the grid unshifted. None: no shifts.

    Raises
    ------
    UsageError
        If shifts are asked for without an orthogonal wavelet, or with a schedule that looks at the
        data.

    Notes
    -----
    No trained parameters: ``state_dict`` is empty. Items of a batch never influence each other.

    Examples
    --------
    >>> import torch
    >>> from firenet_mri import FIRENET
    >>> from firenet_mri.operators import MatrixOperator
    >>> encoding = MatrixOperator(torch.eye(4), norm_bound=1.0)
    >>> net = FIRENET(lam=0.01)
    >>> net(torch.tensor([1.0, 0.0, 0.0, 0.0]), encoding).shape
    torch.Size([4])
    >>> net.depth
    25
    """

    weights: Tensor | None

    def __init__(
        self,
        sparsifier: LinearOperator | None = None,
        lam: float = 1e-3,
        weights: Tensor | None = None,
        schedule: Schedule | AdaptiveSchedule | RadialSchedule | None = None,
        shift_seed: int | None = None,
    ) -> None:
        super().__init__()
        self.sparsifier = sparsifier
        self.lam = lam
        self.register_buffer("weights", weights, persistent=False)
        self.schedule = PaperSchedule() if schedule is None else schedule
        self.shift_seed = shift_seed
        #: The weights were made from the data (reweighting): no Lipschitz constant is proven then.
        self.weights_depend_on_data = False
        self.solver: AdaptiveBlock | RadialBlock | None = None
        if isinstance(self.schedule, AdaptiveSchedule | RadialSchedule):
            self.solver = _solver(self.schedule)
            self._refuse_shifts()
            self.blocks = nn.ModuleList()
            return
        schedule = self._fixed_schedule()
        depths, average = schedule.depths, schedule.returns_average
        shifted = self._shifted_sparsifiers()
        self.blocks = nn.ModuleList(
            RestartBlock(
                depth, average, list(itertools.islice(shifted, depth)) if shifted else None
            )
            for depth in depths
        )

    @property
    def depth(self) -> int:
        """Number of primal-dual layers; the largest number where the data decide."""
        if isinstance(self.schedule, AdaptiveSchedule | RadialSchedule):
            return self.schedule.max_layers
        return sum(self.schedule.depths)

    def width(self, encoding: LinearOperator) -> int:
        """Return the largest number of complex values that a layer hands to the next, an item.

        Images of N pixels: the iterate, the mean that stands for the dual of the data, and its
        gradient; their average where the schedule returns it; and for a frame the dual of the
        coefficients and what it makes of them. (Theorem 3 of the paper has 2N + m: iterate, average
        and the dual of the m data, which is not stored here.)
        """
        size = torch.Size(encoding.domain_shape).numel()
        returns_average = self.solver is None and self._fixed_schedule().returns_average
        width = size * (4 if returns_average else 3)
        if self.sparsifier is not None and not self.problem(encoding).is_synthesis:
            width += size + torch.Size(self.sparsifier.codomain_shape).numel()
        return width

    def problem(self, encoding: LinearOperator) -> SquareRootLasso:
        """Return the problem that this network solves for an encoding operator."""
        return SquareRootLasso(encoding, self.sparsifier, self.weights, self.lam)

    def forward(self, y: Tensor, encoding: LinearOperator, x0: Tensor | None = None) -> Tensor:
        """Return the image, (*batch, *domain_shape).

        Parameters
        ----------
        y
            Data, (*batch, *codomain_shape).
        encoding
            The encoding operator A.
        x0
            Start image; None is zero.

        Raises
        ------
        ShapeError
            If y or x0 does not fit the encoding operator.
        """
        if self.solver is not None:
            return self.converge(y, encoding, x0).state.x
        return self._run(y, encoding, x0).x

    def solve(self, y: Tensor, encoding: LinearOperator, x0: Tensor | None = None) -> State:
        """Return the last state: the image and the dual variables, for certificates."""
        if self.solver is not None:
            return self.converge(y, encoding, x0).state
        return self._run(y, encoding, x0).bare(self.problem(encoding), y)

    def _run(self, y: Tensor, encoding: LinearOperator, x0: Tensor | None) -> LayerState:
        """Return the state after the last layer of a network of fixed depth."""
        problem, x, eps0 = self._prepare(y, encoding, x0)
        residual = encoding.residual(y)
        state = start(problem, x)
        with denormals_flushed():
            for block, steps in zip(self.blocks, self._steps(problem), strict=True):
                state = block(problem, residual, self._restart(problem, state), steps, eps0)
        return state._replace(x=self._enforce_data(encoding, residual, state.x))

    def converge(
        self, y: Tensor, encoding: LinearOperator, x0: Tensor | None = None
    ) -> AdaptiveResult:
        """Return image, duals, certified gap and number of layers of a network that stops itself.

        Raises
        ------
        UsageError
            If the schedule has a fixed depth.
        """
        if self.solver is None:
            raise UsageError(
                f"{type(self.schedule).__name__} has a fixed depth; use solve(), or give an "
                "AdaptiveSchedule"
            )
        problem, x, _ = self._prepare(y, encoding, x0)
        with denormals_flushed():
            result: AdaptiveResult = self.solver(problem, y, x)
        return result

    def iterates(
        self, y: Tensor, encoding: LinearOperator, x0: Tensor | None = None
    ) -> Iterator[tuple[int, int, Tensor]]:
        """Yield (restart, inner, x) after every layer, counted from 1.

        x is what the network would return if it ended there.

        Raises
        ------
        UsageError
            If the schedule looks at the data.
        """
        problem, x, eps0 = self._prepare(y, encoding, x0)
        residual = encoding.residual(y)
        state = start(problem, x)
        blocks = zip(self.blocks, self._steps(problem), strict=True)
        for restart, (block, steps) in enumerate(blocks, 1):
            begin = self._restart(problem, state)
            layers = block.iterates(problem, residual, begin, steps, eps0)  # type: ignore[operator]
            for inner, after in enumerate(layers, 1):
                yield restart, inner, self._enforce_data(encoding, residual, after.x)
                state = after

    def lipschitz_bound(self, encoding: LinearOperator) -> float | None:
        """Return a proven Lipschitz constant of data -> image at fixed eps_0; None if none is.

        A last data-consistency step maps (x, y / ||A||) to a vector that is no longer
        (docs/theory.md, section 3.3), hence sqrt(b^2 + 1 / ||A||^2).
        """
        if self.solver is not None or self.weights_depend_on_data:
            return None
        schedule = self._fixed_schedule()
        bound = schedule.lipschitz_bound(self.problem(encoding).norm_bound)
        if bound is None or schedule.data_consistency == 0:
            return bound
        return math.hypot(bound, 1 / encoding.norm_bound)

    def obstacle(self, has_start: bool = False) -> str | None:
        """Return why no Lipschitz constant is certified, as a sentence; None where one is.

        Parameters
        ----------
        has_start
            True if the network starts at an image that is given.
        """
        name = type(self.schedule).__name__
        if self.solver is not None:
            return (
                f"The network's Lipschitz constant is not certified: {name} decides by the data "
                "when to restart and stop, so that the image may jump."
            )
        if self.weights_depend_on_data:
            return (
                "The network's Lipschitz constant is not certified: reweighting takes the weights "
                "from the data. The duality gap is that of the last pass, for its weights."
            )
        if has_start and self.schedule.eps0 is None:
            return (
                "The network's Lipschitz constant is not certified: with a start image the scale "
                "eps0 must be fixed."
            )
        return None

    def _fixed_schedule(self) -> Schedule:
        """Return the schedule if it has a fixed depth."""
        if isinstance(self.schedule, AdaptiveSchedule | RadialSchedule):
            raise UsageError(
                f"{type(self.schedule).__name__} has no fixed layers; use solve() or converge()"
            )
        return self.schedule

    def _refuse_shifts(self) -> None:
        if self.shift_seed is not None:
            raise UsageError(
                f"{type(self.schedule).__name__} follows the duality gap of one problem; shifts "
                "would change it from layer to layer, leave out shift_seed"
            )

    def _shifted_sparsifiers(self) -> Iterator[LinearOperator] | None:
        """Return W S for the shift S of every layer, None if there are no shifts."""
        if self.shift_seed is None:
            return None
        if self.sparsifier is None or not self.sparsifier.is_unitary:
            raise UsageError(
                "Shifts need an orthogonal wavelet as sparsifier; the undecimated one is "
                "shift-invariant as it is"
            )
        shape = self.sparsifier.domain_shape
        # Not by torch: an exported graph would draw other shifts at every call.
        numbers = np.random.RandomState(self.shift_seed).bytes(4 * self.depth * len(shape))
        draws = (np.frombuffer(numbers, "<u4") % 2**24 / 2**24).reshape(self.depth, len(shape))
        shifts = [CyclicShift(tuple(row), shape) for row in (draws * shape).astype(int).tolist()]
        return iter([self.sparsifier @ shift for shift in shifts])

    def _restart(self, problem: SquareRootLasso, state: LayerState) -> LayerState:
        """Return the state in which the next block begins."""
        return state if self._fixed_schedule().keeps_dual else start(problem, state.x)

    def _enforce_data(self, encoding: LinearOperator, residual: Residual, x: Tensor) -> Tensor:
        """Return x after the schedule's data-consistency step."""
        length = self._fixed_schedule().data_consistency
        if length == 0:
            return x
        gradient, _ = residual(x)
        return x - length / encoding.norm_bound**2 * gradient

    def _steps(self, problem: SquareRootLasso) -> tuple[tuple[Steps, ...], ...]:
        return self._fixed_schedule().blocks(problem.norm_bound)

    def _prepare(
        self, y: Tensor, encoding: LinearOperator, x0: Tensor | None
    ) -> tuple[SquareRootLasso, Tensor, Tensor]:
        """Return the problem, the start image and eps_0 of every item."""
        encoding.check_codomain(y)
        problem = self.problem(encoding)
        if problem.norm_bound == 0:
            raise DataError(
                "The encoding operator is zero: no sample is acquired or all maps are 0"
            )
        batch = y.shape[: y.ndim - len(encoding.codomain_shape)]
        if x0 is None:
            x0 = torch.zeros(*batch, *encoding.domain_shape, dtype=y.dtype, device=y.device)
        elif x0.shape != (*batch, *encoding.domain_shape):
            raise ShapeError(
                f"x0 has shape {tuple(x0.shape)}; the data call for "
                f"{(*batch, *encoding.domain_shape)}"
            )
        if self.schedule.eps0 is None:
            eps0 = item_norm(y, problem.data_axes).reshape(batch)
            # An item without signal keeps its zero image; any positive scale does.
            eps0 = torch.where(eps0 > 0, eps0, torch.ones_like(eps0))
        else:
            eps0 = torch.full(batch, self.schedule.eps0, dtype=y.real.dtype, device=y.device)
        return problem, x0, eps0

    def extra_repr(self) -> str:
        """Return lam and the schedule, for printing."""
        shifts = "" if self.shift_seed is None else f", shift_seed={self.shift_seed}"
        return f"lam={self.lam}, schedule={self.schedule}{shifts}"
