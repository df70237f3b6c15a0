"""Readouts of ISMRMRD scans that carry the points of k-space at which they were taken.

Their unit is found as :mod:`firenet_mri.io.kspace.trajectory_units` says: many sequences store
cycles per pixel. The first coordinate is x.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet_mri.errors import DataError, ShapeError
from firenet_mri.io.kspace.trajectory_units import in_cycles_per_fov


def place(
    lines: Sequence[Any], slices: Sequence[Any], shape: tuple[int, ...], name: str
) -> tuple[Tensor, Tensor]:
    """Return data (slice, coil, line, sample) and trajectory (line, sample, ndim).

    Parameters
    ----------
    lines
        Imaging readouts, ``ismrmrd.Acquisition``.
    slices
        One readout of each slice, in order.
    shape
        Sizes of the image.
    name
        What messages call the scan.

    Raises
    ------
    DataError
        If readouts have no trajectory, that of the slices differs, or its unit is not clear.
    ShapeError
        If readouts have different numbers of samples.
    """
    data, points = zip(
        *(_one_slice(lines, first.idx.slice, len(shape), name) for first in slices), strict=True
    )
    same = all(p.shape == points[0].shape and np.allclose(p, points[0]) for p in points)
    if not same or any(d.shape != data[0].shape for d in data):
        raise DataError(
            f"{name}: the slices have different trajectories; split the scan into one file each"
        )
    trajectory = in_cycles_per_fov(points[0][..., ::-1], shape, name)
    return torch.from_numpy(np.stack(data)), torch.from_numpy(np.ascontiguousarray(trajectory))


def _one_slice(
    lines: Sequence[Any], number: int, ndim: int, name: str
) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    """Return (coil, line, sample) and (line, sample, ndim) of one slice."""
    mine = [line for line in lines if line.idx.slice == number]
    if any(line.trajectory_dimensions < ndim for line in mine):
        raise DataError(
            f"{name}: readouts without the points of k-space ({ndim} numbers per sample are "
            "needed); export the scan with its trajectory"
        )
    kept = [slice(line.discard_pre, line.number_of_samples - line.discard_post) for line in mine]
    samples = [line.data[:, part] for line, part in zip(mine, kept, strict=True)]
    if len({part.shape for part in samples}) > 1:
        raise ShapeError(
            f"{name}: readouts with {sorted({part.shape[1] for part in samples})} samples; all "
            "must have the same number"
        )
    points = [line.traj[part, :ndim] for line, part in zip(mine, kept, strict=True)]
    return np.stack(samples, axis=1).astype(np.complex64), np.stack(points)
