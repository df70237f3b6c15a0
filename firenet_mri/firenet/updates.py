"""The updates of a layer's images, compiled where no derivatives are recorded, else by torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from firenet_mri.operators.kernels import Array, can_compile, kernels, real_array
from firenet_mri.operators.workers import even_parts, in_parallel

# Numbers of an image in a block that is worked on side by side with others; one such is one block.
_BLOCK = 1 << 18


def descended(
    x: Tensor, direction: Tensor, length: Tensor, other: Tensor | None, other_length: Tensor
) -> Tensor:
    """Return x - length * direction - other_length * other.

    Parameters
    ----------
    x, direction, other
        (*batch, *spatial); without ``other`` its term is left out.
    length, other_length
        (*batch) real.
    """
    if not can_compile(x, direction, length, other_length, *([] if other is None else [other])):
        ndim = x.ndim - length.ndim
        x = _moved(x, direction, -length, ndim)
        return x if other is None else _moved(x, other, -other_length, ndim)
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    items = length.numel()
    arrays = [_items(one, items) for one in (x, direction, out)]
    others = _items(out if other is None else other, items)
    lengths, other_lengths = (_numbers(-one, x) for one in (length, other_length))

    def work(item: int, part: slice) -> None:
        source, first, target = (array[item, part] for array in arrays)
        second = others[item, part if other is not None else slice(0)]
        kernels().descend(source, first, lengths[item], second, other_lengths[item], target)

    _in_blocks(work, arrays[0])
    return out


def extrapolated(
    x: Tensor, following: Tensor, mean: Tensor, share: Tensor, *, needs_point: bool
) -> tuple[Tensor | None, Tensor]:
    """Return the point 2 following - x, if it is needed, and mean + share (point - mean).

    Parameters
    ----------
    x, following, mean
        (*batch, *spatial).
    share
        (*batch) real.
    needs_point
        False: the first is None.
    """
    if not can_compile(x, following, mean, share):
        point = 2 * following - x
        mean = _moved(mean, point - mean, share, x.ndim - share.ndim)
        return (point if needs_point else None), mean
    out, ahead = (torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(2))
    items = share.numel()
    arrays = [_items(one, items) for one in (x, following, mean, ahead, out)]
    shares = _numbers(share, x)

    def work(item: int, part: slice) -> None:
        source, after, average, target, result = (array[item, part] for array in arrays)
        target = target if needs_point else target[:0]
        kernels().extrapolate(source, after, average, shares[item], target, result)

    _in_blocks(work, arrays[0])
    return (ahead if needs_point else None), out


def _in_blocks(work: Callable[[int, slice], None], array: Array) -> None:
    """Do the work for every item and part of an array, (item, n), side by side."""
    parts = even_parts(array.shape[1], _BLOCK)
    pairs = [(i, slice(part.start, part.stop)) for i in range(len(array)) for part in parts]
    if len(parts) == 1:
        for pair in pairs:
            work(*pair)
    else:
        in_parallel(lambda index: work(*pairs[index]), len(pairs))


def _items(x: Tensor, items: int) -> Array:
    """Return the real numbers of every item, (item, n)."""
    return real_array(x.resolve_conj().contiguous()).reshape(items, -1)


def _numbers(value: Tensor, like: Tensor) -> np.ndarray:
    """Return numbers of each item in the precision of another tensor."""
    numbers: np.ndarray = value.to(like.real.dtype).reshape(-1).numpy()
    return numbers


def _moved(x: Tensor, direction: Tensor, length: Tensor, ndim: int) -> Tensor:
    """Return x + length * direction for real lengths, in one pass over real numbers."""
    lengths = length.reshape(*length.shape, *[1] * ndim)
    if not x.is_complex():
        return torch.addcmul(x, direction, lengths)
    parts = torch.view_as_real(x), torch.view_as_real(direction)
    return torch.view_as_complex(torch.addcmul(*parts, lengths.unsqueeze(-1)))
