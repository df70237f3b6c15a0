"""Estimates the memory that a reconstruction will need, before any of it is allocated.

The figures were measured (``accurate``, peak of the process, docs/operations.md). Each image of a
slice that is being reconstructed needs 90 complex images, and 5 more per coil. Four images of the
encoded matrix per coil are held from beginning to end. This is an estimate; the server also
monitors the memory that is actually used.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable

from firenet_mri.errors import DataError
from firenet_mri.io.kspace.ismrmrd import Extent
from firenet_mri.plurals import counted

_COMPLEX = 8
_WORKED_ON, _WORKED_ON_PER_COIL, _KEPT_PER_COIL = 90, 5, 4


def needed_bytes(extent: Extent, cores: int) -> int:
    """Return an estimate, in bytes, of the memory that a reconstruction with defaults needs.

    Parameters
    ----------
    extent
        Size of the scan.
    cores
        Number of slices that are reconstructed at once.
    """
    items, coils = extent.images * extent.slices, extent.coils
    at_once = min(items, cores) * (_WORKED_ON + _WORKED_ON_PER_COIL * coils)
    kept = items * _KEPT_PER_COIL * coils
    return _COMPLEX * (at_once * math.prod(extent.matrix) + kept * math.prod(extent.encoded))


def check_needs(most_bytes: int) -> Callable[[Extent], None]:
    """Return a check that raises DataError if a scan needs more memory than is allowed."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1

    def check(extent: Extent) -> None:
        needed = needed_bytes(extent, cores)
        matrix = " x ".join(map(str, reversed(extent.encoded)))
        if needed > most_bytes:
            raise DataError(
                f"A matrix of {matrix}, {counted(extent.coils, 'coil')}, "
                f"{counted(extent.slices, 'slice')} and {counted(extent.images, 'image')} need "
                f"about {needed / 2**30:.1f} GiB, and a reconstruction may take "
                f"{most_bytes / 2**30:.3g}; correct the header's matrix, send fewer slices at "
                "once, or ask the administrator to raise --recon-gib"
            )

    return check
