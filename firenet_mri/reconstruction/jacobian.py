"""The derivative of an image by the samples from which it was made, pass by pass.

    samples s --density weights--> y --network, perhaps in several passes--> x --> image,

where the phase of a phase constraint and the weights of every further pass are made from s, too.
At eps_0 = ||y|| all of this is positively homogeneous, so that J s is the image. With
alpha = <y, dy> / ||y||^2 the remainder ds - alpha s does not change ||y||, so that its J is that of
fixed eps_0. Maps and coil compression are kept fixed.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from firenet_mri.calibration.phase import PhaseOfCentre
from firenet_mri.firenet.base import Derivative, Network
from firenet_mri.firenet.derivative import Change, inner
from firenet_mri.firenet.reweighting import ReweightingDerivative, reweighted
from firenet_mri.operators import PhaseConstrained
from firenet_mri.operators.links import SampleWeighting
from firenet_mri.reconstruction.solve import Encoded, Solution


class ImageJacobian:
    """J and its transpose, in double precision: a real-linear map from the samples to the image.

    Parameters
    ----------
    solution
        What :func:`firenet_mri.reconstruction.solve.solve` returned, of one item.

    Raises
    ------
    UsageError
        If the network depends on the data such that it may have no Jacobian, or for a batch.
    """

    def __init__(self, solution: Solution) -> None:
        encoded = _in_double(solution.encoded)
        self.encoded = encoded
        self._weights = [w for w in encoded.chain.links if isinstance(w, SampleWeighting)]
        self._phase = _phase_of(encoded)
        if self._phase is not None:
            encoded = self.encoded = _with_phase(encoded, self._phase.phase)
        first = net = solution.net if solution.first is None else solution.first
        x = None if solution.x0 is None else solution.x0.to(encoded.y.dtype)
        self._passes: list[_Pass] = []
        for index in range(solution.passes):
            before = None
            if index > 0:
                assert x is not None
                before = _Before(first, x, encoded)
                net = reweighted(first, x, encoded.y, encoded.encoding)
            moves = self._phase is not None
            network = net.derivative(encoded.y, encoded.encoding, x, moving_phase=moves)
            self._passes.append((before, network))
            x = network.x
        assert x is not None
        self._masked = encoded.masked(x)
        self._energy = inner(encoded.y, encoded.y) or 1.0
        self._image = encoded.image(self._masked)
        self._is_homogeneous = net.is_homogeneous

    @torch.no_grad()
    def forward(self, u: Tensor) -> Tensor:
        """Return the change of the image, (*domain_shape), for a change of the samples."""
        if not self._is_homogeneous:
            return self._forward(u)
        part = inner(self.encoded.y, self._weighted(u)) / self._energy
        rest = self._forward(u - part * self.encoded.samples)
        return rest + part * self._image

    @torch.no_grad()
    def transpose(self, image: Tensor) -> Tensor:
        """Return the transposed derivative, of the shape of the samples."""
        found = self._transpose(image)
        if not self._is_homogeneous:
            return found
        part = inner(self._image, image) - inner(self.encoded.samples, found)
        return found + part / self._energy * self._weighted(self.encoded.y)

    def _forward(self, u: Tensor) -> Tensor:
        """Return the change of the image at fixed eps_0."""
        encoded, data = self.encoded, self._weighted(u)
        phase = None if self._phase is None else self._phase.forward(u)
        change = Change(encoded.encoding.adjoint(data), inner(encoded.y, data), phase)
        x = None
        for before, network in self._passes:
            if before is not None:
                assert x is not None
                change = change._replace(radii=before.forward(x, data, phase))
            x = network.forward(change, x)
        assert x is not None
        image = encoded.image(encoded.masked(x))
        if phase is not None:
            image = image + encoded.chain.gain * _constraint(encoded).turned(self._masked, phase)
        return image

    def _transpose(self, image: Tensor) -> Tensor:
        """Return the transposed derivative at fixed eps_0."""
        encoded = self.encoded
        x = encoded.masked(encoded.masked_of(image))
        total = None
        data = torch.zeros_like(encoded.y)
        if self._phase is not None:
            turned = _constraint(encoded).turned_back(self._masked, encoded.chain.gain * image)
            total = Change(torch.zeros_like(image), 0.0, turned)
        for before, network in reversed(self._passes):
            change, x = network.transpose(x)
            total = change if total is None else total.plus(change)
            if before is not None:
                assert total.radii is not None
                of_image, of_data, of_phase = before.transpose(total.radii)
                x, data = x + of_image, data + of_data
                # Every pass has its own weights.
                total = total._replace(radii=None)
                if of_phase is not None and total.phase is not None:
                    total = total._replace(phase=total.phase + of_phase)
        assert total is not None
        data = data + encoded.encoding(total.back) + total.inner * encoded.y
        found = self._weighted(data)
        if self._phase is not None and total.phase is not None:
            found = found + self._phase.transpose(total.phase)
        return found

    def _weighted(self, data: Tensor) -> Tensor:
        """Return the samples times the density weights, a map that is its own transpose."""
        for link in self._weights:
            data = link(data)
        return data


class _Before:
    """The map from the image of the previous pass to the weights of a pass."""

    def __init__(self, net: Network, x: Tensor, encoded: Encoded) -> None:
        self._x, self._encoded = x, encoded
        self._derivative = ReweightingDerivative(net, x, encoded.y, encoded.encoding)
        self._residual = self._derivative.residual
        self._gradient = encoded.encoding.adjoint(self._residual)
        self._plain: Tensor | None = None
        if isinstance(encoded.encoding, PhaseConstrained):
            self._plain = encoded.encoding.encoding.adjoint(self._residual)

    def forward(self, x: Tensor, data: Tensor, phase: Tensor | None) -> Tensor:
        """Return the relative change of the weights."""
        distance = inner(self._gradient, x) - inner(self._residual, data)
        if phase is not None and self._plain is not None:
            turned = _constraint(self._encoded).turned(self._x, phase)
            distance = distance + inner(self._plain, turned)
        return self._derivative.forward(x, distance)

    def transpose(self, radii: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the transpose of :meth:`forward`: for the image, the data and the phase."""
        image, distance = self._derivative.transpose(radii)
        phase = None
        if self._plain is not None:
            phase = _constraint(self._encoded).turned_back(self._x, distance * self._plain)
        return image + distance * self._gradient, -distance * self._residual, phase


_Pass = tuple[_Before | None, Derivative]


def _in_double(encoded: Encoded) -> Encoded:
    """Return data and support in double precision."""
    double = torch.promote_types(encoded.y.dtype, torch.float64)
    return replace(
        encoded,
        y=encoded.y.to(double),
        samples=encoded.samples.to(encoded.y.device, double),
        support=encoded.support.double(),
    )


def _phase_of(encoded: Encoded) -> PhaseOfCentre | None:
    """Return the derivative of the phase if the phase was made from the samples."""
    if encoded.phase_widths is None:
        return None
    maps = _constraint(encoded).encoding.maps
    assert isinstance(maps, Tensor)
    return PhaseOfCentre(encoded.samples, maps.to(encoded.samples.dtype), encoded.phase_widths)


def _with_phase(encoded: Encoded, phase: Tensor) -> Encoded:
    """Return the same with the phase in double precision."""
    old = _constraint(encoded)
    new = PhaseConstrained(old.encoding, phase, old.imaginary_weight, phase_from_data=True)
    return replace(encoded, encoding=new)


def _constraint(encoded: Encoded) -> PhaseConstrained:
    assert isinstance(encoded.encoding, PhaseConstrained)
    return encoded.encoding
