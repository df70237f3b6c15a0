"""The single entry point for reading NIfTI files: checks sizes and checksums, raises one error.

A compressed file is decompressed once in pieces before anything is allocated. It must contain what
its header states, and its CRC must be right; a reader that stops after the last voxel would never
check the CRC.
"""

from __future__ import annotations

import gzip
import io
import logging
import math
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import FileError
from firenet_mri.io.kspace.recognise import read_head
from firenet_mri.io.sizes import check_unpacked
from firenet_mri.memory import refuse_shortage

_log = logging.getLogger(__name__)

_GZIP = b"\x1f\x8b"
_PIECE = 1 << 20
# Images compress better than k-space, masks and phantoms most of all.
_MOST_TIMES, _ALWAYS_FINE = 100, 1 << 29
_LARGEST_OFFSET = 1 << 26
_HEADERS = {b"n+1\0": (344, 348), b"ni1\0": (344, 348), b"n+2\0": (4, 540), b"ni2\0": (4, 540)}
_PAIRS = (".hdr", ".img")
# Milliseconds per unit of time.
_MS = {"sec": 1e3, "msec": 1.0, "usec": 1e-3}


def load_nifti(path: Path) -> Any:
    """Return the nibabel image of a file whose size, and checksum if it has one, fit its header.

    Raises
    ------
    FileError
        If it is missing, not NIfTI, truncated or damaged, or requires far more memory than it has
        bytes.
    """
    import nibabel

    read_head(path)
    try:
        header = _header(_first_bytes(_file_of_header(path)))
        _check_sizes(path, header)
        _say_scaling(path, header)
        return nibabel.load(path)
    except FileError:
        raise
    # Damaged header fields raise exceptions of many kinds, in many places.
    except Exception as error:
        refuse_shortage(path, error)
        raise _damaged(path) from None


def shape_of_nifti(path: Path) -> tuple[int, ...]:
    """Return the sizes (x, y, z, ...) of a NIfTI image, reading only its header.

    Raises
    ------
    FileError
        If it is missing, not NIfTI, or its header is damaged.
    """
    read_head(path)
    try:
        header = _header(_first_bytes(_file_of_header(path)))
        return tuple(int(n) for n in header.get_data_shape())
    except Exception:
        raise _damaged(path) from None


def time_of_nifti(path: Path) -> float | None:
    """Return the time between the images of a NIfTI file in ms; None if not stated.

    Raises
    ------
    FileError
        As for :func:`shape_of_nifti`.
    """
    read_head(path)
    try:
        header = _header(_first_bytes(_file_of_header(path)))
        unit = _MS.get(header.get_xyzt_units()[1])
        zooms = header.get_zooms()
    except Exception:
        raise _damaged(path) from None
    step = float(zooms[3]) if len(zooms) > 3 else 0.0
    if unit is None or not (step > 0 and math.isfinite(step)):
        return None
    # The header has single precision.
    return float(f"{step * unit:.6g}")


def voxels_of(image: Any, path: Path) -> NDArray[Any]:
    """Return the voxels of an image from :func:`load_nifti`, scaled but not cast.

    Raises
    ------
    FileError
        If the voxels cannot be read.
    """
    try:
        return np.asanyarray(image.dataobj)
    except Exception as error:
        refuse_shortage(path, error)
        raise _damaged(path) from None


def _damaged(path: Path) -> FileError:
    return FileError(
        f"{path}: is not a NIfTI image, or is truncated or damaged; copy or export it again"
    )


def _file_of_header(path: Path) -> Path:
    return path.with_suffix(".hdr") if path.suffix in _PAIRS else path


def _file_of_voxels(path: Path) -> Path:
    return path.with_suffix(".img") if path.suffix in _PAIRS else path


def _first_bytes(path: Path) -> bytes:
    with _opened(path) as file:
        return file.read(540)


def _opened(path: Path) -> BinaryIO:
    """Open a file for reading its content, decompressed if necessary."""
    with path.open("rb") as file:
        is_packed = file.read(2) == _GZIP
    return gzip.open(path) if is_packed else path.open("rb")  # type: ignore[return-value]


def _header(head: bytes) -> Any:
    """Return the nibabel header at the beginning of a file; ValueError if there is none."""
    from nibabel import Nifti1Header, Nifti2Header

    for magic, (at, size) in _HEADERS.items():
        if head[at : at + 4] == magic:
            kind: Any = Nifti1Header if size == 348 else Nifti2Header
            return kind(head[:size])
    raise ValueError("no magic string of NIfTI")


def _say_scaling(path: Path, header: Any) -> None:
    """Log if floating-point voxels are scaled, since they need no scaling."""
    slope, offset = header.get_slope_inter()
    is_scaled = slope not in (None, 1.0) or offset not in (None, 0.0)
    if is_scaled and header.get_data_dtype().kind in "fc":
        _log.warning(
            "%s: the voxels are floating-point numbers, but the header scales them (slope %g, "
            "intercept %g); it may be wrong",
            path.name,
            slope,
            offset,
        )


def _check_sizes(path: Path, header: Any) -> None:
    """Refuse a file that decompresses to far more, or to less, than its header states."""
    offset = int(header["vox_offset"])
    shape = [int(n) for n in header.get_data_shape()]
    if not 0 <= offset <= _LARGEST_OFFSET or min(shape, default=0) < 0:
        raise _damaged(path)
    count = offset + math.prod(shape) * header.get_data_dtype().itemsize
    voxels = _file_of_voxels(path)
    check_unpacked(
        count,
        voxels.stat().st_size,
        f"{path}: the image",
        most_times=_MOST_TIMES,
        always_fine=_ALWAYS_FINE,
    )
    found = _unpacked(path, voxels, count)
    if found < count:
        raise FileError(
            f"{path}: the image is truncated: {found} of {count} bytes were found; copy it again"
        )
    if found > count:
        _log.warning(
            "%s: the file contains more than the %d bytes that its header states; its sizes or its "
            "type may be wrong",
            path.name,
            count,
        )


def _unpacked(path: Path, voxels: Path, count: int) -> int:
    """Return how many bytes a file contains decompressed; FileError if far too many."""
    total = 0
    try:
        with _opened(voxels) as file:
            if isinstance(file, io.BufferedReader):
                return voxels.stat().st_size
            # Read to the end, where the checksum is.
            while piece := file.read(_PIECE):
                total += len(piece)
                if total > count + _PIECE:
                    raise FileError(
                        f"{path}: the image decompresses to far more than the {count} bytes that "
                        "its header states; the file is damaged, so copy or export it again"
                    )
    except (gzip.BadGzipFile, zlib.error):
        raise FileError(
            f"{path}: its bytes do not match its checksum, so the file is damaged; copy it again"
        ) from None
    except EOFError:
        raise FileError(f"{path}: the compressed file is truncated; copy it again") from None
    return total
