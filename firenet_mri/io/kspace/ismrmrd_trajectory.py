"""Readouts of ISMRMRD scans that contain the k-space points of their samples.

The unit of the points is found by :mod:`firenet_mri.io.kspace.trajectory_units`, because many
sequences store cycles per pixel. The first coordinate is x.
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
from firenet_mri.plurals import counted


def place(
    items: Sequence[tuple[str, Sequence[Any]]], shape: tuple[int, ...], name: str
) -> tuple[Tensor, Tensor | list[Tensor]]:
    """Return data (item, coil, line, sample) and trajectory (line, sample, ndim), one or per item.

    Parameters
    ----------
    items
        The name and the readouts, ``ismrmrd.Acquisition``, of every slice of every image.
    shape
        Sizes of the image.
    name
        Name of the scan in messages.

    Raises
    ------
    DataError
        If readouts have no trajectory, or its unit is not clear.
    ShapeError
        If readouts have different numbers of samples, or images different numbers of readouts.
    """
    data, points = zip(*(_one_item(lines, len(shape), name) for _, lines in items), strict=True)
    first, wanted = items[0][0], data[0].shape
    for (label, _), found in zip(items, data, strict=True):
        if found.shape != wanted:
            raise ShapeError(
                f"{name}: {label} has {counted(found.shape[1], 'readout')} of "
                f"{counted(found.shape[2], 'sample')}, {first} has {wanted[1]} of {wanted[2]}; "
                "along a trajectory all images need the same numbers, so export only images that "
                "are complete and not repeated"
            )
    # All images share one unit.
    where = in_cycles_per_fov(np.stack(points)[..., ::-1], shape, name)
    each = [torch.from_numpy(np.ascontiguousarray(one)) for one in where]
    is_one = all(torch.allclose(one, each[0]) for one in each)
    return torch.from_numpy(np.stack(data)), each[0] if is_one else each


def _one_item(
    lines: Sequence[Any], ndim: int, name: str
) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    """Return (coil, line, sample) and (line, sample, ndim) for a slice of an image."""
    if any(line.trajectory_dimensions < ndim for line in lines):
        raise DataError(
            f"{name}: readouts lack their k-space points ({ndim} numbers per sample are needed); "
            "export the scan with its trajectory"
        )
    kept = [slice(line.discard_pre, line.number_of_samples - line.discard_post) for line in lines]
    samples = [line.data[:, part] for line, part in zip(lines, kept, strict=True)]
    if len({part.shape for part in samples}) > 1:
        raise ShapeError(
            f"{name}: readouts have {sorted({part.shape[1] for part in samples})} samples; all "
            "must have the same number"
        )
    points = [line.traj[part, :ndim] for line, part in zip(lines, kept, strict=True)]
    return np.stack(samples, axis=1).astype(np.complex64), np.stack(points)
