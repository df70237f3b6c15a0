"""Refuses what is neither a file nor a folder before it is opened: a pipe would be waited for."""

from __future__ import annotations

import stat
from pathlib import Path

from firenet_mri.errors import FileError

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_regular(path: Path) -> None:
    """Refuse a pipe, a socket or a device; what is missing is said where it is opened.

    Raises
    ------
    FileError
        If the path is one of these.
    """
    try:
        kind = _KINDS.get(stat.S_IFMT(path.stat().st_mode))
    except (OSError, ValueError):
        return
    if kind is not None:
        raise FileError(f"{path}: is {kind}; save the data as a file, and give that")
