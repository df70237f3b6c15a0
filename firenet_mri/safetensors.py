"""Reads and writes tensors by name in the safetensors format: numbers and text, nothing that runs.

A file is the length of a header (8 bytes, little endian), the header (JSON: for every name dtype,
shape and place; under ``__metadata__`` text by name), and the numbers, one tensor after the other
without holes [1]. Every number of a header is checked against the file before it is used.

Differs from [1] in: only the dtypes that are used here.

[1] Hugging Face, safetensors, README, "Format".
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from firenet_mri.errors import FileError

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "I64": torch.int64}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_METADATA = "__metadata__"

# Far above every file of use; a foreign file may claim anything.
_LARGEST_HEADER = 1 << 24


class Content(NamedTuple):
    """What a file holds: tensors by name, on the CPU, and text by name."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a file as a whole; one that is there is replaced.

    Parameters
    ----------
    path
        The file, .safetensors.
    tensors
        float64, float32 or int64.
    metadata
        Text by name.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    header: dict[str, Any] = {_METADATA: dict(metadata)}
    parts, end = [], 0
    for name, tensor in tensors.items():
        numbers = tensor.detach().cpu().contiguous().numpy()
        data = numbers.astype(numbers.dtype.newbyteorder("<"), copy=False).tobytes()
        place = [end, end + len(data)]
        dtype = _NAMES[tensor.dtype]
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": place}
        parts.append(data)
        end += len(data)
    text = json.dumps(header, sort_keys=True).encode()
    # Numbers begin at a multiple of 8 bytes.
    text += b" " * (-len(text) % 8)
    temporary = path.with_name(f".{secrets.token_hex(4)}-{path.name}")
    try:
        temporary.write_bytes(b"".join([len(text).to_bytes(8, "little"), text, *parts]))
        temporary.replace(path)
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)


def read_tensors(path: Path) -> Content:
    """Return what a file holds.

    Raises
    ------
    FileError
        If it cannot be read, or is damaged or of another format.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror or error})") from error
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(_LARGEST_HEADER, len(data) - 8):
        raise FileError(f"{path}: is not a safetensors file, or was cut off")
    try:
        text = data[8 : 8 + length].decode()
        header = json.loads(text, object_pairs_hook=_without_repetition)
        metadata = header.pop(_METADATA, {})
        if not all(isinstance(text, str) for pair in metadata.items() for text in pair):
            raise ValueError("its metadata are not text")
        tensors = _tensors(header, data[8 + length :])
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise FileError(
            f"{path}: is damaged, or not a safetensors file ({type(error).__name__}: {error})"
        ) from None
    return Content(tensors, metadata)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that stands twice: of the two other readers may take the other one."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _tensors(header: Mapping[str, Any], data: bytes) -> dict[str, Tensor]:
    """Return the tensors of a header; they must fill the data without holes."""
    found, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"][0]):
        shape = entry["shape"]
        if not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError(f"{name} has shape {shape}")
        dtype = torch.empty(0, dtype=_DTYPES[entry["dtype"]]).numpy().dtype
        first, end_of = entry["data_offsets"]
        if first != end or end_of - first != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{name} does not lie where its shape says")
        if end_of > len(data):
            raise ValueError(f"{name} is cut off")
        numbers = np.frombuffer(data[first:end_of], dtype.newbyteorder("<")).astype(dtype)
        found[name] = torch.from_numpy(numbers.reshape(shape))
        end = end_of
    if end != len(data):
        raise ValueError("there is more in it than its header says")
    return found
