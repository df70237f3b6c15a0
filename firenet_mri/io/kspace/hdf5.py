"""Looks at an HDF5 data set's size before it is read into memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from firenet_mri.errors import FileError

# k-space is noise to a compressor: what unpacks to far more than the file is not a scan.
_MOST_TIMES = 20
_ALWAYS_FINE = 1 << 26


def check_size(dataset: Any, path: Path) -> None:
    """Raise an error if a data set unpacks to far more bytes than its file has.

    Raises
    ------
    FileError
        If it does: the file is damaged, or made to fill the memory.
    """
    # A damaged file may have something else under the name.
    size, stored = int(getattr(dataset, "nbytes", 0)), path.stat().st_size
    if size > max(_ALWAYS_FINE, _MOST_TIMES * stored):
        raise FileError(
            f"{path}: {dataset.name} would take {size / 2**30:.1f} GiB, the file has "
            f"{stored / 2**30:.3f} GiB; it is damaged, or no scan"
        )
