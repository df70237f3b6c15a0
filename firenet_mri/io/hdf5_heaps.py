"""Checks an HDF5 file's global heaps, which hold elements of varying length.

The HDF5 library (up to 2.0, the latest) reads a heap object by object to its end, and never returns
from a damaged heap in which an object ends where it begins. Format: HDF5 File Format Specification,
III.E, "Disk Format: Level 1E - Global Heap".
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

_SIGNATURE = b"GCOL\x01\0\0\0"
_HEAD = struct.Struct("<8sQ")
_OBJECT = struct.Struct("<HHIQ")
_ALIGNED = 8


def has_damaged_heap(path: Path) -> bool:
    """Return whether an object in one of a file's heaps has no size or an impossible one."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(_SIGNATURE)
        while start >= 0:
            if _is_damaged(content, start):
                return True
            start = content.find(_SIGNATURE, start + len(_SIGNATURE))
    return False


def _is_damaged(content: mmap.mmap, start: int) -> bool:
    if start + _HEAD.size > len(content):
        return False
    _, size = _HEAD.unpack_from(content, start)
    place, end = start + _HEAD.size, start + size
    while place + _OBJECT.size <= min(end, len(content)):
        index, _, _, length = _OBJECT.unpack_from(content, place)
        # The size of free space, index 0, includes its own head.
        needed = _OBJECT.size + -(-length // _ALIGNED) * _ALIGNED if index else length
        # If its end overflows 64 bits, an object larger than the heap seems small.
        if not 0 < needed <= end - place:
            return True
        place += needed
    return False
