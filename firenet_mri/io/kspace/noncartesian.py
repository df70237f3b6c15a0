"""Scans along a trajectory: data in one .npy or .cfl file, k-space points in another.

Data of several images have an axis of images before the coil axis. If each image has its own
trajectory, the points have both axes, too, the second of size 1: (image, 1, *samples, 2 or 3).
"""

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
    """Return the scan whose samples, along a trajectory, are in a file.

    Parameters
    ----------
    path
        .npy: complex ([image,] coil, *samples). .cfl: BART's dimensions 1, sample, spoke, coil, and
        at most one later dimension, such as 10 (time).
    trajectory, matrix_size
        See :func:`firenet_mri.read`.

    Raises
    ------
    FileError
        If a file is missing, damaged or of another format.
    DataError, ShapeError
        If data and trajectory do not fit together, or cannot be used.
    """
    points = _points(trajectory)
    cfl = bart.find_pair(path)
    if cfl is not None:
        data: NDArray[np.generic] = bart.read_plain(cfl)
        data = _without_ones(data[..., 0] if data.shape[-1] == 1 else data, str(path))
    elif read_head(path).startswith(NPY_SIGNATURE):
        data = npy.read_array(path)
    else:
        raise FileError(
            f"{path}: data for a trajectory must be a .npy or .cfl file; ISMRMRD files hold their "
            "own trajectory"
        )
    if data.dtype.kind != "c":
        raise DataError(f"{path}: the samples have type {data.dtype}; they must be complex")
    own = _are_of_images(points, data)
    samples = tuple(points.shape[2 if own else 0 : -1])
    has_images = own or data.ndim == len(samples) + 2
    if data.ndim != len(samples) + 1 + has_images or data.shape[1 + has_images :] != samples:
        raise ShapeError(
            f"{path}: the samples have shape {data.shape}, the trajectory {tuple(points.shape)}; "
            f"the samples must be (coil, {', '.join(map(str, samples))}), or (image, coil, ...) "
            "for several images, and points that differ between images (image, 1, *samples, "
            f"{points.shape[-1]})"
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
    if not has_images:
        return along(kspace, points, shape, name=path.name)
    ndim = points.shape[-1]
    # As in other scans, the slice axis follows the image axis.
    kspace = kspace[:, None] if ndim == 2 else kspace
    names = tuple(f"repetition {index}" for index in range(len(kspace)))
    given = list(points[:, 0]) if own else points
    return along(kspace, given, shape, name=path.name, images=names)


def along(
    kspace: Tensor,
    trajectory: Tensor | Sequence[Tensor],
    image_shape: tuple[int, ...],
    *,
    name: str,
    images: tuple[str, ...] = (),
) -> RawScan:
    """Return the scan with data (..., coil, *samples) along trajectories (*samples, ndim)."""
    first = trajectory if isinstance(trajectory, Tensor) else trajectory[0]
    mask = torch.ones((1, *first.shape[:-1]), dtype=torch.bool)
    return RawScan(
        kspace,
        mask,
        spatial_ndim=first.shape[-1],
        name=name,
        trajectory=trajectory,
        image_shape=image_shape,
        images=images,
    )


def _are_of_images(points: Tensor, data: NDArray[np.generic]) -> bool:
    """Return whether the points have one trajectory for each image of the data."""
    return points.ndim == data.ndim + 1 and points.shape[:2] == (len(data), 1)


def _without_ones(array: NDArray[np.generic], label: str) -> NDArray[np.generic]:
    """Return BART's ([image,] coil, line, sample) without the axes of size 1 in between."""
    leading = [size for size in array.shape[:-3] if size > 1]
    if len(leading) > 1:
        raise ShapeError(
            f"{label}: has sizes {array.shape[::-1]}; besides samples, lines and coils only one "
            "dimension may have several entries, so extract one of the others (bart slice)"
        )
    return array.reshape(*leading, *array.shape[-3:])


def smallest_shape(points: Tensor) -> tuple[int, ...]:
    """Return the smallest even image size that a trajectory fits into, axis by axis."""
    flat = points.reshape(-1, points.shape[-1])
    reach = torch.maximum(-flat.amin(0), flat.amax(0) * (1 + 1e-6))
    return tuple(max(2, 2 * math.ceil(float(size) - 1e-3)) for size in reach)


def _points(trajectory: Array) -> Tensor:
    """Return a trajectory (*samples, ndim) float64 in its own unit and the axes of the image."""
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
        raise DataError(f"{label}: the trajectory has type {array.dtype}; it must be real")
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
    """Return (*samples, ndim) from BART's dimensions 3, sample, spoke, where x comes first."""
    if array.shape[-1] != 3:
        raise ShapeError(
            f"{label}: the first dimension has size {array.shape[-1]}; in a BART trajectory it has "
            "size 3 (x, y, z)"
        )
    real: NDArray[np.generic] = array.real[..., ::-1]
    real = real if np.any(real[..., 0]) else real[..., 1:]
    if real.ndim < 5:
        return real
    # The coil axis has size 1.
    leading = _without_ones(real[..., 0], label).shape[:-2]
    return real.reshape(*leading, *real.shape[-3:])
