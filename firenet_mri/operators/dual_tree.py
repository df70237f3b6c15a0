"""The dual-tree complex wavelet transform [1] as a Parseval frame: directional, almost shift-free.

Along every axis there are two orthogonal wavelet transforms, the trees a and b, whose wavelets are
nearly a Hilbert pair: their filters are one sample apart at the first level, and then each other's
mirror image, a quarter of a sample off the middle [2]. All choices of a tree per axis give 2^ndim
orthogonal transforms U_t. For signs s the complex wavelet of a direction is the product over the
axes k of a_k + i s_k b_k. Its real and imaginary parts are sums over t of +-U_t, an orthogonal
mixture, so that with the factor 2^(-ndim/2) W^H W = identity, on any size.

[1] Selesnick, Baraniuk, Kingsbury, IEEE Signal Processing Magazine 22(6), 2005.
[2] Kingsbury, Applied and Computational Harmonic Analysis 10, 2001: the 10-tap Q-shift filter.
"""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from firenet_mri.operators.base import Shape
from firenet_mri.operators.filter_bank import FilterBank
from firenet_mri.operators.frame import Frame
from firenet_mri.operators.wavelets import _corner, _level_shapes, _nested, orthogonal_filters

_Q_SHIFT = np.array(
    [
        0.051130405283832,
        -0.013975370246889,
        -0.109836051665971,
        0.263839561058938,
        0.766628467793037,
        0.563655710127052,
        0.000873622695217,
        -0.100231219507476,
        -0.001689681272528,
        -0.006181881892116,
    ]
)

# Any orthogonal wavelet works at the first level; this one is almost symmetric.
_FIRST = "sym5"


class DualTreeWavelet(Frame):
    """W: images (*spatial) to dual-tree coefficients (2^ndim, *spatial), W^H W = identity.

    Bands 2 j and 2 j + 1 are the real and imaginary parts of the complex wavelets with the j-th
    choice of signs, and are penalised together. Each band is laid out as in
    :class:`OrthogonalWavelet`: averages first on every axis.

    Parameters
    ----------
    levels
        Number of levels, at least 1.
    spatial_shape
        Sizes of the 1, 2 or 3 transformed axes, at least 2 at every level.

    Raises
    ------
    UsageError
        If the size does not allow this number of levels.
    """

    is_parseval = True
    mixture: Tensor

    def __init__(self, levels: int, spatial_shape: Shape) -> None:
        ndim = len(spatial_shape)
        super().__init__(spatial_shape, 2**ndim)
        self.groups = (2,) * 2 ** (ndim - 1)
        self.levels = levels
        self.level_shapes = _level_shapes(self.domain_shape, levels)
        self.trees = tuple(itertools.product((0, 1), repeat=ndim))
        self.banks = nn.ModuleList(self._level_banks(level) for level in range(levels))
        mixture = _mixture(ndim) / 2 ** (ndim / 2)
        self.register_buffer("mixture", mixture, persistent=False)

    @property
    def band_norms(self) -> Tensor:
        """(band, 1, ...) float64: norm of the functions, all 2^(-ndim/2)."""
        ndim = len(self.domain_shape)
        return torch.full((2**ndim, *[1] * ndim), 2 ** (-ndim / 2), dtype=torch.float64)

    def _analyse(self, planes: Tensor, *, is_slab: bool = False) -> Tensor:
        axis = -len(self.domain_shape) - 1
        trees = torch.stack([self._split_tree(planes, tree) for tree in self.trees], dim=axis)
        return _mixed(self.mixture, trees, axis)

    def _synthesise(self, coefficients: Tensor, *, is_slab: bool = False) -> Tensor:
        axis = -len(self.domain_shape) - 1
        trees = _mixed(self.mixture.T, coefficients, axis).unbind(axis)
        images = [self._merge_tree(*pair) for pair in zip(trees, self.trees, strict=True)]
        return torch.stack(images).sum(0)

    def _split_tree(self, x: Tensor, tree: tuple[int, ...]) -> Tensor:
        """Return the coefficients of one orthogonal transform."""
        blocks: list[Tensor] = []
        for level, shape in enumerate(self.level_shapes):
            x = self._level(_corner(x, shape), level, tree, "split")
            blocks.append(x)
        return _nested(blocks)

    def _merge_tree(self, c: Tensor, tree: tuple[int, ...]) -> Tensor:
        """Return the image of one orthogonal transform."""
        block = _corner(c, self.level_shapes[-1])
        for level in reversed(range(self.levels)):
            if level < self.levels - 1:
                block = _nested([_corner(c, self.level_shapes[level]), block])
            block = self._level(block, level, tree, "merge")
        return block

    def _level(
        self, x: Tensor, level: int, tree: tuple[int, ...], direction: Literal["split", "merge"]
    ) -> Tensor:
        """Apply one level of one tree, or its adjoint."""
        shape = self.level_shapes[level]
        batch = x.ndim - len(shape)
        for size, branch in zip(reversed(shape), reversed(tree), strict=True):
            bank = self.banks[level][f"{size}{'ab'[branch]}"]  # type: ignore[index]
            x = bank(x) if direction == "split" else bank.adjoint(x)
        return x.permute(*range(len(shape), x.ndim), *range(len(shape))) if batch else x

    def _level_banks(self, level: int) -> nn.ModuleDict:
        """Return the filter banks of both trees for the sizes of a level."""
        filters = _first_filters() if level == 0 else _later_filters()
        return nn.ModuleDict(
            {
                f"{size}{tree}": FilterBank(size, *pair)
                for size in sorted(set(self.level_shapes[level]))
                for tree, pair in zip("ab", filters, strict=True)
            }
        )

    def extra_repr(self) -> str:
        """Return levels and shape, for printing."""
        return f"levels={self.levels}, {self.domain_shape}"


def _first_filters() -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the filters of both trees at the first level, the second tree's one sample later."""
    low, high = orthogonal_filters(_FIRST)
    return [(low, high), (np.pad(low, (2, 0)), np.pad(high, (2, 0)))]


def _later_filters() -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the filters of both trees at the other levels."""
    pairs = []
    for low in (_Q_SHIFT, _Q_SHIFT[::-1].copy()):
        signs = (-1.0) ** np.arange(len(low))
        pairs.append((low, signs * low[::-1]))
    return pairs


def _mixture(ndim: int) -> Tensor:
    """Return the orthogonal matrix from trees to parts of complex wavelets, float64."""
    rows = []
    for signs in itertools.product((1, -1), repeat=ndim - 1):
        row = torch.ones(1, dtype=torch.complex128)
        for sign in (1, *signs):
            row = torch.kron(row, torch.tensor([1, 1j * sign], dtype=torch.complex128))
        rows += [row.real, row.imag]
    return torch.stack(rows) / 2 ** ((ndim - 1) / 2)


def _mixed(matrix: Tensor, bands: Tensor, axis: int) -> Tensor:
    """Return the matrix applied along an axis."""
    flat = bands.flatten(axis + 1)
    return (matrix.to(bands) @ flat).unflatten(-1, bands.shape[axis + 1 :])
