"""What a training needs of the network that it trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from firenet_mri.training.options import TrainingOptions
from firenet_mri.training.problem import Problem
from firenet_mri.training.trainable import TrainableStages, soft_bound

_PENALTY = 5


class Learner(Protocol):
    """A kind of network: its first weights, its images, and what its weights may not become."""

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

    def numbers(self, weights: nn.Module) -> Mapping[str, float]:
        """Return what is to be known of weights beside their images, by name."""


class CertifiedLearner:
    """Stages with a proven constant, of which what is above the wanted one is penalised.

    Parameters
    ----------
    options
        Sizes of the network, its wanted constant, and the seed of the first weights.
    """

    def __init__(self, options: TrainingOptions) -> None:
        self.architecture, self._options = options.architecture, options

    def weights(self) -> TrainableStages:
        """Return the first weights."""
        options = self._options
        return TrainableStages(
            self.architecture, options.seed, soft=options.soft, tied=options.tied
        )

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

    @torch.no_grad()
    def numbers(self, weights: nn.Module) -> dict[str, float]:
        """Return nearly the Lipschitz constant."""
        stages = _stages(weights).stages()
        return {"bound_estimate": float(soft_bound(stages, self.architecture.sizes))}


def _stages(weights: nn.Module) -> TrainableStages:
    assert isinstance(weights, TrainableStages)
    return weights
