"""fastMRI's end-to-end variational network, with the names of its published weights.

Sensitivity maps by a U-Net of the centre of k-space; then cascades k - eta M (k - y) - F S U(S^H
F^-1 k), where U is another U-Net each time; the image is the root-sum-of-squares of the coils.
Our own code, which computes what ``fastmri.models.VarNet`` 0.3 computes.

Source: Sriram et al., End-to-End Variational Networks for Accelerated MRI Reconstruction, MICCAI
2020.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad

from firenet_benchmark.stability.networks import combine, spread
from firenet_mri.operators import CartesianFourier

_MULTIPLE = 16
_AXES = (-2, -1)


class FastMRIVarNet(nn.Module):
    """K-space (1, coil, y, x) complex and lines (x,) bool to a magnitude image (1, y, x).

    Parameters
    ----------
    cascades, chans, pools
        How many cascades, channels of the first convolution, and halvings of the size.
    sens_chans, sens_pools
        The same of the U-Net that makes the maps.
    """

    def __init__(
        self, cascades: int, *, chans: int, pools: int, sens_chans: int, sens_pools: int
    ) -> None:
        super().__init__()
        self.sens_net = _Maps(sens_chans, sens_pools)
        self.cascades = nn.ModuleList(_Cascade(chans, pools) for _ in range(cascades))

    def forward(self, kspace: Tensor, lines: Tensor) -> Tensor:
        """Return the image of k-space that is zero beside the lines."""
        maps = self.sens_net(kspace, lines)
        found = kspace
        for cascade in self.cascades:
            found = cascade(found, kspace, lines, maps)
        return torch.linalg.vector_norm(_coil_images(found), dim=1)


class _Maps(nn.Module):
    """Maps (1, coil, y, x) of root-sum-of-squares 1."""

    def __init__(self, chans: int, pools: int) -> None:
        super().__init__()
        self.norm_unet = _NormUnet(chans, pools)

    def forward(self, kspace: Tensor, lines: Tensor) -> Tensor:
        width = _centre_width(lines)
        begin = (len(lines) - width + 1) // 2
        place = torch.arange(len(lines), device=lines.device)
        centre = kspace * ((place >= begin) & (place < begin + width))
        # Coil by coil.
        maps = self.norm_unet(_coil_images(centre)[0]).unsqueeze(0)
        return maps / torch.linalg.vector_norm(maps, dim=1, keepdim=True)


def _coil_images(kspace: Tensor) -> Tensor:
    """Return the images (..., y, x) of k-space of the same shape."""
    images: Tensor = CartesianFourier(None, kspace.shape[-2:]).adjoint(kspace)
    return images


def _centre_width(lines: Tensor) -> int:
    """Return the width of the symmetric centre that was sampled, 1 at least."""
    middle = len(lines) // 2
    before, after = lines[:middle].flip(0).int(), lines[middle:].int()
    return max(2 * min(int(before.argmin()), int(after.argmin())), 1)


class _Cascade(nn.Module):
    def __init__(self, chans: int, pools: int) -> None:
        super().__init__()
        self.model = _NormUnet(chans, pools)
        self.dc_weight = nn.Parameter(torch.ones(1))

    def forward(self, current: Tensor, measured: Tensor, lines: Tensor, maps: Tensor) -> Tensor:
        refined = spread(self.model(combine(current, maps)), maps)
        return current - self.dc_weight * lines * (current - measured) - refined


class _NormUnet(nn.Module):
    """A U-Net on images (batch, y, x) complex, whose two parts have mean 0 and deviation 1."""

    def __init__(self, chans: int, pools: int) -> None:
        super().__init__()
        self.unet = _Unet(chans, pools)

    def forward(self, image: Tensor) -> Tensor:
        parts = torch.view_as_real(image).movedim(-1, 1)
        mean, std = parts.mean(_AXES, keepdim=True), parts.std(_AXES, keepdim=True)
        missing = [-size % _MULTIPLE for size in image.shape[1:]]
        top, left = (one // 2 for one in missing)
        sides = (left, missing[1] - left, top, missing[0] - top)
        found = self.unet(pad((parts - mean) / std, sides))
        found = found[..., top : top + image.shape[1], left : left + image.shape[2]] * std + mean
        return torch.view_as_complex(found.movedim(1, -1).contiguous())


class _Unet(nn.Module):
    """Convolutions and halvings by means, and back up with skip connections."""

    def __init__(self, chans: int, pools: int) -> None:
        super().__init__()
        widths = [chans * 2**i for i in range(pools + 1)]
        pairs = list(pairwise(widths))
        self.down_sample_layers = nn.ModuleList([_Convolutions(2, chans)])
        self.down_sample_layers.extend(_Convolutions(a, b) for a, b in pairs[:-1])
        self.conv = _Convolutions(*pairs[-1])
        self.up_transpose_conv = nn.ModuleList(_Doubling(b, a) for a, b in reversed(pairs))
        ups: list[nn.Module] = [_Convolutions(2 * a, a) for a, _ in reversed(pairs)]
        ups[-1] = nn.Sequential(ups[-1], nn.Conv2d(chans, 2, 1))
        self.up_conv = nn.ModuleList(ups)

    def forward(self, image: Tensor) -> Tensor:
        kept = []
        for layer in self.down_sample_layers:
            image = layer(image)
            kept.append(image)
            image = avg_pool2d(image, 2)
        image = self.conv(image)
        for double, convolve in zip(self.up_transpose_conv, self.up_conv, strict=True):
            image = double(image)
            beside = kept.pop()
            # More than four halvings meet odd sizes.
            missing = [b - a for a, b in zip(image.shape[2:], beside.shape[2:], strict=True)]
            if any(missing):
                image = pad(image, (0, missing[1], 0, missing[0]), "reflect")
            image = convolve(torch.cat([image, beside], 1))
        return image


class _Convolutions(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in (before, after):
            # Where dropout stands in training, so that the numbers of the names are the same.
            layers += [nn.Conv2d(width, after, 3, padding=1, bias=False), *_rest(after)]
            layers.append(nn.Identity())
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.layers(image)
        return found


class _Doubling(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        convolution = nn.ConvTranspose2d(before, after, 2, stride=2, bias=False)
        self.layers = nn.Sequential(convolution, *_rest(after))

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.layers(image)
        return found


def _rest(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.InstanceNorm2d(channels), nn.LeakyReLU(0.2)
