"""Refuses inputs other than files and folders before opening them, since a pipe would block."""

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
    """Refuse a pipe, a socket or a device; a missing file is reported when it is opened.

    Raises
    ------
    FileError
        If the path is a pipe, a socket or a device.
    """
    try:
        kind = _KINDS.get(stat.S_IFMT(path.stat().st_mode))
    except (OSError, ValueError):
        return
    if kind is not None:
        raise FileError(f"{path}: is {kind}; save the data as a file, and give that")
