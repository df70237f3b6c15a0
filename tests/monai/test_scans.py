"""A scan survives the way through MONAI's k-space and metadata."""

from __future__ import annotations

import pytest
import torch

from firenet_mri.errors import DataError
from firenet_mri.monai.scans import metadata_of, scan_from
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


def test_scans_along_a_trajectory_are_refused() -> None:
    trajectory = torch.rand(20, 2) * 4 - 2
    scan = RawScan(
        random(3, 20),
        torch.ones(1, 20, dtype=torch.bool),
        2,
        trajectory=trajectory,
        image_shape=(8, 8),
    )
    with pytest.raises(DataError, match="non-Cartesian"):
        metadata_of(scan)
