"""How far maps that are one per cent off move an image: what is proven, and what attacks find.

    python tools/measure_maps.py SCAN [PRESET] [ROUNDS]

A change of the maps is at most one per cent of their largest root sum of squares at every pixel,
and leaves them no longer than that. Random changes are white or smooth; the attack takes, from
each of them, the change that moves the image furthest to first order, ROUNDS (30) times.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import torch
from torch import Tensor

import firenet_mri
from firenet_mri.firenet.certificate.inexact_maps import CHANGE, image_change_bound
from firenet_mri.operators import Sense
from firenet_mri.reconstruction.options import ReconstructionOptions
from firenet_mri.reconstruction.prepare import prepare

WIDTHS = (0, 2, 8, 30)


def allowed(change: Tensor, maps: Tensor, bound: float) -> Tensor:
    """Return changed maps, (coil, y, x), at most CHANGE * bound off and at most ``bound`` long."""
    changed = maps + change
    changed = changed / (torch.linalg.vector_norm(changed, dim=0) / bound).clamp(min=1)
    off = torch.linalg.vector_norm(changed - maps, dim=0)
    # A convex combination of maps that are not too long.
    return maps + (changed - maps) * (CHANGE * bound / off.clamp(min=1e-30)).clamp(max=1)


def of_length(change: Tensor, length: float) -> Tensor:
    """Return the change with that length at every pixel."""
    return change * length / torch.linalg.vector_norm(change, dim=0).clamp(min=1e-30)


def smooth(width: float, shape: torch.Size) -> Tensor:
    """Return white noise under a Gaussian of that width in pixels, (coil, y, x) complex64."""
    noise = torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    y, x = (2 * math.pi * torch.fft.fftfreq(size) for size in shape[-2:])
    window = torch.exp(-(width**2) / 2 * (y[:, None] ** 2 + x**2))
    return torch.fft.ifft2(torch.fft.fft2(noise) * window)


def attack(moved: Callable[[Tensor], Tensor], maps: Tensor, bound: float, start: Tensor) -> Tensor:
    """Return the changed maps of the next round."""
    point = start.clone().requires_grad_()
    moved(point).backward()
    gradient = point.grad
    assert gradient is not None
    # Thrice: what is along the maps is taken off again.
    longer = start - maps + of_length(gradient, 3 * CHANGE * bound)
    return allowed(longer, maps, bound)


def main(path: str, preset: str = "accurate", rounds: str = "30") -> None:
    """Print the stated bound and what was found, in per cent of the image."""
    options = ReconstructionOptions.from_mapping({"preset": preset})
    prepared = prepare(firenet_mri.read(path), options)
    encoded, _ = prepared.encoded(prepared.items[0])
    net, y, encoding = prepared.net, encoded.y, encoded.encoding
    assert isinstance(encoding, Sense)
    maps, bound, fourier = encoding.maps, encoding.norm_bound, encoding.fourier
    with torch.no_grad():
        image = net(y, encoding)
    size = float(image.norm())

    def moved(changed: Tensor) -> Tensor:
        difference: Tensor = net(y, Sense(changed, fourier, bound)) - image
        return difference.abs().square().sum()

    def percent(changed: Tensor) -> float:
        with torch.no_grad():
            return 100 * math.sqrt(moved(changed).item()) / size

    stated = 100 * float(image_change_bound(net, y, encoding, image)) / size
    sys.stdout.write(f"{preset}: at most {stated:.2f} % of the image\n")
    for width in WIDTHS:
        changed = allowed(of_length(smooth(width, maps.shape), 2 * CHANGE * bound), maps, bound)
        random, worst = percent(changed), 0.0
        for _ in range(int(rounds)):
            changed = attack(moved, maps, bound, changed)
            worst = max(worst, percent(changed))
        sys.stdout.write(f"width {width:2d}: random {random:.2f} %, worst {worst:.2f} %\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
