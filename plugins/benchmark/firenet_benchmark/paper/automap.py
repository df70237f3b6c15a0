"""A network like AUTOMAP, which learns the whole way from samples to image, and its training.

Real and imaginary parts of the m samples go through two fully connected layers with tanh, to N and
N values for an image of N pixels, then through two 5 x 5 convolutions with ReLU and one of 7 x 7
[1]. The output is the real part of the image; since Im x = Re(-i x), the same network gives the
imaginary part when the samples are multiplied by -i.

Trained on images of random ellipses with a random constant phase, with mean squared error; while it
is trained every number that goes in is multiplied by one uniform in [1 - noise, 1 + noise], 0.01
in [1].

Differs from [1] in: the images are simulated and smaller; training begins with the linear map that
is best on the training images (ridge regression) in the first layer and identities after it, and
continues with Adam for minutes, where [1] trains for hours from random weights with RMSprop; 8
channels instead of 64, no penalty on their activity; one network for both parts of the image, where
[1] trains two; a constant phase.

[1] Zhu, Liu, Cauley, Rosen, Rosen, Nature 555, 2018, and its published code.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from firenet_mri.errors import UsageError
from firenet_mri.operators import CartesianFourier
from firenet_mri.phantoms import ellipses
from firenet_mri.training.loop import TrainingPlan, WeightsFile, train

# Images reach tanh at this part of their size, where it is nearly linear.
_TANH_SCALE = 0.5

# The one network of the weights file.
_NAME = "AUTOMAP-type"


class Automap(nn.Module):
    """Two fully connected layers, then three convolutions.

    Parameters
    ----------
    encoding
        Masked Fourier transform, (y, x); the samples are where its mask is True.
    channels
        Channels between the convolutions, at least 2.

    Raises
    ------
    UsageError
        If there are fewer than 2 channels.
    """

    samples: Tensor

    def __init__(self, encoding: CartesianFourier, channels: int = 8) -> None:
        super().__init__()
        if channels < 2:
            raise UsageError(f"{channels} channels asked for; the network needs at least 2")
        samples = (encoding.kspace_factor != 0).flatten().nonzero().squeeze(1)
        self.register_buffer("samples", samples, persistent=False)
        self.shape = encoding.domain_shape
        pixels = math.prod(self.shape)
        self.first = nn.Linear(2 * len(samples), pixels)
        self.second = nn.Linear(pixels, pixels)
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, channels, 5, padding="same"),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 5, padding="same"),
            nn.ReLU(),
            nn.Conv2d(channels, 1, 7, padding="same"),
        )

    def forward(self, y: Tensor) -> Tensor:
        """Return images (batch, y, x) for k-space y, (batch, y, x), in its precision.

        The layers work in the precision of the weights.
        """
        kspace = y.to(self.first.weight.dtype.to_complex())
        image = torch.complex(self.real_part(kspace), self.real_part(-1j * kspace))
        return image.to(y.dtype)

    def real_part(self, y: Tensor) -> Tensor:
        """Return the real parts of the images, (batch, y, x) real."""
        return self.from_numbers(self.numbers(y))

    def numbers(self, y: Tensor) -> Tensor:
        """Return the samples' real and imaginary parts, (batch, 2 m)."""
        return torch.view_as_real(y.flatten(1)[:, self.samples]).flatten(1)

    def from_numbers(self, numbers: Tensor) -> Tensor:
        """Return the real parts of the images, (batch, y, x), for what :meth:`numbers` gives."""
        hidden = self.second(self.first(numbers).tanh()).tanh()
        image: Tensor = self.convolutions(hidden.unflatten(1, (1, *self.shape)))
        return image[:, 0]

    @torch.no_grad()
    def set_linear(self, matrix: Tensor) -> None:
        """Make the network nearly a linear map: (N, 2 m) from the samples to the real part."""
        self.first.weight.copy_(_TANH_SCALE * matrix)
        nn.init.zeros_(self.first.bias)
        nn.init.eye_(self.second.weight)
        nn.init.zeros_(self.second.bias)
        layers = [layer for layer in self.convolutions if isinstance(layer, nn.Conv2d)]
        for layer in layers:
            layer.weight.mul_(0.1)
            nn.init.zeros_(cast(Tensor, layer.bias))
        first, second, last = layers
        # relu(a) - relu(-a) = a: two channels carry the image through.
        first.weight[0, 0, 2, 2], first.weight[1, 0, 2, 2] = 1, -1
        second.weight[0, 0, 2, 2] = second.weight[1, 1, 2, 2] = 1
        last.weight[0, 0, 3, 3], last.weight[0, 1, 3, 3] = 1 / _TANH_SCALE, -1 / _TANH_SCALE


