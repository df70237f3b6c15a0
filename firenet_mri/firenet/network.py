"""FIRENET: the restarted primal-dual iteration unrolled into a network without training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from firenet_mri.errors import DataError, ShapeError, UsageError, check_positive
from firenet_mri.firenet.base import Network, Trained
from firenet_mri.firenet.derivative import NetworkDerivative
from firenet_mri.firenet.lipschitz import ProvenBound
from firenet_mri.firenet.primal_dual import PrimalDualLayer, State
from firenet_mri.firenet.problem import SquareRootLasso
from firenet_mri.firenet.schedules import PaperSchedule
from firenet_mri.firenet.solver import AdaptiveResult, Progress, Schedule, Solver
from firenet_mri.operators.base import LinearOperator
from firenet_mri.operators.denormals import denormals_flushed
from firenet_mri.prox import item_norm, scale_to_one

_NOT_CERTIFIED = "The network's Lipschitz constant is not certified"


class Task(NamedTuple):
    """What a solver is given: the problem, data of a size near 1, and the start image.

    ``scale`` is the power of two by which each item was multiplied, with the image's axes as axes
    of size 1; None where the data are as they came.
    """

    problem: SquareRootLasso
    y: Tensor
    x0: Tensor
    scale: Tensor | None

    def image(self, x: Tensor) -> Tensor:
        """Return a solver's image at the size of the data."""
        return x if self.scale is None else x / self.scale

    def scaled(self, state: State) -> State:
        """Return a state at the size of the data as the solver has it."""
        if self.scale is None:
            return state
        share = state.share
        share = None if share is None else share / self.scale.reshape(share.shape)
        return state._replace(x=state.x * self.scale, share=share)

    def share(self, share: Tensor) -> Tensor:
        """Return the data's share, (*batch), in a dual of the solver as that of the data."""
        return share if self.scale is None else share * self.scale.reshape(share.shape)

    def state(self, state: State) -> State:
        """Return a solver's state at the size of the data; its duals have no size."""
        share = None if state.share is None else self.share(state.share)
        return state._replace(x=self.image(state.x), share=share)

    def progress(self, progress: Progress) -> Progress:
        """Return a solver's progress at the size of the data."""
        if self.scale is None:
            return progress
        return Progress(
            self.image(progress.x), progress.converged, lambda: self.state(progress.state())
        )


