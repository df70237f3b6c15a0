"""What a training requires of the network that it trains."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from firenet_mri.firenet.learned.report import TrainingReport
from firenet_mri.firenet.learned.weights import load_network
from firenet_mri.training.freezing import frozen
from firenet_mri.training.options import TrainingOptions
from firenet_mri.training.problem import Problem
from firenet_mri.training.trainable import TrainableStages, soft_bound

_PENALTY = 5


class Learner(Protocol):
    """A kind of network: its first weights, its images, and the constraints on its weights."""

    def weights(self) -> nn.Module:
        """Return the weights that a training begins with; the same each time."""

    def image(self, weights: nn.Module, problem: Problem, kspace: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image of a case, (y, x), and what is added to the loss for the weights.

        Parameters
        ----------
        weights
            As :meth:`weights` returns them, trained or not.
        problem
            The case.
        kspace
            (coil, y, x), the case's or another.
        """

    def as_written(self, weights: nn.Module) -> Callable[[Problem], Tensor]:
        """Return what makes the image of a case, (y, x), with weights as they would be written.

        The best weights are chosen by these images, since writing may change the weights to keep
        the constant.
        """

    def numbers(self, weights: nn.Module) -> Mapping[str, float]:
        """Return what the curve shows of the weights besides their images, by name."""


class Frozen(Protocol):
    """Trained weights as they are written: everything about them is final, and proven."""

    @property
    def constant(self) -> float:
        """The proven Lipschitz constant, as :meth:`remarks` says it."""

    def image(self, problem: Problem) -> Tensor:
        """Return the image of a case, (y, x), on its device."""

    def record(self) -> dict[str, Any]:
        """Return what the report says of the constant, as plain data."""

    def remarks(self) -> Sequence[tuple[str, bool]]:
        """Return lines about the constant for people, and whether they are warnings."""

    def save(self, path: Path, report: TrainingReport) -> None:
        """Write the file of the weights."""


class Family(Learner, Protocol):
    """A kind of network of which ``firenet train`` writes files."""

    def frozen(self, weights: nn.Module) -> Frozen:
        """Return trained weights, on the CPU, as they are written."""


class CertifiedLearner:
    """Stages with a proven constant, whose excess over the wanted one is penalised.

    Parameters
    ----------
    options
        Sizes of the network, its wanted constant, and its start or the seed of the first weights.

    Raises
    ------
    FileError
        If the start holds no layers.
    """

    def __init__(self, options: TrainingOptions) -> None:
        self._options = options
        self._start = None if options.start is None else load_network(options.start)
        self.architecture = (
            options.architecture if self._start is None else self._start.architecture
        )

    def weights(self) -> TrainableStages:
        """Return the first weights: those of the start if there is one."""
        options = self._options
        weights = TrainableStages(
            self.architecture, options.seed, soft=options.soft, tied=options.tied
        )
        if self._start is not None:
            weights.load_stages(self._start.weights)
        return weights

    def image(self, weights: nn.Module, problem: Problem, kspace: Tensor) -> tuple[Tensor, Tensor]:
        """Return image and penalty, see :class:`Learner`."""
        stages = _stages(weights).stages()
        image = problem.image(stages, problem.adjoint(kspace), self.architecture)
        if not torch.is_grad_enabled():
            return image, torch.zeros(())
        excess = (soft_bound(stages, self.architecture.sizes) / self._options.bound - 1).clamp(
            min=0
        )
        return image, _PENALTY * excess**2

    def as_written(self, weights: nn.Module) -> Callable[[Problem], Tensor]:
        """Return a function that makes images with the weights as they would be written."""
        return self.frozen(copy.deepcopy(weights).cpu()).image

    @torch.no_grad()
    def numbers(self, weights: nn.Module) -> dict[str, float]:
        """Return nearly the Lipschitz constant."""
        stages = _stages(weights).stages()
        return {"bound_estimate": float(soft_bound(stages, self.architecture.sizes))}

    def frozen(self, weights: nn.Module) -> Frozen:
        """Return the weights with a constant of at most the wanted one, if that is possible."""
        return frozen(_stages(weights), self._options.bound)


def _stages(weights: nn.Module) -> TrainableStages:
    assert isinstance(weights, TrainableStages)
    return weights
