"""What all code asks of a network that makes an image from data.

There are networks of two kinds. One minimises a problem: there is a duality gap, and statements
about the optimum (:class:`~firenet_mri.firenet.network.FIRENET`); its sparsifier may be a trained
one. The other was trained and minimises nothing
(:class:`~firenet_mri.firenet.learned.network.LearnedNetwork`). No code asks which of them it is:
code that needs a problem asks for :attr:`Network.minimiser`, and code that needs to know about
weights asks for :attr:`Network.trained`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from torch import Tensor, nn

from firenet_mri.firenet.lipschitz import ProvenBound
from firenet_mri.firenet.primal_dual import State
from firenet_mri.firenet.rational import length_above
from firenet_mri.firenet.solver import Progress
from firenet_mri.operators.base import LinearOperator, Part, Shape

if TYPE_CHECKING:
    from firenet_mri.firenet.derivative import Change
    from firenet_mri.firenet.learned.report import TrainingReport
    from firenet_mri.firenet.network import FIRENET
    from firenet_mri.firenet.options import NetworkOptions


class Trained(NamedTuple):
    """What is known of trained weights: their SHA-256, and what they were trained on, if known."""

    digest: str
    report: TrainingReport | None

    def summary(self) -> dict[str, str]:
        """Return the SHA-256 of the weights and of their report, for ``NetworkSummary``."""
        found = {"weights": self.digest}
        return found if self.report is None else {**found, "training": self.report.digest}


class Weights(Protocol):
    """Trained weights of a file: what makes a network for a number of coils and an image size."""

    @property
    def trained_numbers(self) -> int:
        """How many numbers were trained."""

    def network(
        self, coils: int, spatial_shape: Shape, options: NetworkOptions | None = None
    ) -> Network:
        """Return the network; options are those beside the weights."""


class Derivative(Protocol):
    """The derivative of a network's image, at a fixed scale, and what is transposed to it.

    ``x`` is the image, (*domain_shape). See :class:`firenet_mri.firenet.derivative.Change`.
    """

    x: Tensor

    def forward(self, change: Change, x0: Tensor | None = None) -> Tensor:
        """Return the change of the image; ``x0`` is that of the start."""

    def transpose(self, image: Tensor) -> tuple[Change, Tensor]:
        """Return what is transposed to :meth:`forward`: for the change, and for the start."""


class Network(nn.Module, ABC):
    """A map from data and encoding operator to an image; items of a batch never influence others.

    In all methods ``y`` are data, (*batch, *codomain_shape), ``encoding`` the encoding operator A,
    and ``x0`` the start image, (*batch, *domain_shape), None for zero.
    """

    #: B: the image is projected onto ||x|| <= R ||y||, see :meth:`radius`; None is no projection.
    ball: float | None

    @property
    @abstractmethod
    def depth(self) -> int:
        """Number of layers; the largest number where the data decide."""

    @property
    @abstractmethod
    def updates(self) -> int:
        """The largest number of :class:`Progress` that :meth:`progress_iterates` yields."""

    @property
    @abstractmethod
    def is_fixed(self) -> bool:
        """Depth and steps do not depend on the data."""

    @property
    @abstractmethod
    def is_homogeneous(self) -> bool:
        """The scale is that of the data: for c > 0 the image of c y is c times that of y."""

    @property
    @abstractmethod
    def layers(self) -> tuple[nn.Module, ...]:
        """The modules that are called once for each layer that is run, in total ``depth`` times."""

    @property
    @abstractmethod
    def minimiser(self) -> FIRENET | None:
        """This network where it minimises a problem; None where it minimises nothing."""

    @property
    @abstractmethod
    def trained(self) -> Trained | None:
        """What is known of trained weights; None where there are none."""

    @property
    def made_from(self) -> tuple[Part, ...]:
        """What the network itself takes from the data and keeps fixed in its bounds, by name."""
        return ()

    @abstractmethod
    def solve(self, y: Tensor, encoding: LinearOperator, x0: Tensor | None = None) -> State:
        """Return the last state: the image, and the dual variables where there are any."""

    @abstractmethod
    def progress_iterates(
        self, y: Tensor, encoding: LinearOperator, x0: Tensor | None = None
    ) -> Iterator[Progress]:
        """Yield where the network stands, after every layer or, if it stops itself, every look."""

    @abstractmethod
    def proven_bound(self, encoding: LinearOperator) -> ProvenBound | None:
        """Return a proven Lipschitz constant of data -> image at a fixed scale; None if none is."""

    @abstractmethod
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

    @abstractmethod
    def derivative(
        self,
        y: Tensor,
        encoding: LinearOperator,
        x0: Tensor | None = None,
        *,
        moving_phase: bool = False,
    ) -> Derivative:
        """Return the derivative at a fixed scale, of one item, in the precision of y.

        Parameters
        ----------
        y, encoding, x0
            Data (*codomain_shape), encoding operator, start image.
        moving_phase
            The phase of the encoding, which has a phase constraint, changes with the data.

        Raises
        ------
        UsageError
            If there is none, or y is a batch.
        """

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """Return what the network is, as plain data: see ``NetworkSummary``."""

    def lipschitz_bound(self, encoding: LinearOperator) -> float | None:
        """Return the number of :meth:`proven_bound`."""
        proven = self.proven_bound(encoding)
        return None if proven is None else proven.value

    def radius(self, encoding: LinearOperator) -> float:
        """Return R, the largest norm of an image in units of the data's; inf without a ball.

        It is B, and B / ||A|| for an encoding of norm below 1, whose data are small for its images.
        Density weights can have norms above 1, from the few places where a trajectory is dense.
        """
        return math.inf if self.ball is None else self.ball / min(1.0, encoding.norm_bound)

    def lipschitz_bound_everywhere(self, encoding: LinearOperator) -> float | None:
        """Return a proven Lipschitz constant of data -> image for the scale as the network has it.

        Where that is ||y|| it is sqrt(L1^2 + B1^2): L1 that at a fixed scale, B1 the smaller of L1
        and R, which the image's norm does not exceed in units of the data's.
        """
        fixed = self.lipschitz_bound(encoding)
        if fixed is None or not self.is_homogeneous:
            return fixed
        return length_above(fixed, min(fixed, self.radius(encoding)))
