"""The undecimated Haar transform: shift-invariant and a Parseval frame on any size.

Level j splits the averages a of the level before, on every axis, into (a_n + a_{n+d}) / 2 and
(a_n - a_{n+d}) / 2 with the distance d = 2^(j-1), indices modulo the size. Since
|a + b|^2 + |a - b|^2 = 2 |a|^2 + 2 |b|^2, every level preserves the energy: W^H W = identity.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from firenet_mri.operators.base import Shape
from firenet_mri.operators.dyadic_frame import DyadicFrame


class StationaryWavelet(DyadicFrame):
    """W: images (*spatial) to undecimated Haar coefficients (band, *spatial), W^H W = identity.

    Band 0 holds the averages of the last level. The 2^ndim - 1 detail bands of each level follow,
    from the coarsest level to the finest.

    Parameters
    ----------
    levels
        Number of levels, at least 1, with 2^levels no larger than any size.
    spatial_shape
        Sizes of the 1, 2 or 3 transformed axes, odd ones included.

    Raises
    ------
    UsageError
        If the size does not allow this number of levels.
    """

    def __init__(self, levels: int, spatial_shape: Shape) -> None:
        filters = torch.tensor([[0.5, 0.5], [0.5, -0.5]], dtype=torch.float64)
        super().__init__(levels, spatial_shape, taps=2, filters=filters)

    def _analyse(self, planes: Tensor, *, is_slab: bool = False) -> Tensor:
        ndim = len(self.domain_shape)
        half = 2 ** (ndim - 1)
        rows = planes.shape[-ndim] - (2**self.levels - 1 if is_slab else 0)
        batch, others = planes.shape[:-ndim], self.domain_shape[1:]
        coefficients = planes.new_empty(*batch, self.codomain_shape[0], rows, *others)
        averages = planes.unsqueeze(-ndim - 1)
        for level in range(self.levels):
            distance = 2**level
            bands = averages * 0.5**ndim
            for axis in range(-ndim, -1):
                wraps = not (is_slab and axis == -ndim)
                here, ahead = _neighbours(bands, axis, distance, wraps=wraps)
                bands = torch.cat([here + ahead, here - ahead], dim=-ndim - 1)
            here, ahead = _neighbours(bands, -1, distance, wraps=True)
            averages = here.narrow(-ndim - 1, 0, 1) + ahead.narrow(-ndim - 1, 0, 1)
            here, ahead = here.narrow(-ndim, 0, rows), ahead.narrow(-ndim, 0, rows)
            first = self._first(level)
            if half > 1:
                sums = coefficients.narrow(-ndim - 1, first, half - 1)
                a, b = (band.narrow(-ndim - 1, 1, half - 1) for band in (here, ahead))
                _write(torch.add, a, b, sums)
            _write(torch.sub, here, ahead, coefficients.narrow(-ndim - 1, first + half - 1, half))
        coefficients.narrow(-ndim - 1, 0, 1).copy_(averages)
        return coefficients

    def _synthesise(self, coefficients: Tensor, *, is_slab: bool = False) -> Tensor:
        ndim = len(self.domain_shape)
        half = 2 ** (ndim - 1)
        averages = coefficients.narrow(-ndim - 1, 0, 1)
        for level in reversed(range(self.levels)):
            distance = 2**level
            details = coefficients.narrow(-ndim - 1, self._first(level), 2 * half - 1)
            details = _lengthened(details, -ndim, averages.shape[-ndim])
            sums = torch.cat([averages, details.narrow(-ndim - 1, 0, half - 1)], dim=-ndim - 1)
            bands = _merged(sums, details.narrow(-ndim - 1, half - 1, half), -1, distance)
            for axis in reversed(range(-ndim, -1)):
                if is_slab and axis == -ndim:
                    bands = _lengthened(bands, axis, bands.shape[axis] + distance)
                added, subtracted = bands.chunk(2, dim=-ndim - 1)
                bands = _merged(added, subtracted, axis, distance)
            averages = bands * 0.5**ndim
        return averages.squeeze(-ndim - 1)

    def _first(self, level: int) -> int:
        """Return the first band of the details of a level, counted from 0 for the finest."""
        return 1 + (2 ** len(self.domain_shape) - 1) * (self.levels - 1 - level)

    def extra_repr(self) -> str:
        """Return levels and shape, for printing."""
        return f"haar, levels={self.levels}, {self.domain_shape}"


def _neighbours(bands: Tensor, axis: int, distance: int, *, wraps: bool) -> tuple[Tensor, Tensor]:
    """Return samples and those ``distance`` ahead, as views; unwrapped, only full pairs."""
    if wraps:
        bands = torch.cat([bands, bands.narrow(axis, 0, distance)], dim=axis)
    size = bands.shape[axis] - distance
    return bands.narrow(axis, 0, size), bands.narrow(axis, distance, size)


def _lengthened(bands: Tensor, axis: int, size: int) -> Tensor:
    """Return the bands padded with zeros to a size along the axis."""
    if bands.shape[axis] == size:
        return bands
    shape = list(bands.shape)
    shape[axis] = size - bands.shape[axis]
    return torch.cat([bands, bands.new_zeros(shape)], dim=axis)


def _merged(sums: Tensor, differences: Tensor, axis: int, distance: int) -> Tensor:
    """Return the adjoint of sums and differences of neighbours."""
    result, behind = sums + differences, sums - differences
    kept = behind.shape[axis] - distance
    for start, count, source in ((distance, kept, 0), (0, distance, kept)):
        result.narrow(axis, start, count).add_(behind.narrow(axis, source, count))
    return result


def _write(operation: Callable[..., Tensor], a: Tensor, b: Tensor, target: Tensor) -> None:
    """Write the operation's result to the target, by a copy if gradients or graphs are recorded."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        target.copy_(operation(a, b))
    else:
        operation(a, b, out=target)
