"""Metadata and masks are those of the scan; equal transforms are equal to MONAI's caches."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle

import monai.transforms as mt
import nibabel
import numpy as np
import pytest
import torch
from laws import assert_close
from monai.data import MetaTensor, decollate_batch, list_data_collate, pickle_hashing
from monai.utils import FastMRIKeys

import firenet_mri.monai as fm
from firenet_mri import Certificate
from firenet_mri.errors import DataError
from firenet_mri.io import write_nifti
from firenet_mri.monai.scans import kspace_of, scan_of
from firenet_mri.phantoms import ellipses
from firenet_mri.scan import Geometry, RawScan
from firenet_mri.simulation import simulate

GEOMETRY = Geometry(
    field_of_view_mm=(5.0, 200.0, 240.0),
    positions_mm=((1.0, -20.0, 30.0), (1.0, -20.0, 36.0)),
    read_direction=(0.0, 1.0, 0.0),
    phase_direction=(0.0, 0.0, 1.0),
    slice_direction=(1.0, 0.0, 0.0),
)


@pytest.fixture
def scan(randn) -> RawScan:
    """Return two slices of 3 coils, oblique, with noise and a name."""
    kspace = randn(2, 3, 16, 12, dtype=torch.complex64)
    noise = randn(3, 100, dtype=torch.complex64)
    mask = torch.ones(16, 12, dtype=torch.bool)
    return RawScan(kspace, mask, 2, noise, GEOMETRY, name="a.h5", simulated=True)


RECONSTRUCT = fm.FIRENETReconstruct(maps="lowres", layers=2)


def world(affine: torch.Tensor, index: list[int]) -> torch.Tensor:
    return affine @ torch.tensor([*index, 1]).double()


def test_slices_in_kspace_axes_lie_where_nibabel_puts_them(scan, tmp_path) -> None:
    transform = fm.FIRENETReconstruct(maps="lowres", layers=2, image_axes="kspace")
    image = transform(kspace_of(scan))
    write_nifti(tmp_path / "image.nii.gz", image.as_tensor(), GEOMETRY)
    written = nibabel.load(tmp_path / "image.nii.gz")
    there = nibabel.affines.apply_affine(written.affine, [5, 2, 1])
    assert_close(world(image.affine, [2, 5, 1])[:3], torch.from_numpy(there), 1e-4)
    assert image[1, 2, 5] == pytest.approx(float(written.dataobj[5, 2, 1]), rel=1e-6)


def test_images_have_what_is_listed_and_nothing_bulky(scan) -> None:
    kspace = kspace_of(scan)
    kspace.meta["reconstruction_rss"] = torch.ones(2, 16, 12)
    kspace.meta["patient_id"] = "somebody"
    image = RECONSTRUCT(kspace)
    listed = {
        "is_placed",
        "spatial_ndim",
        "original_affine",
        "space",
        "spatial_shape",
        "original_channel_dim",
    }
    listed |= {"affine", "filename_or_obj", "simulated", "warnings", "record", "domain", "images"}
    assert set(image.meta) == listed
    assert tuple(image.meta["spatial_shape"]) == image.shape[1:]
    assert (image.meta["filename_or_obj"], image.meta["simulated"]) == ("a.h5", True)


def test_maps_have_the_metadata_of_kspace_without_its_noise(scan) -> None:
    kspace = kspace_of(scan)
    maps = fm.EstimateSensitivityd("kspace", "lowres")({"kspace": kspace})["sens_maps"]
    assert isinstance(maps, MetaTensor)
    assert torch.equal(maps.affine, kspace.affine)
    assert maps.meta["noise"] == ""
    assert scan_of(kspace).noise.numel() == 300


def test_the_mask_is_that_of_the_file_and_not_of_the_samples(tmp_path, monkeypatch, scan) -> None:
    kspace = scan.kspace.clone()
    kspace[..., 3] = 0  # Measured, and zero.
    measured = scan.mask.clone()
    measured[..., 7] = False
    found = RawScan(kspace * measured, measured, 2)
    place = "firenet_mri.monai.transforms.dictionary.read_with"
    monkeypatch.setattr(place, lambda path, options: found)
    data = fm.LoadKspaced("kspace", mask_key="where")({"kspace": "scan.h5"})
    assert torch.equal(data["where"], measured)
    assert torch.equal(data["kspace"].as_tensor(), found.kspace)


@pytest.mark.parametrize("way", ["as it is", "masked", "masked without metadata"])
@pytest.mark.parametrize(
    "move", [mt.Flip(1), mt.Rotate90(), mt.RandFlip(prob=1.0)], ids=lambda t: type(t).__name__
)
def test_kspace_that_was_moved_under_a_known_geometry_is_refused(move, way, scan) -> None:
    """The affine would be wrong in silence: left would be right."""
    data = {"kspace": move(kspace_of(scan))}
    transform = fm.FIRENETReconstructd("kspace", maps="lowres", layers=2)
    if way != "as it is":
        options = {"acceleration": 2, "center_fraction": 0.4}
        data = fm.FixedKspaceMaskd("kspace", **options)(data)
        transform = fm.FIRENETReconstructd("kspace_masked")
    if way == "masked without metadata":
        data["kspace_masked"] = data["kspace_masked"].as_tensor()
        transform = fm.FIRENETReconstructd("kspace_masked", meta_key="kspace")
    with pytest.raises(DataError, match=f"'kspace.*{type(move).__name__}.*to the image"):
        transform(data)
    assert RECONSTRUCT(mt.RandFlip(prob=0.0)(kspace_of(scan))).shape == (1, 12, 16, 2)


def test_kspace_without_geometry_may_be_flipped_and_the_image_does_not_remember(scan) -> None:
    kspace = mt.Flip(1)(MetaTensor(scan.kspace))
    assert len(kspace.applied_operations) == 1
    assert RECONSTRUCT(kspace).applied_operations == []


def test_cropped_kspace_has_coarser_voxels_of_the_same_field_of_view(scan) -> None:
    kspace = kspace_of(scan)
    image = RECONSTRUCT(mt.CenterSpatialCrop((3, 8, 6))(kspace))
    assert image.shape == (1, 6, 8, 2)
    assert_close(image.affine, torch.from_numpy(GEOMETRY.affine_ras((2, 8, 6))))
    assert image.applied_operations == []


def test_numpy_arrays_are_taken_as_tensors_are(scan) -> None:
    kspace, mask = scan.kspace, np.ones(12)
    maps = fm.EstimateSensitivity("lowres")(kspace.numpy(), mask)
    assert_close(maps.as_tensor(), fm.EstimateSensitivity("lowres")(kspace).as_tensor())
    found = RECONSTRUCT(kspace.numpy(), mask, maps.numpy())
    assert_close(found.as_tensor(), RECONSTRUCT(kspace).as_tensor(), 1e-6)


def test_batches_keep_metadata_and_certificates_of_every_item(scan) -> None:
    certified = fm.FIRENETReconstruct(maps="lowres", layers=2, certificate=True)
    images = [certified(kspace_of(scan)), certified(2 * scan.kspace)]
    batch = list_data_collate([{"image": image} for image in images])
    assert batch["image"].shape == (2, 1, 12, 16, 2)
    for item, image in zip(decollate_batch(batch), images, strict=True):
        found = Certificate.from_dict(json.loads(item["image"].meta["certificate"]))
        assert found == Certificate.from_dict(json.loads(image.meta["certificate"]))
        assert torch.equal(item["image"].affine, image.affine)


def test_a_batch_of_scans_is_refused_by_name(scan) -> None:
    batch = list_data_collate([{"kspace": kspace_of(scan)}] * 2)
    with pytest.raises(DataError, match=r"'kspace'.*\(2, 2, 3, 16, 12\) is a batch"):
        fm.FIRENETReconstructd("kspace")(batch)


ALL = {
    "load": lambda key: fm.LoadKspaced(key, mask_key=key),
    "whiten": lambda key: fm.WhitenCoilsd([key, key]),
    "compress": lambda key: fm.CompressCoilsd(key, 0.9),
    "maps": lambda key: fm.EstimateSensitivityd(key, "jsense", mask_key=key),
    "mask": lambda key: fm.FixedKspaceMaskd(key, mask_key=key, seed=3),
    "image": lambda key: fm.FIRENETReconstructd(key, mask_key=key, lam=0.1, layers=3),
    "certificate": lambda key: fm.StabilityCertificated(key, key, RECONSTRUCT, mask_key=key),
}


@pytest.mark.parametrize("name", ALL)
def test_equal_transforms_have_equal_hashes_wherever_their_options_come_from(name) -> None:
    """Pickle tells two equal strings from one that occurs twice; a hash must not."""
    make = ALL[name]
    expected = pickle_hashing(make("kspace"))
    letters = "kspac"

    class Keys(str):
        """A key that is an equal string, and another object at every use."""

    for key in (
        "".join([letters, "e"]),
        json.loads('"kspace"'),
        FastMRIKeys.KSPACE,
        Keys("kspace"),
    ):
        assert pickle_hashing(make(key)) == expected
    again = pickle.loads(pickle.dumps(make("kspace")))
    assert pickle_hashing(again) == expected
    assert pickle_hashing(copy.deepcopy(again)) == expected
    assert pickle_hashing(make("other")) != expected
    assert {k: v for k, v in vars(again).items() if k != "transform"} == {
        k: v for k, v in vars(make("kspace")).items() if k != "transform"
    }


def test_the_hash_of_a_given_mask_is_that_of_its_values() -> None:
    mask = np.arange(30).reshape(5, 6) % 3 == 0
    forms = [mask, np.asfortranarray(mask), mask.astype(float), torch.from_numpy(mask)]
    hashes = {pickle_hashing(fm.FixedKspaceMaskd("kspace", form)) for form in forms}
    assert len(hashes) == 1
    assert pickle_hashing(fm.FixedKspaceMaskd("kspace", ~mask)) not in hashes
    again = pickle.loads(pickle.dumps(fm.FixedKspaceMask(mask)))
    assert torch.equal(again(torch.ones(2, 5, 6) + 0j).mask[0, ..., 0], torch.tensor(mask).float())


@pytest.mark.parametrize("certificate", [False, True])
def test_metadata_say_what_is_odd_about_the_data(certificate) -> None:
    made = simulate(ellipses(48, 3, 1)[:2], acceleration=1, calibration=20, coils=3)
    wrapped = made.kspace.clone()
    wrapped[1] *= (-1.0) ** torch.arange(48)
    transform = fm.FIRENETReconstruct(layers=10, no_gap=True, certificate=certificate)
    assert transform(kspace_of(made)).meta["warnings"] == ""
    image = transform(kspace_of(dataclasses.replace(made, kspace=wrapped)))
    (line,) = image.meta["warnings"].split("\n")
    assert line.startswith("Warning (slice 1): The object lies across the edge")


def test_metadata_name_the_slice_without_calibration() -> None:
    made = simulate(ellipses(48, 3, 1)[:2], acceleration=1, calibration=20, coils=3)
    mask = made.mask.clone()
    mask[1, :, 22:26] = False
    scan = dataclasses.replace(made, kspace=made.kspace * mask, mask=mask)
    with pytest.warns(UserWarning, match="are made from the centre"):
        image = fm.FIRENETReconstruct(layers=2)(kspace_of(scan), mask)
    lines = image.meta["warnings"].split("\n")
    assert any(
        line.startswith("Warning (slice 1): The centre of k-space is empty or not")
        for line in lines
    )
