"""BART ``.cfl``/``.hdr`` pairs: column-major complex64 samples and a text header with the sizes.

BART's axes used here: 0 read, 1 phase 1, 2 phase 2, 3 coil, 13 slice. In NumPy their order is
reversed: (slice, coil, z, y, x).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import FileError, ShapeError
from firenet_mri.io.kspace.recognise import read_head

if TYPE_CHECKING:
    from firenet_mri.scan import RawScan

_AXES = (
    "read", "phase 1", "phase 2", "coil", "maps", "TE", "coefficient", "coefficient 2",
    "iteration", "cardiac phase", "time", "time 2", "level", "slice", "average", "batch",
)  # fmt: skip
TIME, SLICE = 10, 13
_USED = {0, 1, 2, 3, SLICE}


def find_pair(path: Path) -> Path | None:
    """Return the path of the .cfl file if ``path`` names a BART pair (or one half), else None."""
    if path.suffix in (".cfl", ".hdr"):
        stem = path.with_suffix("")
        if path.suffix == ".hdr" and path.is_file() and not _is_header(path):
            return None
        return stem.with_name(stem.name + ".cfl")
    # "." and "/" have no name.
    if not path.name:
        return None
    pair = path.with_name(path.name + ".cfl")
    return pair if not path.is_file() and pair.is_file() else None


def read(cfl: Path) -> RawScan:
    """Return the scan in a .cfl file, without geometry; zero in all coils means not sampled.

    Raises
    ------
    FileError
        If one file of the pair is missing, damaged or too short.
    ShapeError
        If an axis other than space, coil and slice has more than one entry, or fewer than two
        spatial axes have more than one entry.
    """
    import torch

    from firenet_mri.scan import RawScan, sampled_mask

    array, spatial_ndim = read_coil_array(cfl)
    kspace = torch.from_numpy(array)
    return RawScan(kspace, sampled_mask(kspace, spatial_ndim), spatial_ndim, name=cfl.name)


def read_coil_array(cfl: Path) -> tuple[NDArray[np.complex64], int]:
    """Return (coil, *spatial), after an axis of slices if there are several, and the spatial rank.

    Spatial axes of size 1 are dropped; see :func:`read` for errors.
    """
    array = read_array(cfl)
    if array.shape[0] == 1:
        array = array[0]
    spatial = tuple(size for size in array.shape[-3:] if size > 1)
    if len(spatial) < 2:
        raise ShapeError(
            f"{cfl}: read, phase 1 and phase 2 have sizes {array.shape[:-4:-1]}; at least two of "
            "them must be larger than 1"
        )
    return array.reshape(*array.shape[:-3], *spatial), len(spatial)


def read_array(cfl: Path) -> NDArray[np.complex64]:
    """Return the samples, (slice, coil, z, y, x) complex64; see :func:`read` for errors."""
    sizes = _read_header(cfl)
    for axis, size in enumerate(sizes):
        if size > 1 and axis not in _USED:
            label = _AXES[axis] if axis < len(_AXES) else "unknown"
            raise ShapeError(
                f"{cfl}: dimension {axis} ({label}) has {size} entries; only read, phase, coil and "
                f"slice may have several, so extract one (bart slice {axis} 0)"
            )
    sizes = (*sizes, *[1] * (14 - len(sizes)))
    shape = (sizes[13], *sizes[3::-1])
    return _samples(cfl, shape).astype(np.complex64, copy=False)


def read_plain(cfl: Path) -> NDArray[np.complex64]:
    """Return the array of a .cfl file in C order, without leading axes of size 1.

    Raises
    ------
    FileError
        If one file of the pair is missing, damaged or too short.
    """
    sizes = list(_read_header(cfl))
    while len(sizes) > 1 and sizes[-1] == 1:
        sizes.pop()
    return _samples(cfl, tuple(sizes[::-1]))


def _samples(cfl: Path, shape: tuple[int, ...]) -> NDArray[np.complex64]:
    """Return the samples in the header's shape, after checking that their number agrees."""
    read_head(cfl)
    count, stored = math.prod(shape), cfl.stat().st_size
    if stored < 8 * count:
        raise FileError(
            f"{cfl}: the file is truncated: {stored // 8} of {count} samples were found; copy it "
            "again"
        )
    if stored > 8 * count:
        raise FileError(
            f"{cfl}: the file has {stored} bytes, but the sizes in its header need {8 * count}; "
            "part of the scan would be left out, so export both again"
        )
    return np.fromfile(cfl, np.dtype("<c8")).reshape(shape)


def write_cfl(path: Path, array: NDArray[np.complexfloating], *, fifth: int = SLICE) -> None:
    """Write (..., coil, z, y, x) or fewer axes, last axis first, to ``path`` (.cfl) and its .hdr.

    A fifth axis from the end is written as BART's axis ``fifth``: 13 (slices) or 10 (time).
    """
    if array.ndim > 5:
        raise ShapeError(f"{path}: the array has {array.ndim} axes; at most 5 can be written")
    found = list(array.shape[::-1]) + [1] * (5 - array.ndim)
    sizes = found[:4] + [1] * 12
    sizes[fifth] = found[4]
    cfl = path.with_suffix(".cfl")
    np.ascontiguousarray(array, np.dtype("<c8")).tofile(cfl)
    cfl.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, sizes)) + "\n")


def _is_header(path: Path) -> bool:
    return read_head(path).startswith(b"#")


def _read_header(cfl: Path) -> tuple[int, ...]:
    """Return the sizes in the header beside ``cfl``."""
    header = cfl.with_suffix(".hdr")
    if cfl.is_file() and not header.is_file():
        raise FileError(f"{cfl}: its header {header.name} is missing; put it next to the .cfl file")
    lines = read_head(header).decode("ascii", "replace").splitlines()
    try:
        start = next(i for i, line in enumerate(lines) if line.strip() == "# Dimensions")
        sizes = tuple(int(word) for word in lines[start + 1].split())
    except (StopIteration, IndexError, ValueError):
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise FileError(f"{header}: no line of sizes after '# Dimensions'; export the scan again")
    if not cfl.is_file():
        raise FileError(
            f"{header}: its data {cfl.name} are missing; put them next to the .hdr file"
        )
    return sizes