class FIRENET(Network):
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
        reached: more accurate, but the steps depend on the data, so that no Lipschitz constant
        exists.
    shift_seed
        Shift the grid of an orthogonal wavelet in every layer by random numbers of pixels that this
        seed, 0 to 2^32 - 1, fixes (cycle spinning): less of the grid is visible, at a cost of a few
        percent of time. The network stays one fixed map and its Lipschitz bound holds; the duality
        gap is that of the problem with the grid unshifted. None: no shifts.
    ball
        B: the image is projected onto ||x|| <= R ||y|| at the end, item by item, see
        :meth:`radius`; that limits how strongly it can follow the scale of the data
        (docs/theory.md, section 3.3). None: no projection.
    weights_depend_on_data
        The weights were made from the data (reweighting): no Lipschitz constant is proven then.
    solver
        The solver of another network with this schedule, whose layers (and hooks) are shared; None
        has the schedule build one.
    trained
        What is known of a sparsifier and weights that were trained; None if none were.

    Raises
    ------
    UsageError
        If shifts are requested without an orthogonal wavelet, or with a schedule that depends on
        the data; or if a ball is not positive, or requested where it proves nothing: with a fixed
        eps0 or a schedule that depends on the data.

    Notes
    -----
    No parameters: ``state_dict`` is empty. Items of a batch never influence each other.

    Where eps_0 comes from the data, data of any size are solved at a size near 1, to which a power
    of two brings each item and back, exactly: the image of ``2**k y`` is ``2**k`` times that of y.

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
        schedule: Schedule | None = None,
        shift_seed: int | None = None,
        *,
        ball: float | None = None,
        weights_depend_on_data: bool = False,
        solver: Solver | None = None,
        trained: Trained | None = None,
    ) -> None:
        super().__init__()
        self.sparsifier = sparsifier
        self.lam = lam
        self.register_buffer("weights", weights, persistent=False)
        self.schedule: Schedule = PaperSchedule() if schedule is None else schedule
        self.shift_seed = shift_seed
        self.weights_depend_on_data = weights_depend_on_data
        self.solver = self.schedule.solver(sparsifier, shift_seed) if solver is None else solver
        if ball is not None:
            _check_ball(ball, self.schedule, self.solver)
        self.ball = ball
        self._trained = trained

    @property
    def blocks(self) -> nn.ModuleList:
        """The blocks of layers between restarts; none where the data decide on the depth."""
        return self.solver.blocks

    @property
    def depth(self) -> int:
        """Number of primal-dual layers; the largest number where the data decide."""
        return self.solver.depth

    @property
    def updates(self) -> int:
        """The largest number of :class:`Progress` that :meth:`progress_iterates` yields."""
        return self.solver.updates

    @property
    def is_fixed(self) -> bool:
        """Depth and steps do not depend on the data."""
        return self.solver.is_fixed

    @property
    def is_homogeneous(self) -> bool:
        """eps_0 comes from the data: for c > 0 the image of c y is c times that of y."""
        return self.schedule.eps0 is None

    @property
    def layers(self) -> tuple[nn.Module, ...]:
        """The primal-dual layers."""
        return tuple(one for one in self.modules() if isinstance(one, PrimalDualLayer))

    @property
    def minimiser(self) -> FIRENET:
        """This network, which minimises :meth:`problem`."""
        return self

    @property
    def trained(self) -> Trained | None:
        """What is known of a learned frame; None of any other sparsifier."""
        return self._trained

    def summary(self) -> dict[str, Any]:
        """Return the weight of the sparsity, the number of layers, the transform and the steps."""
        return {
            "lam": self.lam,
            "layers": self.depth,
            "sparsifier": str(self.sparsifier),
            "schedule": str(self.schedule),
            **({} if self.trained is None else self.trained.summary()),
        }

    def width(self, encoding: LinearOperator) -> int:
        """Return the largest number of complex values per item that a layer passes to the next.

        Images of N pixels: the iterate, the mean that stands for the dual of the data, and its
        gradient; their average where the schedule returns it; and for a frame the dual of the
        coefficients and what it makes of them. (Theorem 3 of the paper has 2N + m: iterate, average
        and the dual of the m data, which is not stored here.)
        """
        size = torch.Size(encoding.domain_shape).numel()
        width = size * self.solver.carried_images
        problem = self.problem(encoding)
        if not problem.is_synthesis:
            width += size + torch.Size(problem.transform.codomain_shape).numel()
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
        return self._run(y, encoding, x0).x

    def solve(self, y: Tensor, encoding: LinearOperator, x0: Tensor | None = None) -> State:
        """Return the last state: the image and the dual variables, for certificates."""
        return self._run(y, encoding, x0).state()

    def converge(
        self, y: Tensor, encoding: LinearOperator, x0: Tensor | None = None
    ) -> AdaptiveResult:
        """Return image, duals, certified gap and number of layers of a network that stops itself.

        Raises
        ------
        UsageError
            If the schedule has a fixed depth.
        """
        task = self.task(y, encoding, x0)
        with denormals_flushed():
            result = self.solver.converge(task.problem, task.y, task.x0)
        return replace(result, state=task.state(result.state))

    def progress_iterates(
        self, y: Tensor, encoding: LinearOperator, x0: Tensor | None = None
    ) -> Iterator[Progress]:
        """Yield where the network stands, after every layer or, if it stops itself, every look.

        ``.x`` is what the network would return if it ended there, ``.converged`` says that it has
        the gap that was asked for, and ``.state()`` makes image and duals.
        """
        task = self.task(y, encoding, x0)
        for progress in self.solver.progress(task.problem, task.y, task.x0):
            yield task.progress(self._limited(task, progress))

    def iterates(
        self, y: Tensor, encoding: LinearOperator, x0: Tensor | None = None
    ) -> Iterator[tuple[int, int, Tensor]]:
        """Yield (restart, inner, x) after every layer, counted from 1.

        x is what the network would return if it ended there.

        Raises
        ------
        UsageError
            If the schedule depends on the data.
        """
        if not self.solver.is_fixed:
            raise UsageError(
                f"{type(self.schedule).__name__} has no fixed layers; use solve() or converge()"
            )
        places = (
            (restart, inner)
            for restart, block in enumerate(self.blocks, 1)
            for inner, _ in enumerate(block.layers, 1)  # type: ignore[arg-type]
        )
        looks = self.progress_iterates(y, encoding, x0)
        for (restart, inner), progress in zip(places, looks, strict=True):
            yield restart, inner, progress.x

    def proven_bound(self, encoding: LinearOperator) -> ProvenBound | None:
        """Return a proven Lipschitz constant of data -> image at fixed eps_0; None if none is."""
        if self.weights_depend_on_data:
            return None
        return self.solver.proven_bound(self.problem(encoding))

    def obstacle(
        self, has_start: bool = False, encoding: LinearOperator | None = None
    ) -> str | None:
        """Return the sentence why no Lipschitz constant is certified, None where one is.

        Parameters
        ----------
        has_start
            The network starts from an image.
        encoding
            The encoding operator, whose norm may not suit the steps; None skips this check.
        """
        reason = self.solver.obstacle()
        if reason is None and self.weights_depend_on_data:
            reason = (
                "reweighting takes the weights from the data. The duality gap is that of the last "
                "pass, for its weights."
            )
        if reason is None and has_start and self.schedule.eps0 is None:
            reason = "with a start image the scale eps0 must be fixed."
        if reason is not None:
            return f"{_NOT_CERTIFIED}: {reason}"
        if encoding is not None and self.lipschitz_bound(encoding) is None:
            return f"{_NOT_CERTIFIED} for {type(self.schedule).__name__} with these steps."
        return None

    def derivative(
        self,
        y: Tensor,
        encoding: LinearOperator,
        x0: Tensor | None = None,
        *,
        moving_phase: bool = False,
    ) -> NetworkDerivative:
        """Return the derivative at fixed eps_0, of one item, in the precision of y.

        Raises
        ------
        UsageError
            If the network depends on the data, so that it may have no derivative, or y is a batch.
        """
        return NetworkDerivative(self, y, encoding, x0, moving_phase=moving_phase)

    def task(self, y: Tensor, encoding: LinearOperator, x0: Tensor | None = None) -> Task:
        """Return what the solver is given for data (*batch, *codomain_shape) and a start image.

        Raises
        ------
        ShapeError
            If y or x0 does not fit the encoding operator.
        DataError
            If the encoding operator is zero.
        """
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
        if self.schedule.eps0 is not None:
            return Task(problem, y, x0, None)
        scale = scale_to_one(y, problem.data_axes)
        if scale is None:
            return Task(problem, y, x0, None)
        on_image = scale.reshape(*batch, *[1] * len(problem.image_axes))
        return Task(problem, y * scale, x0 * on_image, on_image)

    def _run(self, y: Tensor, encoding: LinearOperator, x0: Tensor | None) -> Progress:
        """Return where the solver ends."""
        task = self.task(y, encoding, x0)
        with denormals_flushed():
            progress = self.solver.run(task.problem, task.y, task.x0)
            return task.progress(self._limited(task, progress))

    def _limited(self, task: Task, progress: Progress) -> Progress:
        """Return the progress with its image in the ball."""
        if self.ball is None:
            return progress
        problem = task.problem
        size = item_norm(progress.x, problem.image_axes)
        radius = self.radius(problem.encoding) * item_norm(task.y, problem.data_axes)
        radius = radius.reshape(size.shape)
        outside = size > radius
        # Not the quotient everywhere: its derivative at an image of zeros is NaN.
        one = torch.ones_like(size)
        x = progress.x * torch.where(outside, radius / torch.where(outside, size, one), one)
        return Progress(x, progress.converged, lambda: progress.state()._replace(x=x))

    def extra_repr(self) -> str:
        """Return lam and the schedule, for printing."""
        shifts = "" if self.shift_seed is None else f", shift_seed={self.shift_seed}"
        ball = "" if self.ball is None else f", ball={self.ball}"
        return f"lam={self.lam}, schedule={self.schedule}{shifts}{ball}"


def _check_ball(ball: float, schedule: Schedule, solver: Solver) -> None:
    check_positive("ball", ball)
    if schedule.eps0 is not None or not solver.is_fixed:
        raise UsageError(
            f"A ball of {ball} asked for with {type(schedule).__name__}; it needs a schedule of "
            "fixed depth with eps0=None, whose scale is that of the data"
        )
