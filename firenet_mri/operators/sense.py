"""The multi-coil encoding operator P F S: sensitivity maps, Fourier transform, sampling."""

from __future__ import annotations

import torch
from torch import Tensor

from firenet_mri.errors import ShapeError
from firenet_mri.operators.base import LinearOperator
from firenet_mri.operators.fourier import CartesianFourier, modulate


class Sense(LinearOperator):
    """x -> (P F (s_c x))_c for coils c.

    Parameters
    ----------
    maps
        (..., coil, *spatial) complex sensitivity maps. Leading axes are batch: every item has its
        own maps.
    fourier
        The operator of one coil, from images (*spatial) to k-space.

    Notes
    -----
    ``root_sum_of_squares``, (..., *spatial), is 1 where normalised maps have signal and 0 where
    they have none: there the data say nothing of the image.

    ``norm_bound`` is max over pixels of sqrt(sum_c |s_c|^2), times the bound of ``fourier``: 1 for
    maps normalised to unit root-sum-of-squares. Differentiable with respect to ``maps``.
    """

    coil_maps: Tensor
    coil_maps_conj: Tensor
    root_sum_of_squares: Tensor

    def __init__(self, maps: Tensor, fourier: CartesianFourier) -> None:
        shape = fourier.domain_shape
        axis = -len(shape) - 1
        if maps.ndim < 1 - axis - 1 or tuple(maps.shape[axis + 1 :]) != shape:
            raise ShapeError(
                f"Sensitivity maps have shape {tuple(maps.shape)}; they must be "
                f"(..., coil, *{shape})"
            )
        if not maps.is_complex():
            raise ShapeError(f"Sensitivity maps are {maps.dtype}; they must be complex")
        root_sum_of_squares = torch.linalg.vector_norm(maps.detach(), dim=axis)
        bound = float(maps.detach().abs().double().square().sum(axis).max()) ** 0.5
        shapes = shape, (maps.shape[axis], *fourier.codomain_shape)
        super().__init__(*shapes, bound * fourier.norm_bound)
        self.fourier = fourier
        self.coil_axis = axis
        self.register_buffer("root_sum_of_squares", root_sum_of_squares, persistent=False)
        coil_maps = modulate(maps, fourier.image_factor)
        self.register_buffer("coil_maps", coil_maps, persistent=False)
        self.register_buffer("coil_maps_conj", coil_maps.conj().resolve_conj(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sampled k-space (..., coil, *spatial) of images x (..., *spatial)."""
        self.check_domain(x)
        return self.fourier.forward_modulated(x.unsqueeze(self.coil_axis) * self.coil_maps)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return the coil-combined zero-filled images (..., *spatial) of k-space y."""
        self.check_codomain(y)
        images = self.fourier.adjoint_modulated(y)
        # A loop of addcmul costs a third of (maps.conj() * images).sum(coil): no large temporary.
        maps = self.coil_maps_conj.to(images.dtype)
        combined = images.select(self.coil_axis, 0) * maps.select(self.coil_axis, 0)
        for coil in range(1, images.shape[self.coil_axis]):
            combined = torch.addcmul(
                combined, images.select(self.coil_axis, coil), maps.select(self.coil_axis, coil)
            )
        return combined


def encoding_operator(mask: Tensor | None, maps: Tensor, spatial_ndim: int = 2) -> Sense:
    """Return the encoding operator P F S of a Cartesian scan.

    Parameters
    ----------
    mask
        Sampling mask, see :class:`CartesianFourier`; None if fully sampled.
    maps
        (..., coil, *spatial) complex.
    spatial_ndim
        Number of spatial axes, 2 or 3.
    """
    shape = tuple(maps.shape[-spatial_ndim:])
    if mask is None:
        mask = torch.ones(shape, dtype=torch.bool, device=maps.device)
    return Sense(maps, CartesianFourier(mask, shape))
