"""Arithmetic without subnormal numbers (IEEE 754), on which many CPUs are far slower.

Where the maps are zero, layer after layer moves ever smaller values away from the object, down to
numbers below 1e-38; what that costs is measured in docs/performance_details.md.
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
    """Take subnormal numbers for zero in this thread, and do as before afterwards.

    Nothing where the CPU cannot, or a graph is traced. Threads of OpenMP that share an operation
    keep their own mode; those of ``workers`` take over the caller's.
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
    """Return whether this thread takes subnormal numbers for zero."""
    return bool(_SUBNORMAL * np.float32(1) == 0)
