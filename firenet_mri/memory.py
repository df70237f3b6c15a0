"""Gives memory that was freed back to the system, where the C library would keep it.

Layers are faster where freed blocks are kept (:mod:`firenet_mri.operators.cartesian_residual`). Of
a volume what is kept of one stage adds to what the next one needs.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable

#: Bytes of the data of an item from which on giving back is worth its milliseconds.
LARGE = 1 << 24


def give_back_freed_memory(data_bytes: int) -> None:
    """Give freed memory back after a stage, if the data that it was about are large.

    Nothing happens where the C library has no ``malloc_trim``: it is glibc's.

    Parameters
    ----------
    data_bytes
        Size of the data, in bytes.
    """
    if data_bytes >= LARGE:
        _trim()(0)


@functools.cache
def _trim() -> Callable[[int], object]:
    if not sys.platform.startswith("linux"):
        return lambda _: None
    found: Callable[[int], object] = getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)
    return found
