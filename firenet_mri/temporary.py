"""Names of temporary files, by which those of killed runs are recognised and removed.

``.fn-NODE-PID-TOKEN-NAME``: the machine and process that write the file, and the output's name.
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
# Nothing is known of another machine's process; no write pauses for longer than this.
_ABANDONED_S = 24 * 3600.0
# Tokens of this process's files: after a container restart, another process may have had its PID.
_own: set[str] = set()


def new_token() -> str:
    """Return a token for files that are written together."""
    token = secrets.token_hex(4)
    _own.add(token)
    return token


def forget(token: str) -> None:
    """Record that files with this token are no longer being written."""
    _own.discard(token)


def temporary_beside(path: Path, token: str) -> Path:
    """Return the temporary file for an output; it keeps the output's whole suffix."""
    return path.with_name(f".fn-{_node()}-{os.getpid()}-{token}-{path.name}")


def set_aside(path: Path, token: str) -> Path:
    """Return where to put a file that is being replaced until all of the new ones exist."""
    return temporary_beside(path.with_name(f"{_ASIDE}{path.name}"), token)


def is_temporary(path: Path) -> bool:
    """Return whether a file is a temporary one, of a running or killed run."""
    return _NAME.fullmatch(path.name) is not None


def remove_abandoned(folder: Path) -> None:
    """Remove from a folder the temporary files of runs that were killed.

    Files of living processes stay; files of another machine stay for a day. A file that was set
    aside stays until a new one has replaced it.
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
    """Return whether a process of this machine is alive, as far as can be told."""
    if pid == os.getpid():
        # A process recognises its own files by their tokens.
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
    """Return an identifier of this machine or container, whose process numbers are its own."""
    numbers = ""
    with contextlib.suppress(OSError):
        numbers = str(Path("/proc/self/ns/pid").readlink())
    return hashlib.sha256(f"{platform.node()} {numbers}".encode()).hexdigest()[:6]
