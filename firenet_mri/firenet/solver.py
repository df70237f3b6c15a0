"""What a network asks of the iteration that it runs, and of the schedule that builds it.

A solver is a fixed stack of layers, or one layer that runs until a certified gap is reached. No
code asks which of them it is: all are run, watched and bounded through :class:`Solver`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from firenet_mri.firenet.lipschitz import ProvenBound
from firenet_mri.firenet.primal_dual import LayerState, State
from firenet_mri.firenet.problem import Problem
from firenet_mri.operators.base import LinearOperator

#: Called before each layer with the number of its block, the layer's problem, the state, and tau
#: and sigma of each item; what it returns is called with the state after the layer.
Observer = Callable[[int, Problem, LayerState, Tensor, Tensor], Callable[[LayerState], None]]


@dataclass(frozen=True, eq=False)
class Progress:
    """Where a solver stands: after a layer, or where it has looked at the gap.

    Parameters
    ----------
    x
        The image that would be returned if it ended here, (*batch, *domain_shape).
    converged
        Every item has the requested gap; never true where none was requested.
    find_state
        Makes what :meth:`state` returns.
    """

    x: Tensor
    converged: bool
    find_state: Callable[[], State]

    def state(self) -> State:
        """Return image and duals; call it before the solver goes on."""
        return self.find_state()


@dataclass(frozen=True, eq=False)
class AdaptiveResult:
    """What a solver that stops by itself returns.

    Parameters
    ----------
    state
        Image and duals of each item, from the layer in which it was finished.
    layers
        Layers that were run, each one A and one A^H.
    restarts
        Of each item, (*batch) int64.
    relative_gap
        (F(x) - lower bound) / F(x) of each item, (*batch), at least 0. In the last result it is
        certified, evaluated in double precision from image and duals alone; before that it is what
        the iteration knows, in its own precision.
    converged
        True where that is at most the one asked for, (*batch) bool.
    """

    state: State
    layers: int
    restarts: Tensor
    relative_gap: Tensor
    converged: Tensor

    @property
    def progress(self) -> Progress:
        """The same in the form of every solver."""
        return Progress(self.state.x, bool(self.converged.all()), lambda: self.state)


class LinearParts(NamedTuple):
    """How a stack of layers is put together, for its derivative.

    ``keeps_dual`` and ``returns_average`` as :class:`~firenet_mri.firenet.unrolled.FixedSchedule`
    has them; ``consistency`` is the length of the last data-consistency step; ``x`` is the image.
    """

    keeps_dual: bool
    returns_average: bool
    consistency: float
    x: Tensor


class Solver(nn.Module, ABC):
    """An iteration for a problem, without parameters; items of a batch never influence each other.

    In all methods ``problem`` is P2 or P3 (also P1 where the depth is fixed), ``y`` its data,
    (*batch, *codomain_shape), and ``x0`` the start image, (*batch, *domain_shape).
    """

    #: Depth and steps do not depend on the data.
    is_fixed: bool
    #: Blocks of layers between restarts; none where one layer is run again and again.
    blocks: nn.ModuleList
    #: Images that a layer passes to the next, in addition to what the sparsifier needs.
    carried_images: int

    @property
    @abstractmethod
    def depth(self) -> int:
        """Number of layers; the largest number where the data decide."""

    @property
    @abstractmethod
    def updates(self) -> int:
        """Of how many :class:`Progress` :meth:`progress` yields, at most."""

    @abstractmethod
    def progress(self, problem: Problem, y: Tensor, x0: Tensor) -> Iterator[Progress]:
        """Yield where the solver stands, after every layer or at every look at the gap."""

    @abstractmethod
    def run(self, problem: Problem, y: Tensor, x0: Tensor) -> Progress:
        """Return where the solver ends."""

    @abstractmethod
    def converge(self, problem: Problem, y: Tensor, x0: Tensor) -> AdaptiveResult:
        """Return image, duals, certified gap and number of layers.

        Raises
        ------
        UsageError
            If the depth is fixed.
        """

    @abstractmethod
    def observed(self, problem: Problem, y: Tensor, x0: Tensor, observe: Observer) -> LinearParts:
        """Run, and show the observer what goes into every layer and what comes out.

        Raises
        ------
        UsageError
            If the data decide on the steps, so that there may be no derivative.
        """

    @abstractmethod
    def proven_bound(self, problem: Problem) -> ProvenBound | None:
        """Return a proven Lipschitz constant of data -> image at fixed eps_0; None if none is."""

    @abstractmethod
    def obstacle(self) -> str | None:
        """Return the sentence why no Lipschitz constant can be proven, None where it can."""


class Schedule(ABC):
    """When to take which step, and when to stop. The solver that it builds follows it."""

    @property
    @abstractmethod
    def eps0(self) -> float | None:
        """The scale of the steps; None is ||y|| of each item."""

    @abstractmethod
    def solver(self, sparsifier: LinearOperator | None, shift_seed: int | None) -> Solver:
        """Return the solver that follows this schedule.

        Parameters
        ----------
        sparsifier, shift_seed
            See :class:`firenet_mri.firenet.network.FIRENET`.

        Raises
        ------
        UsageError
            If shifts are requested that it or the sparsifier does not support.
        """

    @property
    @abstractmethod
    def geometric(self) -> GeometricSteps | None:
        """The steps if they fall geometrically within one block, from which training can start."""


class GeometricSteps(NamedTuple):
    """tau_k = tau decay^k for k = 0..layers-1, and the last data-consistency step's length."""

    layers: int
    tau: float
    decay: float
    data_consistency: float
