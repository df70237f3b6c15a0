"""Reads a PNG or JPEG picture as grey values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firenet_mri.errors import FileError
from firenet_mri.io.kspace.recognise import read_head

_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff")
# The largest value of each mode; modes with more than eight bits have sixteen in PNG.
_EIGHT_BITS, _SIXTEEN_BITS = 255.0, 65535.0


def is_grey(path: Path) -> bool:
    """Return whether a file begins like a PNG or JPEG picture."""
    return read_head(path).startswith(_SIGNATURES)


def read_grey(path: Path) -> Tensor:
    """Return a picture as (y, x) float32 in [0, 1], where 1 is white; colours become luma.

    Raises
    ------
    FileError
        If it is missing, damaged, or neither PNG nor JPEG.
    """
    from PIL import Image

    if not is_grey(path):
        raise FileError(f"{path}: is neither a PNG nor a JPEG picture; give one of these")
    try:
        with Image.open(path) as picture:
            pixels: Any
            if picture.mode.startswith("I"):
                pixels = np.asarray(picture, dtype=np.float32) / _SIXTEEN_BITS
            else:
                pixels = np.asarray(picture.convert("L"), dtype=np.float32) / _EIGHT_BITS
    # Damaged pictures make the decoder raise exceptions of several kinds.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise FileError(f"{path}: the picture is damaged; copy or export it again") from None
    return torch.from_numpy(np.ascontiguousarray(pixels))
