"""Small fully sampled scans and pictures to train with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from firenet_mri.scan import RawScan
from firenet_mri.simulation import simulate
from firenet_mri.training.inputs import TrainingData
from firenet_mri.training.options import TrainingOptions
from firenet_mri.training.scan_cases import measured_slices
from firenet_mri.training.sources import Source

#: A network that trains in milliseconds.
TINY = TrainingOptions(
    stages=2, singles=2, groups=1, group_size=2, kernel=3, cases=6, minutes=0.1, maps="lowres"
)
TINY_FLAGS = (
    *("--stages", 2, "--singles", 2, "--groups", 1, "--group-size", 2, "--kernel", 3),
    *("--cases", 6, "--maps", "lowres"),
)


def pictures() -> list[torch.Tensor]:
    """Return an object on a background, and a picture that fills its frame."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 90), torch.linspace(-1, 1, 110), indexing="ij")
    inside = y**2 + x**2 < 0.6
    first = inside * (0.5 + 0.4 * torch.sin(9 * y) * torch.cos(7 * x))
    second = (0.5 + 0.3 * torch.sin(13 * x * y) + 0.2 * torch.cos(20 * y)).clamp(0, 1)
    return [first, second]


def full_scan(slices: int = 1, *, seed: int = 0, shape: tuple[int, int] = (36, 40)) -> RawScan:
    """Return a fully sampled scan of four coils, (slice, coil, y, x)."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius = y**2 + x**2 < 0.7
    images = [
        radius * (1 + 0.5 * np.sin((5 + seed) * y + k) * np.cos((4 + k) * x)) for k in range(slices)
    ]
    image = torch.from_numpy(np.stack(images)).float()
    return simulate(image, coils=4, acceleration=1, calibration=24, seed=seed)


def scan_data(*, held_out: str = "files of their own") -> TrainingData:
    """Return two slices to train on and one that validates."""
    train, other = (measured_slices(full_scan(n, seed=n), "lowres") for n in (2, 1))
    return TrainingData(
        (Source("scan", "a" * 64, tuple(train)),),
        (Source("scan", "b" * 64, tuple(other)),),
        held_out,
    )


def save_scan(path: Path, *, seed: int = 0) -> None:
    """Write the k-space of a fully sampled slice as .npy, coils first."""
    np.save(path, full_scan(1, seed=seed).kspace[0].numpy())
