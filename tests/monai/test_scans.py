"""A scan survives the way through MONAI's k-space and metadata."""

from __future__ import annotations

import pytest
import torch
from monai.transforms import Flip

from firenet_mri.errors import DataError, ShapeError
from firenet_mri.monai.scans import kspace_of, metadata_of, scan_from, scan_of
from firenet_mri.scan import Geometry, RawScan

GEOMETRY = Geometry(
    field_of_view_mm=(5.0, 200.0, 240.0), positions_mm=((1.0, -20.0, 30.0), (1.0, -20.0, 36.0))
)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("geometry", [GEOMETRY, None])
@pytest.mark.parametrize("noise", [random(3, 50), None])
def test_a_scan_comes_back_from_its_metadata(geometry, noise) -> None:
    mask = torch.ones(8, 6, dtype=torch.bool)
    scan = RawScan(random(2, 3, 8, 6), mask, 2, noise, geometry, name="a.h5", simulated=True)
    again = scan_from(scan.kspace, metadata_of(scan), mask)
    assert again.geometry == scan.geometry
    assert (again.name, again.simulated, again.spatial_ndim) == ("a.h5", True, 2)
    assert (again.noise is None) == (noise is None)
    assert noise is None or torch.equal(again.noise, noise)
    assert torch.equal(again.mask, scan.mask)


def test_kspace_without_metadata_is_a_scan_of_what_was_sampled() -> None:
    kspace = random(3, 8, 6)
    kspace[..., ::2] = 0
    scan = scan_from(kspace, {})
    assert scan.geometry is None
    assert torch.equal(scan.mask[0], kspace[0] != 0)


@pytest.mark.parametrize("names", [(), ("repetition 0", "repetition 1")])
def test_a_scan_along_a_trajectory_comes_back_from_its_metadata(names) -> None:
    trajectory = torch.rand(20, 2, generator=torch.Generator().manual_seed(1)) * 4 - 2
    scan = RawScan(
        random(2, 3, 20),
        torch.ones(1, 20, dtype=torch.bool),
        2,
        trajectory=trajectory,
        image_shape=(8, 6),
        images=names,
    )
    again = scan_of(kspace_of(scan))
    assert torch.equal(again.trajectory, trajectory.double())
    assert again.spatial_shape == (8, 6)
    assert again.images == names
    assert torch.equal(again.kspace, scan.kspace)
    assert bool(again.mask.all())


def test_what_would_part_samples_from_their_points_is_refused() -> None:
    trajectory = torch.zeros(20, 2)
    mask = torch.ones(1, 20, dtype=torch.bool)
    scan = RawScan(random(3, 20), mask, 2, trajectory=trajectory, image_shape=(8, 8))
    kspace = kspace_of(scan)
    with pytest.raises(ShapeError, match="trajectory"):
        scan_of(kspace[:, :10])
    mask = mask.clone()
    mask[0, 3] = False
    with pytest.raises(DataError, match="leaves out samples along a trajectory"):
        scan_of(kspace, mask)
    with pytest.raises(DataError, match=r"went through Flip, .* points of its trajectory"):
        scan_of(Flip(0)(kspace))
