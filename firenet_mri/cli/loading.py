"""Loads libraries without looking for garbage among what they define."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Collect no garbage while torch is loaded, and never examine these objects afterwards.

    torch and what comes with it make some 300,000 objects that stay. Python would go through all of
    them time after time while they are made, and again during the reconstruction. Where torch is
    loaded already, this does nothing.
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
