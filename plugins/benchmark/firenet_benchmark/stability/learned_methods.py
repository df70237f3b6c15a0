"""Networks that learned from simulated scans of many kinds, as methods: ours, and its opponents.

Weights that do not ship leave their method out, which is named.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from firenet_benchmark.stability import hashes
from firenet_benchmark.stability.methods import Batch, Method, turn_of_maps
from firenet_benchmark.stability.wide import KINDS, WideNetwork, shipped_opponent, shipped_path
from firenet_mri.firenet.learned.formats import LEARNED, weights_path
from firenet_mri.firenet.learned.network import LearnedNetwork
from firenet_mri.firenet.learned.weights import load_network
from firenet_mri.operators import encoding_operator

LEARNED_NAME = f"FIRENET {LEARNED}"
_NOT_SHIPPED = "no weights ship with this version"


@dataclass(frozen=True, eq=False)
class LearnedImage:
    """A learned network with a proven constant, on maps that are turned as a preset's are."""

    network: LearnedNetwork

    def __call__(self, batch: Batch, kspace: Tensor) -> Tensor:
        """Return the images, (batch, y, x) complex."""
        turn = turn_of_maps(batch)
        encoding = encoding_operator(batch.mask, batch.maps * turn.unsqueeze(1))
        image: Tensor = self.network(kspace * batch.mask, encoding)
        return image * turn * torch.linalg.vector_norm(batch.maps, dim=-3)


def learned_method(weights: Path | None = None, name: str = LEARNED_NAME) -> Method:
    """Return a learned network as a method.

    Parameters
    ----------
    weights
        A file of ``firenet train``; None is the network that ships, which is absent where none
        does.
    name
        For tables.

    Raises
    ------
    FileError
        If the file is missing or damaged, or its constant does not follow from its weights.
    """
    path = weights_path(LEARNED) if weights is None else weights
    if weights is None and not path.exists():
        return Method(name, "FIRENET", _no_image, "learned, proven", absent=_NOT_SHIPPED)
    network = load_network(path)
    ones = torch.ones(1, 64, 64, dtype=torch.complex64)
    return Method(
        name,
        "FIRENET",
        LearnedImage(network),
        f"{network.depth} learned stages, the constant proven from the weights",
        sum(part.numel() for stage in network.weights for part in stage),
        network.lipschitz_bound_everywhere(encoding_operator(None, ones)),
        is_users=weights is not None,
        origin={"weights": path.name, "weights sha256": hashes.of_files([path])},
    )


def wide_methods() -> list[Method]:
    """Return the opponents that learned from the same cases, absent where no weights ship."""
    return [
        wide_method(name, shipped_opponent(name))
        if shipped_path(name).exists()
        else Method(name, "trained", _no_image, "trained widely", absent=_NOT_SHIPPED)
        for name in KINDS
    ]


def wide_method(name: str, trained: WideNetwork) -> Method:
    """Return an opponent as a method."""
    options = trained.options
    return Method(
        name,
        "trained",
        WideImage(trained.network),
        f"{options['minutes']:g} minutes on the cases of {LEARNED}, "
        f"perturbations up to {100 * options['attack']:g} % of the samples",
        sum(p.numel() for p in trained.network.parameters()),
    )


@dataclass(frozen=True, eq=False)
class WideImage:
    """An opponent's images."""

    network: torch.nn.Module

    def __call__(self, batch: Batch, kspace: Tensor) -> Tensor:
        """Return the images, (batch, y, x)."""
        image: Tensor = self.network(kspace * batch.mask, batch.mask, batch.maps)
        return image


def _no_image(batch: Batch, kspace: Tensor) -> Tensor:
    raise AssertionError("a method that is absent is not asked")
