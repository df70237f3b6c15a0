"""Coil compression keeps the signal and the noise white, in as many coils as asked for."""

from __future__ import annotations

import pytest
import torch
from laws import assert_close

from firenet_mri.calibration import compress_coils
from firenet_mri.errors import UsageError
from firenet_mri.scan import RawScan


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def scan() -> RawScan:
    """Return 6 coils that see 3 signals."""
    signals, mixing = random(2, 3, 20, 16), random(6, 3)
    kspace = torch.einsum("cs,bsyx->bcyx", mixing, signals)
    mask = torch.ones(20, 16, dtype=torch.bool)
    return RawScan(kspace, mask, 2, noise=random(6, 4000))


@pytest.mark.parametrize("coils", [3, 0.9999])
def test_coils_that_repeat_each_other_are_compressed_without_loss(scan, coils) -> None:
    small = compress_coils(scan, coils)
    assert small.kspace.shape == (2, 3, 20, 16)
    energy = scan.kspace.abs().square().sum(1)
    assert_close(small.kspace.abs().square().sum(1), energy, 1e-4)
    assert torch.equal(small.mask, scan.mask)


def test_all_coils_are_a_rotation_and_white_noise_stays_white(scan) -> None:
    same = compress_coils(scan, 6)
    assert_close(same.kspace.norm(), scan.kspace.norm(), 1e-5)
    few = compress_coils(scan, 2)
    before = scan.noise @ scan.noise.mH
    # The rows of V are those that numpy's singular vectors span.
    u, _, _ = torch.linalg.svd(scan.kspace.transpose(0, 1).reshape(6, -1), full_matrices=False)
    projector = u[:, :2] @ u[:, :2].mH
    assert_close(torch.trace(few.noise @ few.noise.mH), torch.trace(projector @ before), 1e-4)
    covariance = few.noise @ few.noise.mH / 4000
    assert_close(covariance, torch.eye(2, dtype=torch.complex64), 0.1)


def test_a_share_of_the_energy_takes_as_few_coils_as_hold_it(scan) -> None:
    total = scan.kspace.norm().square()
    for share in (0.9, 0.99):
        small = compress_coils(scan, share)
        assert small.kspace.norm().square() >= share * total * (1 - 1e-5)
        assert small.coils > 1
        fewer = compress_coils(scan, small.coils - 1)
        assert fewer.kspace.norm().square() < share * total


@pytest.mark.parametrize("coils", [0, 7, 0.0, 1.5])
def test_numbers_out_of_range_are_refused(scan, coils) -> None:
    with pytest.raises(UsageError, match="coils"):
        compress_coils(scan, coils)
