"""Names of files as people and other programs can read them, and why a file is not there."""

from __future__ import annotations

import errno
from pathlib import Path

# Bytes of a name that is not UTF-8 are these characters in Python.
_FIRST, _LAST = 0xDC80, 0xDCFF


def printable(name: str) -> str:
    """Return a file's name with bytes that are not UTF-8 as ``%FF``."""
    return "".join(
        f"%{ord(letter) - 0xDC00:02X}" if _FIRST <= ord(letter) <= _LAST else letter
        for letter in name
    )


def is_dangling(path: Path) -> bool:
    """Return whether it is a symbolic link to nothing."""
    return path.is_symlink() and not path.exists()


def why_missing(path: Path) -> str:
    """Return what is wrong with a file that is not there, and what to do."""
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "is a link that leads back to itself; correct the link"
    if is_dangling(path):
        return (
            "is a link to a file that is not there; fetch the file (git annex get, datalad get), "
            "or correct the link"
        )
    return "no such file; check the path"
