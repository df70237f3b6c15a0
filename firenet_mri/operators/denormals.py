"""Arithmetic without subnormal numbers (IEEE 754), on which many CPUs are far slower.

Where the maps are zero, layer after layer moves ever smaller values away from the object, down to
numbers below 1e-38; docs/performance_details.md gives the measured cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from firenet_mri.operators.base import records_graph

_SUBNORMAL = np.float32(1e-39)


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Treat subnormal numbers as zero in this thread, and restore its mode afterwards.

    This has no effect if the CPU cannot do so, or while a graph is traced. Threads of OpenMP that
    share an operation keep their own mode; those of ``workers`` adopt the caller's.
    """
    if records_graph() or subnormals_are_zero():
        yield
        return
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def subnormals_are_zero() -> bool:
    """Return whether this thread treats subnormal numbers as zero."""
    return bool(_SUBNORMAL * np.float32(1) == 0)
