"""Derivatives of the nonlinear steps of a layer: soft thresholds, and the coefficients' dual step.

The projection of z on the disc |z| <= r has, where |z| > r, the derivative d -> a (d - n <n, d>)
with n = z / |z| and a = r / |z|; inside it is the identity. z may be all coefficients that are
penalised together. The soft threshold is z minus this projection. The derivative of the projection
on balls of the spectral norm is in :mod:`firenet_mri.operators.spectral_ball`. All of these maps
are symmetric for the real inner product. If r changes, too, r n dr / r is added where |z| > r.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.operators.coherent_passes import coherent_tangent_
from firenet_mri.operators.frame import Frame, part_along
from firenet_mri.operators.frame_passes import frame_slopes, frame_tangent_
from firenet_mri.operators.kernels import can_compile
from firenet_mri.operators.low_rank import ClippedSquares, LocalLowRank
from firenet_mri.operators.phase_coherent import PhaseCoherent
from firenet_mri.operators.sparsifier import Sparsifier
from firenet_mri.operators.spectral_ball import (
    Principal,
    principal,
    projected_change,
    spectral_numbers,
)
from firenet_mri.operators.stacked import StackedFrame
from firenet_mri.prox import over_axes


class DualSlopes(ABC):
    """The derivative D of the projection in one dual step of the coefficients."""

    @abstractmethod
    def zero(self, x: Tensor) -> Tensor:
        """Return q = 0 for images like x, in the layout that :meth:`step` takes."""

    @abstractmethod
    def step(
        self, q: Tensor, x: Tensor, lengths: Tensor, radii: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return q+ = D (q + lengths W x) and W^H q+; q+ may overwrite q.

        Parameters
        ----------
        q
            See :meth:`zero`.
        x
            Images, (*batch, *spatial).
        lengths
            One per item, (*batch).
        radii
            Relative change of the radii, which the derivative then includes; None is no change.
        """

    @abstractmethod
    def transposed_step(
        self, q: Tensor, x: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the same and the transpose of the change of the radii, if these can change.

        D is symmetric, so that this is the transposed step as seen from the coefficients.
        """


@dataclass(frozen=True, eq=False)
class Projection:
    """The derivative of the projection on discs, on coefficients (*batch, *codomain_shape).

    ``shares`` are the a, ``directions`` the n, which are 0 inside, and ``pushed`` is r n, which is
    None if the radii do not change.
    """

    transform: Sparsifier
    shares: Tensor
    directions: Tensor
    pushed: Tensor | None = None

    @classmethod
    def at(
        cls, transform: Sparsifier, z: Tensor, radius: Tensor | float, *, moves: bool = False
    ) -> Projection:
        """Return the derivative at coefficients z, for radii that broadcast against them.

        ``moves`` is True if the radii change, too.
        """
        size = transform.modulus(z)
        outside = size > radius
        safe = torch.where(outside, size, torch.ones_like(size))
        shares = torch.where(outside, radius / safe, torch.ones_like(size))
        directions = torch.where(outside, z / safe, torch.zeros_like(z))
        return cls(transform, shares, directions, radius * directions if moves else None)

    def __call__(self, d: Tensor, radii: Tensor | None = None) -> Tensor:
        """Return D d, plus the effect of a relative change of the radii."""
        inner = self.transform.over_groups((self.directions.conj() * d).real)
        found = self.shares * (d - inner * self.directions)
        if radii is None or self.pushed is None:
            return found
        return found + self.pushed * radii

    def of_radii(self, d: Tensor) -> Tensor | None:
        """Return the transpose of the change of the radii; None if these do not change."""
        return None if self.pushed is None else (self.pushed.conj() * d).real


@dataclass(frozen=True, eq=False)
class SpectralProjection:
    """The derivative of the projection on balls of the spectral norm, at fixed radii.

    ``groups`` holds the matrices of each group in their principal axes, and their radius.
    """

    transform: PhaseCoherent
    groups: tuple[tuple[Principal, Tensor], ...]

    @classmethod
    def at(cls, transform: PhaseCoherent, z: Tensor, radius: Tensor | float) -> SpectralProjection:
        """Return the derivative at coefficients z, for radii that broadcast against them."""
        axis, rows = -len(transform.codomain_shape), _two_rows(transform.laid_out(z))
        return cls(
            transform,
            tuple((principal(q, axis), r) for q, r in transform.with_radii(rows, radius)),
        )

    def __call__(self, d: Tensor, radii: Tensor | None = None) -> Tensor:
        """Return D d."""
        planes = self.transform.laid_out(d)
        axis, rows = -len(self.transform.codomain_shape), _two_rows(planes)
        sizes = [at.rows.shape[axis] for at, _ in self.groups]
        parts = [
            projected_change(at, radius, part, axis)
            for (at, radius), part in zip(self.groups, rows.split(sizes, dim=axis), strict=True)
        ]
        return self.transform.coefficients(torch.cat(parts, dim=axis)[: len(planes)])

    def of_radii(self, d: Tensor) -> None:
        """Return None: the radii do not change."""


@dataclass(frozen=True, eq=False)
class StackedProjection:
    """The derivatives of the parts of a stack, at fixed radii."""

    transform: StackedFrame
    parts: tuple[Projection | SpectralProjection | ClippedSquares, ...]

    @classmethod
    def at(cls, transform: StackedFrame, z: Tensor, radius: Tensor | float) -> StackedProjection:
        """Return the derivative at coefficients z, for radii that broadcast against them."""
        parts = transform.split_bands(z, radius)
        return cls(transform, tuple(_projection_at(frame, c, r) for frame, c, r in parts))

    def __call__(self, d: Tensor, radii: Tensor | None = None) -> Tensor:
        """Return D d."""
        bands = self.transform.split_bands(d)
        changes = [part(c) for part, (_, c, _) in zip(self.parts, bands, strict=True)]
        return torch.cat(changes, dim=-len(self.transform.codomain_shape))

    def of_radii(self, d: Tensor) -> None:
        """Return None: the radii do not change."""


def _projection_at(
    transform: Sparsifier, z: Tensor, radius: Tensor | float
) -> Projection | SpectralProjection | ClippedSquares:
    if isinstance(transform, PhaseCoherent):
        return SpectralProjection.at(transform, z, radius)
    if isinstance(transform, LocalLowRank):
        return ClippedSquares.at(transform, z, radius)
    return Projection.at(transform, z, radius)


def _two_rows(planes: Tensor) -> Tensor:
    """Return coefficients in planes with a row of zeros if they are real."""
    return planes if len(planes) == 2 else torch.cat([planes, torch.zeros_like(planes)])


@dataclass(frozen=True, eq=False)
class PlainSlopes(DualSlopes):
    """The derivative for any transform, by its own operators."""

    projection: Projection | SpectralProjection | ClippedSquares | StackedProjection

    def zero(self, x: Tensor) -> Tensor:
        """Return zeros like W x."""
        return torch.zeros_like(self.projection.transform(x))

    def step(
        self, q: Tensor, x: Tensor, lengths: Tensor, radii: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return D (q + lengths W x) and W^H applied to it."""
        q = self.projection(self._moved(q, x, lengths), radii)
        return q, self.projection.transform.adjoint(q)

    def transposed_step(
        self, q: Tensor, x: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the same, and the transpose of the change of the radii."""
        moved = self._moved(q, x, lengths)
        q = self.projection(moved)
        return q, self.projection.transform.adjoint(q), self.projection.of_radii(moved)

    def _moved(self, q: Tensor, x: Tensor, lengths: Tensor) -> Tensor:
        transform = self.projection.transform
        steps = over_axes(lengths, transform.codomain_shape)
        moved: Tensor = q + steps * transform(x)
        return moved


class FramePart(NamedTuple):
    """A frame of a stack: factor, filters, and p, (item, planes, band, ny, nx), see ``kernels``."""

    scale: float
    filters: Tensor
    slopes: Tensor

    def move_(self, q: Tensor, planes: Tensor, lengths: Tensor) -> Tensor:
        """Overwrite q with D (q + lengths W x) and return W^H q, without the factor."""
        return frame_tangent_(q, planes, self.scale * lengths, self.slopes, self.filters)


class CoherentPart(NamedTuple):
    """A phase-coherent frame of a stack: factor, frame, and the arguments of ``coherent_tangent_``.

    ``slopes`` (item, 2, band, ny, nx) are the rows of the matrices in their principal axes, divided
    by the larger singular value.
    """

    scale: float
    frame: PhaseCoherent
    slopes: Tensor
    numbers: Tensor

    @classmethod
    def at(
        cls,
        scale: float,
        frame: PhaseCoherent,
        before: Tensor,
        planes: Tensor,
        step: Tensor,
        radius: Tensor,
    ) -> CoherentPart:
        """Return the part at a dual (item, 2, band, ny, nx), before a step along images."""
        rows, numbers = [], []
        moved = before + (scale * step).reshape(-1, 1, 1, 1, 1) * frame.bands_of(planes)
        for part, limit in frame.with_radii(moved.movedim(1, 0), radius):
            at = principal(part, -3)
            scaled, seven = spectral_numbers(at, limit)
            rows.append(scaled.movedim(0, 1))
            numbers.append(seven)
        slopes, kept = torch.cat(rows, dim=2).float(), torch.stack(numbers, dim=1).float()
        return cls(scale, frame, slopes.contiguous(), kept.contiguous())

    def move_(self, q: Tensor, planes: Tensor, lengths: Tensor) -> Tensor:
        """Overwrite q with D (q + lengths W x) and return W^H q, without the factor."""
        return coherent_tangent_(
            q,
            planes,
            self.scale * lengths,
            self.slopes,
            self.numbers,
            self.frame.scales.flatten(),
            self.frame.filters,
            self.frame.group_sizes,
        )


@dataclass(frozen=True, eq=False)
class FrameSlopes(DualSlopes):
    """Frames of separable filters in 2D, alone or stacked, through compiled passes.

    q is one row of numbers: (item, planes, band, ny, nx) of every part.
    """

    parts: tuple[FramePart | CoherentPart, ...]

    def zero(self, x: Tensor) -> Tensor:
        """Return a row of zeros."""
        count = sum(part.slopes.numel() for part in self.parts)
        return torch.zeros(count, dtype=x.real.dtype)

    def step(
        self, q: Tensor, x: Tensor, lengths: Tensor, radii: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return D (q + lengths W x), which overwrites q, and W^H of it, at fixed radii."""
        planes = _planes(x, 2)
        image, first = torch.zeros_like(planes), 0
        for part in self.parts:
            shape = part.slopes.shape
            of_part = q.narrow(0, first, shape.numel()).view(shape)
            image.add_(part.move_(of_part, planes, lengths), alpha=part.scale)
            first += shape.numel()
        if not x.is_complex():
            return q, image.reshape(x.shape)
        return q, torch.complex(*image.unbind(1)).reshape(x.shape)

    def transposed_step(
        self, q: Tensor, x: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the same, and None."""
        return *self.step(q, x, lengths), None


def dual_slopes(
    transform: Sparsifier,
    q: Tensor,
    x: Tensor,
    sigma: Tensor,
    radius: Tensor | float,
    *,
    moves: bool = False,
) -> DualSlopes:
    """Return the derivative of ``transform.dual_step(q, x, sigma, radius)``; q is not changed.

    ``moves`` is True if the radii change, too.
    """
    if moves and transform.is_coherent:
        raise UsageError(
            "Weights that change with the data have no derivative with the preset coherent, "
            "across-low-rank or across-groups; use another sparsifier"
        )
    frames = None if moves else _compiled_frames(transform, q, radius)
    if frames is None:
        steps = over_axes(sigma, transform.codomain_shape)
        z = transform.coefficients(q) + steps * transform(x)
        if isinstance(transform, StackedFrame) and transform.is_coherent:
            return PlainSlopes(StackedProjection.at(transform, z, radius))
        if transform.is_coherent:
            return PlainSlopes(_projection_at(transform, z, radius))
        return PlainSlopes(Projection.at(transform, z, radius, moves=moves))
    planes, first = _planes(x, 2), 0
    parts: list[FramePart | CoherentPart] = []
    before = _planes(transform.coefficients(q), 3)
    for scale, frame, filters in frames:
        count = frame.codomain_shape[0]
        limit = torch.as_tensor(part_along(radius, -3, first, count), dtype=torch.float64)
        part = before.narrow(-3, first, count)
        if isinstance(frame, PhaseCoherent):
            parts.append(CoherentPart.at(scale, frame, part, planes, sigma, limit))
        else:
            slopes = frame_slopes(part, planes, scale * sigma, limit, filters)
            parts.append(FramePart(scale, filters, slopes))
        first += count
    return FrameSlopes(tuple(parts))


def _compiled_frames(
    transform: Sparsifier, q: Tensor, radius: Tensor | float
) -> list[tuple[float, Frame, Tensor]] | None:
    """Return frames with their factors and filters if all have compiled passes, else None."""
    if isinstance(transform, StackedFrame):
        frames = transform.parts
    elif isinstance(transform, Frame):
        frames = [(1.0, transform)]
    else:
        return None
    bands, *shape = transform.codomain_shape
    if isinstance(radius, Tensor) and radius.shape not in ((), (bands, *[1] * len(shape))):
        return None
    found = []
    for scale, frame in frames:
        filters = frame.filters
        if filters is None or filters.shape[1] > min(shape):
            return None
        # The norm of a group with one row is Euclidean.
        if frame.groups is not None and not (frame.is_coherent and len(q) == 2):
            return None
        found.append((scale, frame, filters))
    return found if len(shape) == 2 and can_compile(q) else None


def _planes(x: Tensor, ndim: int) -> Tensor:
    """Return real and imaginary parts as planes, (item, planes, *axes) for the last ndim axes."""
    items = x.reshape(-1, *x.shape[x.ndim - ndim :])
    if not x.is_complex():
        return items.unsqueeze(1).contiguous()
    return torch.view_as_real(items.resolve_conj()).movedim(-1, 1).contiguous()
