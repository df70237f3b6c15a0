"""The standard streams of a command, whose reader may go away before the end."""

from __future__ import annotations

import contextlib
import os
from typing import TextIO


def drop(stream: TextIO) -> None:
    """Send what is still in the buffer nowhere, else Python tries to write it again at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    # Without a descriptor there is nothing to try again.
    with contextlib.suppress(OSError):
        os.dup2(null, stream.fileno())
    os.close(null)
