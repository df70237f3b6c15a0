"""The transforms behave like MONAI's own: in datasets, workers, caches, batches and hashes."""

from __future__ import annotations

import json
import subprocess
import sys

import nibabel
import numpy as np
import pytest
import sigpy
import sigpy.mri
import torch
from laws import assert_close
from monai.apps.reconstruction.transforms.array import EquispacedKspaceMask, RandomKspaceMask
from monai.data import (
    CacheDataset,
    DataLoader,
    Dataset,
    PersistentDataset,
    ThreadDataLoader,
    json_hashing,
    pickle_hashing,
)
from monai.transforms import Compose
from torch import Tensor

import firenet_mri.monai as fm
from firenet_mri import Certificate, read, reconstruct
from firenet_mri.calibration import sensitivity_maps, whiten
from firenet_mri.errors import DataError, FileError, ShapeError, UsageError
from firenet_mri.firenet.sampling import sampling_pattern
from firenet_mri.operators import encoding_operator

SAMPLE = "sample_data/brain_8coil.h5"
SIZE = 32


@pytest.fixture(scope="module")
def kspace() -> Tensor:
    """Return fully sampled k-space (slice, coil, y, x) of two slices."""
    maps = torch.from_numpy(sigpy.mri.birdcage_maps((4, SIZE, SIZE))).to(torch.complex64)
    image = torch.from_numpy(sigpy.shepp_logan((SIZE, SIZE))).to(torch.complex64)
    return encoding_operator(None, maps)(torch.stack([image, image.flip(0)]))


@pytest.fixture
def files(kspace, tmp_path) -> list[dict[str, str]]:
    """Return three 2D scans as .npy files."""
    found = []
    for index in range(3):
        path = tmp_path / f"scan{index}.npy"
        np.save(path, (1 + index) * kspace[0].numpy())
        found.append({"kspace": str(path)})
    return found


def pipeline() -> Compose:
    return Compose(
        [
            fm.LoadKspaced("kspace"),
            fm.FixedKspaceMaskd("kspace", acceleration=2, center_fraction=0.4),
            fm.FIRENETReconstructd("kspace_masked", meta_key="kspace", maps="lowres", layers=3),
        ]
    )


def images(batches) -> Tensor:
    return torch.cat([torch.as_tensor(batch["kspace_masked"]) for batch in batches])


@pytest.fixture
def expected(files) -> Tensor:
    return images(DataLoader(Dataset(files, pipeline()), batch_size=1))


# Of one core torch says that two workers are too many.
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize(
    "kind",
    ["cache", "threads", "batch", "fork", pytest.param("spawn", marks=pytest.mark.slow)],
)
def test_every_dataset_and_loader_gives_the_same_images(kind, files, expected) -> None:
    dataset: Dataset = Dataset(files, pipeline())
    if kind == "cache":
        dataset = CacheDataset(files, pipeline(), num_workers=3, progress=False)
    if kind == "threads":
        loader = ThreadDataLoader(dataset, batch_size=1, num_workers=2, use_thread_workers=True)
    elif kind == "batch":
        loader = DataLoader(dataset, batch_size=3)
    elif kind in ("fork", "spawn"):
        loader = DataLoader(dataset, batch_size=1, num_workers=1, multiprocessing_context=kind)
    else:
        loader = DataLoader(dataset, batch_size=1)
    assert_close(images(loader), expected, 1e-6)


@pytest.mark.parametrize("hashing", [pickle_hashing, json_hashing])
@pytest.mark.parametrize("track_meta", [False, True])
def test_persistent_datasets_keep_images(track_meta, hashing, files, expected, tmp_path) -> None:
    options = {"cache_dir": tmp_path / "cache", "hash_transform": hashing}
    for _ in range(2):
        dataset = PersistentDataset(
            files, pipeline(), track_meta=track_meta, weights_only=True, **options
        )
        assert_close(images(DataLoader(dataset, batch_size=1)), expected, 1e-6)
    assert len(list((tmp_path / "cache").glob("*.pt"))) == 3


@pytest.mark.slow
def test_hashes_change_with_parameters_alone_and_are_the_same_in_every_process(files) -> None:
    script = (
        "from monai.data import pickle_hashing; import firenet_mri.monai as fm;"
        "print(pickle_hashing(fm.FIRENETReconstructd('kspace', maps='lowres', layers=3)).decode(),"
        "pickle_hashing(fm.FixedKspaceMaskd('kspace', [1, 0, 1, 1])).decode())"
    )
    there = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True
    )
    transform = fm.FIRENETReconstructd("kspace", maps="lowres", layers=3)
    mask = fm.FixedKspaceMaskd("kspace", [1, 0, 1, 1])
    here = pickle_hashing(transform).decode()
    assert there.stdout.split()[-2:] == [here, pickle_hashing(mask).decode()]
    transform({"kspace": torch.randn(2, 8, 8, dtype=torch.complex64)} | {"mask": torch.ones(8)})
    assert pickle_hashing(transform).decode() == here
    assert (
        pickle_hashing(fm.FIRENETReconstructd("kspace", maps="lowres", layers=4)).decode() != here
    )


