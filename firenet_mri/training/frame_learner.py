"""A learned frame as a kind of network to train: gap and constant stay those of `accurate`.

The parameters need no constraint during the training: every value of them is a Parseval frame.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from firenet_mri.firenet.learned.frame import LearnedFrameWeights, LearnedSparsity
from firenet_mri.firenet.learned.report import TrainingReport
from firenet_mri.firenet.options import NetworkOptions
from firenet_mri.operators import encoding_operator
from firenet_mri.training.options import TrainingOptions
from firenet_mri.training.problem import Problem

# Equal copies would stay equal; so small a rotation changes no image visibly.
_TURN = 1e-3


class FrameLearner:
    """The frame and the weights of `accurate`.

    Parameters
    ----------
    options
        Layout of the frame, and the seed of the first weights.
    network
        Of the network around the frame; None is `accurate`.
    """

    def __init__(self, options: TrainingOptions, network: NetworkOptions | None = None) -> None:
        self._layout, self._seed, self._network = options.layout, options.seed, network

    def weights(self) -> LearnedSparsity:
        """Return the first weights: those of the preset, with copies that differ slightly."""
        module = LearnedSparsity(self._layout)
        generator = torch.Generator().manual_seed(self._seed)
        noise = torch.randn(module.skews.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            module.skews.add_(_TURN * noise)
        return module

    def image(self, weights: nn.Module, problem: Problem, kspace: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image of a case, (y, x); nothing is added to the loss."""
        image = _image(_sparsity(weights), problem, kspace, self._network)
        return image, problem.reference.new_zeros(())

    def as_written(self, weights: nn.Module) -> Callable[[Problem], Tensor]:
        """Return a function that makes images with the frame as it would be written."""
        return self.frozen(copy.deepcopy(weights).cpu()).image

    @torch.no_grad()
    def numbers(self, weights: nn.Module) -> dict[str, float]:
        """Return the proven constant."""
        return {"lipschitz_constant": _sparsity(weights).frozen().lipschitz_bound()}

    @torch.no_grad()
    def frozen(self, weights: nn.Module) -> FrozenFrame:
        """Return trained weights as they are written."""
        return FrozenFrame(_sparsity(weights).frozen(), self._network)


@dataclass(frozen=True, eq=False)
class FrozenFrame:
    """A frame as it is written.

    Parameters
    ----------
    weights
        Frame and weights.
    network
        As :class:`FrameLearner` has it.
    """

    weights: LearnedFrameWeights
    network: NetworkOptions | None = None

    @property
    def constant(self) -> float:
        """The proven Lipschitz constant of `accurate`."""
        return self.weights.lipschitz_bound()

    @torch.no_grad()
    def image(self, problem: Problem) -> Tensor:
        """Return the image of a case, (y, x), on its device."""
        return _image(self.weights, problem, problem.kspace, self.network)

    def record(self) -> dict[str, Any]:
        """Return constant and deviation from a Parseval frame, as plain data."""
        return {"proven": self.constant, "deviation_from_parseval": float(self.weights.deviation)}

    def remarks(self) -> list[tuple[str, bool]]:
        """Return lines about the constant for people, and whether they are warnings."""
        line = (
            f"Proven Lipschitz constant {self.constant:.4g}, that of the preset accurate; images "
            "have a duality gap."
        )
        return [(line, False)]

    def save(self, path: Path, report: TrainingReport) -> None:
        """Write the file of the weights."""
        replace(self.weights, report=report).save(path)


def _image(
    sparsity: LearnedSparsity | LearnedFrameWeights,
    problem: Problem,
    kspace: Tensor,
    options: NetworkOptions | None,
) -> Tensor:
    encoding = encoding_operator(problem.mask[None], problem.maps, 2)
    coils, y, x = kspace.shape
    image: Tensor = sparsity.network(coils, (y, x), options)(kspace, encoding)
    return image


def _sparsity(weights: nn.Module) -> LearnedSparsity:
    assert isinstance(weights, LearnedSparsity)
    return weights
