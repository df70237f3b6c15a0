"""One level of an orthogonal filter bank along an axis, as products with small dense matrices.

An axis of even length n is split into n/2 averages and n/2 details: a product with an orthogonal
matrix whose rows are the two filters, moved by two from row to row. A group of rows involves only a
window of the signal, so the product is that of a small matrix with all windows, which overlap. On
an odd length the last sample is copied to the averages, which keeps the map unitary.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

# Numbers of averages per window; the first that divides the number of averages is used.
_GROUPS = (4, 5, 6, 3, 7, 8)

# Up to this length one product with the whole matrix is faster.
_SHORT = 64


class FilterBank(nn.Module):
    """Splits an axis of one length into averages and details, and merges them again.

    Both directions take the axis last and return it first. After one call per axis the axes of an
    image are in their original order, without any transposition in between.

    Parameters
    ----------
    size
        Length of the axis, at least 2.
    low, high
        Analysis filters of an orthogonal wavelet, of the same even length.
    """

    split: Tensor
    merge: Tensor

    def __init__(self, size: int, low: np.ndarray, high: np.ndarray) -> None:
        super().__init__()
        self.size = size
        self.pairs = size // 2
        self.reach = len(low) // 2
        groups = [count for count in _GROUPS if self.pairs % count == 0]
        # A window must not contain the same sample twice.
        is_long = size > _SHORT and self.pairs >= 8 + self.reach
        self.group = groups[0] if groups and is_long else 0
        if self.group:
            split, merge = _kernels(self.group, low, high)
        else:
            split = split_matrix(size, low, high)
            merge = split.T.copy()
        self.register_buffer("split", torch.from_numpy(split), persistent=False)
        self.register_buffer("merge", torch.from_numpy(merge), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return averages, then details, (n, *rows), for real x (*rows, n)."""
        rows = x.reshape(-1, self.size)
        split = self.split.to(x.dtype)
        if not self.group:
            return (split @ rows.mT).reshape(self.size, *x.shape[:-1])
        margin = self.reach - 1
        signal = _wrap(rows[:, : 2 * self.pairs], margin, margin)
        windows = _windows(signal, split.shape[1], 2 * self.group)
        kernel = split.expand(len(windows), *split.shape)
        bands = torch.bmm(kernel, windows).unflatten(1, (2, self.group)).transpose(0, 1)
        bands = bands.reshape(2 * self.pairs, -1)
        if self.size % 2:
            low, high = bands.chunk(2)
            bands = torch.cat([low, rows[:, 2 * self.pairs :].mT, high])
        return bands.reshape(self.size, *x.shape[:-1])

    def adjoint(self, c: Tensor) -> Tensor:
        """Return the signal, (n, *rows), for averages, then details, c (*rows, n), real."""
        rows = c.reshape(-1, self.size)
        merge = self.merge.to(c.dtype)
        if not self.group:
            return (merge @ rows.mT).reshape(self.size, *c.shape[:-1])
        before = self.reach // 2
        after = self.reach - before - self.reach % 2
        bands = rows[:, : self.pairs], rows[:, self.size - self.pairs :]
        windows = [
            _windows(_wrap(b, before, after), merge.shape[1] // 2, self.group) for b in bands
        ]
        low, high = (k.expand(len(windows[0]), *k.shape) for k in merge.chunk(2, dim=1))
        signal = torch.baddbmm(torch.bmm(low, windows[0]), high, windows[1])
        signal = signal.reshape(2 * self.pairs, -1)
        if self.size % 2:
            signal = torch.cat([signal, rows[:, self.pairs : self.pairs + 1].mT])
        return signal.reshape(self.size, *c.shape[:-1])


def split_matrix(size: int, low: np.ndarray, high: np.ndarray) -> np.ndarray:
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


def _kernels(group: int, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the block of the infinite split matrix, and of its transpose, for a window."""
    length, reach = len(low), len(low) // 2
    split = np.zeros((2, group, 2 * group + length - 2))
    for row in range(group):
        for tap in range(length):
            column = 2 * row + length - 1 - tap
            split[0, row, column], split[1, row, column] = low[tap], high[tap]
    first = -(reach // 2)
    count = group + reach - reach % 2
    merge = np.zeros((2 * group, 2, count))
    for column in range(2 * group):
        for row in range(count):
            tap = 2 * (row + first) + reach - column
            if 0 <= tap < length:
                merge[column, 0, row], merge[column, 1, row] = low[tap], high[tap]
    return split.reshape(2 * group, -1), merge.reshape(2 * group, -1)


def _wrap(x: Tensor, before: int, after: int) -> Tensor:
    """Return x padded periodically before and after, along the last axis."""
    if before == after == 0:
        return x
    return torch.cat([x[:, x.shape[1] - before :], x, x[:, :after]], dim=1)


def _windows(x: Tensor, length: int, step: int) -> Tensor:
    """Return (window, length, rows): a view of x (rows, samples) every ``step`` samples."""
    return x.unfold(1, length, step).permute(1, 2, 0)
