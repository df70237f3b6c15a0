"""The linear maps that were applied to a scan, as text for MONAI's metadata, and back.

Text survives everything that is done to metadata: scans whose maps differ in number or size can be
in one batch, and ``torch.load(weights_only=True)`` accepts it. It is JSON with the arrays in base
64, and is empty where nothing was applied.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from firenet_mri.errors import DataError
from firenet_mri.monai.text import plain_of_tensor, tensor_of_plain
from firenet_mri.operators.base import LinearOperator, Part
from firenet_mri.operators.echo_planar import EchoTrainGridding, KspaceReversal
from firenet_mri.operators.links import CoilMixing


def text_of_links(links: Sequence[LinearOperator]) -> str:
    """Return the maps that were applied to a scan as text.

    Raises
    ------
    DataError
        If one is neither a mixing of coils nor a preparation of echo trains, which alone have a
        place in the metadata.
    """
    return json.dumps([_plain(link) for link in links]) if links else ""


def links_of_text(text: str) -> tuple[LinearOperator, ...]:
    """Return the maps that :func:`text_of_links` turned into text."""
    return tuple(_link(one) for one in json.loads(text)) if text else ()


def _plain(link: LinearOperator) -> dict[str, Any]:
    if isinstance(link, EchoTrainGridding):
        return _plain_gridding(link)
    if isinstance(link, KspaceReversal):
        return {"reversal": link.ndim, "shape": list(link.domain_shape)}
    if not isinstance(link, CoilMixing):
        raise DataError(
            f"{type(link).__name__} was applied to k-space, which MONAI's metadata have no place "
            "for; give the scan to firenet_mri.reconstruct"
        )
    (part,) = link.made_from
    return {
        "part": part.name,
        "from_data": part.from_data,
        "sample_shape": list(link.codomain_shape[1:]),
        "matrix": plain_of_tensor(link.matrix),
        "mask": None if link.mask is None else plain_of_tensor(link.mask),
    }


def _plain_gridding(link: EchoTrainGridding) -> dict[str, Any]:
    part = link.made_from[0] if link.made_from else None
    return {
        "part": None if part is None else part.name,
        "from_data": part is not None and part.from_data,
        "readout": plain_of_tensor(link.readout),
        "backward": plain_of_tensor(link.backward),
        "phase": plain_of_tensor(link.phase),
    }


def _link(plain: dict[str, Any]) -> LinearOperator:
    if "reversal" in plain:
        return KspaceReversal(tuple(plain["shape"]), plain["reversal"])
    part = None if plain["part"] is None else Part(plain["part"], plain["from_data"])
    if "readout" in plain:
        names = ("readout", "backward", "phase")
        readout, backward, phase = (tensor_of_plain(plain[name]) for name in names)
        return EchoTrainGridding(readout, backward, phase, part)
    assert part is not None
    return CoilMixing(
        tensor_of_plain(plain["matrix"]),
        tuple(plain["sample_shape"]),
        part,
        None if plain["mask"] is None else tensor_of_plain(plain["mask"]),
    )
