"""FIRENET behind a trained network: the trained image is where it starts.

    python docs/examples/stabilise_network.py

A small U-Net is trained, for a minute, to clean zero-filled images (simulated ellipses, one coil).
Then a change of the k-space data is looked for that moves the U-Net's image as far as possible, by
gradient ascent, and given to three reconstructions: the U-Net, FIRENET, and FIRENET started at the
U-Net's image. Printed are error and amplification: change of the image over change of the data. A
lower bound of the worst case, since ascent finds only what it finds; the change is looked for
against the U-Net and against each of the others on its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch
from monai.networks.nets import BasicUNet
from torch import Tensor

from firenet_mri.monai import FIRENETModel
from firenet_mri.operators import encoding_operator

SIZE = 64
LINES = torch.zeros(SIZE, dtype=torch.bool)
LINES[::3] = True
LINES[SIZE // 2 - 5 : SIZE // 2 + 5] = True
ENCODING = encoding_operator(LINES, torch.ones(1, SIZE, SIZE, dtype=torch.complex64))


def ellipses(count: int, seed: int) -> Tensor:
    """Return simulated images (count, y, x) in [0, 1]."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    images = np.zeros((count, SIZE, SIZE), np.float32)
    for image in images:
        for _ in range(6):
            cy, cx = generator.uniform(16, SIZE - 16, 2)
            a, b = generator.uniform(3, 20, 2)
            image[((y - cy) / a) ** 2 + ((x - cx) / b) ** 2 < 1] += generator.uniform(0.1, 0.4)
    return torch.from_numpy(images.clip(0, 1))


def by_unet(unet: torch.nn.Module, kspace: Tensor) -> Tensor:
    """Return the complex images (batch, y, x) of k-space (batch, 1, y, x)."""
    pairs = torch.view_as_real(ENCODING.adjoint(kspace)).permute(0, 3, 1, 2)
    return torch.view_as_complex((pairs + unet(pairs)).permute(0, 2, 3, 1).contiguous())


def train(steps: int) -> torch.nn.Module:
    """Return a U-Net that adds what zero filling lacks."""
    torch.manual_seed(0)
    unet = BasicUNet(2, in_channels=2, out_channels=2, features=(16, 16, 32, 64, 64, 16))
    optimiser = torch.optim.Adam(unet.parameters(), lr=1e-3)
    truth = ellipses(256, seed=1).to(torch.complex64)
    kspace = ENCODING(truth)
    for step in range(steps):
        rows = torch.arange(8 * step, 8 * step + 8) % len(truth)
        optimiser.zero_grad()
        (by_unet(unet, kspace[rows]) - truth[rows]).abs().square().mean().backward()
        optimiser.step()
    return unet.eval().requires_grad_(False)


def worst_change(method: Callable[[Tensor], Tensor], y: Tensor, size: float, steps: int) -> Tensor:
    """Return a change of the data of relative size ``size`` that moves the image far."""
    torch.manual_seed(0)
    image = method(y).detach()
    change = torch.randn_like(y) * LINES
    for _ in range(steps):
        change = (change * size * y.norm() / change.norm()).requires_grad_()
        (method(y + change) - image).norm().backward()
        assert change.grad is not None
        # Along the gradient, which is where a linear map would be stretched most.
        change = (change.detach() / change.detach().norm()) + 2 * change.grad / change.grad.norm()
    return change * size * y.norm() / change.norm()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400, help="training steps")
    parser.add_argument("--ascent", type=int, default=15)
    options = parser.parse_args()
    unet = train(options.steps)
    firenet = FIRENETModel(preset="stable", maps="none", output="complex")
    methods: dict[str, Callable[[Tensor], Tensor]] = {
        "U-Net": lambda y: by_unet(unet, y),
        "FIRENET": lambda y: firenet(y, LINES),
        "U-Net, then FIRENET": lambda y: firenet(y, LINES, x0=by_unet(unet, y)),
    }
    truth = ellipses(1, seed=2).to(torch.complex64)
    y = ENCODING(truth)
    against_unet = worst_change(methods["U-Net"], y, 0.02, options.ascent)
    print(f"{'':22}error   amplification (change against the U-Net, against itself)")
    for name, method in methods.items():
        own = worst_change(method, y, 0.02, options.ascent)
        image = method(y)
        gains = [
            float((method(y + change) - image).norm() / change.norm())
            for change in (against_unet, own)
        ]
        error = float((image - truth).norm() / truth.norm())
        print(f"{name:22}{error:.3f}   {gains[0]:.2f}, {gains[1]:.2f}")
    print(f"proven for FIRENET: at most {firenet.lipschitz_bound():.1f}")


if __name__ == "__main__":
    main()
