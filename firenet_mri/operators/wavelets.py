"""Orthogonal wavelet transforms that are exactly unitary on any size.

One level splits an axis of even length N into N/2 averages and N/2 details by periodic convolution
with the orthonormal filter pair and downsampling by two: pywt's mode "periodization". On an odd
length the last sample is copied to the averages, which keeps the map unitary where padding would
not. Levels repeat on the averages (Mallat). The coefficients fill an array of the image's shape,
averages first on every axis, in the layout of ``pywt.coeffs_to_array``.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from firenet_mri.errors import UsageError
from firenet_mri.operators.base import LinearOperator, Shape
from firenet_mri.operators.filter_bank import FilterBank
from firenet_mri.operators.kernels import can_compile, kernels, real_array
from firenet_mri.operators.wavelet_passes import Wavelet
from firenet_mri.plurals import counted


class OrthogonalWavelet(LinearOperator):
    """W: images (*spatial) to wavelet coefficients of the same shape, W^H W = W W^H = identity.

    Parameters
    ----------
    name
        An orthogonal family of PyWavelets: "haar", "db1" to "db38", "sym2", "coif1", ...
    levels
        Number of decompositions, at least 1.
    spatial_shape
        Sizes of the 1, 2 or 3 transformed axes, at least 2 at every level.

    Raises
    ------
    UsageError
        If the wavelet is unknown or not orthogonal, or has too many levels for the size.
    """

    is_unitary = True
    is_parseval = True

    def __init__(self, name: str, levels: int, spatial_shape: Shape) -> None:
        super().__init__(spatial_shape, spatial_shape, 1.0)
        self.name = name
        self.levels = levels
        self.level_shapes = _level_shapes(self.domain_shape, levels)
        low, high = orthogonal_filters(name)
        self.filters = low, high
        sizes = sorted({size for shape in self.level_shapes for size in shape})
        self.banks = nn.ModuleDict({str(size): FilterBank(size, low, high) for size in sizes})

    @property
    def band_levels(self) -> Tensor:
        """(*spatial) int64: 0 for averages, 1 for the coarsest details up to ``levels``."""
        bands = torch.zeros(self.domain_shape, dtype=torch.int64)
        for level, shape in enumerate(self.level_shapes):
            block = bands[tuple(slice(size) for size in shape)]
            block.fill_(self.levels - level)
        bands[tuple(slice((size + 1) // 2) for size in self.level_shapes[-1])] = 0
        return bands

    def forward(self, x: Tensor) -> Tensor:
        """Return the coefficients W x."""
        self.check_domain(x)
        first, *deeper = self.level_shapes
        coefficients = self._level(x, first, "split")
        blocks = [coefficients]
        for shape in deeper:
            blocks.append(self._level(_corner(blocks[-1], shape), shape, "split"))
        return _nested(blocks)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return the image W^H y."""
        self.check_codomain(y)
        *shallower, deepest = self.level_shapes
        block = self._level(_corner(y, deepest), deepest, "merge")
        for shape in reversed(shallower):
            block = self._level(_nested([_corner(y, shape), block]), shape, "merge")
        return block

    def behind_shift(self, shift: tuple[int, ...] | None = None) -> Wavelet | None:
        """Return W S for a cyclic shift S, in the form for compiled passes, if there are any."""
        if len(self.domain_shape) == 1:
            return None
        none = (0,) * len(self.domain_shape)
        return Wavelet(self.filters, self.level_shapes, none if shift is None else shift)

    def _level(self, x: Tensor, shape: Shape, direction: Literal["split", "merge"]) -> Tensor:
        """Apply one level, or its adjoint, to a block of this shape."""
        if can_compile(x):
            return self._compiled_level(x, direction)
        ndim = len(shape)
        # Real and imaginary parts, like all batch axes, go first and come out last.
        planes = torch.view_as_real(x.resolve_conj()) if x.is_complex() else x.unsqueeze(-1)
        batch = planes.ndim - ndim - 1
        block = planes.permute(*range(batch), -1, *range(batch, batch + ndim))
        for size in reversed(shape):
            bank: Any = self.banks[str(size)]
            block = bank(block) if direction == "split" else bank.adjoint(block)
        result = block.permute(*range(ndim, ndim + batch), *range(ndim), -1)
        return torch.view_as_complex(result.contiguous()) if x.is_complex() else result.squeeze(-1)

    def _compiled_level(self, x: Tensor, direction: Literal["split", "merge"]) -> Tensor:
        """Return the same as :meth:`_level` by compiled passes, axis by axis."""
        run = getattr(kernels(), direction)
        x = x.resolve_conj().contiguous()
        low, high = (f.astype(real_array(x).dtype) for f in self.filters)
        for axis in range(-len(self.domain_shape), 0):
            result = torch.empty_like(x)
            before, size = x.shape[:axis].numel(), x.shape[axis]
            pair = (real_array(part).reshape(before, size, -1) for part in (x, result))
            source, target = pair
            run(source, low, high, target)
            x = result
        return x

    def extra_repr(self) -> str:
        """Return name, levels and shape, for printing."""
        return f"{self.name}, levels={self.levels}, {self.domain_shape}"


def _corner(x: Tensor, shape: Shape) -> Tensor:
    """Return the leading block of this shape, a view."""
    index: tuple[Any, ...] = (..., *(slice(size) for size in shape))
    return x[index]


def _nested(blocks: list[Tensor]) -> Tensor:
    """Return the blocks nested: the second in the first's leading corner, the third in its, ..."""
    if len(blocks) == 1:
        return blocks[0]
    result = blocks[0].clone()
    for block in blocks[1:]:
        _corner(result, tuple(block.shape)).copy_(block)
    return result


def orthogonal_filters(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the low- and high-pass analysis filters of an orthogonal wavelet."""
    import pywt

    try:
        wavelet = pywt.Wavelet(name)
    except (ValueError, TypeError):
        raise UsageError(
            f"Unknown wavelet {name!r}; use an orthogonal one such as haar, db2 to db38 or sym4"
        ) from None
    if not wavelet.orthogonal or wavelet.short_family_name == "dmey":
        raise UsageError(f"Wavelet {name!r} is not orthogonal; use haar, db2 to db38 or sym4")
    return np.array(wavelet.dec_lo), np.array(wavelet.dec_hi)


def _level_shapes(shape: Shape, levels: int) -> list[Shape]:
    """Return the block shape that each level splits, finest first."""
    if levels < 1:
        raise UsageError(f"{counted(levels, 'wavelet level')} requested; use at least 1")
    shapes = [tuple(shape)]
    while len(shapes) <= levels:
        shapes.append(tuple((size + 1) // 2 for size in shapes[-1]))
    for level, block in enumerate(shapes[:levels]):
        if min(block) < 2:
            raise UsageError(
                f"{counted(levels, 'wavelet level')} requested; an image of size "
                f"{tuple(shape)} allows at most {level}"
            )
    return shapes[:levels]
