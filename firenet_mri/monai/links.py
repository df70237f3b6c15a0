"""The linear maps that mixed a scan's coils, as text for MONAI's metadata, and back.

Text survives everything that is done to metadata: scans whose maps differ in number or size can
stand in one batch, and ``torch.load(weights_only=True)`` takes it. It is JSON, the arrays in
base 64, and empty where nothing was applied.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from firenet_mri.errors import DataError
from firenet_mri.monai.text import plain_of_tensor, tensor_of_plain
from firenet_mri.operators.base import LinearOperator, Part
from firenet_mri.operators.links import CoilMixing


def text_of_links(links: Sequence[LinearOperator]) -> str:
    """Return the maps that were applied to a scan as text.

    Raises
    ------
    DataError
        If one is no mixing of coils, which alone have a place in the metadata.
    """
    return json.dumps([_plain(link) for link in links]) if links else ""


def links_of_text(text: str) -> tuple[CoilMixing, ...]:
    """Return the maps that :func:`text_of_links` turned into text."""
    return tuple(_link(one) for one in json.loads(text)) if text else ()


def _plain(link: LinearOperator) -> dict[str, Any]:
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


def _link(plain: dict[str, Any]) -> CoilMixing:
    return CoilMixing(
        tensor_of_plain(plain["matrix"]),
        tuple(plain["sample_shape"]),
        Part(plain["part"], plain["from_data"]),
        None if plain["mask"] is None else tensor_of_plain(plain["mask"]),
    )
