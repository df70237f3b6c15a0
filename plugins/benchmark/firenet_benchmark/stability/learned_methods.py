"""Networks that learned from simulated scans of many kinds, as methods: ours, and its opponents.

Methods whose weights are not included are left out and named.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from firenet_benchmark.stability.methods import Batch, Method, NetworkImage, trained_firenet
from firenet_benchmark.stability.wide import KINDS, WideNetwork, shipped_opponent, shipped_path
from firenet_mri.firenet.learned.formats import SHIPPED, Shipped, weights_path

_NOT_SHIPPED = "no weights ship with this version"


def learned_methods() -> list[Method]:
    """Return the included learned networks; they are absent where their weights are."""
    return [
        learned_method(name, f"FIRENET {name}")
        if weights_path(name).exists()
        else Method(f"FIRENET {name}", "FIRENET", _no_image, "learned, proven", absent=_NOT_SHIPPED)
        for name in SHIPPED
    ]


def learned_method(weights: Path | Shipped, name: str) -> Method:
    """Return a learned network as a method.

    Parameters
    ----------
    weights
        A file of ``firenet train``, or the name of one that ships.
    name
        For tables.

    Raises
    ------
    FileError
        If the file is missing or damaged, or its constant does not follow from its weights.
    """
    path = weights_path(weights)
    method = trained_firenet(name, path, source=path.name)
    return replace(method, family="FIRENET", is_users=weights not in SHIPPED)


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
        NetworkImage(trained.network),
        f"{trained.minutes:.0f} minutes on the cases of learned, "
        f"perturbations up to {100 * options['attack']:g} % of the samples",
        sum(p.numel() for p in trained.network.parameters()),
    )


def _no_image(batch: Batch, kspace: Tensor) -> Tensor:
    raise AssertionError("a method that is absent is not asked")
