"""From one item of a scan to its image: sampling, maps -> encoding operator -> network -> image.

The MONAI network, the SigPy app, the server and the batch use this path, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from firenet_mri.calibration.espirit import Eigenvalues
from firenet_mri.firenet.base import Network
from firenet_mri.firenet.primal_dual import State
from firenet_mri.firenet.reweighting import solve_passes
from firenet_mri.operators import (
    CartesianFourier,
    LinearOperator,
    NonuniformFourier,
    PhaseConstrained,
    Sense,
    SenseSets,
    encoding_operator,
)
from firenet_mri.operators.base import Part
from firenet_mri.operators.given import GivenEncoding
from firenet_mri.operators.links import Chain, SampleWeighting
from firenet_mri.prox import item_norm


@dataclass(frozen=True, eq=False)
class Encoded:
    """A network's input for an item, and how the network's image becomes the user's.

    Parameters
    ----------
    y
        The network's data, (*batch, *codomain_shape).
    encoding
        The operator that it inverts.
    support
        Factors of the image, (..., *domain_shape), at most 1, and 0 where no coil is sensitive and
        the data contain nothing.
    chain
        The linear maps from the samples as read to y, and the gain of the image.
    samples
        The samples before any weighting, of y's shape.
    sampled
        bool, broadcasts against the samples: what was measured; None means all.
    phase_widths
        Sizes of the centre from which the phase was made; None if there is no phase, or if it was
        made in another way.
    turn
        Phase of the maps in ``encoding``, of modulus 1, (..., *domain_shape), which is part of the
        user's image but not of the network's; None if there is none.
    eigenvalues
        Eigenvalues besides the first, from the estimation of the maps; None if unknown.
    """

    y: Tensor
    encoding: LinearOperator
    support: Tensor
    chain: Chain
    samples: Tensor
    sampled: Tensor | None = None
    phase_widths: tuple[int, ...] | None = None
    turn: Tensor | None = None
    eigenvalues: Eigenvalues | None = None

    def to(self, device: torch.device) -> Encoded:
        """Return the same on a device."""
        return replace(
            self,
            y=self.y.to(device),
            encoding=self.encoding.to(device),
            support=self.support.to(device),
            turn=None if self.turn is None else self.turn.to(device),
        )

    def with_phase(
        self, phase: Tensor, imaginary_weight: float, widths: Sequence[int] | None = None
    ) -> Encoded:
        """Return the same with a phase constraint, whose phase was made from the data.

        ``widths`` are those of the centre from which the phase was made, see
        :func:`firenet_mri.calibration.low_resolution_phase`; None if it was made in another way.
        """
        constrained = PhaseConstrained(self.encoding, phase, imaginary_weight, phase_from_data=True)
        centre = None if widths is None else tuple(widths)
        return replace(self, encoding=constrained, phase_widths=centre)

    def masked(self, x: Tensor) -> Tensor:
        """Return the network's result, set to zero where the data contain nothing."""
        return x * self.support

    def image(self, masked: Tensor) -> Tensor:
        """Return the image that a masked x represents."""
        return self.turned(self.encoding.image(masked) * self.chain.gain)

    def masked_of(self, image: Tensor) -> Tensor:
        """Return the transpose of :meth:`image`, applied to a cotangent of the image."""
        back = image if self.turn is None else image * self.turn.conj()
        # Without the phase the map is its own transpose.
        return self.encoding.image(back) * self.chain.gain

    def turned(self, x: Tensor) -> Tensor:
        """Return an image of the network with the user's phase."""
        return x if self.turn is None else x * self.turn

    def start(self, image: Tensor) -> Tensor:
        """Return the start of the network for a complex image with the user's phase and scale."""
        start = image if self.turn is None else image * self.turn.conj()
        return start if self.chain.gain == 1 else start / self.chain.gain


