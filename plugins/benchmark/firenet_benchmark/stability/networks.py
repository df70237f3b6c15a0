"""The trained networks of the benchmark, all called alike.

``network(kspace, mask, maps)`` returns images (batch, y, x), complex or magnitude, for k-space
(batch, coil, y, x) complex, masks (batch, 1, y, x) bool and maps (batch, coil, y, x) complex of
root-sum-of-squares 1. Data are divided by the largest value of the zero-filled image, and the image
is multiplied by it, so that no network depends on the scale of the data.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from firenet_mri.errors import ShapeError
from firenet_mri.operators import CartesianFourier

NetworkName = Literal["U-Net", "VarNet", "MoDL", "AUTOMAP-type"]


class ScaledNetwork(nn.Module, ABC):
    """What the networks share: the scale of the data, and operators for a batch."""

    def forward(self, kspace: Tensor, mask: Tensor, maps: Tensor) -> Tensor:
        """Return images (batch, y, x)."""
        kspace = kspace * mask
        zero_filled = combine(kspace, maps)
        scale = zero_filled.abs().flatten(1).amax(1).reshape(-1, 1, 1)
        unit = torch.where(scale > 0, scale, torch.ones_like(scale))
        image = self.image(zero_filled / unit, kspace / unit[:, None], mask, maps)
        # MONAI's normalisation divides an item without signal by zero.
        return torch.where(scale > 0, unit * image, 0)

    @abstractmethod
    def image(self, zero_filled: Tensor, kspace: Tensor, mask: Tensor, maps: Tensor) -> Tensor:
        """Return images for data of this scale."""


class UNet(ScaledNetwork):
    """MONAI's ``BasicUNet`` on the zero-filled image, to which its output is added."""

    def __init__(self, features: int = 16) -> None:
        from monai.networks.nets import BasicUNet

        super().__init__()
        stages = (features, features, 2 * features, 4 * features, 8 * features, features)
        self.unet = BasicUNet(2, 2, 2, features=stages)
        nn.init.zeros_(self.unet.final_conv.weight)
        nn.init.zeros_(self.unet.final_conv.bias)

    def image(self, zero_filled: Tensor, kspace: Tensor, mask: Tensor, maps: Tensor) -> Tensor:
        """Return images (batch, y, x) complex."""
        return zero_filled + from_channels(self.unet(to_channels(zero_filled)))


class VarNet(ScaledNetwork):
    """MONAI's ``VariationalNetworkModel`` with maps that are given, not estimated by a network."""

    def __init__(self, cascades: int = 4, features: int = 12) -> None:
        from monai.apps.reconstruction.networks.nets.complex_unet import ComplexUnet
        from monai.apps.reconstruction.networks.nets.varnet import VariationalNetworkModel

        super().__init__()
        stages = (features, features, 2 * features, 4 * features, 8 * features, features)
        self.given = _GivenMaps()
        refinement = ComplexUnet(2, stages)
        # Training begins near zero filling.
        last: Any = refinement.unet.final_conv
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.varnet = VariationalNetworkModel(self.given, refinement, cascades)

    def image(self, zero_filled: Tensor, kspace: Tensor, mask: Tensor, maps: Tensor) -> Tensor:
        """Return magnitude images (batch, y, x)."""
        self.given.maps = torch.view_as_real(maps)
        magnitude: Tensor = self.varnet(torch.view_as_real(kspace), mask[..., None])
        # It works on coil images, in which aliasing stays where the maps are zero.
        return magnitude * (torch.linalg.vector_norm(maps, dim=1) > 0)


class _GivenMaps(nn.Module):
    """Replaces the network that estimates maps."""

    def __init__(self) -> None:
        super().__init__()
        self.maps: Tensor | None = None

    def forward(self, masked_kspace: Tensor, mask: Tensor) -> Tensor:
        assert self.maps is not None
        return self.maps


