"""Orthogonal wavelet transforms that are exactly unitary on any size.

One level splits an axis of even length N into N/2 averages and N/2 details by periodic convolution
with the orthonormal filter pair and downsampling by two: pywt's mode "periodization". On an odd
length the last sample goes unchanged to the averages, which keeps the map unitary where padding
would not. Levels repeat on the averages (Mallat). Coefficients fill an array of the image's shape,
averages first on every axis, as ``pywt.coeffs_to_array`` lays them out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.operators.base import LinearOperator, Shape


class OrthogonalWavelet(LinearOperator):
    """W: images (*spatial) to wavelet coefficients of the same shape, W^H W = W W^H = identity.

    Parameters
    ----------
    name
        An orthogonal family of PyWavelets: "haar", "db1" to "db38", "sym2", "coif1", ...
    levels
        Number of decompositions, at least 1.
    spatial_shape
        Sizes of the 1, 2 or 3 transformed axes; any size of at least 2 at every level.

    Raises
    ------
    UsageError
        If the wavelet is unknown or not orthogonal, or the size does not allow so many levels.
    """

    is_unitary = True
    is_parseval = True

    def __init__(self, name: str, levels: int, spatial_shape: Shape) -> None:
        super().__init__(spatial_shape, spatial_shape, 1.0)
        self.name = name
        self.levels = levels
        low, high = _filters(name)
        self.level_shapes = _level_shapes(self.domain_shape, levels)
        for size in sorted({size for shape in self.level_shapes for size in shape}):
            split = torch.from_numpy(_split_matrix(size, low, high))
            self.register_buffer(f"split_{size}", split, persistent=False)

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
        coefficients = x
        for shape in self.level_shapes:
            coefficients = self._split(coefficients, shape, adjoint=False)
        return coefficients

    def adjoint(self, y: Tensor) -> Tensor:
        """Return the image W^H y."""
        self.check_codomain(y)
        image = y
        for shape in reversed(self.level_shapes):
            image = self._split(image, shape, adjoint=True)
        return image

    def _split(self, x: Tensor, shape: Shape, *, adjoint: bool) -> Tensor:
        """Apply one level, or its adjoint, to the leading block of size ``shape``."""
        index: tuple[Any, ...] = (..., *(slice(size) for size in shape))
        block = x[index]
        for axis, size in zip(range(-len(shape), 0), shape, strict=True):
            split = self.get_buffer(f"split_{size}")
            block = _apply(split.mT if adjoint else split, block, axis)
        if shape == self.domain_shape:
            return block
        result = x.clone()
        result[index] = block
        return result

    def extra_repr(self) -> str:
        """Return name, levels and shape, for printing."""
        return f"{self.name}, levels={self.levels}, {self.domain_shape}"


def _apply(matrix: Tensor, x: Tensor, axis: int) -> Tensor:
    """Return the real matrix times x along an axis."""
    if x.is_complex():
        # Real products: half the work of a complex product with a real matrix.
        return torch.view_as_complex(_apply(matrix, torch.view_as_real(x), axis - 1).contiguous())
    return torch.movedim(torch.movedim(x, axis, -1) @ matrix.mT.to(x.dtype), -1, axis)


def _filters(name: str) -> tuple[np.ndarray, np.ndarray]:
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


def _split_matrix(size: int, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the (size, size) orthogonal matrix of one level; rows are averages, then details."""
    half = size // 2
    even = 2 * half
    matrix = np.zeros((size, size))
    # pywt convolves and keeps every second sample, starting so that the filter is centred.
    shift = len(low) // 2
    for tap in range(len(low)):
        for row in range(half):
            column = (2 * row + shift - tap) % even
            matrix[row, column] += low[tap]
            matrix[size - half + row, column] += high[tap]
    if size != even:
        matrix[half, size - 1] = 1.0
    return matrix


def _level_shapes(shape: Shape, levels: int) -> list[Shape]:
    """Return the block shape that each level splits, finest first."""
    if levels < 1:
        raise UsageError(f"{levels} wavelet levels asked for; use at least 1")
    shapes = [tuple(shape)]
    while len(shapes) <= levels:
        shapes.append(tuple((size + 1) // 2 for size in shapes[-1]))
    for level, block in enumerate(shapes[:levels]):
        if min(block) < 2:
            raise UsageError(
                f"{levels} wavelet levels asked for; an image of size {tuple(shape)} allows at "
                f"most {level}"
            )
    return shapes[:levels]
