"""Opponents trained for many scans: on the cases, by the loop and with the time of ``learned``.

``firenet train`` makes a network with a proven constant of simulated scans of many images, masks,
coils, contrasts and phases, a part of them under attack. Here MoDL and a variational network learn
from the same cases, so that what differs is the network, not what it has seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from firenet_benchmark.stability.networks import (
    NetworkName,
    ScaledNetwork,
    make_trained_network,
)
from firenet_mri.training.problem import Problem


@dataclass(frozen=True)
class Opponent:
    """A network of the benchmark as a learner.

    Parameters
    ----------
    network
        Its kind.
    seed
        Of its first weights.
    """

    network: NetworkName
    seed: int = 0

    def weights(self) -> ScaledNetwork:
        """Return the network with its first weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return make_trained_network(self.network)

    def image(self, weights: nn.Module, problem: Problem, kspace: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image of a case, (y, x); nothing is added to the loss."""
        mask, maps = problem.mask[None, None], problem.maps[None]
        image = weights(kspace[None] * mask, mask, maps)[0]
        return image, image.new_zeros((), dtype=image.real.dtype)

    def numbers(self, weights: nn.Module) -> dict[str, float]:
        """Return nothing: no constant is proven."""
        return {}
