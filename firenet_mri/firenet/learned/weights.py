"""The file of a learned network: safetensors with the weights, what is proven, and the training.

Arrays (float32): "coefficients" (stage, 2), "filters" (stage, band, k, k), "log_radii" (stage,
group), "slopes" (stage, group, condition), "firmness" (stage, group). Texts, JSON each: "format",
"version", "architecture", "ball", "proof" (the constant, and m, L, S and S_rho of every stage),
"training" (see :class:`~firenet_mri.firenet.learned.report.TrainingReport`), and "digest", the
SHA-256 of all the rest. Nothing is unpickled; the constant is computed again from the weights
whenever they are read, and a file that states another one is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from firenet_mri.errors import DataError
from firenet_mri.firenet.learned.conditions import CONDITIONS, OF_SAMPLING
from firenet_mri.firenet.learned.files import is_same, load_weights_as, mapping, save_weights
from firenet_mri.firenet.learned.formats import LAYERS
from firenet_mri.firenet.learned.layers import Stage
from firenet_mri.firenet.learned.network import Architecture, LearnedNetwork
from firenet_mri.firenet.learned.proof import LearnedProof, prove
from firenet_mri.firenet.learned.report import TrainingReport

#: Of files that are written. Thresholds of version 1 depend on the sampling alone.
VERSION = 2

# Radii beyond e^40 times the data are meaningless, and single precision ends at e^88.
_LARGEST_LOGARITHM = 40.0
# Larger ones would fill the memory before they are compared with the weights.
_LARGEST_SIZE = 4096


def save_network(path: Path, net: LearnedNetwork, report: TrainingReport) -> None:
    """Write a network with its proof and the report of its training.

    A file that is there is replaced, when the new one is complete.

    Raises
    ------
    UsageError
        If nothing can be proven of the weights.
    DataError
        If they are not finite.
    FileError
        If the file cannot be written.
    """
    stages = net.weights
    tensors = {
        name: torch.stack([getattr(stage, name) for stage in stages]).cpu().float()
        for name in Stage._fields
    }
    _check_numbers(tensors)
    contents = {
        "format": LAYERS,
        "version": VERSION,
        "architecture": asdict(net.architecture),
        "ball": net.ball,
        "proof": prove(stages, net.architecture.sizes).to_dict(),
        "training": report.to_dict(),
    }
    save_weights(path, tensors, contents)


def load_network(path: str | Path) -> LearnedNetwork:
    """Return the network of a file, or one that ships with the package for its name.

    Its ``report`` is that of the file.

    Raises
    ------
    FileError
        If the file is missing, of another program or version, damaged, or states a constant that
        does not follow from its weights.
    """
    return load_weights_as(path, LAYERS, (1, VERSION), _network_of)


def _network_of(tensors: dict[str, Tensor], texts: dict[str, Any]) -> LearnedNetwork:
    """Return the network of a file's content, after checking all of it."""
    architecture = _architecture(texts.get("architecture"))
    if texts["version"] == 1 and "slopes" in tensors:
        tensors["slopes"] = _with_zeros(tensors["slopes"])
    _check_shapes(tensors, architecture)
    _check_numbers(tensors)
    report = TrainingReport.from_dict(mapping(texts, "training"))
    stages = [
        Stage(*(tensors[name][k] for name in Stage._fields)) for k in range(architecture.stages)
    ]
    ball = texts.get("ball")
    if not isinstance(ball, float | int) or not 0 < ball < math.inf:
        raise DataError(f"its ball is {ball!r}, which is not a positive number")
    _check_proof(mapping(texts, "proof"), prove(stages, architecture.sizes))
    return LearnedNetwork(architecture, stages, ball=float(ball), report=report)


def _check_proof(stated: Mapping[str, Any], proof: LearnedProof) -> None:
    """Refuse constants that are not those of the weights, but for rounding in double precision."""
    found = proof.to_dict()
    if not is_same(stated, found):
        raise DataError(
            f"states the Lipschitz constant {stated.get('bound')!r}, or parts of it, that do not "
            f"follow from its weights, which have {found['bound']:.6g}"
        )


def _architecture(stated: Any) -> Architecture:
    """Return the architecture, after checking its sizes."""
    try:
        found = Architecture(**{**stated, "dilations": tuple(stated["dilations"])})
        counts = (found.stages, found.group_size, found.kernel, len(found.dilations))
        numbers = (*counts, *found.dilations, found.singles + 1, found.groups + 1)
        is_possible = all(type(one) is int and 1 <= one <= _LARGEST_SIZE for one in numbers)
    except (TypeError, KeyError):
        is_possible = False
    if not is_possible or found.kernel % 2 == 0:
        raise DataError(f"its architecture is {stated!r}, which no network has")
    return found


def _with_zeros(slopes: Tensor) -> Tensor:
    """Return slopes by the sampling alone with zeros for the conditions of the data."""
    if slopes.shape[-1:] != (len(OF_SAMPLING),):
        return slopes
    return pad(slopes, (0, len(CONDITIONS) - len(OF_SAMPLING)))


def _check_shapes(tensors: Mapping[str, Tensor], architecture: Architecture) -> None:
    stages, groups, kernel = architecture.stages, len(architecture.sizes), architecture.kernel
    wanted = {
        "coefficients": (stages, 2),
        "filters": (stages, architecture.filters, kernel, kernel),
        "log_radii": (stages, groups),
        "slopes": (stages, groups, len(CONDITIONS)),
        "firmness": (stages, groups),
    }
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != wanted:
        raise DataError(f"has arrays {found}; its architecture needs {wanted}")
    if any(tensor.dtype != torch.float32 for tensor in tensors.values()):
        raise DataError("has numbers that are not float32, which weights are")


def _check_numbers(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise DataError(f"its {name} are NaN or infinite")
    if not bool((tensors["coefficients"][:, 0] > 0).all()):
        raise DataError("the first coefficient of a data step is not positive")
    largest = (tensors[name].abs().max() for name in ("log_radii", "slopes"))
    logarithms = max(map(float, largest))
    if logarithms > _LARGEST_LOGARITHM:
        raise DataError(f"its thresholds have logarithms of {logarithms:.3g}, which none has")
