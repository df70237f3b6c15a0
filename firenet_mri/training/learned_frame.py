"""Trains a learned frame on cases: fully sampled slices, under-sampled, with what is to come out.

The loss of a case is the logarithm of the squared error of the magnitude over the reference's
energy, so that a step is about decibels, whatever the size of the data. Nothing has to be asked of
the parameters on the way: every one of them gives a Parseval frame and the constants of the preset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from firenet_mri.errors import DataError, ShapeError
from firenet_mri.firenet.learned.frame import LearnedFrameWeights, LearnedSparsity
from firenet_mri.firenet.network import FIRENET
from firenet_mri.firenet.options import NetworkOptions
from firenet_mri.operators import encoding_operator
from firenet_mri.operators.base import LinearOperator
from firenet_mri.training.loop import TrainingPlan, WeightsFile, shuffled, train


@dataclass(frozen=True, eq=False)
class TrainingCase:
    """A slice as a network is given it, and the image that it should make of it.

    Parameters
    ----------
    kspace
        (coil, y, x) complex64, zero where nothing was sampled.
    mask
        Bool, broadcasts against it; True = sampled.
    maps
        (coil, y, x) complex64.
    reference
        Magnitude, (y, x), not zero everywhere.

    Raises
    ------
    ShapeError
        If these do not fit.
    """

    kspace: Tensor
    mask: Tensor
    maps: Tensor
    reference: Tensor

    def __post_init__(self) -> None:
        is_right = self.kspace.ndim == 3 and self.maps.shape == self.kspace.shape
        if not is_right or self.reference.shape != self.kspace.shape[1:]:
            raise ShapeError(
                f"A case with k-space {tuple(self.kspace.shape)}, maps {tuple(self.maps.shape)} "
                f"and reference {tuple(self.reference.shape)} came; give (coil, y, x) twice and "
                "(y, x)"
            )

    @property
    def encoding(self) -> LinearOperator:
        """The encoding operator."""
        return encoding_operator(self.mask, self.maps, 2)

    def error(self, net: FIRENET) -> Tensor:
        """Return ||(|image| - reference)||^2 / ||reference||^2 of a network's image."""
        difference = net(self.kspace, self.encoding).abs() - self.reference
        return difference.square().sum() / self.reference.square().sum()

    def loss(self, module: LearnedSparsity, options: NetworkOptions | None = None) -> Tensor:
        """Return the logarithm of the error, with its graph.

        Raises
        ------
        DataError
            If it is not a number.
        """
        coils, *shape = self.kspace.shape
        loss = self.error(module.network(coils, tuple(shape), options)).log()
        if not bool(torch.isfinite(loss)):
            raise DataError(
                f"The loss of a case is {float(loss.detach()):g}; look for NaN in its data, or "
                "train with a smaller learning rate. The weights file has the epochs before"
            )
        return loss


def train_frame(
    module: LearnedSparsity,
    cases: Iterable[TrainingCase],
    plan: TrainingPlan,
    weights: WeightsFile,
    *,
    validation: Sequence[TrainingCase] = (),
    options: NetworkOptions | None = None,
    seed: int = 0,
    on_step: Callable[[int, int], None] | None = None,
) -> LearnedFrameWeights:
    """Train a learned frame in place, and return it for use.

    Parameters
    ----------
    module
        What is trained; where it is resumed its parameters come from the weights file.
    cases
        At least as many as ``plan.steps``; each epoch takes others, in random order.
    plan
        Epochs, steps of one case each, rate; its recipe is kept as the record of the training.
    weights
        Where epochs are kept, to resume from.
    validation
        Cases of which the mean loss is kept after every epoch.
    options
        Of the network.
    seed
        Of the order, and of a small turn of the first frame that tells its copies apart.
    on_step
        Called with (steps done, steps in all).

    Raises
    ------
    DataError
        If there are too few cases, or a loss is not a number.
    """
    pool = list(cases)
    if len(pool) < plan.steps:
        raise DataError(
            f"{len(pool)} cases came for epochs of {plan.steps} steps; give more, or ask for fewer"
        )

    def losses(epoch: int) -> Iterable[Tensor]:
        order, _ = shuffled(len(pool), 1, seed=seed, epoch=epoch)
        return (pool[int(index)].loss(module, options) for index in order[: plan.steps])

    def measure() -> Mapping[str, float]:
        with torch.no_grad():
            found = [float(case.loss(module, options)) for case in validation]
        return {"validation": sum(found) / len(found)} if found else {}

    def initialise() -> None:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(module.skews.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            module.skews.add_(_TURN * noise.to(module.skews.device))

    curves = train(
        module, losses, plan, weights, initialise=initialise, measure=measure, on_step=on_step
    )
    record: dict[str, Any] = {**plan.recipe, "seed": seed, **curves}
    return module.frozen(record)


# Copies that are equal would stay so; a turn by so little changes no image that one can see.
_TURN = 1e-3
