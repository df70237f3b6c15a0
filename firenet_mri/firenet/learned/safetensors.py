"""Reads and writes safetensors: numbers and text in one file, from which nothing is executed.

Eight bytes (little-endian) with the length of a JSON header, the header, and the arrays one after
the other. The header has type, shape and place of every array, and under "__metadata__" texts by
name. Source: https://github.com/huggingface/safetensors, whose files of float32 arrays are read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError

_METADATA = "__metadata__"
_LENGTH_BYTES = 8
_ITEM_BYTES = 4
_LONGEST_HEADER = 1 << 24

Arrays = Mapping[str, NDArray[np.float32]]


class Contents(NamedTuple):
    """What a file holds: arrays by name, float32, and texts by name."""

    arrays: dict[str, NDArray[np.float32]]
    texts: dict[str, str]


def encoded(arrays: Arrays, texts: Mapping[str, str]) -> bytes:
    """Return the bytes of a file with float32 arrays and texts; the same for the same contents."""
    header: dict[str, Any] = {_METADATA: dict(sorted(texts.items()))}
    parts, end = [], 0
    for name in sorted(arrays):
        part = np.ascontiguousarray(arrays[name], "<f4").tobytes()
        begin, end = end, end + len(part)
        shape = list(arrays[name].shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
        parts.append(part)
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    # Arrays begin at a multiple of eight bytes.
    text += b" " * (-len(text) % _LENGTH_BYTES)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text + b"".join(parts)


def decoded(data: bytes) -> Contents:
    """Return what the bytes of a file hold.

    Raises
    ------
    DataError
        If they are not a safetensors file, are truncated, or hold other arrays than float32.
    """
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    begin = _LENGTH_BYTES + length
    if len(data) < _LENGTH_BYTES or length > _LONGEST_HEADER or begin > len(data):
        raise DataError("is not a safetensors file, or is truncated")
    try:
        header = json.loads(data[_LENGTH_BYTES:begin], object_pairs_hook=_without_repetition)
        texts = header.pop(_METADATA, {})
        places = sorted(
            (tuple(map(int, one["data_offsets"])), name, one["dtype"], tuple(one["shape"]))
            for name, one in header.items()
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise DataError("is not a safetensors file, or is damaged") from None
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise DataError("is not a safetensors file, or is damaged")
    arrays, end = {}, 0
    for (first, last), name, dtype, shape in places:
        if dtype != "F32":
            raise DataError(f"holds numbers of type {dtype}; weights are float32")
        is_shape = all(type(size) is int and size >= 0 for size in shape)
        if first != end or not is_shape or last - first != _ITEM_BYTES * math.prod(shape):
            raise DataError("is damaged: its arrays do not lie where its header says")
        end = last
        if begin + end > len(data):
            raise DataError("is truncated")
        part = np.frombuffer(data, "<f4", math.prod(shape), begin + first)
        arrays[name] = part.astype(np.float32).reshape(shape)
    if begin + end != len(data):
        raise DataError("is damaged: it goes on after its arrays")
    return Contents(arrays, texts)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that stands twice: of the two other readers may take the other one."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands there twice")
    return found
