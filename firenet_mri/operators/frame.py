"""Redundant sparsifiers: frames that see an image from every shift, and their dual step.

Frames here are real. A complex image is processed as two real planes, (2, *batch, *spatial), and so
is the dual of its coefficients, since real arithmetic is several times faster than complex.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.operators.base import Shape, records_graph
from firenet_mri.operators.derivative import Map, linear
from firenet_mri.operators.frame_passes import FramePart, frame_steps_
from firenet_mri.operators.kernels import can_compile
from firenet_mri.operators.sparsifier import Sparsifier
from firenet_mri.prox import over_axes, relaxed

# Real numbers of the dual in a slab on a CPU: 4 MiB in single precision.
_SLAB = 1 << 20
# Coefficients per piece where they are read only once.
_LARGE = 1 << 21


class Frame(Sparsifier):
    """A real linear map W from images (*spatial) to bands (band, *spatial).

    Parameters
    ----------
    spatial_shape
        Sizes of the transformed axes.
    bands
        Number of bands.
    norm_bound
        Proven bound of the norm: 1 for a Parseval frame.
    reach
        Number of further rows along the first axis on which a coefficient depends, with periodic
        ends; None if the frame cannot be applied to slabs.
    filters
        (K, taps), the filters whose products make all K^ndim bands, the first axis fastest; None if
        the bands are made in another way.
    """

    #: Whether the bands of a pixel can be penalised as one matrix even without ``filters``.
    compares_bands = False
    #: Whether gradients are propagated to the frame's filters, for training.
    is_trained = False
    filters: Tensor | None

    def __init__(
        self,
        spatial_shape: Shape,
        bands: int,
        norm_bound: float = 1.0,
        reach: int | None = None,
        filters: Tensor | None = None,
    ) -> None:
        super().__init__(spatial_shape, (bands, *spatial_shape), norm_bound)
        self.reach = reach
        self.register_buffer("filters", filters, persistent=False)

    @abstractmethod
    def _analyse(self, planes: Tensor, *, is_slab: bool = False) -> Tensor:
        """Return W of real images (..., *spatial), (..., band, *spatial), a new tensor.

        A slab is a part of the images along the first axis with ``reach`` additional rows after it,
        which get no coefficients of their own.
        """

    @abstractmethod
    def _synthesise(self, coefficients: Tensor, *, is_slab: bool = False) -> Tensor:
        """Return W^H of real coefficients (..., band, *spatial), (..., *spatial).

        For a slab, the result includes the ``reach`` rows after it, on which its coefficients act.
        """

    @property
    @abstractmethod
    def band_norms(self) -> Tensor:
        """(band, 1, ...) float64: norm of each band's functions; white noise has that deviation."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the coefficients W x, (..., band, *spatial)."""
        self.check_domain(x)
        return _joined(self._bands(_split(x))) if x.is_complex() else self._bands(x)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return the image W^H y, (..., *spatial)."""
        self.check_codomain(y)
        return _joined(self._image(_split(y))) if y.is_complex() else self._image(y)

    def _bands(self, planes: Tensor) -> Tensor:
        """Return W of real images, with W^H as its derivative."""
        if self.is_trained:
            return self._analyse(planes)
        return _with_adjoint(planes, self._analyse, self._synthesise)

    def _image(self, coefficients: Tensor) -> Tensor:
        """Return W^H of real coefficients, with W as its derivative."""
        if self.is_trained:
            return self._synthesise(coefficients)
        return _with_adjoint(coefficients, self._synthesise, self._analyse)

    def shrink(self, x: Tensor, tau: Tensor, threshold: Tensor | float) -> Tensor:
        """Refuse: a frame has no step in synthesis form."""
        raise UsageError(f"{type(self).__name__} is redundant; its prox has no closed form")

    def gram_symbol(self) -> Tensor:
        """Return the eigenvalues of W^H W at the frequencies of the FFT, (*spatial) float64.

        Raises
        ------
        UsageError
            If W^H W is not known to be a convolution.
        """
        if not self.is_parseval:
            raise UsageError(f"{type(self).__name__} has no W^H W that the FFT diagonalises")
        return torch.ones(self.domain_shape, dtype=torch.float64)

    def solve_gram(self, x: Tensor) -> Tensor:
        """Return the pseudo-inverse of W^H W applied to x, (..., *spatial).

        Raises
        ------
        UsageError
            If W is zero on other images than constants; then no dual bound is available.
        """
        if self.is_parseval:
            return x
        symbol = self.gram_symbol()
        is_seen = symbol > symbol.max() * torch.finfo(symbol.dtype).eps
        if not records_graph() and int((~is_seen).sum()) > self.annihilates_constants:
            raise UsageError(
                f"{type(self).__name__} does not see some images that are not constant; stack it "
                "with a frame that does"
            )
        inverse = torch.where(is_seen, 1 / symbol.clamp(min=torch.finfo(symbol.dtype).tiny), 0.0)
        axes = tuple(range(-len(self.domain_shape), 0))
        spectrum = torch.fft.fftn(x, dim=axes) * inverse.to(x.device, x.real.dtype)
        solution = torch.fft.ifftn(spectrum, dim=axes)
        return solution if x.is_complex() else solution.real

    def zero_dual(self, x: Tensor) -> Tensor:
        """Return a zero dual of the coefficients of images like x, in planes."""
        shape = (*x.shape[: x.ndim - len(self.domain_shape)], *self.codomain_shape)
        planes = (2, *shape) if x.is_complex() else (1, *shape)
        return torch.zeros(planes, dtype=x.real.dtype, device=x.device)

    def coefficients(self, q: Tensor) -> Tensor:
        """Return a dual in planes as coefficients, (*batch, band, *spatial)."""
        return _joined(q) if len(q) == 2 else q[0]

    def laid_out(self, coefficients: Tensor) -> Tensor:
        """Return coefficients as a dual in planes: the inverse of :meth:`coefficients`."""
        if coefficients.is_complex():
            return _split(coefficients)
        return coefficients.unsqueeze(0).clone()

    def dual_step(
        self,
        q: Tensor,
        x: Tensor,
        sigma: Tensor,
        radius: Tensor | float,
        relaxation: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Return q+, the projection of q + sigma W x on |q_i| <= radius_i, and W^H q+.

        Where no gradients are recorded q+ overwrites q.

        Parameters
        ----------
        q
            Dual of the coefficients in planes, see :meth:`zero_dual`.
        x
            Images, (*batch, *spatial).
        sigma
            Step size, one per item, (*batch).
        radius
            Positive, broadcasts against the coefficients; one number per group of bands.
        relaxation
            Relaxation factor; 1 moves q exactly to the projection.
        """
        parts = self._compiled_parts(q, radius) if can_compile(q, x, sigma) else None
        if parts is not None:
            return q, frame_steps_(parts, x, sigma, relaxation)
        planes = _split(x) if x.is_complex() else x.unsqueeze(0)
        steps = over_axes(sigma, self.codomain_shape)
        if torch.is_grad_enabled():
            projected = self._project(torch.addcmul(q, self._bands(planes), steps), radius)
            q = relaxed(q, projected, relaxation)
            image = self._image(q)
        else:
            image = self._step_in_slabs(q, planes, steps, radius, relaxation)
        return q, _joined(image) if x.is_complex() else image[0]

    def weighted_sum(self, x: Tensor, weights: Tensor | float) -> Tensor:
        """Return sum_i w_i |(W x)_i|, (*batch), each group counted once; slab by slab."""
        axes = tuple(range(-len(self.codomain_shape), 0))
        parts = [
            (part_along(weights, -len(self.domain_shape), *rows) * self.shares(coefficients)).sum(
                axes
            )
            for rows, coefficients in self._slabs(x)
        ]
        return torch.stack(parts).sum(0)

    def synthesised(self, q: Tensor, dtype: torch.dtype) -> Tensor:
        """Return W^H q, (*batch, *domain_shape), in another precision than q's; slab by slab."""
        axis, size = -len(self.domain_shape), self.domain_shape[0]
        count = self._slab_rows_of(q)
        if count >= size:
            return self.adjoint(q.to(dtype))
        assert self.reach is not None
        shape = (*q.shape[: axis - 1], size + self.reach, *self.domain_shape[1:])
        image = torch.zeros(shape, dtype=dtype, device=q.device)
        for row in range(0, size, count):
            part = q.narrow(axis, row, min(count, size - row)).to(dtype)
            planes = _split(part) if part.is_complex() else part.unsqueeze(0)
            found = self._synthesise(planes, is_slab=True)
            found = _joined(found) if part.is_complex() else found[0]
            image.narrow(axis, row, found.shape[axis]).add_(found)
        image.narrow(axis, 0, self.reach).add_(image.narrow(axis, size, self.reach))
        return image.narrow(axis, 0, size)

    def room(self, q: Tensor | None, x: Tensor, radius: Tensor | float) -> Tensor:
        """Return the largest s with |s (q + W x)_i| <= radius_i, (*batch); slab by slab."""
        axis, parts = -len(self.domain_shape), []
        for rows, moved in self._slabs(x):
            if q is not None:
                moved = moved + q.narrow(axis, *rows).to(x.dtype)
            parts.append(self._room(moved, part_along(radius, axis, *rows)))
        return torch.stack(parts).amin(0)

    def _slabs(self, x: Tensor) -> Iterator[tuple[tuple[int, int], Tensor]]:
        """Yield the first row and number of rows of each slab, and W x there."""
        axis, size = -len(self.domain_shape), self.domain_shape[0]
        shape = (*x.shape[: x.ndim + axis], *self.codomain_shape)
        count = self._slab_rows_of(x.new_empty(1).expand(shape))
        if count >= size:
            yield (0, size), self(x)
            return
        assert self.reach is not None
        planes = _split(x) if x.is_complex() else x.unsqueeze(0)
        wrapped = torch.cat([planes, planes.narrow(axis, 0, self.reach)], dim=axis)
        for row in range(0, size, count):
            rows = min(count, size - row)
            bands = self._analyse(wrapped.narrow(axis, row, rows + self.reach), is_slab=True)
            yield (row, rows), _joined(bands) if x.is_complex() else bands[0]

    def _slab_rows_of(self, coefficients: Tensor) -> int:
        """Return the number of rows per slab where coefficients are read only once."""
        if coefficients.numel() <= _LARGE:
            return self.domain_shape[0]
        planes = coefficients.expand(2, *coefficients.shape)
        return self._slab_rows(planes)

    def _step_in_slabs(
        self,
        q: Tensor,
        planes: Tensor,
        steps: Tensor,
        radius: Tensor | float,
        relaxation: float = 1.0,
    ) -> Tensor:
        """Overwrite q with q+ and return W^H q+ in planes, in parts that stay in the cache."""
        if self.filters is not None and self._can_compile(q, planes, steps, radius):
            lengths = steps.reshape(planes.shape[1 : -len(self.domain_shape)])
            radii = torch.as_tensor(radius, dtype=torch.float64)
            return self._compiled_step(q, planes, lengths, radii, relaxation)
        axis = -len(self.domain_shape)
        size, rows = self.domain_shape[0], self._slab_rows(q)
        if rows >= size:
            self._move_(q, self._analyse(planes) * steps, radius, relaxation)
            return self._synthesise(q)
        assert self.reach is not None
        wrapped = torch.cat([planes, planes.narrow(axis, 0, self.reach)], dim=axis)
        image = torch.zeros_like(wrapped)
        for row in range(0, size, rows):
            count = min(rows, size - row)
            part = q.narrow(axis, row, count)
            slab = wrapped.narrow(axis, row, count + self.reach)
            change = self._analyse(slab, is_slab=True) * steps
            self._move_(part, change, part_along(radius, axis, row, count), relaxation)
            image.narrow(axis, row, count + self.reach).add_(self._synthesise(part, is_slab=True))
        end = image.narrow(axis, size, self.reach)
        image.narrow(axis, 0, self.reach).add_(end)
        return image.narrow(axis, 0, size)

    def _can_compile(
        self, q: Tensor, planes: Tensor, steps: Tensor, radius: Tensor | float
    ) -> bool:
        """Return whether the compiled step can be used."""
        return (
            self.groups is None and can_compile(q, planes, steps) and self._fits_kernels(q, radius)
        )

    def _compiled_step(
        self, q: Tensor, planes: Tensor, lengths: Tensor, radii: Tensor, relaxation: float
    ) -> Tensor:
        """Overwrite q with q+ and return W^H q+ in planes."""
        assert self.filters is not None
        part = FramePart(q, 1.0, radii, self.filters)
        x = _joined(planes) if len(planes) == 2 else planes[0]
        image = frame_steps_([part], x, lengths, relaxation)
        return _split(image) if len(planes) == 2 else image.unsqueeze(0)

    def _compiled_parts(self, q: Tensor, radius: Tensor | float) -> list[FramePart] | None:
        """Return what one compiled step of all frames takes; None if there is none."""
        if self.filters is None or self.groups is not None or not self._fits_kernels(q, radius):
            return None
        return [FramePart(q, 1.0, torch.as_tensor(radius, dtype=torch.float64), self.filters)]

    def _fits_kernels(self, q: Tensor, radius: Tensor | float) -> bool:
        """Return whether compiled steps take these tensors: in 2D, with one radius per band."""
        bands, *shape = self.codomain_shape
        rows_are_whole = q.stride()[-2:] == (self.domain_shape[-1], 1)
        has_flat_radius = not isinstance(radius, Tensor) or radius.shape in (
            (),
            (bands, *[1] * len(shape)),
        )
        wraps_once = self.filters is not None and self.filters.shape[1] <= min(shape)
        is_simple = rows_are_whole and has_flat_radius and wraps_once
        return len(shape) == 2 and is_simple

    def _slab_rows(self, q: Tensor) -> int:
        """Return the number of rows per slab."""
        size = self.domain_shape[0]
        if self.reach is None or len(self.domain_shape) == 1 or q.device.type != "cpu":
            return size
        # More than the reach, since that many rows are processed twice.
        return min(size, max(self.reach + 1, _SLAB // (q.numel() // size)))

    def _project(self, q: Tensor, radius: Tensor | float) -> Tensor:
        """Return q in planes projected on the discs."""
        radii = torch.as_tensor(radius, dtype=q.dtype, device=q.device)
        if q.requires_grad and not radii.requires_grad and not records_graph():
            result: Tensor = _Projection.apply(q, radii, self)  # type: ignore[no-untyped-call]
            return result
        return q * self._shares(q, radii)

    def _shares(self, q: Tensor, radii: Tensor) -> Tensor:
        """Return min(radius / |q|, 1), (*batch, band, *spatial)."""
        # The modulus is at least half the radius, so that the slope is finite where it is clamped.
        least = radii**2 / 4 + torch.finfo(q.dtype).tiny
        # The derivative of rsqrt would overflow at the smallest modulus.
        return (radii / torch.maximum(self._square(q), least).sqrt()).clamp(max=1)

    def _move_(self, q: Tensor, change: Tensor, radius: Tensor | float, relaxation: float) -> None:
        """Overwrite q in planes with the projection of q + change, or its relaxed form."""
        before = None if relaxation == 1 else q.clone()
        self._project_(q.add_(change), radius)
        if before is not None:
            q.sub_(before).mul_(relaxation).add_(before)

    def _project_(self, q: Tensor, radius: Tensor | float) -> None:
        """Overwrite q in planes with its projection on the discs."""
        square = self._square(q).clamp_(min=torch.finfo(q.dtype).tiny)
        q.mul_(square.rsqrt_().mul_(radius).clamp_(max=1))

    def _square(self, q: Tensor) -> Tensor:
        """Return the squared modulus for q in planes, (*batch, band, *spatial), a new tensor."""
        return self._product(q, q)

    def _product(self, p: Tensor, q: Tensor) -> Tensor:
        """Return the real inner products over planes and groups, (*batch, band, *spatial)."""
        square = p[0] * q[0]
        if len(q) == 2:
            square = torch.addcmul(square, p[1], q[1])
        if self.groups is None:
            return square
        axis = -len(self.codomain_shape)
        parts = square.split(self.groups, dim=axis)
        return torch.cat([p.sum(axis, keepdim=True).expand_as(p) for p in parts], dim=axis)


class _Projection(torch.autograd.Function):
    """The projection on discs: its Jacobian is symmetric, since it is the gradient of a function.

    With r = min(radius / |q|, 1) it takes g to r g inside, and outside to r (g - q <q, g> / |q|^2).
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(q: Tensor, radii: Tensor, frame: Frame) -> Tensor:
        return q * frame._shares(q, radii)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        q, radii, ctx.frame = inputs
        ctx.save_for_backward(q, radii)
        ctx.save_for_forward(q, radii)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _Projection._turned(ctx, gradients[0]), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        return _Projection._turned(ctx, tangents[0])

    @staticmethod
    def _turned(ctx: Any, g: Tensor) -> Tensor:
        q, radii = ctx.saved_tensors
        shares = ctx.frame._shares(q, radii)
        # Outside |q|^2 = radius^2 / r^2.
        along = ctx.frame._product(q, g) * (shares / radii).square()
        return shares * (g - q * torch.where(shares < 1, along, 0.0))


def part_along(radius: Tensor | float, axis: int, first: int, count: int) -> Tensor | float:
    """Return the radius of a part of an axis, counted from the end."""
    if not isinstance(radius, Tensor) or radius.ndim < -axis or radius.shape[axis] == 1:
        return radius
    return radius.narrow(axis, first, count)


def _with_adjoint(x: Tensor, forward: Map, adjoint: Map) -> Tensor:
    # A traced graph needs every operation by itself.
    return linear(x, forward, adjoint) if x.requires_grad and not records_graph() else forward(x)


def _split(x: Tensor) -> Tensor:
    """Return real and imaginary part as planes, (2, ...), contiguous."""
    return torch.view_as_real(x.resolve_conj()).movedim(-1, 0).contiguous()


def _joined(planes: Tensor) -> Tensor:
    """Return the complex tensor of two planes."""
    return torch.complex(planes[0], planes[1])
