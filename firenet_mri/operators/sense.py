"""The multi-coil encoding operator P F S: sensitivity maps, Fourier transform, sampling."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from firenet_mri.errors import ShapeError
from firenet_mri.operators.base import LinearOperator, Part, Residual
from firenet_mri.operators.cartesian_residual import CartesianResidual
from firenet_mri.operators.fourier import CartesianFourier, modulate
from firenet_mri.operators.nonuniform import NonuniformFourier
from firenet_mri.operators.toeplitz import ToeplitzResidual

# Complex numbers of k-space, all coils, above which temporaries of their size are avoided.
_LARGE = 1 << 22
# Complex numbers of an item above which it is split where speed matters less.
_MANY = 1 << 20


class Sense(LinearOperator):
    """x -> (P F (s_c x))_c for coils c.

    Parameters
    ----------
    maps
        (..., coil, *spatial) complex sensitivity maps. Leading axes are batch axes: every item
        has its own maps.
    fourier
        The operator of one coil, from images (*spatial) to its k-space: Cartesian, non-Cartesian,
        or any other.
    maps_bound
        An upper bound of the largest root-sum-of-squares of the maps, if known beforehand; None
        computes it from the maps. While a graph is recorded it must be given.
    maps_from_data
        True if the maps were estimated from the data that the operator is used to reconstruct.

    Notes
    -----
    ``root_sum_of_squares``, (..., *spatial), is 1 where normalised maps have signal and 0 where
    they have none: there the data contain nothing about the image.

    ``norm_bound`` is max over pixels of sqrt(sum_c |s_c|^2), times the bound of ``fourier``: 1 for
    maps normalised to unit root-sum-of-squares. Differentiable with respect to ``maps``.
    """

    maps: Tensor
    root_sum_of_squares: Tensor

    def __init__(
        self,
        maps: Tensor,
        fourier: LinearOperator,
        maps_bound: float | None = None,
        *,
        maps_from_data: bool = False,
    ) -> None:
        shape = fourier.domain_shape
        axis = -len(shape) - 1
        if maps.ndim < -axis or tuple(maps.shape[axis + 1 :]) != shape:
            raise ShapeError(
                f"Sensitivity maps have shape {tuple(maps.shape)}; they must be "
                f"(..., coil, *{shape})"
            )
        if not maps.is_complex():
            raise ShapeError(f"Sensitivity maps are {maps.dtype}; they must be complex")
        # Coil by coil, since a copy of the maps in double precision is large.
        energy = sum(one.abs().double().square() for one in maps.detach().unbind(axis))
        assert isinstance(energy, Tensor)
        root_sum_of_squares = energy.sqrt().to(maps.real.dtype)
        bound = float(energy.max()) ** 0.5 if maps_bound is None else maps_bound
        shapes = shape, (maps.shape[axis], *fourier.codomain_shape)
        super().__init__(*shapes, bound * fourier.norm_bound)
        self.fourier = fourier
        self.made_from = (Part("sensitivity maps", maps_from_data), *fourier.made_from)
        self.coil_axis = axis
        self.register_buffer("root_sum_of_squares", root_sum_of_squares, persistent=False)
        self.register_buffer("maps", maps.resolve_conj(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the k-space of all coils (..., coil, *codomain) of images x (..., *spatial)."""
        self.check_domain(x)
        if isinstance(self.fourier, CartesianFourier):
            # Centring one image costs less than centring those of all coils.
            x = modulate(x, self.fourier.image_factor)
            return self.fourier.forward_modulated(x.unsqueeze(self.coil_axis) * self.maps)
        result: Tensor = self.fourier(x.unsqueeze(self.coil_axis) * self.maps)
        return result

    def adjoint(self, y: Tensor) -> Tensor:
        """Return the coil-combined images (..., *spatial) of k-space y: A^H y."""
        self.check_codomain(y)
        if isinstance(self.fourier, CartesianFourier):
            combined = None
            # Coil by coil, so that large data need no second array of their size.
            count = 1 if self._has_one_mask and y.numel() > _LARGE else y.shape[self.coil_axis]
            for coil in range(0, y.shape[self.coil_axis], count):
                images = self.fourier.adjoint_modulated(y.narrow(self.coil_axis, coil, count))
                combined = self._combine(images, coil, combined)
            assert combined is not None
            return modulate(combined.conj_physical(), self.fourier.image_factor.conj())
        combined = self._combine(self.fourier.adjoint(y), 0, None)
        return combined.conj_physical()

    def data_parts(self) -> Iterator[tuple[int, LinearOperator]]:
        """Yield the operators of single coils, of large Cartesian data whose coils share a mask."""
        is_small = math.prod(self.codomain_shape) <= _MANY
        if is_small or not isinstance(self.fourier, CartesianFourier) or not self._has_one_mask:
            yield 0, self
            return
        for coil in range(self.maps.shape[self.coil_axis]):
            one = self.maps.narrow(self.coil_axis, coil, 1)
            yield coil, Sense(one, self.fourier, self.norm_bound)

    @property
    def _has_one_mask(self) -> bool:
        assert isinstance(self.fourier, CartesianFourier)
        factor = self.fourier.kspace_factor
        return factor.ndim < -self.coil_axis or factor.shape[self.coil_axis] == 1

    def residual(self, y: Tensor) -> Residual:
        """Return x -> (A^H (A x - y), ||A x - y||), for Cartesian scans at the cost of its FFTs."""
        self.check_codomain(y)
        if isinstance(self.fourier, CartesianFourier):
            return CartesianResidual(self.maps, self.fourier, y)
        if isinstance(self.fourier, NonuniformFourier) and not _is_recorded(y, self.maps):
            return ToeplitzResidual(self, self.maps, self.fourier, y)
        return super().residual(y)

    def _combine(self, images: Tensor, first: int, combined: Tensor | None) -> Tensor:
        """Return the conjugate of the sum over coils of conj(maps) * images, added to ``combined``.

        The images are those of the coils from ``first`` on.
        """
        # A loop of addcmul costs a third of (maps.conj() * images).sum(coil): no large temporary.
        maps, images = self.maps.to(images.dtype), images.conj_physical()
        for index in range(images.shape[self.coil_axis]):
            pair = images.select(self.coil_axis, index), maps.select(self.coil_axis, first + index)
            combined = pair[0] * pair[1] if combined is None else torch.addcmul(combined, *pair)
        assert combined is not None
        return combined


