"""The real scans beside the project, where they are, decode to whole objects in mid-image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from real_scans import brain_poisson, ge_gradient_echo
from sigpy.mri.app import SenseRecon

from firenet_mri import RawScan, read, reconstruct
from firenet_mri.calibration import sensitivity_maps
from firenet_mri.operators import encoding_operator


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


@pytest.mark.parametrize("size", [(230, 180), (229, 179)], ids=["native", "odd"])
def test_brain_predicts_samples_left_out_better_than_sense_and_zero_filling(size) -> None:
    """No fully sampled brain is at hand: an eighth of the samples is left out and predicted.

    Zero filling predicts zero, an error of 1. SENSE gets the better one of several lambdas.
    """
    kspace = _cropped(brain_poisson(), size)
    mask = (kspace != 0).any(dim=0, keepdim=True)
    left_out = mask & (torch.rand(mask.shape, generator=torch.Generator().manual_seed(0)) < 0.125)
    y, x = (slice(n // 2 - 12, n // 2 + 12) for n in size)
    left_out[:, y, x] = False
    scan = RawScan(kspace * ~left_out, mask & ~left_out, 2, name="brain")
    maps = sensitivity_maps(scan)
    predict = encoding_operator(left_out, maps)

    def error(image: torch.Tensor) -> float:
        return float((predict(image) - kspace * left_out).norm() / (kspace * left_out).norm())

    sense = min(
        error(
            torch.from_numpy(
                SenseRecon(
                    scan.kspace.numpy(), maps.numpy(), lamda=lamda, max_iter=30, show_pbar=False
                ).run()
            )
        )
        for lamda in (1e-3, 1e-2, 1e-1)
    )
    firenet = error(reconstruct(scan, maps=maps).image)
    assert firenet < 0.85 * sense < 0.85 * 1
    assert firenet < 0.3


def _cropped(kspace: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return the centre of k-space, zero frequency staying at N//2."""
    for axis, (old, new) in enumerate(zip(kspace.shape[1:], size, strict=True), 1):
        kspace = kspace.narrow(axis, old // 2 - new // 2, new)
    return kspace.contiguous()
