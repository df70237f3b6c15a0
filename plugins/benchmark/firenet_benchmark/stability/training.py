"""Training of the benchmark's networks, from the built-in images, with everything random seeded.

Mean squared error of the magnitude relative to the largest value of the reference, Adam, a rate
that falls to 0 along half a cosine. Noise-trained ("jittered") networks see k-space with white
noise of a relative size uniform in [0, jitter] added, as in [1].

[1] Genzel, Macdonald, Maerz, IEEE TPAMI 45(1), 2023.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from firenet_benchmark.stability.data import (
    Case,
    Protocol,
    images,
    simulated_case,
    training_cases,
)
from firenet_benchmark.stability.networks import (
    NetworkName,
    ScaledNetwork,
    make_trained_network,
)
from firenet_mri.errors import FileError
from firenet_mri.metrics import psnr
from firenet_mri.prox import item_norm
from firenet_mri.training.loop import TrainingPlan, WeightsFile, shuffled, train

_KSPACE = (-3, -2, -1)
_VALIDATION = "validation_psnr_db"


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Parameters
    ----------
    network
        Its kind.
    epochs, batch, learning_rate
        Of Adam.
    scans
        Simulated scans to train with.
    jitter
        Largest relative size of the noise that is added to the samples; 0 adds none.
    seed
        Of scans, weights, their order and the noise.
    """

    network: NetworkName
    epochs: int
    batch: int = 4
    learning_rate: float = 1e-3
    scans: int = 480
    jitter: float = 0.0
    seed: int = 0


_EPOCHS: dict[NetworkName, int] = {"U-Net": 20, "VarNet": 12, "MoDL": 6, "AUTOMAP-type": 15}
# In a short trial this was better than 1e-3, which the others have.
_LEARNING_RATES: dict[NetworkName, float] = {"VarNet": 3e-3}
JITTER = 0.04
JITTERED = ", jittered"

#: How the shipped networks were trained, by name.
RECIPES: dict[str, Recipe] = {
    name + suffix: Recipe(
        name, epochs, learning_rate=_LEARNING_RATES.get(name, 1e-3), jitter=jitter
    )
    for suffix, jitter in (("", 0.0), (JITTERED, JITTER))
    for name, epochs in _EPOCHS.items()
}


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network, ready for use, and what its training was like.

    Parameters
    ----------
    network
        With its weights.
    recipe
        How it was trained.
    loss, validation_psnr_db
        Training loss, and mean PSNR of the validation slices, after every epoch.
    """

    network: ScaledNetwork
    recipe: Recipe
    loss: tuple[float, ...]
    validation_psnr_db: tuple[float, ...]


def file_name(name: str) -> str:
    """Return the name of the weights file of a network."""
    return name.lower().replace(", ", "-") + ".pt"


def shipped_network(name: str) -> TrainedNetwork:
    """Return a network with the weights that come with the package.

    Raises
    ------
    FileError
        If the weights belong to another recipe.
    """
    path = files(__package__).joinpath("weights", file_name(name))
    with path.open("rb") as file:
        content = torch.load(file, weights_only=True)
    recipe = RECIPES[name]
    if content["digest"] != _digest(recipe):
        raise FileError(f"{path}: belongs to another recipe; train the network again")
    return _from_file(content["networks"][name], recipe)


def train_network(
    name: str,
    weights: Path,
    *,
    recipe: Recipe | None = None,
    overwrite: bool = False,
    on_step: Callable[[int, int], None] | None = None,
) -> TrainedNetwork:
    """Return a trained network; what its weights file has is not trained again.

    The file is written after every epoch, so that a stopped run resumes from there, with the same
    result.

    Parameters
    ----------
    name
        A key of :data:`RECIPES`, or any with a recipe.
    weights
        The file, .pt.
    recipe
        None is the network's own.
    overwrite
        Replace a file that belongs to another recipe.
    on_step
        Called with (optimiser steps done, steps in all).

    Raises
    ------
    FileError
        If the file belongs to another recipe and may not be replaced, or is no such file.
    """
    recipe = recipe or RECIPES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = make_trained_network(recipe.network)

    # Simulating the scans takes minutes; a network that is trained already needs none.
    @cache
    def cases() -> list[Case]:
        return training_cases(recipe.scans, seed=1000 * (recipe.seed + 1))

    @cache
    def held_out() -> list[Case]:
        return [simulated_case(image, seed=i) for i, image in enumerate(images("validation"))]

    curves = train(
        network,
        lambda epoch: _losses(network, cases(), recipe, epoch),
        TrainingPlan(
            recipe.epochs,
            recipe.scans // recipe.batch,
            recipe.learning_rate,
            recipe=asdict(recipe),
            half=True,
        ),
        WeightsFile(weights, _digest(recipe), name, overwrite),
        measure=lambda: {_VALIDATION: _mean_psnr(network, held_out())},
        on_step=on_step,
    )
    return TrainedNetwork(
        network.requires_grad_(False), recipe, tuple(curves["loss"]), tuple(curves[_VALIDATION])
    )


def tensors(cases: Sequence[Case]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return k-space, masks (batch, 1, y, x), maps and references of cases of one size."""
    references = [case.reference for case in cases if case.reference is not None]
    return (
        torch.stack([case.kspace for case in cases]),
        torch.stack([case.mask for case in cases])[:, None],
        torch.stack([case.maps for case in cases]),
        torch.stack(references),
    )


def _losses(
    network: ScaledNetwork, cases: Sequence[Case], recipe: Recipe, epoch: int
) -> Iterator[Tensor]:
    """Yield the loss of every step of an epoch; seed and epoch fix the order and the noise."""
    steps, generator = shuffled(len(cases), recipe.batch, seed=recipe.seed, epoch=epoch)
    for index in steps:
        kspace, mask, maps, reference = tensors([cases[i] for i in index.tolist()])
        if recipe.jitter > 0:
            kspace = kspace + _noise(kspace, mask, recipe.jitter, generator)
        error = network(kspace, mask, maps).abs() - reference
        yield (error / reference.amax((1, 2), keepdim=True)).square().mean()


def _noise(kspace: Tensor, mask: Tensor, largest: float, generator: torch.Generator) -> Tensor:
    """Return white noise on the samples, of a relative size uniform in [0, largest]."""
    noise = torch.view_as_complex(torch.randn(*kspace.shape, 2, generator=generator)) * mask
    size = largest * torch.rand(len(kspace), 1, 1, 1, generator=generator)
    return size * item_norm(kspace, _KSPACE) / item_norm(noise, _KSPACE) * noise


@torch.no_grad()
def _mean_psnr(network: ScaledNetwork, cases: Sequence[Case]) -> float:
    kspace, mask, maps, reference = tensors(cases)
    found = network(kspace, mask, maps).abs()
    return sum(psnr(a, b) for a, b in zip(reference, found, strict=True)) / len(cases)


def _from_file(stored: dict[str, Any], recipe: Recipe) -> TrainedNetwork:
    network = make_trained_network(recipe.network)
    network.load_state_dict({key: value.float() for key, value in stored["network"].items()})
    return TrainedNetwork(
        network.requires_grad_(False).eval(),
        recipe,
        tuple(stored["loss"]),
        tuple(stored["validation_psnr_db"]),
    )


def _digest(recipe: Recipe) -> str:
    """Return a number that distinguishes recipes."""
    content = json.dumps([asdict(recipe), asdict(Protocol())], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
