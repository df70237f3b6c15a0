"""Echo trains of an ISMRMRD scan: the operator from their stored samples to k-space."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firenet_mri.errors import DataError
from firenet_mri.io.kspace.echo_planar import EchoTrains
from firenet_mri.io.kspace.navigators import is_backward
from firenet_mri.operators.base import Part
from firenet_mri.operators.echo_planar import EchoTrainGridding

Place = tuple[Any, tuple[int, int], tuple[int, int]]


def gridding_of(
    trains: EchoTrains, places: Iterable[Place], shape: tuple[int, ...], line_ndim: int, name: str
) -> EchoTrainGridding:
    """Return the operator that grids and corrects the samples of a scan.

    Parameters
    ----------
    trains
        The gridding and correction of a readout.
    places
        Every readout with its (image, slice) and its (partition, row).
    shape
        Shape of the samples, (*batch, coil, *lines, sample). The axes of ``batch`` are image and
        slice, except those with a single entry.
    line_ndim
        Number of the axes of lines: 1 for y, 2 for z and y.
    name
        Name of the scan in messages.

    Raises
    ------
    DataError
        If a line was measured both forward and backward.
    """
    found = list(places)
    images, slices = (1 + max(at[i] for _, at, _ in found) for i in (0, 1))
    lines, batch = shape[-line_ndim - 1 : -1], shape[: -line_ndim - 2]
    coils, columns = shape[-line_ndim - 2], trains.readout.shape[1]
    rows = lines if line_ndim == 2 else (1, *lines)
    ways = np.zeros((2, images, slices, *rows), np.bool_)
    phases = np.zeros((images, slices, coils, columns))
    seen: set[tuple[int, int]] = set()
    for line, at, step in found:
        ways[(int(is_backward(line)), *at, *step)] = True
        if at not in seen:
            seen.add(at)
            phases[at] = trains.phases(line)
    if ways.all(0).any():
        raise DataError(
            f"{name}: lines of echo trains were measured both forward and backward and averaged; "
            "choose one of them (--repetitions) or export them as separate images"
        )
    part = Part(f"gridding and phase of echo trains (made from {trains.source})")
    return EchoTrainGridding(
        torch.from_numpy(trains.readout),
        torch.from_numpy(ways[1]).reshape(*batch, *lines),
        torch.from_numpy(phases).reshape(*batch, coils, columns),
        part if trains.navigators else None,
    )


def norms_of_items(samples: Tensor, line_ndim: int) -> Tensor:
    """Return the norms (*batch) of samples (*batch, coil, *lines, sample)."""
    axes = tuple(range(-line_ndim - 2, 0))
    return torch.linalg.vector_norm(samples.to(torch.complex128), dim=axes)


def whole_readouts(mask: Tensor, gridding: EchoTrainGridding) -> Tensor:
    """Return the mask (*batch, 1, *lines, column) of gridded readouts, which are complete."""
    columns = gridding.codomain_shape[-1]
    return mask.any(-1, keepdim=True).expand(*mask.shape[:-1], columns).contiguous()
