"""The residual of a multi-coil Cartesian scan at the cost of its FFTs.

A layer needs only A^H (A x - y) and ||A x - y||, and both stay the same when the data are written
in another orthonormal basis. So the data are transformed, once, to the basis in which the loop is
cheapest:

- Along an axis on which the mask does not depend, no FFT is needed: data and maps stay in image
  space there. Such axes come first; the transformed ones come last and contiguous.
- Along the other axes zero frequency comes first, as in the FFT: no shift and no factor remains.

The loop processes blocks that fit the cache: maps, FFT, mask and data, FFT back, coil sum. The
mask also conjugates k-space at no cost, since A^H r = conj(sum_c s_c F conj(r_c)), so the maps need
no conjugate. Mask and data include the scale of the FFTs, which therefore need none. Where no
gradients are recorded, on a CPU, the steps between the FFTs are compiled (``residual_passes``).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from firenet_mri.operators.base import Residual, Shape, records_graph
from firenet_mri.operators.fourier import CartesianFourier
from firenet_mri.operators.kernels import are_plain, can_compile
from firenet_mri.operators.residual_passes import Item, Samples, block_sizes, residual_of
from firenet_mri.prox import item_norm

# Complex numbers of k-space in a block on a CPU: 2 MiB in single precision.
_BLOCK = 1 << 18

# Just below the largest block that glibc's adaptive threshold lets it keep.
_KEPT_BYTES = (32 << 20) - (1 << 14)


class CartesianResidual(Residual):
    """x -> (A^H (A x - y), ||A x - y||) for A = P F S.

    Parameters
    ----------
    maps
        (..., coil, *spatial) complex.
    fourier
        P F.
    y
        Data, (*batch, coil, *spatial).
    """

    def __init__(self, maps: Tensor, fourier: CartesianFourier, y: Tensor) -> None:
        _keep_freed_memory()
        self._ndim = ndim = len(fourier.domain_shape)
        axes = range(-ndim, 0)
        mask = fourier.mask
        self._batch = y.shape[: y.ndim - ndim - 1]
        self._transformed = [axis for axis in axes if _varies_along(mask, axis)]
        self._order = [axis for axis in axes if axis not in self._transformed] + self._transformed
        if self._transformed:
            mask = torch.fft.ifftshift(mask, dim=self._transformed)
        mask = self._arrange(_thin(mask, self._transformed, ndim)).to(y.real.dtype)
        mask = mask.expand(*mask.shape[:-1], fourier.domain_shape[self._order[-1]])
        factor = torch.stack([mask, -mask], dim=-1).flatten(-2)
        # One row is enough where the mask does not depend on the first axis.
        sizes = [fourier.domain_shape[axis] for axis in self._order]
        if ndim > 1:
            factor = factor.expand(*factor.shape[: 1 - ndim], *sizes[1:-1], 2 * sizes[-1])
        points = math.prod(y.shape[axis] for axis in self._transformed)
        self._norm_factor = math.sqrt(points)
        maps = self._arrange(maps.to(y.dtype)).contiguous()
        factors = _unbatch(factor, self._batch, ndim + 1)
        # The data off the mask are zeros, which the compiled passes do not store.
        is_sparse = factor.shape[-ndim - 1] == 1 and are_plain(maps, y, factor)
        is_sparse = is_sparse and ndim > 1 and 2 * int(mask.count_nonzero()) <= mask.numel()
        patterns = [Samples.pattern(f, sizes[0]) for f in factors] if is_sparse else None
        data, self._unreached = self._transform_data(fourier, y, factor, patterns)
        self._items = [
            Item(own, (f / points).contiguous(), offset)
            for own, f, offset in zip(
                _unbatch(maps, self._batch, ndim + 1), factors, data, strict=True
            )
        ]
        self._tensors = [part for item in self._items for part in item.tensors]

    def _transform_data(
        self,
        fourier: CartesianFourier,
        y: Tensor,
        factor: Tensor,
        patterns: list[Samples] | None,
    ) -> tuple[Sequence[Tensor | Samples], Tensor]:
        """Return the offset of each item, and the norm off the mask, (item)."""
        ndim, coil_axis = self._ndim, -self._ndim - 1
        # Coil by coil, to save memory, unless each coil has its own mask.
        count = 1 if factor.shape[coil_axis] == 1 else y.shape[coil_axis]
        sizes = [y.shape[axis] for axis in self._order]
        shape = (*y.shape[:-ndim], *sizes[:-1], 2 * sizes[-1])
        offset = y.real.new_empty(shape) if patterns is None else None
        parts: list[list[Tensor]] = [[] for _ in range(math.prod(self._batch))]
        norms = []
        for coil in range(0, y.shape[coil_axis], count):
            part = y.narrow(coil_axis, coil, count)
            data = fourier.adjoint(part)
            if self._transformed:
                data = torch.fft.fftn(data, dim=self._transformed, norm="ortho")
            flat = torch.view_as_real(self._arrange(data)).flatten(-2) * -factor
            if offset is not None:
                offset.narrow(coil_axis, coil, count).copy_(flat)
            else:
                assert patterns is not None
                items = _unbatch(flat, self._batch, ndim + 1)
                for own, item, pattern in zip(parts, items, patterns, strict=True):
                    own.append(pattern.taken_from(item).div_(self._norm_factor))
            # A x cannot reach data off the mask; they only add to the norm.
            unreached = item_norm(part * ~fourier.mask, tuple(range(coil_axis, 0)))
            norms.append(unreached.reshape(-1))
        norm = torch.linalg.vector_norm(torch.stack(norms), dim=0)
        if offset is not None:
            return _unbatch(offset.div_(self._norm_factor), self._batch, ndim + 1), norm
        assert patterns is not None
        pairs = zip(patterns, parts, strict=True)
        return [pattern._replace(values=torch.cat(own)) for pattern, own in pairs], norm

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return A^H (A x - y), (*batch, *spatial), and ||A x - y||, (*batch)."""
        images = _unbatch(self._arrange(x), self._batch, self._ndim)
        if self._ndim > 1 and can_compile(x, *self._tensors):
            gradients, norm = self._compiled(images)
        else:
            gradients, norm = self._recorded(images)
        # A single item is not stacked, which would copy it.
        gradient = gradients[0] if len(gradients) == 1 else torch.stack(gradients)
        gradient = gradient.reshape(*self._batch, *gradients[0].shape)
        back = sorted(range(self._ndim), key=lambda i: self._order[i])
        return _permute(gradient, [i - self._ndim for i in back]), norm.reshape(self._batch)

    def _compiled(self, images: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Return the gradients, in the loop's order of axes, and the norms of all items."""
        gradients, norms = [], []
        # Plain numbers, since one-element tensors take longer than a pass over a small image.
        for item, image, unreached in zip(
            self._items, images, self._unreached.tolist(), strict=True
        ):
            gradient, square = residual_of(item, image.contiguous(), len(self._transformed))
            gradients.append(gradient)
            norms.append(math.hypot(self._norm_factor * math.sqrt(square), unreached))
        return gradients, torch.tensor(norms, dtype=images[0].real.dtype)

    def _recorded(self, images: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Return the same as :meth:`_compiled` by torch, which records gradients."""
        pairs = [self._residual(*pair) for pair in zip(self._items, images, strict=True)]
        gradients = [gradient for gradient, _ in pairs]
        reached = torch.stack([norm for _, norm in pairs])
        return gradients, torch.linalg.vector_norm(torch.stack([reached, self._unreached]), dim=0)

    def workload(self) -> tuple[Tensor, tuple[int, ...], int, int]:
        """Return an array like one item's data, the axes that are transformed, and the blocks.

        For benchmarks. A block is given as numbers of entries of the first axis and of coils.
        """
        maps = self._items[0].maps
        axes = tuple(range(-len(self._transformed), 0))
        sizes = block_sizes(maps.shape, len(self._transformed))
        return maps.clone(memory_format=torch.contiguous_format), axes, *sizes

    def _residual(self, item: Item, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return A^H (A x - y) of one item, in the loop's order of axes, and its norm."""
        offset = item.offset
        rows, coils = self._block_sizes(item.maps)
        gradients, norms = [], []
        for row in range(0, image.shape[0], rows):
            window = slice(row, row + rows)
            parts = []
            for coil in range(0, len(item.maps), coils):
                channels = slice(coil, coil + coils)
                factor = item.factor[channels] if len(item.factor) > 1 else item.factor
                gradient, norm = self._block(
                    item.maps[channels, window],
                    factor if factor.shape[1] == 1 else factor[:, window],
                    offset[channels, window],
                    image[window],
                )
                parts.append(gradient)
                norms.append(norm)
            gradients.append(parts[0] if len(parts) == 1 else torch.stack(parts).sum(0))
        joined = gradients[0] if len(gradients) == 1 else torch.cat(gradients)
        return joined, self._norm_factor * torch.linalg.vector_norm(torch.stack(norms))

    def _block(
        self, maps: Tensor, factor: Tensor, offset: Tensor, image: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the contribution of some coils and rows."""
        kspace = self._transform(maps * image)
        # Real arithmetic on interleaved parts is several times faster than complex arithmetic.
        flat = torch.view_as_real(kspace).flatten(-2)
        if torch.is_grad_enabled():
            flat = torch.addcmul(offset, flat, factor)
        else:
            torch.addcmul(offset, flat, factor, out=flat)
        norm = torch.linalg.vector_norm(flat.flatten())
        images = self._transform(torch.view_as_complex(flat.unflatten(-1, (-1, 2))))
        images = images * maps if torch.is_grad_enabled() else images.mul_(maps)
        total = torch.view_as_complex(torch.view_as_real(images).sum(0))
        return total.conj_physical(), norm

    def _transform(self, x: Tensor) -> Tensor:
        """Return the FFT of x along the transformed axes, the last ones, without a scale."""
        axes = tuple(range(-len(self._transformed), 0))
        return torch.fft.fftn(x, dim=axes) if axes else x

    def _block_sizes(self, maps: Tensor) -> tuple[int, int]:
        """Return how many entries of the first axis and how many coils make a block."""
        coils, rows, *rest = maps.shape
        if maps.device.type != "cpu":
            return rows, coils
        is_free = len(self._transformed) < len(self._order)
        size = math.prod(rest)
        block_rows = min(rows, max(1, _BLOCK // (coils * size))) if is_free else rows
        return block_rows, min(coils, max(1, _BLOCK // (block_rows * size)))

    def _arrange(self, x: Tensor) -> Tensor:
        """Return x with the spatial axes in the loop's order."""
        return _permute(x, self._order)


@functools.cache
def _keep_freed_memory() -> None:
    """Have the C library keep freed blocks of up to 32 MiB instead of returning them at once.

    Page faults on memory that was just returned cost up to as much as an FFT. glibc keeps blocks
    as large as the largest that it has seen freed; this block is never touched.
    """
    torch.empty(_KEPT_BYTES, dtype=torch.uint8)


def _varies_along(mask: Tensor, axis: int) -> bool:
    if mask.ndim < -axis or mask.shape[axis] == 1:
        return False
    # A recorded graph must work for any mask.
    return records_graph() or not bool((mask == mask.narrow(axis, 0, 1)).all())


def _thin(mask: Tensor, transformed: Sequence[int], ndim: int) -> Tensor:
    """Return the mask, (..., coil, *spatial), of size 1 along axes on which it does not depend."""
    while mask.ndim <= ndim:
        mask = mask.unsqueeze(0)
    for axis in range(-ndim, 0):
        if axis not in transformed:
            mask = mask.narrow(axis, 0, 1)
    return mask


def _permute(x: Tensor, order: Sequence[int]) -> Tensor:
    """Return x with its last axes in another order, contiguous if the order changes."""
    if list(order) == list(range(-len(order), 0)):
        return x
    return x.permute(*range(x.ndim - len(order)), *[axis + x.ndim for axis in order]).contiguous()


def _unbatch(x: Tensor, batch: Shape, ndim: int) -> list[Tensor]:
    """Return the items of x, whose last ndim axes are an item's, as views."""
    whole = x.expand(*batch, *x.shape[x.ndim - ndim :])
    return [whole[index] for index in itertools.product(*(range(size) for size in batch))]