class MoDL(ScaledNetwork):
    """Unrolled: a small network that removes noise, then min ||A x - y||^2 + mu ||x - z||^2.

    The network is the same in all unrolled steps; the minimum is approached by conjugate gradients.

    Source: Aggarwal, Mani, Jacob, IEEE TMI 38(2), 2019.
    """

    def __init__(self, unrolls: int = 5, features: int = 32, gradients: int = 5) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(2, features, 3, padding=1), nn.ReLU()]
        for _ in range(3):
            layers += [nn.Conv2d(features, features, 3, padding=1), nn.ReLU()]
        self.denoiser = nn.Sequential(*layers, nn.Conv2d(features, 2, 3, padding=1))
        self.log_mu = nn.Parameter(torch.tensor(-3.0))
        self.unrolls, self.gradients = unrolls, gradients

    def image(self, zero_filled: Tensor, kspace: Tensor, mask: Tensor, maps: Tensor) -> Tensor:
        """Return images (batch, y, x) complex."""
        mu = self.log_mu.exp()

        def normal(x: Tensor) -> Tensor:
            return combine(mask * spread(x, maps), maps) + mu * x

        x = zero_filled
        for _ in range(self.unrolls):
            z = x + from_channels(self.denoiser(to_channels(x)))
            x = conjugate_gradients(normal, zero_filled + mu * z, z, self.gradients)
        return x


class Automap(ScaledNetwork):
    """One learned map from the samples of a line to its pixels, instead of the Fourier transform.

    All samples of an image to all its pixels, as AUTOMAP learns it, takes too many weights at this
    size. After a Fourier transform along the fully sampled axis the lines are separate problems, so
    that one map is used for all lines and coils, as in [1]; maps combine the coils and convolutions
    follow.

    [1] Schlemper, Oksuz, Clough, Duan, King, Schnabel, Hajnal, Rueckert, ISMRM 2019 (dAUTOMAP).
    """

    def __init__(self, size: int = 128, features: int = 32) -> None:
        super().__init__()
        # Training begins at the inverse Fourier transform.
        transform = CartesianFourier(None, (size,)).adjoint(torch.eye(size, dtype=torch.complex64))
        self.lines = nn.Parameter(torch.view_as_real(transform.contiguous()))
        self.convolutions = nn.Sequential(
            nn.Conv2d(2, features, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(features, features, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(features, 2, 7, padding=3),
        )

    def image(self, zero_filled: Tensor, kspace: Tensor, mask: Tensor, maps: Tensor) -> Tensor:
        """Return images (batch, y, x) complex."""
        size, found = len(self.lines), kspace.shape[-1]
        if found != size:
            raise ShapeError(
                f"This network was trained for lines along an axis of {size}; the data have {found}"
            )
        rows = CartesianFourier(None, kspace.shape[-2:-1]).adjoint(kspace.mT).mT
        coil_images = rows @ torch.view_as_complex(self.lines)
        image = (maps.conj() * coil_images).sum(1)
        return image + from_channels(self.convolutions(to_channels(image)))


def make_trained_network(name: NetworkName) -> ScaledNetwork:
    """Return a network with random weights."""
    kinds = {"U-Net": UNet, "VarNet": VarNet, "MoDL": MoDL, "AUTOMAP-type": Automap}
    return kinds[name]()


def spread(image: Tensor, maps: Tensor) -> Tensor:
    """Return k-space (batch, coil, y, x) of images (batch, y, x)."""
    return CartesianFourier(None, image.shape[-2:])(maps * image[:, None])


def combine(kspace: Tensor, maps: Tensor) -> Tensor:
    """Return images (batch, y, x), the adjoint of :func:`spread`."""
    return (maps.conj() * CartesianFourier(None, kspace.shape[-2:]).adjoint(kspace)).sum(1)


def to_channels(image: Tensor) -> Tensor:
    """Return (batch, 2, y, x) real."""
    return torch.view_as_real(image).movedim(-1, 1)


def from_channels(channels: Tensor) -> Tensor:
    """Return (batch, y, x) complex."""
    return torch.view_as_complex(channels.movedim(1, -1).contiguous())


def conjugate_gradients(normal, right: Tensor, start: Tensor, steps: int) -> Tensor:  # type: ignore[no-untyped-def]
    """Return x after steps towards normal(x) = right, one item at a time."""
    axes = (-2, -1)

    def inner(a: Tensor, b: Tensor) -> Tensor:
        return (a.conj() * b).real.sum(axes, keepdim=True)

    x = start
    residual = right - normal(x)
    direction, square = residual, inner(residual, residual)
    for _ in range(steps):
        image = normal(direction)
        length = square / inner(direction, image).clamp(min=1e-20)
        x = x + length * direction
        residual = residual - length * image
        last, square = square, inner(residual, residual)
        direction = residual + square / last.clamp(min=1e-20) * direction
    return x