@dataclass(frozen=True, eq=False)
class Solution:
    """An image, and what is needed to certify it.

    Parameters
    ----------
    image
        (*batch, *domain_shape).
    state
        Masked image and dual variables of the last layer.
    net
        The network of the last pass.
    encoded
        The network's input.
    x0
        Start image of the first pass; None is zero.
    passes
        Number of passes; each pass after the first has weights from the previous one.
    first
        The network of the first pass; None if it is that of the last.
    """

    image: Tensor
    state: State
    net: Network
    encoded: Encoded
    x0: Tensor | None = None
    passes: int = 1
    first: Network | None = None


def encode(
    kspace: Tensor,
    sampling: Tensor | NonuniformFourier,
    maps: Tensor,
    spatial_ndim: int,
    *,
    chain: Chain | None = None,
    maps_from_data: bool = False,
    maps_bound: float | None = None,
) -> Encoded:
    """Return a network's input for k-space.

    Samples along a trajectory are multiplied by the roots of their density weights, and so is the
    encoding, so that few layers suffice.

    Parameters
    ----------
    kspace
        (*batch, coil, *samples) complex, zero where not sampled.
    sampling
        Mask that broadcasts against k-space; or the transform of a trajectory.
    maps
        (..., coil, *spatial) complex, or (set, coil, *spatial) of several sets for one item.
    spatial_ndim
        2 or 3.
    chain
        Maps that were applied to the samples after reading; None if there are none.
    maps_from_data, maps_bound
        See :class:`firenet_mri.operators.Sense`.
    """
    chain = Chain() if chain is None else chain
    encoding: Sense | SenseSets
    samples = kspace
    if isinstance(sampling, NonuniformFourier):
        encoding = Sense(maps, sampling, maps_from_data=maps_from_data)
        if sampling.root_weights is not None:
            part = Part("density weights")
            link = SampleWeighting(sampling.root_weights, encoding.codomain_shape, part)
            kspace, chain = link(kspace), chain.then(link)
    elif maps.ndim == spatial_ndim + 2 and kspace.ndim == spatial_ndim + 1:
        fourier = CartesianFourier(sampling, tuple(maps.shape[-spatial_ndim:]))
        encoding = SenseSets(maps, fourier, maps_from_data=maps_from_data)
    else:
        encoding = encoding_operator(
            sampling, maps, spatial_ndim, maps_bound=maps_bound, maps_from_data=maps_from_data
        )
    sampled = None if isinstance(sampling, NonuniformFourier) else sampling != 0
    support = encoding.root_sum_of_squares
    return Encoded(kspace, encoding, support, chain, samples, sampled)


def solve(net: Network, encoded: Encoded, *, x0: Tensor | None = None, passes: int = 1) -> Solution:
    """Return the image of a network that is run once or, with other weights, several times.

    Parameters
    ----------
    net, encoded
        The network and its input, on one device.
    x0
        Start image, (*batch, *domain_shape); None is zero.
    passes
        Number of passes, at least 1; several only for one item, see
        :mod:`firenet_mri.firenet.reweighting`.
    """
    last, state = solve_passes(net, encoded.y, encoded.encoding, x0, passes)
    masked = encoded.masked(state.x)
    image = encoded.image(masked)
    state = state._replace(x=masked)
    return Solution(image, state, last, encoded, x0, passes=passes, first=net)


def zero_filled(encoded: Encoded) -> Tensor:
    """Return A^H y, scaled to fit the data best: the image without the method.

    On Cartesian scans the factor is 1; density weights and a given operator leave it undetermined.
    """
    image = encoded.turned(encoded.encoding.adjoint(encoded.y))
    is_given = isinstance(encoded.encoding, GivenEncoding)
    if not is_given and all(part.name != "trajectory" for part in encoded.encoding.made_from):
        return image
    axes = tuple(range(-len(encoded.encoding.codomain_shape), 0))
    double = torch.complex128
    reached = item_norm(encoded.encoding(image).to(double), axes)
    axes = tuple(range(-len(encoded.encoding.domain_shape), 0))
    size = item_norm(image.to(double), axes)
    tiny = torch.finfo(torch.float64).tiny
    factor = (size.reshape(reached.shape) / reached.clamp(min=tiny)) ** 2
    gain = encoded.chain.gain if is_given else 1.0
    return image * gain * factor.reshape(size.shape).to(image.real.dtype)
