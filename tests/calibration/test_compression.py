"""Coil compression keeps the signal and the noise white, in as many coils as asked for."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
import sigpy
import sigpy.mri
import torch
from laws import assert_close

from firenet_mri.calibration import compress_coils
from firenet_mri.errors import UsageError
from firenet_mri.io.kspace.bart import read_array, write_cfl
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


def image_scan(coils: int = 8, size: int = 48) -> RawScan:
    """Return a scan of a phantom by loops around it."""
    maps = torch.from_numpy(sigpy.mri.birdcage_maps((coils, size, size))).to(torch.complex64)
    images = maps * torch.from_numpy(sigpy.shepp_logan((size, size))).to(torch.complex64)
    return RawScan(_transformed(images, torch.fft.fft2)[None], torch.ones(size, size) > 0, 2)


def _transformed(x: torch.Tensor, transform) -> torch.Tensor:
    axes = (-2, -1)
    shifted = torch.fft.ifftshift(x, dim=axes)
    return torch.fft.fftshift(transform(shifted, norm="ortho"), dim=axes)


@pytest.mark.parametrize("coils", [1, 2, 4])
def test_geometric_compression_holds_more_signal_in_as_many_coils(coils) -> None:
    scan = image_scan()
    geometric, plain = (compress_coils(scan, coils, how) for how in ("geometric", "svd"))
    assert geometric.kspace.shape == plain.kspace.shape
    total = float(scan.kspace.norm().square())
    held = [float(one.kspace.norm().square()) / total for one in (geometric, plain)]
    assert held[1] < held[0] <= 1 + 1e-5
    share = compress_coils(scan, held[0] * (1 - 1e-4), "geometric")
    assert share.coils <= coils


def test_virtual_coils_of_geometric_compression_are_smooth() -> None:
    scan = image_scan()
    small = compress_coils(scan, 4, "geometric")
    images = _transformed(small.kspace[0], torch.fft.ifft2)
    before = _transformed(scan.kspace[0], torch.fft.ifft2)
    # Nearly all of the signal of every pixel is kept.
    assert_close(images.norm(dim=0), before.norm(dim=0), 0.05)
    whole = _transformed(compress_coils(scan, 8, "geometric").kspace[0], torch.fft.ifft2)
    assert_close(whole.norm(dim=0), before.norm(dim=0), 1e-4)
    # The steps between neighbouring pixels along the readout are as those of the coils themselves.
    steps = [float((one[..., 1:] - one[..., :-1]).norm() / one.norm()) for one in (images, before)]
    assert steps[0] < 1.1 * steps[1]


@pytest.mark.skipif(shutil.which("bart") is None, reason="bart is not installed")
def test_geometric_compression_holds_what_barts_does(tmp_path) -> None:
    scan = image_scan()
    write_cfl(tmp_path / "kspace.cfl", scan.kspace[0][:, None].numpy().swapaxes(-1, -2))
    command = ["bart", "cc", "-G", "-p3", "-r48", "kspace", "small"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    theirs = np.linalg.norm(read_array(tmp_path / "small.cfl"))
    # BART's readout is its first axis, here the rows.
    turned = RawScan(scan.kspace.transpose(-1, -2).contiguous(), scan.mask, 2)
    ours = float(compress_coils(turned, 3, "geometric").kspace.norm())
    assert ours == pytest.approx(theirs, rel=2e-3)


def test_geometric_compression_needs_whole_readouts_and_white_noise(scan) -> None:
    with pytest.raises(UsageError, match="whiten it first"):
        compress_coils(scan, 2, "geometric")
    mask = torch.rand(48, 48, generator=torch.Generator().manual_seed(0)) < 0.5
    points = image_scan()
    with pytest.raises(UsageError, match="whole readouts"):
        compress_coils(RawScan(points.kspace * mask, mask, 2), 2, "geometric")
    with pytest.raises(UsageError, match="'pca'; use svd or geometric"):
        compress_coils(scan, 2, "pca")