def test_a_scan_goes_through_a_pipeline_to_the_image_of_reconstruct() -> None:
    scan = read(SAMPLE)
    data = Compose(
        [
            fm.LoadKspaced("scan"),
            fm.WhitenCoilsd("scan"),
            fm.EstimateSensitivityd("scan"),
            fm.FIRENETReconstructd("scan", sens_key="sens_maps", certificate=True, layers=5),
        ]
    )({"scan": SAMPLE})
    expected = reconstruct(scan, layers=5)
    image = data["scan"]
    assert_close(
        image.as_tensor()[0].permute(2, 1, 0),
        expected.image.abs().reshape(-1, *image.shape[2:0:-1]),
        1e-5,
    )
    shape = (1, *scan.spatial_shape)
    np.testing.assert_allclose(image.affine, scan.geometry.affine_ras(shape), atol=1e-6)
    maps = sensitivity_maps(whiten(scan), "espirit")
    assert_close(data["sens_maps"], maps)
    found = Certificate.from_dict(json.loads(image.meta["certificate"]))
    # Maps of other threads differ in their rounding.
    assert found.lipschitz_bound == pytest.approx(expected.certificate.lipschitz_bound, rel=1e-6)
    assert image.applied_operations == []


def test_affine_is_the_one_that_nibabel_reads_from_the_saved_image(tmp_path) -> None:
    result = reconstruct(read(SAMPLE), layers=2)
    files = result.save(tmp_path / "image.nii.gz")
    image = fm.FIRENETReconstruct(layers=2)(fm.LoadKspace()(SAMPLE))
    written = nibabel.load(files.image)
    assert image.shape[1:] == written.shape
    np.testing.assert_allclose(image.affine, written.affine, atol=1e-4)
    assert_close(image.as_tensor()[0], torch.from_numpy(written.get_fdata()).float(), 1e-5)


def test_noise_is_used_once() -> None:
    kspace = fm.LoadKspace()(SAMPLE)
    scan = read(SAMPLE)
    if scan.noise is None:
        kspace.meta["noise"] = torch.randn(8, 500, dtype=torch.complex64).numpy()
    white = fm.WhitenCoils()(kspace)
    with pytest.raises(DataError, match="no noise measurement"):
        fm.WhitenCoils()(white)
    raw = fm.FIRENETReconstruct(layers=2)(kspace)
    assert_close(fm.FIRENETReconstruct(layers=2)(white).as_tensor(), raw.as_tensor(), 1e-6)


def test_compressed_coils_give_the_image_of_all_coils(kspace) -> None:
    data = {"kspace": kspace}
    small = fm.CompressCoilsd("kspace", 3)(data)["kspace"]
    assert small.shape == (2, 3, SIZE, SIZE)
    transform = fm.FIRENETReconstruct(maps="lowres", image_axes="kspace")
    assert_close(transform(small).as_tensor(), transform(kspace).as_tensor(), 0.1)


@pytest.mark.parametrize("pattern", ["equispaced", "random"])
def test_the_fixed_mask_is_monais(kspace, pattern) -> None:
    kind = EquispacedKspaceMask if pattern == "equispaced" else RandomKspaceMask
    theirs = kind([0.2], [3], spatial_dims=2)
    theirs.set_random_state(seed=7)
    masked, image = theirs(kspace)
    ours = fm.FixedKspaceMask(pattern, acceleration=3, center_fraction=0.2, seed=7)
    for _ in range(2):
        found = ours(kspace)
        assert_close(found.kspace, masked)
        assert_close(found.image, image, 1e-6)
        assert torch.equal(found.mask, theirs.mask)
        assert found.mask.dtype == theirs.mask.dtype
    native = fm.FixedKspaceMask(
        pattern, acceleration=3, center_fraction=0.2, seed=7, native_complex=True
    )
    assert torch.equal(torch.view_as_real(native(kspace).kspace), found.kspace)


