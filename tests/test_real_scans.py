"""The real scans beside the project, where they are, decode to whole objects in mid-image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from real_scans import brain_poisson, ge_gradient_echo

from firenet_mri.io import read


def magnitude(kspace: torch.Tensor) -> torch.Tensor:
    """Return the root-sum-of-squares image of (..., coil, y, x)."""
    axes = (-2, -1)
    shifted = torch.fft.ifftshift(kspace, dim=axes)
    images = torch.fft.fftshift(torch.fft.ifft2(shifted, norm="ortho"), dim=axes)
    return images.abs().square().sum(dim=-3).sqrt()


def test_spheres_lie_whole_in_the_middle() -> None:
    """Without the sign of the excitation the energy would be in the edge rows (trap 19)."""
    energy = magnitude(ge_gradient_echo()).square()
    assert energy.shape == (7, 128, 128)
    share = (energy[:, :8].sum(dim=(1, 2)) + energy[:, -8:].sum(dim=(1, 2))) / energy.sum(
        dim=(1, 2)
    )
    assert share.max() < 0.01


def test_brain_is_sampled_as_said(tmp_path: Path) -> None:
    np.save(tmp_path / "brain.npy", brain_poisson().numpy())
    scan = read(tmp_path / "brain.npy")
    assert scan.kspace.shape == (8, 230, 180)
    assert scan.sampled_fraction == pytest.approx(0.124, abs=0.001)
    assert scan.mask[0, 103:127, 78:102].all()
