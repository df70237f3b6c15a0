"""Loads libraries without garbage collection among the objects that they define."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Collect no garbage while torch is loaded, and never examine these objects afterwards.

    torch and the libraries that it loads create some 300,000 permanent objects. Python would
    examine all of them repeatedly while they are created, and again during the reconstruction. If
    torch is already loaded, this does nothing.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
