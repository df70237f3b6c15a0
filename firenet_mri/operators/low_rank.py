"""Locally low rank: patches of related images, each forming a matrix of few singular values.

A tiling cuts the plane into squares. The values of a square in all images make a matrix C of frames
by pixels, whose nuclear norm, the sum of its singular values, is penalised. A square whose pixels
follow few curves over the frames has a small penalty, whichever curves these are. [1]

    W x = (x, ..., x) / sqrt(K),    N(c) = sum_k sum_{squares S of tiling k} ||C_S(c_k)||_*,

for K tilings at different offsets, so that no edge of a square is an edge for all of them. W is a
Parseval frame whatever the tilings are. The dual of a square lies in the ball of the spectral norm,
on which :mod:`firenet_mri.operators.singular_values` projects (docs/theory.md, section 3.11).

Differs from [1] in: several tilings at once instead of one at random offsets.

[1] J. Trzasko, A. Manduca, Local versus global low-rank promotion in dynamic MRI series
    reconstruction, Proc. ISMRM 19, 2011.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from firenet_mri.errors import UsageError
from firenet_mri.operators.base import Shape
from firenet_mri.operators.frame import Frame
from firenet_mri.operators.singular_values import Axes, clip_singular_values, singular_values

#: Side of the squares in pixels, chosen on simulated hearts of 128 x 128 pixels (``firenet
#: benchmark cine``, seeds 0 and 1): of sides from 4 to 32 pixels, 16 had the best SSIM; with 24 the
#: PSNR was .4 dB better, with 8 it was 2 dB worse.
PATCH = 16


class LocalLowRank(Frame):
    """K differently tiled copies of images over sqrt(K): (frame, y, x) to (tiling, frame, y, x).

    Parameters
    ----------
    shape
        (frame, y, x), at least 2 images.
    patch
        Side of the squares in pixels, from 2 to the smaller side of the images.
    offsets
        Per tiling the row and the column at which a square begins. Squares are cut off at the
        border of the image. None gives two tilings, half a square apart along both axes.

    Raises
    ------
    UsageError
        If there is only one image, or the squares do not fit into the images.
    """

    def __init__(
        self, shape: Shape, patch: int = PATCH, offsets: Sequence[tuple[int, int]] | None = None
    ) -> None:
        frames, *plane = shape
        if frames < 2:
            raise UsageError(
                f"across-low-rank requested across {frames} image; it needs at least 2"
            )
        if not 2 <= patch <= min(plane):
            raise UsageError(
                f"across-low-rank: squares of {patch} x {patch} pixels requested in images of "
                f"{plane[0]} x {plane[1]}; give a side of 2 to {min(plane)} pixels, such as "
                f"across-low-rank{min(8, *plane)}"
            )
        half = patch // 2
        places = ((0, 0), (half, half)) if offsets is None else tuple(offsets)
        super().__init__(shape, len(places))
        self.patch = patch
        self.offsets = places
        self.is_parseval = True
        self.is_coherent = True
        self._factor = len(places) ** -0.5

    @property
    def band_norms(self) -> Tensor:
        """(tiling, 1, 1, 1) float64: the typical spectral norm of a square of white noise.

        The largest singular value of a matrix of white noise of deviation 1 is near
        sqrt(rows) + sqrt(columns).
        """
        edge = math.sqrt(self.domain_shape[0]) + self.patch
        return torch.full((len(self.offsets), 1, 1, 1), edge * self._factor, dtype=torch.float64)

    def modulus(self, coefficients: Tensor) -> Tensor:
        """Return for every coefficient the nuclear norm of its square."""
        return self._over_squares(coefficients, lambda m: singular_values(m).sum(-1))

    def dual_modulus(self, coefficients: Tensor) -> Tensor:
        """Return for every coefficient the spectral norm of its square."""
        return self._over_squares(coefficients, lambda m: singular_values(m).amax(-1))

    def over_groups(self, values: Tensor) -> Tensor:
        """Return for every coefficient the sum over its square; real."""
        return self._over_squares(values, lambda m: m.sum((-2, -1)))

    def shares(self, coefficients: Tensor) -> Tensor:
        """Return the nuclear norm of each square, shared equally by its coefficients."""
        sizes = self.modulus(coefficients)
        return sizes / self.over_groups(torch.ones_like(sizes))

    def project(self, coefficients: Tensor, radius: Tensor | float) -> Tensor:
        """Return the nearest coefficients whose squares have spectral norms within the radius."""
        parts = [clip_singular_values(*part) for part in self.squares(coefficients, radius)]
        return self.placed(parts)

    def squares(
        self, coefficients: Tensor, radius: Tensor | float = 1.0
    ) -> list[tuple[Tensor, Tensor]]:
        """Return the squares of each tiling, (..., square, frame, pixel), and their radius.

        A square is zero beyond the border of the images, which adds no singular value.

        Raises
        ------
        UsageError
            If the radii of the coefficients of a square differ.
        """
        radii = torch.as_tensor(radius, dtype=coefficients.real.dtype, device=coefficients.device)
        radii = radii.reshape((1,) * max(4 - radii.ndim, 0) + radii.shape)
        if radii.shape[-3:] != (1, 1, 1):
            raise UsageError(
                "Weights differ within the squares of across-low-rank; give one per tiling"
            )
        radii = radii.expand(*radii.shape[:-4], len(self.offsets), 1, 1, 1)
        return [
            (self._cut(part, offset), limit[..., 0, 0])
            for part, offset, limit in zip(
                coefficients.unbind(-4), self.offsets, radii.unbind(-4), strict=True
            )
        ]

    def placed(self, squares: Sequence[Tensor]) -> Tensor:
        """Return coefficients from the squares of each tiling: the inverse of :meth:`squares`."""
        pairs = zip(squares, self.offsets, strict=True)
        return torch.stack([self._joined(part, offset) for part, offset in pairs], dim=-4)

    def _over_squares(self, values: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Return for every coefficient the real value of a function of its square."""
        cut = [part for part, _ in self.squares(values)]
        return self.placed([function(m)[..., None, None].expand(m.shape) for m in cut])

    def _margins(self, offset: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return the pixels to add on the left, on the right, above and below for whole squares."""
        p, (y, x) = self.patch, self.domain_shape[1:]
        top, left = -offset[0] % p, -offset[1] % p
        return left, -(x + left) % p, top, -(y + top) % p

    def _cut(self, images: Tensor, offset: tuple[int, int]) -> Tensor:
        p, padded = self.patch, pad(images, self._margins(offset))
        *batch, frames, y, x = padded.shape
        cells = padded.reshape(*batch, frames, y // p, p, x // p, p).movedim((-4, -2), (-5, -4))
        return cells.reshape(*batch, (y // p) * (x // p), frames, p * p)

    def _joined(self, squares: Tensor, offset: tuple[int, int]) -> Tensor:
        p, (left, right, top, bottom) = self.patch, self._margins(offset)
        frames, y, x = self.domain_shape
        rows, columns = (y + top + bottom) // p, (x + left + right) // p
        batch = squares.shape[:-3]
        cells = squares.reshape(*batch, rows, columns, frames, p, p).movedim((-5, -4), (-4, -2))
        images = cells.reshape(*batch, frames, rows * p, columns * p)
        return images[..., top : top + y, left : left + x]

    def _project(self, q: Tensor, radius: Tensor | float) -> Tensor:
        """Return q in planes projected on the balls."""
        return self.laid_out(self.project(self.coefficients(q), radius))

    def _project_(self, q: Tensor, radius: Tensor | float) -> None:
        """Overwrite q in planes with its projection on the balls."""
        q.copy_(self._project(q, radius))

    def _analyse(self, planes: Tensor, *, is_slab: bool = False) -> Tensor:
        return (planes * self._factor).unsqueeze(-4).repeat_interleave(len(self.offsets), dim=-4)

    def _synthesise(self, coefficients: Tensor, *, is_slab: bool = False) -> Tensor:
        return coefficients.sum(-4) * self._factor

    def extra_repr(self) -> str:
        """Return squares and tilings, for printing."""
        return f"squares of {self.patch} x {self.patch}, offsets={self.offsets}"


@dataclass(frozen=True, eq=False)
class ClippedSquares:
    """The derivative of the projection on balls of the spectral norm, at fixed radii.

    ``axes`` are the squares of each tiling in their principal axes.
    """

    transform: LocalLowRank
    axes: tuple[Axes, ...]

    @classmethod
    def at(cls, transform: LocalLowRank, z: Tensor, radius: Tensor | float) -> ClippedSquares:
        """Return the derivative at coefficients z, for radii that broadcast against them."""
        return cls(transform, tuple(Axes.at(*part) for part in transform.squares(z, radius)))

    def __call__(self, d: Tensor, radii: Tensor | None = None) -> Tensor:
        """Return D d."""
        cut = zip(self.axes, self.transform.squares(d), strict=True)
        return self.transform.placed([at.clipped_change(part) for at, (part, _) in cut])

    def of_radii(self, d: Tensor) -> None:
        """Return None: the radii do not change."""