@dataclass(frozen=True)
class AutomapRecipe:
    """How the network is trained.

    Parameters
    ----------
    epochs, images, batch, learning_rate
        Of Adam; every epoch has images of its own; the rate falls to 0 along half a cosine.
    channels
        Channels between the convolutions.
    noise
        What is put in is multiplied by numbers uniform in [1 - noise, 1 + noise].
    first_images
        Images for the linear map at the beginning; 0 begins with random weights.
    ridge
        Weight of the linear map's norm, relative to the mean square of a number that is put in.
    seed
        Of weights, images, phases and noise.

    Raises
    ------
    UsageError
        If a number lies outside its range.
    """

    epochs: int = 24
    images: int = 2000
    batch: int = 50
    learning_rate: float = 3e-4
    channels: int = 8
    noise: float = 0.01
    first_images: int = 20_000
    ridge: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch, self.channels) < 1 or self.images < self.batch:
            raise UsageError(
                f"{self.epochs} epochs of {self.images} images in batches of {self.batch} and "
                f"{self.channels} channels asked for; at least 1 of each and a batch of images are "
                "needed"
            )
        if min(self.noise, self.first_images, self.seed) < 0 or not self.ridge > 0:
            raise UsageError(
                f"noise {self.noise}, first_images {self.first_images}, seed {self.seed} and ridge "
                f"{self.ridge} given; the ridge must be positive, the others at least 0"
            )


@dataclass(frozen=True, eq=False)
class TrainedAutomap:
    """The network, ready for use, and the mean squared error of every epoch of its training."""

    network: Automap
    curve: tuple[float, ...]


def train_automap(
    encoding: CartesianFourier,
    recipe: AutomapRecipe,
    weights: Path,
    *,
    overwrite: bool = False,
    on_step: Callable[[int, int], None] | None = None,
) -> TrainedAutomap:
    """Return the network of a recipe; if its weights file has it, it is not trained again.

    The file is written after every epoch, so that a stopped run resumes from there, with the same
    result.

    Parameters
    ----------
    encoding
        The masked Fourier transform, (y, x) of one size.
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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = Automap(encoding, recipe.channels)

    def initialise() -> None:
        if recipe.first_images > 0:
            network.set_linear(_best_linear_map(network, encoding, recipe))

    curves = train(
        network,
        partial(_losses, network, encoding, recipe),
        TrainingPlan(
            recipe.epochs,
            recipe.images // recipe.batch,
            recipe.learning_rate,
            recipe=asdict(recipe),
            curve="curve",
        ),
        WeightsFile(weights, _digest(encoding, recipe), _NAME, overwrite),
        initialise=initialise,
        on_step=on_step,
    )
    return TrainedAutomap(network.requires_grad_(False), tuple(curves["curve"]))


def _losses(
    network: Automap, encoding: CartesianFourier, recipe: AutomapRecipe, epoch: int
) -> Iterator[Tensor]:
    """Yield the mean squared error of every step of an epoch, which seed and number fix."""
    generator = torch.Generator().manual_seed(_stream(recipe, epoch))
    images = _images(encoding, recipe.images, _stream(recipe, epoch))
    steps = recipe.images // recipe.batch
    for part in images[: steps * recipe.batch].split(recipe.batch):
        batch = _with_phase(part, generator)
        numbers = network.numbers(encoding(batch))
        factors = 1 + recipe.noise * (2 * torch.rand(numbers.shape, generator=generator) - 1)
        yield (network.from_numbers(numbers * factors) - batch.real).square().mean()


def _best_linear_map(network: Automap, encoding: CartesianFourier, recipe: AutomapRecipe) -> Tensor:
    """Return W, (N, 2 m), for which sum ||W n - Re x||^2 + mu ||W||^2 is least over images x."""
    inputs, pixels = network.first.in_features, network.first.out_features
    gram = torch.zeros(inputs, inputs, dtype=torch.float64)
    cross = torch.zeros(inputs, pixels, dtype=torch.float64)
    generator = torch.Generator().manual_seed(_stream(recipe, -1))
    images = _images(encoding, recipe.first_images, _stream(recipe, -1))
    for part in images.split(2000):
        x = _with_phase(part, generator)
        # The imaginary part is the real part of -i x: two equations for every image.
        for turned in (x, -1j * x):
            numbers = network.numbers(encoding(turned))
            gram += numbers.mT @ numbers
            cross += numbers.mT @ turned.real.flatten(1)
    ridge = recipe.ridge * gram.diagonal().mean()
    gram.diagonal().add_(ridge)
    return torch.linalg.solve(gram, cross).mT.float()


def _images(encoding: CartesianFourier, count: int, seed: int) -> Tensor:
    """Return training images, (count, y, x)."""
    return ellipses(encoding.domain_shape[-1], count, seed)


def _with_phase(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return the images with a random constant phase each, complex64."""
    turns = torch.rand(len(images), 1, 1, generator=generator)
    return images * torch.polar(torch.ones_like(turns), 2 * math.pi * turns)


def _stream(recipe: AutomapRecipe, epoch: int) -> int:
    """Return a seed of its own for every epoch; test images have small ones."""
    return 1_000_003 * (recipe.seed + 1) + epoch


def _digest(encoding: CartesianFourier, recipe: AutomapRecipe) -> str:
    """Return a number that distinguishes recipes and sampling patterns."""
    content = hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode())
    content.update((encoding.kspace_factor != 0).contiguous().numpy().tobytes())
    content.update(str(encoding.domain_shape).encode())
    return content.hexdigest()
