"""One item of a scan to its image: sampling and maps -> encoding operator -> network -> image.

This way stands here once; the MONAI network, the SigPy app, the server and the batch take it, too.
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
    """What a network is given of an item, and how its image becomes the user's.

    Parameters
    ----------
    y
        The network's data, (*batch, *codomain_shape).
    encoding
        The operator that it inverts.
    support
        Factors of the image, (..., *domain_shape), 0 where no coil sees anything and the data say
        nothing; at most 1.
    chain
        The linear maps from the samples as read to y, and the gain of the image.
    samples
        The samples before any weighting, of the shape of y.
    sampled
        bool, broadcasts against the samples: what was measured; None is all.
    phase_widths
        Sizes of the centre from which the phase was made; None if there is none, or if it was made
        in another way.
    turn
        Phase of the maps in ``encoding``, of modulus 1, (..., *domain_shape), which the user's
        image has and the network's has not; None if there is none.
    eigenvalues
        Those that the maps' estimation found besides the first; None if they are not known.
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

        ``widths`` are those of the centre that it was made from, see
        :func:`firenet_mri.calibration.low_resolution_phase`; None if it was made in another way.
        """
        constrained = PhaseConstrained(self.encoding, phase, imaginary_weight, phase_from_data=True)
        centre = None if widths is None else tuple(widths)
        return replace(self, encoding=constrained, phase_widths=centre)

    def masked(self, x: Tensor) -> Tensor:
        """Return what the network returned, zero where the data say nothing."""
        return x * self.support

    def image(self, masked: Tensor) -> Tensor:
        """Return the image that a masked x stands for."""
        return self.turned(self.encoding.image(masked) * self.chain.gain)

    def masked_of(self, image: Tensor) -> Tensor:
        """Return what is transposed to :meth:`image`, for what is transposed to an image."""
        back = image if self.turn is None else image * self.turn.conj()
        # Without the turn the way is its own transpose.
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
        What it was given.
    x0
        Where the first pass started; None is zero.
    passes
        How many passes there were, all but the first with weights from the pass before.
    first
        The network of the first pass; None is that of the last.
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
    """Return what a network is given of k-space.

    Samples along a trajectory are multiplied by the roots of their density weights, which the
    encoding has too: few layers do then.

    Parameters
    ----------
    kspace
        (*batch, coil, *samples) complex, zero where not sampled.
    sampling
        Mask, which broadcasts against it; or the transform of a trajectory.
    maps
        (..., coil, *spatial) complex, or (set, coil, *spatial) of several sets for one item.
    spatial_ndim
        2 or 3.
    chain
        What was done to the samples since they were read; None is nothing.
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
        The network and what it is given, on one device.
    x0
        Where it starts, (*batch, *domain_shape); None is zero.
    passes
        How often, at least 1; several of one item, see :mod:`firenet_mri.firenet.reweighting`.
    """
    last, state = solve_passes(net, encoded.y, encoded.encoding, x0, passes)
    masked = encoded.masked(state.x)
    image = encoded.image(masked)
    state = state._replace(x=masked)
    return Solution(image, state, last, encoded, x0, passes=passes, first=net)


def zero_filled(encoded: Encoded) -> Tensor:
    """Return A^H y, scaled to fit the data best: what they give without the method.

    On Cartesian scans the factor is 1; density weights and a given operator leave one open.
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
