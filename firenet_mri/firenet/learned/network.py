"""A trained network with a proven Lipschitz constant.

    x_0 = 0,   x_k = J_k(x_{k-1} + p_k(N) (A^H y - N x_{k-1})),   N = A^H A,

in units of s = ||y|| / sqrt(pixels), with the layers of ``layers.py`` and A divided by its norm
bound where that is above 1. Then ||dx_K||^2 <= sum_k m_k prod_{j >= k} L_j^2 ||dy||^2 at fixed s,
whatever the weights are (``bound.py``; docs/theory.md). At the end x is projected onto ||x|| <= B
||y||, so that with B a constant also holds where s changes with the data.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from firenet_mri.digests import digest_of_data, digest_of_tensor
from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.firenet.base import Network, Trained
from firenet_mri.firenet.learned.conditions import LEVELS, OF_SAMPLING, conditions_for
from firenet_mri.firenet.learned.derivative import LearnedDerivative
from firenet_mri.firenet.learned.layers import Gradient, Stage, data_step, shrinkage
from firenet_mri.firenet.learned.proof import prove
from firenet_mri.firenet.learned.report import TrainingReport
from firenet_mri.firenet.lipschitz import ProvenBound
from firenet_mri.firenet.primal_dual import State
from firenet_mri.firenet.solver import Progress
from firenet_mri.operators.base import LinearOperator, Part, Shape
from firenet_mri.prox import item_norm

if TYPE_CHECKING:
    from firenet_mri.firenet.options import NetworkOptions


@dataclass(frozen=True)
class Architecture:
    """The sizes of a learned network.

    Parameters
    ----------
    stages
        Data steps, each followed by a shrinkage.
    singles
        Filters that are shrunk one by one, by their moduli.
    groups, group_size
        Groups of filters that are shrunk by singular values, and filters of each.
    kernel
        Width of the filters in pixels, odd.
    dilations
        Pixels between neighbouring entries of a filter, in turn.
    """

    stages: int = 20
    singles: int = 16
    groups: int = 2
    group_size: int = 8
    kernel: int = 5
    dilations: tuple[int, ...] = (1, 2)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Filters of each group; a single one is a group, too."""
        return (1,) * self.singles + (self.group_size,) * self.groups

    @property
    def filters(self) -> int:
        """Filters of a stage."""
        return sum(self.sizes)


def apply_stages(
    stages: Iterable[Stage],
    gradient: Gradient,
    start: Tensor,
    conditions: Tensor,
    sizes: Architecture,
) -> Iterator[Tensor]:
    """Yield x after every stage, in units of s.

    Parameters
    ----------
    stages
        The weights.
    gradient
        x -> A^H y - N x, in these units.
    start
        A^H y, (item, y, x) complex.
    conditions
        (item, condition).
    sizes
        The architecture.
    """
    x, g = torch.zeros_like(start), start
    for k, stage in enumerate(stages):
        x = data_step(x, gradient(x) if k else g, gradient, stage.coefficients)
        dilation = sizes.dilations[k % len(sizes.dilations)]
        x = shrinkage(x, stage, conditions, sizes.sizes, dilation)
        yield x


class LearnedStage(nn.Module):
    """A data step and a shrinkage.

    Parameters
    ----------
    weights
        Of the stage.
    sizes
        Filters of each group.
    dilation
        Pixels between neighbouring entries of a filter.
    """

    coefficients: Tensor
    filters: Tensor
    log_radii: Tensor
    slopes: Tensor
    firmness: Tensor

    def __init__(self, weights: Stage, sizes: tuple[int, ...], dilation: int) -> None:
        super().__init__()
        for name, value in weights._asdict().items():
            # Weights come from a file with their proof, not from a state_dict.
            self.register_buffer(name, value.detach().clone(), persistent=False)
        self.sizes, self.dilation = sizes, dilation

    @property
    def weights(self) -> Stage:
        """The weights as one value."""
        return Stage(*(getattr(self, name) for name in Stage._fields))

    def forward(self, x: Tensor, g: Tensor, gradient: Gradient, conditions: Tensor) -> Tensor:
        """Return the next x; g is gradient(x).

        Parameters
        ----------
        x, g
            (item, y, x) complex, in units of s.
        gradient
            x -> A^H y - N x.
        conditions
            (item, condition).
        """
        weights = Stage(*(part.to(x.real.dtype) for part in self.weights))
        x = data_step(x, g, gradient, weights.coefficients)
        return shrinkage(x, weights, conditions, self.sizes, self.dilation)

    def extra_repr(self) -> str:
        """Return the data step and the filters, for printing."""
        a, b = self.coefficients.tolist()
        return f"p(t) = {a:.3g} - {b:.3g} t, {len(self.filters)} filters"


