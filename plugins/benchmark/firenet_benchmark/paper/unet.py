"""U-Nets that turn zero-filled images into images, and their training, which can be continued.

MONAI's ``BasicUNet`` with batch normalisation: real and imaginary part of A^H y in, what is missing
from the real part out; mean squared error, Adam. As in [1], noise-trained networks see noise
mu (N(0,1) + i N(0,1)) / sqrt(m), with mu uniform in [0, mu_max] for every image and m the number of
samples.

Differs from [1] in: the network's output is added to the real part of A^H y, which makes a short
training better.

[1] Colbrook, Antun, Hansen, PNAS 119(12) e2107151119, 2022, and its published code.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from firenet_mri.errors import UsageError
from firenet_mri.operators import CartesianFourier
from firenet_mri.training.loop import TrainingPlan, WeightsFile, shuffled, train


class UNet(nn.Module):
    """A U-Net after the zero-filled reconstruction.

    Parameters
    ----------
    encoding
        Masked Fourier transform, (y, x); both sizes multiples of 16.
    features
        Channels of the first stage; they double at each of the other four.
    """

    def __init__(self, encoding: CartesianFourier, features: int) -> None:
        from monai.networks.nets import BasicUNet

        super().__init__()
        if any(size % 16 for size in encoding.domain_shape):
            raise UsageError(
                f"The U-Net halves images four times; their size {encoding.domain_shape} must be a "
                "multiple of 16"
            )
        stages = (features, features, 2 * features, 4 * features, 8 * features, features)
        network = BasicUNet(2, 2, 1, features=stages, norm="batch")
        # Training begins at zero filling.
        nn.init.zeros_(network.final_conv.weight)
        nn.init.zeros_(network.final_conv.bias)
        # Memory with channels last: a third faster on CPUs.
        self.network: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.encoding = encoding

    def forward(self, y: Tensor) -> Tensor:
        """Return real images, (batch, y, x), for k-space y (batch, y, x)."""
        channels = torch.view_as_real(self.encoding.adjoint(y)).movedim(-1, 1)
        change: Tensor = self.network(channels.contiguous(memory_format=torch.channels_last))
        return channels[:, 0] + change[:, 0]


@dataclass(frozen=True)
class UNetRecipe:
    """How a U-Net is trained.

    Parameters
    ----------
    epochs, batch, learning_rate
        Of Adam; the rate falls to 0 along half a cosine.
    features
        Channels of the first stage.
    noise
        mu_max of each network, by name; 0 is without noise.
    seed
        Of the weights, the order of the images and the noise.
    """

    epochs: int = 5
    batch: int = 10
    learning_rate: float = 3e-3
    features: int = 16
    noise: Mapping[str, float] = field(default_factory=lambda: {"U-Net": 0.0})
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch, self.features) < 1:
            raise UsageError(
                f"{self.epochs} epochs, batches of {self.batch} and {self.features} features asked "
                "for; each must be at least 1"
            )


@dataclass(frozen=True, eq=False)
class TrainedUNet:
    """A U-Net, ready for use, and the mean squared error of every epoch of its training."""

    network: UNet
    curve: tuple[float, ...]


def train_unets(
    images: Tensor,
    encoding: CartesianFourier,
    recipe: UNetRecipe,
    weights: Path,
    *,
    overwrite: bool = False,
    on_step: Callable[[int, int], None] | None = None,
) -> dict[str, TrainedUNet]:
    """Return the networks of a recipe; what its weights file has is not trained again.

    The file is written after every epoch, so that a stopped run resumes from there, with the same
    result.

    Parameters
    ----------
    images
        Training images, (count, y, x) float32.
    encoding
        The masked Fourier transform.
    recipe
        How to train.
    weights
        The file, .pt.
    overwrite
        Replace a file that belongs to another recipe.
    on_step
        Called with (optimiser steps done, steps in all).

    Raises
    ------
    FileError
        If the file belongs to another recipe and may not be replaced, or is no such file.
    """
    if len(images) < recipe.batch:
        raise UsageError(f"{len(images)} training images given; a batch has {recipe.batch}")
    digest = _digest(images, encoding, recipe)
    plan = TrainingPlan(
        recipe.epochs,
        len(images) // recipe.batch,
        recipe.learning_rate,
        recipe=asdict(recipe),
        curve="curve",
    )
    trained = {}
    for place, (name, noise) in enumerate(recipe.noise.items()):
        network = _seeded_network(encoding, recipe)
        curves = train(
            network,
            partial(_losses, network, images, recipe, noise),
            plan,
            WeightsFile(weights, digest, name, overwrite),
            on_step=_of_several(on_step, place, len(recipe.noise)),
        )
        trained[name] = TrainedUNet(network, tuple(curves["curve"]))
    return trained


def _seeded_network(encoding: CartesianFourier, recipe: UNetRecipe) -> UNet:
    """Return a network with seeded weights; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return UNet(encoding, recipe.features)


def _losses(
    network: UNet, images: Tensor, recipe: UNetRecipe, noise: float, epoch: int
) -> Iterator[Tensor]:
    """Yield the mean squared error of every step of an epoch."""
    steps, generator = shuffled(len(images), recipe.batch, seed=recipe.seed, epoch=epoch)
    for index in steps:
        batch = images[index]
        y = network.encoding(batch.to(torch.complex64))
        if noise > 0:
            y = y + random_noise(network.encoding, len(index), noise, generator)
        yield (network(y) - batch).square().mean()


def random_noise(
    encoding: CartesianFourier, count: int, largest: float, generator: torch.Generator
) -> Tensor:
    """Return noise mu (N(0,1) + i N(0,1)) / sqrt(m) on the samples, (count, y, x) complex64.

    mu is uniform in [0, largest], one number per image.
    """
    shape = (count, *encoding.domain_shape)
    mask = encoding.kspace_factor != 0
    size = largest * torch.rand(count, 1, 1, generator=generator) / math.sqrt(int(mask.sum()))
    parts = torch.randn(*shape, 2, generator=generator)
    return torch.view_as_complex(parts) * size * mask


def _of_several(
    on_step: Callable[[int, int], None] | None, place: int, networks: int
) -> Callable[[int, int], None] | None:
    """Return a report of one network's steps as steps of all networks."""
    if on_step is None:
        return None
    return lambda done, total: on_step(place * total + done, networks * total)


def _digest(images: Tensor, encoding: CartesianFourier, recipe: UNetRecipe) -> str:
    """Return a number that distinguishes recipes and training data."""
    content = hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode())
    for array in (images, encoding.kspace_factor != 0):
        content.update(array.contiguous().numpy().tobytes())
    return content.hexdigest()
