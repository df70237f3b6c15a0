"""SHA-256 digests of data, parameters, images and files, by which a certificate knows its own."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

_CHUNK_BYTES = 1 << 20


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
    array = values.detach().cpu().resolve_conj().contiguous().numpy()
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    state = hashlib.sha256(f"{values.dtype} {tuple(values.shape)}\n".encode())
    state.update(array.tobytes())
    return state.hexdigest()


class ScanDigests(NamedTuple):
    """The digests of a scan, named and ordered as in :class:`Digests`."""

    kspace: str
    mask: str
    noise: str | None


def digest_of_scan(kspace: Tensor, mask: Tensor, noise: Tensor | None) -> ScanDigests:
    """Return the digests of a scan as it was read, before whitening."""
    # Not a product: it would keep the sign of the zeros.
    sampled = torch.where(mask, kspace, torch.zeros_like(kspace))
    return ScanDigests(
        digest_of_tensor(sampled),
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
