"""Writes 8-bit PNG images, grey or with a palette, using only the standard library."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_GREY, _PALETTE = 0, 3
_LEVEL = 9


def png_bytes(pixels: NDArray[np.uint8], palette: NDArray[np.uint8] | None = None) -> bytes:
    """Return a PNG file.

    Parameters
    ----------
    pixels
        (row, column) uint8: grey values, or indices into the palette.
    palette
        (256, 3) uint8, red, green and blue; None means grey.
    """
    height, width = pixels.shape
    kind = _GREY if palette is None else _PALETTE
    rows = np.zeros((height, width + 1), np.uint8)
    # Every row begins with its filter type; 0 is no filter.
    rows[:, 1:] = pixels
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0))]
    if palette is not None:
        chunks.append((b"PLTE", palette.tobytes()))
    chunks += [(b"IDAT", zlib.compress(rows.tobytes(), _LEVEL)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def grey_levels(image: NDArray[np.floating], white: float) -> NDArray[np.uint8]:
    """Return magnitudes as 0 (black) to 255 (``white`` and above); NaN is black."""
    levels: NDArray[np.uint8] = np.round(
        255 * np.clip(np.nan_to_num(np.asarray(image) / white), 0, 1)
    ).astype(np.uint8)
    return levels
