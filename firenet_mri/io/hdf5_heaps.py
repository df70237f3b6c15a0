"""Looks through an HDF5 file's global heaps, in which elements of varying length lie.

The HDF5 library (2.0 at the latest) reads a heap object after object until its end, and never comes
back from one that is damaged such that an object ends where it begins. Format: HDF5 File Format
Specification, III.E, "Disk Format: Level 1E - Global Heap".
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
    """Return whether an object of one of a file's heaps has no size, or one that does not fit."""
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
        # A free space, index 0, counts its own head.
        needed = _OBJECT.size + -(-length // _ALIGNED) * _ALIGNED if index else length
        # What is larger than its heap comes out small where 64 bits do not hold its end.
        if not 0 < needed <= end - place:
            return True
        place += needed
    return False
