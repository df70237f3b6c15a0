"""Metrics equal scikit-image's in fastMRI's settings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from firenet_mri.errors import ShapeError
from firenet_mri.metrics import haarpsi, nmse, psnr, ssim, units_factor


@pytest.fixture
def volumes() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    reference = rng.random((3, 32, 27)).cumsum(1)
    reference[1] *= 0.3
    return torch.from_numpy(reference), torch.from_numpy(reference + rng.normal(size=(3, 32, 27)))


def test_metrics_equal_scikit_image(volumes) -> None:
    reference, image = volumes
    a, b = reference.numpy(), image.numpy()
    assert psnr(reference, image) == pytest.approx(
        peak_signal_noise_ratio(a, b, data_range=a.max())
    )
    by_slice = [structural_similarity(x, y, data_range=a.max()) for x, y in zip(a, b, strict=True)]
    assert ssim(reference, image) == pytest.approx(np.mean(by_slice), rel=1e-10)
    expected = np.linalg.norm(a - b) ** 2 / np.linalg.norm(a) ** 2
    assert nmse(reference, image) == pytest.approx(expected)


def test_perfect_image_is_perfect(volumes) -> None:
    reference, _ = volumes
    assert nmse(reference, reference) == 0
    assert psnr(reference, reference) == float("inf")
    assert ssim(reference, reference) == pytest.approx(1)


@pytest.mark.parametrize("metric", [nmse, psnr, ssim])
def test_images_that_cannot_be_compared_are_refused(metric, volumes) -> None:
    reference, image = volumes
    with pytest.raises(ShapeError, match="equal"):
        metric(reference, image[:2])
    with pytest.raises(ShapeError, match="magnitude"):
        metric(reference, image + 1j)
    if metric is ssim:
        with pytest.raises(ShapeError, match="7 x 7"):
            ssim(reference[:, :5], image[:, :5])


@pytest.mark.parametrize(
    ("size", "expected"),
    [(48, 0.5853555118731), (64, 0.5311294829309604), (65, 0.5295863395740774)],
)
def test_haarpsi_is_that_of_piq(size, expected) -> None:
    """Values of piq 0.8.0's haarpsi (data_range 1) for the same images."""
    y, x = torch.meshgrid(*[torch.linspace(0, 1, size, dtype=torch.float64)] * 2, indexing="ij")
    reference = (torch.sin(9 * x) * torch.cos(5 * y) + 1) / 2
    reference = reference / reference.max()
    image = (reference + 0.2 * torch.sin(40 * x * y) * torch.cos(31 * y)).clamp(0, 1)
    assert haarpsi(reference, image) == pytest.approx(expected, rel=1e-10)
    assert haarpsi(reference, reference) == pytest.approx(1)
    # Only the scale of both together does not matter.
    assert haarpsi(7 * reference, 7 * image) == pytest.approx(expected, rel=1e-10)
    volume = torch.stack([reference, reference]), torch.stack([image, reference])
    assert haarpsi(*volume) == pytest.approx((expected + 1) / 2, rel=1e-10)


@pytest.mark.parametrize(("factor", "found"), [(200.0, 200.0), (1e-3, 1e-3), (1.3, 1), (0.7, 1)])
def test_other_units_are_told_from_an_image_that_is_too_dark_or_bright(factor, found) -> None:
    generator = torch.Generator().manual_seed(0)
    reference = torch.rand(2, 8, 8, generator=generator)
    assert units_factor(reference, factor * reference) == pytest.approx(found, rel=1e-5)
    error = torch.randn(2, 8, 8, generator=generator)
    error -= (error * reference).sum() / reference.square().sum() * reference
    assert units_factor(reference, factor * (reference + error)) == pytest.approx(found, rel=1e-5)


def test_no_factor_is_made_of_nothing_or_of_opposites() -> None:
    image = torch.ones(1, 4, 4)
    assert units_factor(torch.zeros(1, 4, 4), image) == 1
    assert units_factor(-5 * image, image) == 1
