"""Linear maps between the samples of a scan and the data of a network: mixing and weighting.

    s --whitening--> noise units --compression, weights--> y --network--> x --gain--> image

Each link is a linear operator with a proven norm, and names what it was made from. Multiplied by
these norms, a Lipschitz bound of the network, from y to x, becomes one from s to the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from firenet_mri.errors import ShapeError
from firenet_mri.operators.base import LinearOperator, Part, Shape
from firenet_mri.operators.centred import centred_fft, centred_ifft
from firenet_mri.plurals import counted

WHITENING = "noise whitening"
COMPRESSION = "coil compression"

# Margin for the rounding of a singular value computed in double precision.
_ROUNDING = 1e-12

_BLOCK = 1 << 20


class CoilMixing(LinearOperator):
    """y -> M y at every sample: whitening, or fewer virtual coils.

    Parameters
    ----------
    matrix
        M, (rows, coil); or (x, rows, coil), one per pixel along the readout, the last axis of
        Cartesian k-space. Products with a (rows, coil) matrix are taken in double precision.
    sample_shape
        Sizes of the axes after the coil axis.
    part
        The step's name, and whether M was made from the samples to which it is applied.
    mask
        With one matrix per pixel: bool, broadcasts against (rows, *samples); unsampled places stay
        zero. None keeps everything.

    Raises
    ------
    ShapeError
        If the matrices do not fit the readout.

    Notes
    -----
    ``norm_bound`` is the largest singular value of all matrices, with a margin for rounding.
    """

    matrix: Tensor
    mask: Tensor | None

    def __init__(
        self, matrix: Tensor, sample_shape: Shape, part: Part, mask: Tensor | None = None
    ) -> None:
        if matrix.ndim == 3 and matrix.shape[0] != sample_shape[-1]:
            raise ShapeError(
                f"{counted(len(matrix), 'mixing matrix', 'mixing matrices')} given for "
                f"{counted(sample_shape[-1], 'pixel')} along the readout; give one per pixel"
            )
        rows, coils = matrix.shape[-2:]
        largest = float(torch.linalg.matrix_norm(matrix.to(torch.complex128), 2).max())
        domain, codomain = (coils, *sample_shape), (rows, *sample_shape)
        super().__init__(domain, codomain, largest * (1 + _ROUNDING))
        self.made_from = (part,)
        self.register_buffer("matrix", matrix, persistent=False)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return M x, (*batch, rows, *samples)."""
        self.check_domain(x)
        if self.matrix.ndim == 3:
            return self._masked(self._along_readout(self.matrix, x))
        return mix_coils(self.matrix.to(x.device), x, len(self.codomain_shape) - 1)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return M^H y, (*batch, coil, *samples)."""
        self.check_codomain(y)
        if self.matrix.ndim == 3:
            return self._along_readout(self.matrix.mH, self._masked(y))
        return mix_coils(self.matrix.mH.to(y.device), y, len(self.codomain_shape) - 1)

    def _along_readout(self, matrices: Tensor, x: Tensor) -> Tensor:
        axis = -len(self.codomain_shape)
        lines = centred_ifft(x, [-1]).movedim(axis, -2)
        mixed = torch.einsum("xrc,...cx->...rx", matrices.to(x.device, x.dtype), lines)
        return centred_fft(mixed.movedim(-2, axis), [-1])

    def _masked(self, x: Tensor) -> Tensor:
        return (x if self.mask is None else x * self.mask).contiguous()


class SampleWeighting(LinearOperator):
    """y -> w y with real weights of at least 0, such as the roots of density weights.

    Parameters
    ----------
    weights
        w, broadcasts against ``shape``.
    shape
        Shape of the data, (coil, *samples).
    part
        What the weights are, and whether they were made from the data.
    """

    weights: Tensor

    def __init__(self, weights: Tensor, shape: Shape, part: Part) -> None:
        super().__init__(shape, shape, float(weights.max()))
        self.made_from = (part,)
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return w x."""
        self.check_domain(x)
        return x * self.weights.to(x.device, x.real.dtype)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return w y."""
        self.check_codomain(y)
        return y * self.weights.to(y.device, y.real.dtype)


@dataclass(frozen=True, eq=False)
class Chain:
    """The linear maps around a network, from the samples as they were read to the image.

    Parameters
    ----------
    links
        In the order in which they are applied.
    gain
        Norm of the map applied to the network's image; 1 if it makes nothing larger.
    """

    links: tuple[LinearOperator, ...] = ()
    gain: float = 1.0

    def then(self, *links: LinearOperator) -> Chain:
        """Return the chain with further links before the network."""
        return Chain((*self.links, *links), self.gain)

    @property
    def is_whitened(self) -> bool:
        """True if one of the links whitens the noise."""
        return any(_whitens(link) for link in self.links)

    @property
    def norm_of_samples(self) -> float:
        """Bound of ||network's data|| / ||samples as read||, times the gain."""
        return math.prod(link.norm_bound for link in self.links) * self.gain

    @property
    def norm_of_noise_units(self) -> float:
        """The same for samples in noise standard deviations: the links after whitening.

        Without whitening any unit of the samples is as good, since the image has the same unit.
        """
        links = list(self.links)
        after = next((i for i in reversed(range(len(links))) if _whitens(links[i])), -1)
        return math.prod(link.norm_bound for link in links[after + 1 :]) * self.gain

    @property
    def made_from(self) -> tuple[Part, ...]:
        """What the links were made from."""
        return tuple(dict.fromkeys(part for link in self.links for part in link.made_from))


def _whitens(link: LinearOperator) -> bool:
    return any(part.name == WHITENING for part in link.made_from)


def mix_coils(matrix: Tensor, kspace: Tensor, sample_ndim: int) -> Tensor:
    """Return k-space (..., rows, *samples) of k-space (..., coil, *samples).

    This makes no second array in double precision.

    Parameters
    ----------
    matrix
        (rows, coil) complex128; the products are taken in double precision.
    kspace
        (..., coil, *samples) complex64 or complex128.
    sample_ndim
        Number of axes after the coil axis.
    """
    batch, samples = kspace.shape[: -sample_ndim - 1], kspace.shape[-sample_ndim:]
    flat = kspace.reshape(-1, kspace.shape[-sample_ndim - 1], samples.numel())
    if torch.is_grad_enabled() and kspace.requires_grad:
        product = (matrix @ flat.to(matrix.dtype)).to(flat.dtype)
        return product.reshape(*batch, len(matrix), *samples)
    mixed = flat.new_empty((len(flat), len(matrix), samples.numel()))
    for item, result in zip(flat, mixed, strict=True):
        for start in range(0, samples.numel(), _BLOCK):
            block = item[:, start : start + _BLOCK]
            result[:, start : start + _BLOCK] = matrix @ block.to(matrix.dtype)
    return mixed.reshape(*batch, len(matrix), *samples)
