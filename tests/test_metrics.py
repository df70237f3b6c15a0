"""Metrics equal scikit-image's in fastMRI's settings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from firenet_mri.errors import ShapeError
from firenet_mri.metrics import nmse, psnr, ssim


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
