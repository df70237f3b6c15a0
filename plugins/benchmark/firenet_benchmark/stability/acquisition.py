"""How the benchmark's scans are sampled and how large they are."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from firenet_benchmark.stability.choices import Axis
from firenet_benchmark.stability.data import Protocol, simulated_case
from firenet_benchmark.stability.methods import Batch, batch_of
from firenet_mri.errors import DataError, FileError, ShapeError, UsageError
from firenet_mri.simulation import Pattern, simulate

# The default network has four levels of wavelets or blocks, networks halve the image four times.
_SMALLEST = 32


@dataclass(frozen=True, eq=False)
class Acquisition:
    """How scans are made, or fully sampled ones under-sampled.

    Parameters
    ----------
    protocol
        Coils, acceleration, sampled centre, pattern and noise.
    axis
        Along which lines are left out: "x" is the last axis.
    mask
        (y, x) bool, instead of pattern, acceleration and centre.
    size
        (y, x) to which built-in images are resampled; None keeps 128 x 128.

    Raises
    ------
    UsageError
        If a word is unknown, or the size too small.
    """

    protocol: Protocol = field(default_factory=Protocol)
    axis: Axis = "x"
    mask: Tensor | None = None
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.axis not in get_args(Axis):
            raise UsageError(f"axis is {self.axis!r}; use {' or '.join(get_args(Axis))}")
        if self.protocol.pattern not in get_args(Pattern):
            raise UsageError(
                f"pattern is {self.protocol.pattern!r}; use {' or '.join(get_args(Pattern))}"
            )
        if self.size is not None and min(self.size) < _SMALLEST:
            raise UsageError(f"Images of {self.size} asked for; give at least {_SMALLEST} pixels")

    def words(self) -> str:
        """Return how it samples, for the report."""
        if self.mask is not None:
            part = self.mask.numel() / max(int(self.mask.sum()), 1)
            return f"the mask that was given, {part:.3g} points of the grid for a sample"
        own = self.protocol
        along = f" along {self.axis}" if own.pattern == "lines" else ""
        return (
            f"random {own.pattern}{along} {own.acceleration:g}x with {own.calibration} in the "
            "centre"
        )

    def sized(self, sources: Tensor) -> Tensor:
        """Return images (slice, y, x) in [0, 1] of the requested size."""
        if self.size is None or tuple(sources.shape[1:]) == self.size:
            return sources
        found = interpolate(sources[:, None], self.size, mode="bicubic", antialias=True)
        return found[:, 0].clamp(0, 1)

    def scans(self, sources: Tensor, name: str, seed: int = 100) -> Batch:
        """Return simulated scans of images (slice, y, x), which are not resampled."""
        return batch_of(
            [
                simulated_case(
                    image,
                    self.protocol,
                    seed=seed + i,
                    name=f"{name} {i}",
                    axis=self.axis,
                    mask=self.mask,
                )
                for i, image in enumerate(sources)
            ]
        )

    def mask_of(self, shape: tuple[int, ...], *, seed: int) -> Tensor:
        """Return a mask (y, x) bool for a fully sampled scan."""
        if self.mask is not None:
            check_mask(self.mask, shape)
            return self.mask
        rows = shape if self.axis == "y" else tuple(reversed(shape))
        scan = simulate(
            torch.ones(1, *rows),
            coils=1,
            acceleration=self.protocol.acceleration,
            calibration=self.protocol.calibration,
            pattern=self.protocol.pattern,
            seed=seed,
        )
        mask = scan.mask.reshape(rows)
        return mask if self.axis == "y" else mask.mT.contiguous()

    def with_protocol(self, **changes: object) -> Acquisition:
        """Return the same with parts of the protocol changed."""
        return replace(self, protocol=replace(self.protocol, **changes))  # type: ignore[arg-type]

    def allows(self, acceleration: float, size: int) -> bool:
        """Return whether lines along an axis of a size can be so few, with the sampled centre."""
        return self.protocol.pattern == "points" or (
            round(size / acceleration) >= self.protocol.calibration
        )


def check_mask(mask: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse a mask that is not of the images' size."""
    if tuple(mask.shape) != tuple(shape):
        raise ShapeError(
            f"The mask has shape {tuple(mask.shape)}, the images {tuple(shape)}; give a mask (y, x)"
        )


def read_mask(path: Path, shape: tuple[int, int] | None = None) -> Tensor:
    """Return a mask (y, x) bool of a .npy file, not 0 where sampled.

    Parameters
    ----------
    path
        Holds (y, x); axes of size 1 before them do not matter.
    shape
        To which an axis of size 1 is repeated, so that (1, x) are lines.

    Raises
    ------
    FileError
        If it cannot be read.
    DataError
        If it samples nothing, or has other axes.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise FileError(f"{path}: cannot be read as a mask ({error}); give a .npy array") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise DataError(
            f"{path}: is not an array of numbers; a mask is 0 where not sampled, else 1"
        )
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2 or not np.isfinite(array).all() or not array.any():
        raise DataError(f"{path}: has shape {array.shape}; give (y, x), 1 where sampled, else 0")
    mask = torch.from_numpy(np.ascontiguousarray(array != 0))
    if shape is None:
        return mask
    repeats = [n if m == 1 else 1 for n, m in zip(shape, mask.shape, strict=True)]
    return mask.repeat(*repeats)
