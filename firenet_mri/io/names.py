"""Names of files in printable form, and the reason why a file is missing."""

from __future__ import annotations

import errno
from pathlib import Path

# Python represents bytes of a name that is not UTF-8 by these characters.
_FIRST, _LAST = 0xDC80, 0xDCFF


def printable(name: str) -> str:
    """Return a file's name with bytes that are not UTF-8 as ``%FF``."""
    return "".join(
        f"%{ord(letter) - 0xDC00:02X}" if _FIRST <= ord(letter) <= _LAST else letter
        for letter in name
    )


def is_dangling(path: Path) -> bool:
    """Return whether a path is a dangling symbolic link."""
    return path.is_symlink() and not path.exists()


def why_missing(path: Path) -> str:
    """Return why a file is missing, and what to do."""
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
