"""Trains a network: Adam, a rate that falls to 0 along half a cosine, resumed from its file.

The weights file is written after every epoch. It holds networks by name, beside the digest of what
they came from; a training that was stopped resumes there, with the same result.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from firenet_mri.errors import FileError
from firenet_mri.io.outputs import atomic_writes


@dataclass(frozen=True)
class WeightsFile:
    """Where a network's weights are kept.

    Parameters
    ----------
    path
        The file, .pt.
    digest
        Of the recipe and the training data.
    name
        Of the network, among those of the file.
    overwrite
        A file with another digest, or of another experiment, may be replaced.
    """

    path: Path
    digest: str
    name: str
    overwrite: bool = False

    def load(self) -> dict[str, Any] | None:
        """Return what is kept of the network; None where nothing is.

        Raises
        ------
        FileError
            If there is a file of something else, and it may not be replaced.
        """
        content: dict[str, Any] | None = self._networks().get(self.name)
        return content

    def save(self, content: Mapping[str, Any]) -> None:
        """Keep a network beside the others of the file; the file is replaced as a whole."""
        networks = {**self._networks(), self.name: dict(content)}
        with atomic_writes([self.path], overwrite=True) as (path,):
            torch.save({"digest": self.digest, "networks": networks}, path)

    def _networks(self) -> dict[str, Any]:
        if not self.path.exists():
            return {}
        try:
            content = torch.load(self.path, weights_only=True)
            found, networks = content["digest"], content["networks"]
        # Damaged and foreign files make the unpickler fail in a dozen ways.
        except Exception:
            if self.overwrite:
                return {}
            raise FileError(
                f"{self.path}: is not a weights file of this experiment; use --overwrite to "
                "replace it"
            ) from None
        if found == self.digest:
            return dict(networks)
        if self.overwrite:
            return {}
        raise FileError(
            f"{self.path}: belongs to other settings of this experiment; use --overwrite to train "
            "anew, or another folder"
        )


@dataclass(frozen=True)
class TrainingPlan:
    """How long a network is trained, and how its weights are kept.

    Parameters
    ----------
    epochs, steps
        Epochs, and optimiser steps in each.
    learning_rate
        At the beginning.
    recipe
        What the training came from, kept beside the weights; plain data.
    curve
        Name that the mean losses of the epochs have in the file.
    half
        Keep the finished weights in half precision; the network that was trained then has them too.
    """

    epochs: int
    steps: int
    learning_rate: float
    recipe: Mapping[str, Any]
    curve: str = "loss"
    half: bool = False


#: Loss of every step of an epoch, with its graph, from the epoch's number.
Losses = Callable[[int], Iterable[Tensor]]


def train(
    network: nn.Module,
    losses: Losses,
    plan: TrainingPlan,
    weights: WeightsFile,
    *,
    initialise: Callable[[], None] | None = None,
    measure: Callable[[], Mapping[str, float]] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> dict[str, list[float]]:
    """Train a network in place; return its curves: mean loss and measurements of every epoch.

    Networks in the weights file are not trained again. The network is returned ready for use, in
    evaluation mode.

    Parameters
    ----------
    network
        With seeded weights.
    losses
        Must depend on the epoch's number alone, and on the network.
    plan
        Epochs, steps, rate.
    weights
        Where the network is kept.
    initialise
        Sets the first weights where no training is resumed.
    measure
        Returns numbers by name after an epoch; they become curves.
    on_step
        Called with (optimiser steps done, steps in all).

    Raises
    ------
    FileError
        If the weights file holds something else and may not be replaced.
    """
    optimizer = torch.optim.Adam(network.parameters(), plan.learning_rate)
    report = on_step or (lambda done, total: None)
    total = plan.epochs * plan.steps
    curves: dict[str, list[float]] = defaultdict(list)
    stored = weights.load()
    if stored is not None:
        curves.update({key: list(value) for key, value in stored.items() if _is_curve(value)})
        network.load_state_dict(stored["network"])
        if len(curves[plan.curve]) < plan.epochs:
            optimizer.load_state_dict(stored["optimizer"])
        report(len(curves[plan.curve]) * plan.steps, total)
    elif initialise is not None:
        initialise()
    while (epoch := len(curves[plan.curve])) < plan.epochs:
        network.train()
        summed = 0.0
        for step, loss in enumerate(losses(epoch)):
            progress = (epoch + step / plan.steps) / plan.epochs
            summed += descend(optimizer, loss, plan.learning_rate, progress)
            report(epoch * plan.steps + step + 1, total)
        curves[plan.curve].append(summed / plan.steps)
        network.eval()
        for name, value in (measure() if measure else {}).items():
            curves[name].append(value)
        _save(network, optimizer, plan, weights, curves)
    network.eval()
    return dict(curves)


def shuffled(
    count: int, batch: int, *, seed: int, epoch: int
) -> tuple[list[Tensor], torch.Generator]:
    """Return the items of each step of an epoch, in an order that seed and epoch fix.

    The generator that made the order comes with them, for what else is random in the epoch. Items
    that do not fill a batch are left out.
    """
    generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
    order = torch.randperm(count, generator=generator)[: count // batch * batch]
    return list(order.split(batch)), generator


def descend(
    optimizer: torch.optim.Optimizer, loss: Tensor, learning_rate: float, progress: float
) -> float:
    """Take a step down the loss and return what it was.

    Parameters
    ----------
    optimizer
        Of the parameters.
    loss
        One number, with its graph.
    learning_rate
        At the start of the training; it falls to 0 along half a cosine.
    progress
        Share of the training that is done, in [0, 1).
    """
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * (1 + math.cos(math.pi * progress)) / 2
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def _save(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    plan: TrainingPlan,
    weights: WeightsFile,
    curves: Mapping[str, list[float]],
) -> None:
    """Write the weights file; the optimiser's state, twice the weights, while it is needed."""
    unfinished = len(curves[plan.curve]) < plan.epochs
    kept = network.state_dict()
    if plan.half and not unfinished:
        kept = {key: value.half() for key, value in kept.items()}
        network.load_state_dict(kept)
    content = {"network": kept, "recipe": dict(plan.recipe), **curves}
    weights.save({**content, "optimizer": optimizer.state_dict()} if unfinished else content)


def _is_curve(value: object) -> bool:
    return isinstance(value, list | tuple)
