"""The standard streams of a command, whose reader may disappear before the end."""

from __future__ import annotations

import contextlib
import os
from typing import TextIO


def drop(stream: TextIO) -> None:
    """Discard the buffered output, which Python would otherwise try to write again when it ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    # Without a descriptor there is nothing to write again.
    with contextlib.suppress(OSError):
        os.dup2(null, stream.fileno())
    os.close(null)
