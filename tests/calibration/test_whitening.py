"""After whitening the noise of the coils is uncorrelated with unit variance."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from firenet_mri.calibration import whiten
from firenet_mri.errors import DataError
from firenet_mri.scan import RawScan


@pytest.fixture
def scan() -> RawScan:
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((4, 4)) + 1j * rng.standard_normal((4, 4))

    def noise(samples: int) -> torch.Tensor:
        white = rng.standard_normal((4, samples)) + 1j * rng.standard_normal((4, samples))
        return torch.from_numpy(mixing @ white).to(torch.complex64)

    kspace = noise(2 * 40 * 50).reshape(4, 2, 40, 50).movedim(0, 1).contiguous()
    return RawScan(kspace, torch.ones(1, 40, 50, dtype=torch.bool), 2, noise=noise(20_000))


def test_independent_noise_becomes_white(scan) -> None:
    white = whiten(scan)
    assert white.noise is None
    assert white.kspace.shape == scan.kspace.shape
    samples = white.kspace.movedim(1, 0).reshape(4, -1).numpy()
    covariance = samples @ samples.conj().T / samples.shape[1]
    np.testing.assert_allclose(covariance, np.eye(4), atol=0.06)


def test_whitening_twice_is_refused(scan) -> None:
    with pytest.raises(DataError, match="no noise measurement"):
        whiten(whiten(scan))


def test_too_few_or_dependent_noise_samples_are_refused(scan) -> None:
    few = dataclasses.replace(scan, noise=scan.noise[:, :7])
    with pytest.raises(DataError, match="7 noise samples"):
        whiten(few)
    noise = scan.noise.clone()
    noise[3] = 0
    with pytest.raises(DataError, match="linearly dependent"):
        whiten(dataclasses.replace(scan, noise=noise))
    noise[3] = noise[0]
    with pytest.raises(DataError, match="linearly dependent"):
        whiten(dataclasses.replace(scan, noise=noise))


def test_noise_of_other_coils_is_refused(scan) -> None:
    with pytest.raises(DataError, match="3 coils"):
        dataclasses.replace(scan, noise=scan.noise[:3])
