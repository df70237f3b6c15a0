"""The multi-coil encoding operator with several sets of sensitivity maps."""

from __future__ import annotations

import torch
from torch import Tensor

from firenet_mri.errors import ShapeError
from firenet_mri.operators.base import LinearOperator, Part


class SenseSets(LinearOperator):
    """(x_m)_m -> (P F sum_m s_mc x_m)_c for coils c and map sets m.

    Where an object is larger than the field of view, a pixel shows two places of the object, each
    with its own coil sensitivities. The images of the sets are concatenated along the first axis
    into one array, which a sparsifier processes like any image; the seam lies in the background.

    Parameters
    ----------
    maps
        (set, coil, *spatial) complex.
    fourier
        The operator of one coil, from images (*spatial) to its k-space.
    maps_from_data
        True if the maps were estimated from the data that the operator is used to reconstruct.

    Notes
    -----
    The domain is (set * spatial[0], *spatial[1:]). ``norm_bound`` is the largest singular value of
    the maps' coil x set matrix over the pixels, times the bound of ``fourier``: 1 for orthonormal
    sets. ``root_sum_of_squares``, of the domain's shape, is 1 where a set has maps and 0 elsewhere.
    """

    maps: Tensor
    root_sum_of_squares: Tensor

    def __init__(
        self, maps: Tensor, fourier: LinearOperator, *, maps_from_data: bool = False
    ) -> None:
        spatial = fourier.domain_shape
        if maps.ndim != len(spatial) + 2 or tuple(maps.shape[2:]) != spatial:
            raise ShapeError(
                f"Sensitivity maps have shape {tuple(maps.shape)}; they must be "
                f"(set, coil, {', '.join(map(str, spatial))})"
            )
        if not maps.is_complex():
            raise ShapeError(f"Sensitivity maps are {maps.dtype}; they must be complex")
        sets, coils = maps.shape[:2]
        double = maps.detach().to(torch.complex128)
        gram = torch.einsum("mc...,nc...->...mn", double.conj(), double)
        largest = float(torch.linalg.eigvalsh(gram)[..., -1].max().clamp(min=0)) ** 0.5
        stacked = (sets * spatial[0], *spatial[1:])
        super().__init__(stacked, (coils, *fourier.codomain_shape), largest * fourier.norm_bound)
        energy = torch.linalg.vector_norm(maps.detach(), dim=1)
        self.fourier = fourier
        self.made_from = (Part("sensitivity maps", maps_from_data), *fourier.made_from)
        self.sets = sets
        self.register_buffer("root_sum_of_squares", energy.reshape(stacked), persistent=False)
        self.register_buffer("maps", maps.resolve_conj(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the k-space of all coils (..., coil, *codomain)."""
        self.check_domain(x)
        ndim = len(self.domain_shape)
        batch = x.shape[: x.ndim - ndim]
        images = x.reshape(*batch, self.sets, 1, *self.fourier.domain_shape)
        result: Tensor = self.fourier((self.maps * images).sum(-ndim - 2))
        return result

    def adjoint(self, y: Tensor) -> Tensor:
        """Return the coil-combined images of the sets, concatenated along the first axis."""
        self.check_codomain(y)
        ndim = len(self.domain_shape)
        images = self.fourier.adjoint(y).unsqueeze(-ndim - 2)
        combined = (self.maps.conj() * images).sum(-ndim - 1)
        return combined.reshape(*combined.shape[: -ndim - 1], *self.domain_shape)
