"""A reference of another field of view is evaluated at the scan's pixels, as sums of waves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from firenet_mri.errors import DataError
from firenet_mri.geometry import Geometry
from firenet_mri.io.kspace.references import with_reference
from firenet_mri.operators.centred import centred_fft, centred_ifft
from firenet_mri.scan import RawScan

SIZE, FOV = 32, 64.0


def scan_of(kspace: torch.Tensor, fov: tuple[float, float], centre: tuple[float, float]) -> RawScan:
    """Return a slice with rows along y and columns along x, centred at (y, x) mm."""
    geometry = Geometry((5.0, *fov), ((centre[1], centre[0], 0.0),))
    mask = torch.ones(1, *kspace.shape[-2:], dtype=torch.bool)
    return RawScan(kspace, mask, 2, geometry=geometry, name="made")


@pytest.mark.parametrize("share", [0.75, 1.3])
def test_values_are_those_of_the_sum_of_waves(share, caplog) -> None:
    generator = np.random.default_rng(1)
    shape, fov, offset = (12, 15), (share * FOV, FOV), (3.0, -1.7)
    small = torch.from_numpy(generator.normal(size=(2, *shape, 2))).view(torch.complex128)[..., 0]
    reference = scan_of(small.to(torch.complex64), fov, (-offset[0], -offset[1]))
    scan = scan_of(torch.ones(2, SIZE, SIZE, dtype=torch.complex64), (FOV, FOV), (0.0, 0.0))
    found = with_reference(scan, reference).reference
    assert ("field of view is smaller" in caplog.text) is (share < 1)

    y, x = ((np.arange(SIZE) - SIZE // 2) * FOV / SIZE + one for one in offset)
    ky, kx = (np.arange(n) - n // 2 for n in shape)
    waves_y = np.exp(2j * np.pi * np.outer(y, ky) / fov[0])
    # Where the reference has no pixels it repeats, and says nothing.
    waves_y[np.abs(y) > fov[0] / 2] = 0
    waves_x = np.exp(2j * np.pi * np.outer(x, kx) / fov[1])
    waves_x[np.abs(x) > fov[1] / 2] = 0
    image = np.einsum("yk,xl,ckl->cyx", waves_y, waves_x, small.numpy()) / SIZE
    kspace = centred_fft(torch.from_numpy(image), [-2, -1]).numpy()
    # What the reference did not measure is not taken from the sum's continuation.
    k = np.arange(SIZE) - SIZE // 2
    beyond_y = (k * share < ky[0]) | (k * share > ky[-1])
    beyond_x = (k < kx[0]) | (k > kx[-1])
    kspace[:, beyond_y] = 0
    kspace[:, :, beyond_x] = 0
    np.testing.assert_allclose(found, kspace, atol=1e-5 * np.abs(kspace).max())


def test_the_same_field_of_view_keeps_the_samples() -> None:
    small = torch.randn(2, 9, 12, dtype=torch.complex64)
    scan = scan_of(torch.ones(2, SIZE, SIZE, dtype=torch.complex64), (FOV, FOV), (0.0, 0.0))
    found = with_reference(scan, scan_of(small, (FOV, FOV), (0.0, 0.0))).reference
    assert torch.equal(found[:, 12:21, 10:22], small)
    assert int((found != 0).any(0).sum()) == 9 * 12
    image = centred_ifft(found, [-2, -1])
    assert torch.isfinite(image.real).all()


def test_another_field_of_view_needs_a_sampled_centre() -> None:
    holes = torch.ones(2, 12, 12, dtype=torch.complex64)
    holes[:, ::2] = 0
    scan = scan_of(torch.ones(2, SIZE, SIZE, dtype=torch.complex64), (FOV, FOV), (0.0, 0.0))
    with pytest.raises(DataError, match="its centre of k-space is not fully sampled"):
        with_reference(scan, scan_of(holes, (2 * FOV, FOV), (0.0, 0.0)))
