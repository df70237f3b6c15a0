"""Names of temporary files, by which those of runs that were killed are known and removed.

``.fn-NODE-PID-TOKEN-NAME``: the machine and process that write it, and the output that it becomes.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import re
import secrets
import time
from pathlib import Path

_NAME = re.compile(r"\.fn-([0-9a-f]{6})-(\d+)-([0-9a-f]{8})-(.+)", re.DOTALL)
_ASIDE = "~"
# Of another machine's process nothing is known; nobody writes a file for longer without a byte.
_ABANDONED_S = 24 * 3600.0
# Tokens of this process's files: after a restart in a container another may have had its number.
_own: set[str] = set()


def new_token() -> str:
    """Return a token for files that are written together."""
    token = secrets.token_hex(4)
    _own.add(token)
    return token


def forget(token: str) -> None:
    """Say that files with this token are written no more."""
    _own.discard(token)


def temporary_beside(path: Path, token: str) -> Path:
    """Return the temporary file for an output; it keeps the output's whole suffix."""
    return path.with_name(f".fn-{_node()}-{os.getpid()}-{token}-{path.name}")


def set_aside(path: Path, token: str) -> Path:
    """Return where a file is put that is being replaced, until all of the new ones are there."""
    return temporary_beside(path.with_name(f"{_ASIDE}{path.name}"), token)


def is_temporary(path: Path) -> bool:
    """Return whether a file is a temporary one, of a run that goes on or was killed."""
    return _NAME.fullmatch(path.name) is not None


def remove_abandoned(folder: Path) -> None:
    """Remove from a folder the temporary files of runs that were killed.

    Those of processes that are alive stay; those of another machine stay for a day. What was put
    aside stays while nothing has taken its place.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _NAME.fullmatch(entry.name)
            if match is not None and _is_abandoned(entry, *match.groups()):
                with contextlib.suppress(OSError):
                    Path(entry.path).unlink()


def _is_abandoned(entry: os.DirEntry[str], node: str, pid: str, token: str, name: str) -> bool:
    if token in _own or not entry.is_file(follow_symlinks=False):
        return False
    if name.startswith(_ASIDE) and not Path(entry.path).with_name(name[1:] or _ASIDE).exists():
        return False
    if node == _node() and not _is_alive(int(pid)):
        return True
    return time.time() - entry.stat().st_mtime > _ABANDONED_S


def _is_alive(pid: int) -> bool:
    """Return whether a process of this machine lives, as far as that can be told."""
    if pid == os.getpid():
        # Its own files are known by their tokens.
        return False
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


@functools.cache
def _node() -> str:
    """Return what tells this machine, or container, whose processes have numbers of their own."""
    numbers = ""
    with contextlib.suppress(OSError):
        numbers = str(Path("/proc/self/ns/pid").readlink())
    return hashlib.sha256(f"{platform.node()} {numbers}".encode()).hexdigest()[:6]