def test_the_fixed_mask_can_be_given(kspace) -> None:
    pattern = sampling_pattern((SIZE, SIZE), 0.3, calibration=8, seed=1)
    masked = fm.FixedKspaceMask(pattern, native_complex=True)(kspace)
    assert torch.equal(masked.kspace != 0, pattern.expand_as(kspace) & (kspace != 0))
    with pytest.raises(ShapeError, match=r"\(32, 31\)"):
        fm.FixedKspaceMask(pattern[:, 1:])(kspace)
    for options in ({"pattern": "magic"}, {"acceleration": 4, "center_fraction": 0.25}):
        with pytest.raises(UsageError):
            fm.FixedKspaceMask(**options)


def test_certificates_stand_with_their_own_image_only(kspace) -> None:
    transform = fm.FIRENETReconstruct(maps="lowres", layers=3)
    data = {
        "kspace": kspace,
        "mask": torch.ones(SIZE),
        "image": transform(kspace, torch.ones(SIZE)),
    }
    assert "certificate" not in data["image"].meta
    certify = fm.StabilityCertificated("image", "kspace", transform)
    found = certify(data)["image"]
    assert Certificate.from_dict(json.loads(found.meta["certificate"])).items == 2
    assert_close(found.as_tensor(), data["image"].as_tensor())
    at_once = fm.FIRENETReconstruct(maps="lowres", layers=3, certificate=True)(kspace)
    assert json.loads(at_once.meta["certificate"])["objective"] == pytest.approx(
        json.loads(found.meta["certificate"])["objective"], rel=1e-5
    )
    with pytest.raises(DataError, match=r"'image'.*not the one"):
        certify({**data, "image": 1.01 * data["image"]})


def test_a_trained_networks_image_can_be_the_start(kspace) -> None:
    lines = torch.ones(SIZE)
    lines[1:12:2] = lines[21::2] = 0
    transform = fm.FIRENETReconstruct(maps="lowres", layers=1, image_axes="kspace")
    start = fm.FIRENETReconstruct(maps="lowres", image_axes="kspace")(kspace)
    near = transform(kspace * lines, lines, x0=start)
    far = transform(kspace * lines, lines)
    assert (near - start).norm() < (far - start).norm()
    with pytest.raises(ShapeError, match="x0 has 1 slice, k-space 2"):
        transform(kspace, x0=start[:1])


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        ({"other": 1}, {}, KeyError, "kspace"),
        ({"mask": torch.ones(31)}, {}, ShapeError, r"'kspace'.*\(31,\)"),
        ({}, {"sens_key": "sens"}, DataError, "'sens' is missing"),
        (
            {"sens": torch.ones(3, SIZE, SIZE) + 0j},
            {"sens_key": "sens"},
            ShapeError,
            "'kspace'.*sens_maps",
        ),
        ({"kspace": torch.ones(4, SIZE, SIZE)}, {}, ShapeError, r"'kspace'.*\(4, 32, 32\)"),
        ({"kspace": torch.ones(SIZE, SIZE) + 0j}, {}, ShapeError, r"'kspace'.*coil"),
        ({"from": torch.ones(3)}, {"meta_key": "from"}, DataError, "'from' has no metadata"),
        ({"kspace": "scan.h5"}, {}, DataError, "'kspace'.*is a str.*LoadKspace"),
        ({"x0": [1.0]}, {"x0_key": "x0"}, DataError, "'kspace'.*x0 is a list"),
    ],
)
def test_bad_input_is_named_with_its_key(data, options, error, message, kspace) -> None:
    if "other" not in data:
        data = {"kspace": kspace, **data}
    with pytest.raises(error, match=message):
        fm.FIRENETReconstructd("kspace", layers=2, **options)(data)


def test_missing_keys_can_be_allowed_everywhere(tmp_path) -> None:
    data = {"other": 1}
    for make in (
        fm.LoadKspaced,
        fm.WhitenCoilsd,
        fm.EstimateSensitivityd,
        fm.FixedKspaceMaskd,
        fm.FIRENETReconstructd,
    ):
        assert make("kspace", allow_missing_keys=True)(data) == data
    assert fm.CompressCoilsd("kspace", 2, allow_missing_keys=True)(data) == data
    assert fm.StabilityCertificated("image", "kspace", allow_missing_keys=True)(data) == data
    with pytest.raises(FileError, match=r"'kspace'.*nothing\.h5"):
        fm.LoadKspaced("kspace")({"kspace": tmp_path / "nothing.h5"})


def test_aliases_are_the_same_classes() -> None:
    for name in (
        "LoadKspace",
        "WhitenCoils",
        "CompressCoils",
        "EstimateSensitivity",
        "FixedKspaceMask",
        "FIRENETReconstruct",
        "StabilityCertificate",
    ):
        one = getattr(fm, f"{name}d")
        assert one is getattr(fm, f"{name}D") is getattr(fm, f"{name}Dict")
        assert one.backend == getattr(fm, name).backend
