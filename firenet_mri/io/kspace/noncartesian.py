"""Scans along a trajectory: data in one .npy or .cfl file, the points of k-space in another."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet_mri.errors import DataError, FileError, ShapeError
from firenet_mri.io.kspace import bart, npy
from firenet_mri.io.kspace.recognise import NPY_SIGNATURE, read_head
from firenet_mri.io.kspace.trajectory_units import check_has_unit, in_cycles_per_fov
from firenet_mri.scan import RawScan

Array = str | os.PathLike[str] | NDArray[np.generic] | Tensor


def read(path: Path, trajectory: Array, matrix_size: Sequence[int] | None) -> RawScan:
    """Return the scan whose samples are in a file, along a trajectory.

    Parameters
    ----------
    path
        .npy: complex (coil, *samples). .cfl: BART's dimensions 1, sample, spoke, coil.
    trajectory, matrix_size
        See :func:`firenet_mri.read`.

    Raises
    ------
    FileError
        If a file is missing, damaged or of another format.
    DataError, ShapeError
        If data and trajectory do not belong together, or cannot be used.
    """
    points = _points(trajectory)
    samples = tuple(points.shape[:-1])
    cfl = bart.find_pair(path)
    if cfl is not None:
        data: NDArray[np.generic] = bart.read_plain(cfl)
        data = data[..., 0] if data.shape[-1] == 1 else data
    elif read_head(path).startswith(NPY_SIGNATURE):
        data = npy.read_array(path)
    else:
        raise FileError(
            f"{path}: data for a trajectory must be a .npy or .cfl file; ISMRMRD files hold their "
            "own trajectory"
        )
    if data.dtype.kind != "c":
        raise DataError(f"{path}: the samples are {data.dtype}; they must be complex")
    if data.ndim != len(samples) + 1 or data.shape[1:] != samples:
        raise ShapeError(
            f"{path}: the samples have shape {data.shape}, the trajectory {tuple(points.shape)}; "
            f"the samples must be (coil, {', '.join(map(str, samples))})"
        )
    kspace = torch.from_numpy(np.ascontiguousarray(data, np.complex64))
    label = str(trajectory) if isinstance(trajectory, str | os.PathLike) else "the trajectory"
    if matrix_size is None:
        check_has_unit(points.numpy(), label)
        shape = smallest_shape(points)
    else:
        shape = tuple(matrix_size)
    if len(shape) == points.shape[-1]:
        points = torch.from_numpy(in_cycles_per_fov(points.numpy(), shape, label))
    return along(kspace, points, shape, name=path.name)


def along(
    kspace: Tensor,
    trajectory: Tensor,
    image_shape: tuple[int, ...],
    *,
    name: str,
    simulated: bool = False,
) -> RawScan:
    """Return the scan with data (..., coil, *samples) along a trajectory (*samples, ndim)."""
    mask = torch.ones((1, *trajectory.shape[:-1]), dtype=torch.bool)
    return RawScan(
        kspace,
        mask,
        spatial_ndim=trajectory.shape[-1],
        name=name,
        simulated=simulated,
        trajectory=trajectory,
        image_shape=image_shape,
    )


def smallest_shape(points: Tensor) -> tuple[int, ...]:
    """Return the smallest even image size that a trajectory fits into, axis by axis."""
    flat = points.reshape(-1, points.shape[-1])
    reach = torch.maximum(-flat.amin(0), flat.amax(0) * (1 + 1e-6))
    return tuple(max(2, 2 * math.ceil(float(size) - 1e-3)) for size in reach)


def _points(trajectory: Array) -> Tensor:
    """Return a trajectory as (*samples, ndim) float64, in its own unit and the image's axes."""
    if not isinstance(trajectory, str | os.PathLike):
        array = np.asarray(trajectory)
        label = "the trajectory"
    else:
        path = Path(trajectory)
        label = str(path)
        cfl = bart.find_pair(path)
        if cfl is not None:
            array = _from_bart(bart.read_plain(cfl), label)
        elif read_head(path).startswith(NPY_SIGNATURE):
            array = npy.read_array(path)
        else:
            raise FileError(f"{path}: is not a trajectory file; give a .npy or .cfl array")
    if array.dtype.kind not in "fiu":
        raise DataError(f"{label}: the trajectory is {array.dtype}; it must be real numbers")
    if array.ndim < 2 or array.shape[-1] not in (2, 3):
        raise ShapeError(
            f"{label}: the trajectory has shape {array.shape}; it must be (*samples, 2) or "
            "(*samples, 3)"
        )
    points = torch.from_numpy(np.ascontiguousarray(array, np.float64))
    if not bool(torch.isfinite(points).all()):
        raise DataError(f"{label}: the trajectory has NaN or infinite values; export it again")
    return points


def _from_bart(array: NDArray[np.complex64], label: str) -> NDArray[np.generic]:
    """Return (*samples, ndim) of BART's dimensions 3, sample, spoke: x comes first there."""
    if array.shape[-1] != 3:
        raise ShapeError(
            f"{label}: the first dimension is {array.shape[-1]}; a BART trajectory has 3, x, y, z"
        )
    real: NDArray[np.generic] = array.real[..., ::-1]
    return real if np.any(real[..., 0]) else real[..., 1:]
