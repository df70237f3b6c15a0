"""SHA-256 digests of data, options, images and files, by which a certificate identifies them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK_BYTES = 1 << 20
_PART = 1 << 22


class ScanDigests(NamedTuple):
    """The digests of a scan as it was read, before anything was applied to it.

    The digests are named and ordered as in :class:`Digests`.
    """

    kspace: str
    mask: str
    noise: str | None
    trajectory: str | None


@dataclass(frozen=True)
class Digests:
    """SHA-256 digests, in hexadecimal, of everything that a certificate belongs to.

    Parameters
    ----------
    kspace, mask, noise, trajectory
        The scan as it was read, before whitening, zero where not sampled. noise is None if the scan
        had no noise measurement. trajectory (points of k-space and image size) is None if the scan
        is Cartesian.
    maps
        The sensitivity maps as used.
    parameters
        The options of reading and reconstruction.
    pixels
        The complex image.
    file
        The written image file; None until there is one.
    """

    kspace: str
    mask: str
    noise: str | None
    trajectory: str | None
    maps: str
    parameters: str
    pixels: str
    file: str | None = None


def digest_of_tensor(values: Tensor | Any) -> str:
    """Return the SHA-256 of a tensor's or array's type, shape and little-endian values."""
    if not hasattr(values, "detach"):
        return _digest(f"torch.{values.dtype}", values.shape, [values.reshape(-1)])
    flat = values.detach().reshape(-1)
    parts = (flat[start : start + _PART] for start in range(0, flat.numel(), _PART))
    return digest_of_parts(values.dtype, values.shape, parts)


def digest_of_parts(dtype: object, shape: Sequence[int], parts: Iterable[Tensor]) -> str:
    """Return the digest of a tensor that comes in consecutive parts, without copying it whole."""
    arrays = (part.cpu().resolve_conj().contiguous().numpy() for part in parts)
    return _digest(dtype, shape, arrays)


def _digest(dtype: object, shape: Sequence[int], parts: Iterable[Any]) -> str:
    state = hashlib.sha256(f"{dtype} {tuple(shape)}\n".encode())
    for part in parts:
        array = part.astype(part.dtype.newbyteorder("<"), copy=False)
        state.update(array.reshape(-1).view("u1").data)
    return state.hexdigest()


def digest_of_data(values: object) -> str:
    """Return the SHA-256 of plain data, written as JSON with sorted keys and no spaces.

    Examples
    --------
    >>> digest_of_data({"a": 1})[:16]
    '015abd7f5cc57a2d'
    """
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as ``sha256sum`` prints it."""
    state = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            state.update(chunk)
    return state.hexdigest()
