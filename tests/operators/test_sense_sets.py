"""Encoding with several map sets: its laws, and images of objects larger than the field of view."""

from __future__ import annotations

import numpy as np
import pytest
import sigpy.mri
import torch
from laws import assert_close, check_linear_operator

from firenet_mri import RawScan, reconstruct
from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.metrics import psnr
from firenet_mri.operators import CartesianFourier, Sense, SenseSets
from firenet_mri.scan import Geometry


def random_maps(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("spatial", [(6, 7), (4, 5, 6)])
@pytest.mark.parametrize("sets", [1, 2, 3])
def test_it_is_a_linear_operator_and_the_sum_of_its_sets(spatial, sets) -> None:
    maps = random_maps(sets, 4, *spatial)
    mask = torch.rand(spatial, generator=torch.Generator().manual_seed(2)) < 0.5
    fourier = CartesianFourier(mask, spatial)
    operator = SenseSets(maps, fourier)
    assert operator.domain_shape == (sets * spatial[0], *spatial[1:])
    check_linear_operator(operator)
    check_linear_operator(operator, batch=(2, 3))
    x = random_maps(2, *operator.domain_shape)
    parts = x.reshape(2, sets, *spatial)
    expected = sum(Sense(maps[i], fourier)(parts[:, i]) for i in range(sets))
    assert_close(operator(x), expected)


def test_the_norm_of_orthonormal_sets_is_one() -> None:
    q, _ = torch.linalg.qr(random_maps(5 * 6, 4, 2))
    maps = q.reshape(5, 6, 4, 2).permute(3, 2, 0, 1)
    operator = SenseSets(maps, CartesianFourier(torch.ones(5, 6, dtype=torch.bool), (5, 6)))
    assert operator.norm_bound == pytest.approx(1, abs=1e-12)
    # Two equal sets add up.
    same = SenseSets(maps[:1].expand(2, 4, 5, 6), operator.fourier)
    assert same.norm_bound == pytest.approx(2**0.5, abs=1e-12)


def test_maps_of_another_shape_are_refused() -> None:
    fourier = CartesianFourier(torch.ones(5, 6, dtype=torch.bool), (5, 6))
    with pytest.raises(ShapeError, match=r"must be \(set, coil, 5, 6\)"):
        SenseSets(random_maps(4, 5, 6), fourier)
    with pytest.raises(ShapeError, match="must be complex"):
        SenseSets(random_maps(2, 4, 5, 6).real, fourier)


@pytest.fixture
def folded() -> tuple[RawScan, torch.Tensor]:
    """Return a scan of an object twice as long as its field of view, and its coils' RSS."""
    maps = torch.from_numpy(sigpy.mri.birdcage_maps((8, 128, 64))).to(torch.complex64)
    maps = maps / torch.linalg.vector_norm(maps, dim=0)
    rows, columns = np.indices((128, 64))
    inside = ((rows - 64) / 56) ** 2 + ((columns - 32) / 26) ** 2 < 1
    holes = ((rows - 40) / 6) ** 2 + ((columns - 30) / 6) ** 2 < 1
    image = torch.from_numpy((inside * (1 - 0.6 * holes)).astype(np.complex64))
    axes = (-2, -1)

    def transformed(x: torch.Tensor, transform) -> torch.Tensor:
        return torch.fft.fftshift(
            transform(torch.fft.ifftshift(x, dim=axes), norm="ortho"), dim=axes
        )

    kspace = transformed(maps * image, torch.fft.fft2)[:, ::2]
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(*kspace.shape, dtype=torch.complex64, generator=generator)
    full = kspace + 0.002 * noise
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[:, ::2] = mask[:, 20:44] = True
    truth = torch.linalg.vector_norm(transformed(kspace, torch.fft.ifft2), dim=0)
    geometry = Geometry((5.0, 64.0, 64.0), ((0.0, 0.0, 0.0),))
    return RawScan((full * mask)[None], mask[None], 2, geometry=geometry), truth


def test_two_sets_make_the_image_of_a_folded_object(folded, tmp_path) -> None:
    scan, truth = folded
    one = reconstruct(scan, sparsifier="undecimated-haar")
    two = reconstruct(scan, sparsifier="undecimated-haar", map_sets=2)
    assert two.image.shape == (2, 1, 64, 64)
    assert two.magnitude.shape == (1, 64, 64)
    assert psnr(truth[None], two.magnitude) > psnr(truth[None], one.magnitude) + 3
    assert two.certificate.relative_gap[0] < 0.05
    assert two.certificate.lipschitz_bound is not None
    files = two.save(tmp_path / "image.nii.gz")
    assert files.image.exists()
    with pytest.raises(UsageError, match="not have a single phase"):
        two.save_bids_pair(tmp_path / "image")


def test_an_empty_slice_and_what_has_one_set_only(folded) -> None:
    scan, _ = folded
    kspace = torch.cat([scan.kspace, torch.zeros_like(scan.kspace)])
    both = RawScan(kspace, scan.mask, 2)
    result = reconstruct(both, layers=3, map_sets=2)
    assert not result.image[:, 1].any()
    with pytest.raises(UsageError, match="only espirit has several"):
        reconstruct(scan, maps="jsense", map_sets=2)
    with pytest.raises(UsageError, match="a preset other than paper"):
        reconstruct(scan, preset="paper", map_sets=2)
