"""NumPy ``.npy`` scans: a complex array with the coils first, (coil, y, x) or (coil, z, y, x)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError, FileError, ShapeError
from firenet_mri.memory import refuse_shortage

if TYPE_CHECKING:
    from firenet_mri.scan import RawScan


def read(path: Path) -> RawScan:
    """Return the scan in a .npy file, without geometry; zero in all coils means not sampled.

    Raises
    ------
    FileError
        If the file is truncated, damaged or holds Python objects.
    DataError
        If the array is not complex.
    ShapeError
        If it does not have 3 or 4 axes.
    """
    import torch

    from firenet_mri.scan import RawScan, sampled_mask

    kspace = torch.from_numpy(read_coil_array(path))
    spatial_ndim = kspace.ndim - 1
    return RawScan(kspace, sampled_mask(kspace, spatial_ndim), spatial_ndim, name=path.name)


def read_coil_array(path: Path) -> NDArray[np.complex64]:
    """Return (coil, *spatial); see :func:`read` for errors."""
    array = read_array(path)
    if array.dtype.kind != "c":
        raise DataError(
            f"{path}: the array has type {array.dtype}; k-space must be complex64 or complex128, "
            "and firenet simulate makes a scan from an image"
        )
    if array.ndim not in (3, 4):
        raise ShapeError(
            f"{path}: the array has shape {array.shape}; it must be (coil, y, x) or (coil, z, y, x)"
        )
    return array.astype(np.complex64)


def read_array(path: Path) -> NDArray[np.generic]:
    """Return the array in a .npy file; pickled objects are refused.

    Raises
    ------
    FileError
        If it is truncated, damaged, empty or holds Python objects.
    """
    try:
        # Mapping compares the header with the file's size before any memory is allocated.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        found, wanted = path.stat().st_size, array.offset + array.nbytes
        if found != wanted:
            raise FileError(
                f"{path}: the .npy file has {found} bytes, but its header needs {wanted}; part of "
                "the array would be left out, so save it again with numpy.save"
            )
        return np.array(array)
    except FileError:
        raise
    # The header is parsed as Python, and damaged ones raise exceptions of many kinds.
    except Exception as error:
        refuse_shortage(path, error)
        raise FileError(
            f"{path}: the .npy file is truncated, damaged or holds Python objects; save the array "
            "again with numpy.save"
        ) from None
