"""The transforms work in a Compose that ends in a NIfTI file."""

from __future__ import annotations

import pickle

import nibabel
import numpy as np
import pytest
import torch
from laws import assert_close
from monai.data import MetaTensor
from monai.transforms import Compose, SaveImaged

from firenet_mri import reconstruct
from firenet_mri.errors import ShapeError
from firenet_mri.monai import FIRENETReconstruct, FIRENETReconstructd
from firenet_mri.scan import Geometry, RawScan


@pytest.fixture
def scan() -> RawScan:
    generator = torch.Generator().manual_seed(0)
    kspace = torch.randn(3, 1, 20, 16, dtype=torch.complex64, generator=generator)
    geometry = Geometry(
        field_of_view_mm=(5.0, 200.0, 240.0),
        positions_mm=((1.0, -20.0, 30.0), (1.0, -20.0, 36.0), (1.0, -20.0, 42.0)),
    )
    mask = torch.ones(1, 20, 16, dtype=torch.bool)
    return RawScan(kspace, mask, 2, geometry=geometry)


def test_compose_ends_in_a_nifti_file_in_the_right_place(scan, tmp_path) -> None:
    pipeline = Compose(
        [
            FIRENETReconstructd(keys="scan", maps="none", layers=3),
            SaveImaged(
                keys="scan",
                output_dir=tmp_path,
                separate_folder=False,
                resample=False,
                print_log=False,
            ),
        ]
    )
    result = pipeline({"scan": scan})
    (path,) = tmp_path.glob("*.nii.gz")
    written = nibabel.load(path)
    expected = reconstruct(scan, maps="none", layers=3).image.abs()
    assert_close(torch.from_numpy(np.asarray(written.dataobj)), expected.permute(2, 1, 0), 1e-6)
    np.testing.assert_allclose(written.affine, scan.geometry.affine_ras((3, 20, 16)), atol=1e-4)
    assert result["scan"].applied_operations == []


def test_image_axes_are_those_asked_for(scan) -> None:
    affine = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0]))
    kspace = MetaTensor(scan.kspace, affine=affine)
    transform = FIRENETReconstructd("kspace", output_postfix="firenet", maps="none", layers=3)
    data = {"kspace": kspace, "mask": torch.ones(16)}
    result = transform(data)
    assert result["kspace"] is kspace
    assert "kspace_firenet" not in data
    image = result["kspace_firenet"]
    assert image.shape == (1, 16, 20, 3)
    assert torch.equal(image.affine, affine.double())
    slices = FIRENETReconstruct(maps="none", layers=3, image_axes="kspace")
    layout = slices(torch.view_as_real(scan.kspace))
    assert layout.shape == (3, 20, 16)
    assert_close(layout.as_tensor(), image.as_tensor()[0].permute(2, 1, 0), 1e-6)
    # Index (y, x, z) of one layout and (x, y, z) of the other are the same place.
    there = slices(kspace).affine
    assert torch.equal(
        there @ torch.tensor([5.0, 2, 1, 1]).double(),
        image.affine @ torch.tensor([2.0, 5, 1, 1]).double(),
    )
    assert slices(scan.kspace[0]).shape == (1, 20, 16)


def test_transform_is_picklable_and_missing_keys_can_be_allowed(scan) -> None:
    transform = FIRENETReconstructd("scan", maps="none", layers=2, allow_missing_keys=True)
    again = pickle.loads(pickle.dumps(transform))
    assert_close(again({"scan": scan})["scan"], transform({"scan": scan})["scan"])
    assert transform({"other": 1}) == {"other": 1}


def test_kspace_without_coil_axis_is_refused() -> None:
    with pytest.raises(ShapeError, match="coil"):
        FIRENETReconstruct()(torch.ones(16, 16, dtype=torch.complex64))
