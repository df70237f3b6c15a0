"""Tensors as text, for MONAI's metadata.

Text survives everything that is done to metadata: ``DataLoader`` stacks the tensors of a key and
fails where their sizes differ from item to item, but collects text in a list; and
``torch.load(weights_only=True)`` accepts it. It is JSON with the numbers in base 64.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def plain_of_tensor(x: Tensor) -> dict[str, Any]:
    """Return a tensor as plain data for JSON."""
    array = x.resolve_conj().contiguous().numpy(force=True)
    data = np.packbits(array) if array.dtype == bool else array
    return {
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "data": base64.b64encode(data.tobytes()).decode("ascii"),
    }


def tensor_of_plain(plain: Mapping[str, Any]) -> Tensor:
    """Return the tensor that :func:`plain_of_tensor` turned into plain data."""
    shape, data = tuple(plain["shape"]), base64.b64decode(plain["data"])
    if plain["dtype"] == "bool":
        bits = np.unpackbits(np.frombuffer(data, np.uint8), count=int(np.prod(shape)))
        return torch.from_numpy(bits.astype(bool).reshape(shape))
    return torch.from_numpy(np.frombuffer(data, plain["dtype"]).reshape(shape).copy())


def text_of_tensor(x: Tensor | None) -> str:
    """Return a tensor as text; empty where there is none."""
    return "" if x is None else json.dumps(plain_of_tensor(x))


def tensor_of_text(text: str) -> Tensor | None:
    """Return the tensor that :func:`text_of_tensor` turned into text."""
    return tensor_of_plain(json.loads(text)) if text else None