def _is_recorded(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def encoding_operator(
    sampling: Tensor | None,
    maps: Tensor,
    spatial_ndim: int = 2,
    *,
    maps_bound: float | None = None,
    maps_from_data: bool = False,
) -> Sense:
    """Return the encoding operator P F S of a scan.

    Parameters
    ----------
    sampling
        Sampling mask, see :class:`CartesianFourier`; None if fully sampled. Or a trajectory, see
        :class:`NonuniformFourier`: real numbers, not all 0 or 1, the last axis of length
        ``spatial_ndim``.
    maps
        (..., coil, *spatial) complex.
    spatial_ndim
        Number of spatial axes, 2 or 3.
    maps_bound, maps_from_data
        See :class:`Sense`.
    """
    # A traced shape contains tensors.
    shape = tuple(int(size) for size in maps.shape[-spatial_ndim:])
    if sampling is None:
        sampling = torch.ones(shape, dtype=torch.bool, device=maps.device)
    has_points = sampling.is_floating_point() and sampling.shape[-1] == spatial_ndim
    if has_points and not bool(((sampling == 0) | (sampling == 1)).all()):
        fourier: LinearOperator = NonuniformFourier(sampling, shape)
    else:
        fourier = CartesianFourier(sampling, shape)
    return Sense(maps, fourier, maps_bound, maps_from_data=maps_from_data)
