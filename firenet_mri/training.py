"""What the training of all networks here shares: a step, and the weights file of an experiment.

The file holds trained networks beside the digest of what they came from.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from firenet_mri.errors import FileError
from firenet_mri.io.outputs import atomic_writes


def load_weights(weights: Path, digest: str, *, overwrite: bool) -> dict[str, Any]:
    """Return the networks in a weights file of this digest; {} without a usable file.

    Parameters
    ----------
    weights
        The file, .pt.
    digest
        Of the recipe and the training data.
    overwrite
        A file of another digest, or none of this experiment, may be replaced.

    Raises
    ------
    FileError
        If there is such a file and it may not be replaced.
    """
    if not weights.exists():
        return {}
    try:
        content = torch.load(weights, weights_only=True)
        found, networks = content["digest"], content["networks"]
    # Damaged and foreign files make the unpickler fail in a dozen ways.
    except Exception:
        if overwrite:
            return {}
        raise FileError(
            f"{weights}: is no weights file of this experiment; use --overwrite to replace it"
        ) from None
    if found == digest:
        return dict(networks)
    if overwrite:
        return {}
    raise FileError(
        f"{weights}: belongs to other settings of this experiment; use --overwrite to train anew, "
        "or another folder"
    )


def save_weights(weights: Path, digest: str, networks: dict[str, Any]) -> None:
    """Write a weights file, in the place of the one before."""
    with atomic_writes([weights], overwrite=True) as (path,):
        torch.save({"digest": digest, "networks": networks}, path)


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