class Task(NamedTuple):
    """What the stages are given of data, in units of s, and how their image gets its size.

    Parameters
    ----------
    start
        Zero, (item, y, x).
    gradient
        x -> A^H y - N x.
    conditions
        (item, condition).
    scale, radius
        s, and the largest norm of the image, (*batch, 1, 1).
    batch
        Axes of the data before those of an item.
    """

    start: Tensor
    gradient: Gradient
    conditions: Tensor
    scale: Tensor
    radius: Tensor
    batch: tuple[int, ...]

    def image(self, x: Tensor) -> Tensor:
        """Return the image, (*batch, y, x), at the size of the data and inside the ball."""
        x = x.reshape(*self.batch, *x.shape[1:]) * self.scale
        size = item_norm(x, (-2, -1))
        outside = size > self.radius
        # Not the quotient everywhere: its derivative at an image of zeros is NaN.
        one = torch.ones_like(size)
        return x * torch.where(outside, self.radius / torch.where(outside, size, one), one)


class LearnedNetwork(Network):
    """A trained network of fixed depth with a proven Lipschitz constant, for 2D images.

    Parameters
    ----------
    architecture
        Its sizes.
    stages
        The weights of every stage.
    ball
        B: the image is projected onto ||x|| <= B ||y||, item by item.
    report
        What it was trained on; None if that is not known.

    Notes
    -----
    It minimises nothing, so that there is no duality gap. Items of a batch never influence each
    other. The image of c y is c times that of y, c > 0.
    """

    def __init__(
        self,
        architecture: Architecture,
        stages: Sequence[Stage],
        *,
        ball: float = 2.5,
        report: TrainingReport | None = None,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.report = report
        sizes, dilations = architecture.sizes, architecture.dilations
        self.stages = nn.ModuleList(
            LearnedStage(weights, sizes, dilations[k % len(dilations)])
            for k, weights in enumerate(stages)
        )
        self.ball = ball

    @property
    def depth(self) -> int:
        """Number of stages."""
        return len(self.stages)

    @property
    def updates(self) -> int:
        """Number of stages, too."""
        return self.depth

    @property
    def is_fixed(self) -> bool:
        """True: nothing but the thresholds depends on the data."""
        return True

    @property
    def is_homogeneous(self) -> bool:
        """True: for c > 0 the image of c y is c times that of y."""
        return True

    @property
    def layers(self) -> tuple[nn.Module, ...]:
        """The stages."""
        return tuple(self.stages)

    @property
    def weights(self) -> tuple[Stage, ...]:
        """The weights of every stage."""
        return tuple(stage.weights for stage in self.stages)  # type: ignore[misc]

    @property
    def trained_numbers(self) -> int:
        """How many numbers were trained."""
        return sum(part.numel() for stage in self.weights for part in stage)

    @property
    def made_from(self) -> tuple[Part, ...]:
        """The levels of the samples, where the thresholds depend on them."""
        of_data = (stage.slopes[:, len(OF_SAMPLING) :] for stage in self.weights)
        return (Part(LEVELS, True),) if any(bool(part.any()) for part in of_data) else ()

    @property
    def minimiser(self) -> None:
        """None: it minimises nothing."""

    @property
    def trained(self) -> Trained:
        """SHA-256 of everything that determines the image, and the training report."""
        tensors = [digest_of_tensor(part) for stage in self.weights for part in stage]
        described = [asdict(self.architecture), self.ball, tensors]
        return Trained(digest_of_data(described), self.report)

    def summary(self) -> dict[str, Any]:
        """Return the number of stages, and the SHA-256 of the weights and of their report."""
        return {"layers": self.depth, **self.trained.summary()}

    def network(
        self, coils: int, spatial_shape: Shape, options: NetworkOptions | None = None
    ) -> LearnedNetwork:
        """Return this network, which is the same for all coils, sizes and options."""
        return self

    def forward(self, y: Tensor, encoding: LinearOperator, x0: Tensor | None = None) -> Tensor:
        """Return the image, (*batch, y, x).

        Parameters
        ----------
        y
            Data, (*batch, *codomain_shape).
        encoding
            The encoding operator A of 2D images.
        x0
            Must be None.

        Raises
        ------
        UsageError
            If there is a start image: the network begins at zero.
        ShapeError
            If the images are not 2D, or y does not fit.
        """
        task = self.task(y, encoding, x0)
        x = task.start
        for stage in self.stages:
            x = stage(x, task.gradient(x), task.gradient, task.conditions)
        return task.image(x)

    def solve(self, y: Tensor, encoding: LinearOperator, x0: Tensor | None = None) -> State:
        """Return the image as a state; there are no dual variables."""
        return _state(self(y, encoding, x0))

    def progress_iterates(
        self, y: Tensor, encoding: LinearOperator, x0: Tensor | None = None
    ) -> Iterator[Progress]:
        """Yield the image that the network would return if it ended there, after every stage."""
        task = self.task(y, encoding, x0)
        x = task.start
        for stage in self.stages:
            x = stage(x, task.gradient(x), task.gradient, task.conditions)
            image = task.image(x)
            yield Progress(image, False, partial(_state, image))

    def task(self, y: Tensor, encoding: LinearOperator, x0: Tensor | None = None) -> Task:
        """Return what the stages are given; parameters and errors as :meth:`forward` has them."""
        if x0 is not None:
            raise UsageError("A learned network begins at zero; leave the start image out")
        if len(encoding.domain_shape) != 2:
            raise ShapeError(
                f"A learned network is for 2D images; these are {encoding.domain_shape}"
            )
        encoding.check_codomain(y)
        data_axes = tuple(range(-len(encoding.codomain_shape), 0))
        batch = y.shape[: y.ndim - len(data_axes)]
        norm = item_norm(y, data_axes).reshape(*batch, 1, 1)
        pixels = _pixels(encoding).to(norm)
        scale = norm / pixels.sqrt()[..., None, None]
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        y = y / scale.reshape(*batch, *[1] * len(data_axes))
        residual = encoding.residual(y)
        step = 1 / max(1.0, encoding.norm_bound) ** 2

        def gradient(x: Tensor) -> Tensor:
            found: Tensor = -step * residual(x.reshape(*batch, *x.shape[1:]))[0]
            return found.reshape(x.shape)

        start = torch.zeros(*batch, *encoding.domain_shape, dtype=y.dtype, device=y.device)
        start = start.reshape(-1, *encoding.domain_shape)
        conditions = conditions_for(encoding, y, residual, pixels).reshape(len(start), -1)
        radius = self.radius(encoding) * norm
        return Task(start, gradient, conditions, scale, radius, batch)

    def proven_bound(self, encoding: LinearOperator) -> ProvenBound:
        """Return the proven Lipschitz constant of data -> image at a fixed scale.

        It is computed from the weights as they are.

        Raises
        ------
        UsageError
            If nothing can be proven of these weights.
        """
        proof = prove(self.weights, self.architecture.sizes)
        # The data are divided by a norm above 1, as A is.
        value = proof.value / max(1.0, encoding.norm_bound)
        return ProvenBound(math.nextafter(value, math.inf), proof)

    def obstacle(
        self, has_start: bool = False, encoding: LinearOperator | None = None
    ) -> str | None:
        """Return None: the constant is always proven."""
        return None

    def derivative(
        self,
        y: Tensor,
        encoding: LinearOperator,
        x0: Tensor | None = None,
        *,
        moving_phase: bool = False,
    ) -> LearnedDerivative:
        """Return the derivative at a fixed scale, of one item, in the precision of y.

        Raises
        ------
        UsageError
            If y is a batch, there is a start image, or a phase changes with the data.
        """
        if moving_phase or y.shape != encoding.codomain_shape:
            raise UsageError(
                f"Data of shape {tuple(y.shape)}, moving phase {moving_phase}: the derivative of a "
                f"learned network is that of one item {encoding.codomain_shape} at a fixed phase"
            )
        with torch.no_grad():
            return LearnedDerivative(self, self.task(y, encoding, x0), encoding)


def _pixels(encoding: LinearOperator) -> Tensor:
    """Return the number of pixels that the maps of each item see, (...)."""
    seen = getattr(encoding, "root_sum_of_squares", None)
    if seen is None:
        return torch.tensor(float(math.prod(encoding.domain_shape)))
    return (seen > 0).sum((-2, -1)).clamp(min=1).float()


def _state(image: Tensor) -> State:
    return State(image, image.new_zeros(0))
