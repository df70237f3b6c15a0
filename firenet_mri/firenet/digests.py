"""SHA-256 digests of data, parameters, images and files, by which a certificate knows its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_CHUNK_BYTES = 1 << 20
_PART = 1 << 22


@dataclass(frozen=True)
class Digests:
    """What a certificate belongs to, as SHA-256 in hexadecimal.

    Parameters
    ----------
    kspace, mask, noise
        The scan as it was read, before whitening, zero where not sampled; noise is None if the scan
        had no noise measurement.
    maps
        The sensitivity maps as used.
    parameters
        The settings of the reconstruction.
    pixels
        The complex image.
    file
        The written image file; None as long as there is none.
    """

    kspace: str
    mask: str
    noise: str | None
    maps: str
    parameters: str
    pixels: str
    file: str | None = None


def digest_of_tensor(values: Tensor) -> str:
    """Return the SHA-256 of a tensor's type, shape and little-endian values."""
    flat = values.detach().reshape(-1)
    parts = (flat[start : start + _PART] for start in range(0, flat.numel(), _PART))
    return _digest(values.dtype, values.shape, parts)


def _digest(dtype: torch.dtype, shape: Sequence[int], parts: Iterable[Tensor]) -> str:
    """Return the digest of a tensor that comes in parts, in order: large ones are not copied."""
    state = hashlib.sha256(f"{dtype} {tuple(shape)}\n".encode())
    for part in parts:
        array = part.cpu().resolve_conj().contiguous().numpy()
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        state.update(array.reshape(-1).view(np.uint8).data)
    return state.hexdigest()


class ScanDigests(NamedTuple):
    """The digests of a scan, named and ordered as in :class:`Digests`."""

    kspace: str
    mask: str
    noise: str | None


def digest_of_scan(kspace: Tensor, mask: Tensor, noise: Tensor | None) -> ScanDigests:
    """Return the digests of a scan as it was read, before whitening."""
    full = mask.expand(kspace.shape)
    zero = torch.zeros((), dtype=kspace.dtype, device=kspace.device)
    # Not a product: it would keep the sign of the zeros.
    planes = (torch.where(full[i], kspace[i], zero) for i in np.ndindex(kspace.shape[:-2]))
    sampled = _digest(kspace.dtype, kspace.shape, planes)
    return ScanDigests(
        sampled,
        digest_of_tensor(mask),
        None if noise is None else digest_of_tensor(noise),
    )


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
