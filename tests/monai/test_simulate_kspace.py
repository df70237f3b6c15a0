"""Images of any reader become simulated k-space and come back where they lay."""

from __future__ import annotations

import json
import pickle

import nibabel
import numpy as np
import pytest
import sigpy.mri
import torch
from firenet_command import firenet
from monai.data import (
    CacheDataset,
    DataLoader,
    MetaTensor,
    PersistentDataset,
    decollate_batch,
    list_data_collate,
    pickle_hashing,
)
from monai.transforms import (
    Compose,
    EnsureChannelFirst,
    EnsureChannelFirstd,
    Invertd,
    LoadImage,
    LoadImaged,
    Orientationd,
    SaveImage,
    ScaleIntensityd,
)
from PIL import Image

import firenet_mri.monai as fm
from firenet_mri import read
from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.io.image.dicom import write_dicom_series, write_enhanced_dicom
from firenet_mri.metrics import psnr
from firenet_mri.monai.text import tensor_of_text
from firenet_mri.phantoms import ellipses
from firenet_mri.scan import Geometry

AFFINE = np.array([[0, -2.0, 0, 20], [1.5, 0, 0, -30], [0, 0, 4.0, 7], [0, 0, 0, 1]])
SMALL = {"coils": 4, "acceleration": 2, "calibration": 10}
QUICK = {"maps": "lowres", "layers": 12}


def volume() -> np.ndarray:
    """Return a smooth volume of positive values with an edge, (40, 32, 3) float32."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (40, 32, 3)), indexing="ij")
    return ((x**2 + 1.4 * y**2 < 0.6) * (2 + np.sin(4 * x) + z)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with one image in every format."""
    path = tmp_path_factory.mktemp("images")
    nibabel.save(nibabel.Nifti1Image(volume(), AFFINE), path / "magnitude.nii.gz")
    phase = np.exp(1j * np.linspace(-1, 1, 40))[:, None, None]
    turned = (volume() * phase).astype(np.complex64)
    nibabel.save(nibabel.Nifti1Image(turned, AFFINE), path / "complex.nii.gz")
    place = Geometry.from_affine(np.diag([-1.0, -1, 1, 1]) @ AFFINE, (3, 32, 40))
    write_dicom_series(path / "dicom", np.ascontiguousarray(volume().T), place)
    grey = (60 * volume()[..., 1]).astype(np.uint8)
    Image.fromarray(grey.T).save(path / "slice.png")
    return path


def loaded(folder, name: str) -> MetaTensor:
    reader = fm.ComplexNiftiReader() if name == "complex.nii.gz" else None
    dtype = np.complex64 if name == "complex.nii.gz" else np.float32
    image = LoadImage(reader=reader, dtype=dtype, image_only=True)(str(folder / name))
    return EnsureChannelFirst()(image)


@pytest.mark.parametrize("name", ["magnitude.nii.gz", "complex.nii.gz", "dicom", "slice.png"])
def test_an_image_of_every_reader_comes_back_in_its_axes_place_and_units(name, folder) -> None:
    image = loaded(folder, name)
    measured = fm.SimulateKspace(**SMALL).measure(image)
    result = fm.FIRENETReconstruct(certificate=True, no_gap=True, **QUICK)(
        measured.kspace, measured.mask
    )
    assert result.shape == image.shape == measured.truth.shape
    for one in (result, measured.truth):
        np.testing.assert_allclose(one.affine, image.affine, atol=1e-5)
    assert psnr(image.abs().as_tensor(), result.as_tensor()) > 35
    assert result.meta["simulated"]
    assert measured.kspace.meta["simulated"]
    truth = measured.truth.as_tensor()
    assert torch.equal(truth, image.as_tensor().to(torch.complex64))


def test_the_certificate_knows_what_was_measured_and_how(folder) -> None:
    image = loaded(folder, "magnitude.nii.gz")[..., :1]
    transform = fm.FIRENETReconstruct(certificate=True, evidence=True, no_gap=True, **QUICK)
    result = transform(fm.SimulateKspace(seed=3, **SMALL)(image))
    report = json.loads(result.meta["evidence"])["report"]
    assert report["scan"]["simulated"]
    assert report["options"]["read"] == json.loads(result.meta["record"])
    record = report["options"]["read"]["simulation"]
    assert (record["acceleration"], record["seed"], record["snr"]) == (2, 3, 40.0)
    other = fm.SimulateKspace(seed=3, **SMALL)(1.01 * image)
    assert (
        json.loads(other.meta["record"])["simulation"]["sha256_of_truth"]
        != (record["sha256_of_truth"])
    )


def test_a_saved_certificate_is_that_of_no_file(folder, tmp_path) -> None:
    image = loaded(folder, "slice.png")[:, ::2, ::2]
    transform = fm.FIRENETReconstruct(certificate=True, evidence=True, no_gap=True, **QUICK)
    result = transform(fm.SimulateKspace(coils=2, acceleration=2, calibration=4)(image))
    save = SaveImage(tmp_path, "image", ".nii.gz", savepath_in_metadict=True, print_log=False)
    fm.SaveCertificate()(save(result))
    (written,) = tmp_path.rglob("*.json")
    ran = firenet("certify", written, "--scan", "sample_data/brain_8coil.h5")
    assert ran.status == 2
    assert "k-space that was computed from an image" in ran.err


def test_the_command_and_the_transform_measure_the_same(folder, tmp_path) -> None:
    options = {"coils": 3, "acceleration": 3.0, "calibration": 6, "snr": 15.0, "seed": 7}
    options |= {"phase": 1.0, "pattern": "points"}
    flags = [word for name, value in options.items() for word in (f"--{name}", value)]
    scan = tmp_path / "scan.h5"
    ran = firenet("simulate", folder / "magnitude.nii.gz", "-o", scan, *flags)
    assert ran.status == 0, ran.err
    found = fm.SimulateKspace(noise_scan=True, **options)(loaded(folder, "magnitude.nii.gz"))
    expected = fm.LoadKspace()(scan)
    torch.testing.assert_close(found.as_tensor(), expected.as_tensor())
    noise = [tensor_of_text(one.meta["noise"]) for one in (found, expected)]
    torch.testing.assert_close(*noise)
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-4)


def test_the_phase_of_a_complex_image_is_kept_and_one_is_made_for_a_magnitude(folder) -> None:
    clean = {**SMALL, "acceleration": 1, "snr": 1e6}
    image = loaded(folder, "complex.nii.gz")
    whole = fm.FIRENETReconstruct(output="complex", **QUICK)
    maps = torch.from_numpy(sigpy.mri.birdcage_maps((4, 32, 40))).to(torch.complex64)
    found = whole(fm.SimulateKspace(**clean)(image), sens_maps=maps[None]).as_tensor()
    inside = image.as_tensor().abs() > 0.5
    turn = (found * image.as_tensor().conj())[inside].angle()
    assert float(turn.abs().max()) < 0.1
    magnitude = loaded(folder, "magnitude.nii.gz")
    plain = fm.SimulateKspace(**clean).measure(magnitude)
    turned = fm.SimulateKspace(phase=2.0, **clean).measure(magnitude)
    assert not plain.truth.as_tensor().imag.any()
    angle = turned.truth.as_tensor()[magnitude.as_tensor() > 0].angle()
    assert 1.0 < float(angle.abs().max()) <= 2.0 + 1e-6
    torch.testing.assert_close(turned.truth.abs().as_tensor(), magnitude.as_tensor())
    assert torch.equal(plain.mask, turned.mask)


def test_masks_patterns_and_volumes_are_those_asked_for(folder) -> None:
    image = loaded(folder, "magnitude.nii.gz")
    lines = torch.zeros(32, 1)
    lines[::3] = 1
    for mask in (lines, lines.expand(32, 40), lines.numpy(), lines.bool()):
        measured = fm.SimulateKspace(coils=2, mask=mask).measure(image)
        assert torch.equal(measured.mask[1, 0, :, 5], lines[:, 0] > 0)
    encoded = fm.SimulateKspace(coils=1, volume=True, calibration=4).measure(image)
    assert encoded.kspace.shape == (1, 3, 32, 40)
    assert fm.FIRENETReconstruct(**QUICK)(encoded.kspace).shape == image.shape
    with pytest.raises(ShapeError, match=r"mask has shape \(7,\), the image \(32, 40\)"):
        fm.SimulateKspace(mask=torch.ones(7))(image)
    with pytest.raises(UsageError, match="leaves no sample"):
        fm.SimulateKspace(mask=torch.zeros(40))(image)
    with pytest.raises(UsageError, match="one slice"):
        fm.SimulateKspace(volume=True)(image[..., 0])


def test_a_noise_scan_makes_images_in_units_of_the_noise(folder) -> None:
    image = loaded(folder, "magnitude.nii.gz")
    options = {**SMALL, "acceleration": 1, "snr": 50.0}
    units = fm.FIRENETReconstruct(**QUICK)(fm.SimulateKspace(noise_scan=True, **options)(image))
    bright = image.as_tensor() > 0.1 * image.max()
    assert float(units.as_tensor()[bright].mean()) == pytest.approx(50, rel=0.05)


def test_a_pipeline_gets_acceleration_by_two_lines_and_is_cached(folder, tmp_path) -> None:
    files = [{"image": str(folder / "magnitude.nii.gz"), "label": 1}] * 2
    steps = [
        LoadImaged("image"),
        EnsureChannelFirstd("image"),
        Orientationd("image", "LPS", labels=None),
        fm.SimulateKspaced("image", **SMALL),
        fm.FIRENETReconstructd("image", **QUICK),
    ]
    batches = [
        next(iter(DataLoader(dataset, batch_size=1)))
        for dataset in (
            CacheDataset(files, Compose(steps), progress=False),
            PersistentDataset(files, Compose(steps), tmp_path, hash_transform=pickle_hashing),
        )
    ]
    assert torch.equal(batches[0]["image"].as_tensor(), batches[1]["image"].as_tensor())
    first = CacheDataset(files, Compose(steps), progress=False)[0]
    # The operations before the scan are undone from the truth, which remembers them.
    first["image"].applied_operations = first["truth_image"].applied_operations
    back = Invertd("image", Compose(steps[:3]), orig_keys="image")(first)["image"]
    np.testing.assert_allclose(back.affine, AFFINE, atol=1e-5)
    assert psnr(torch.from_numpy(volume())[None], back.as_tensor()) > 35


def test_the_random_twin_draws_anew_and_repeats_with_its_state(folder) -> None:
    image = loaded(folder, "magnitude.nii.gz")[..., :1]
    random = fm.RandSimulateKspace((2, 3, 4), snr=(10, 60), coils=2, calibration=4)
    random.set_random_state(5)
    drawn = [random.measure(image) for _ in range(6)]
    assert len({int(one.mask.sum()) for one in drawn}) > 1
    records = [json.loads(one.kspace.meta["record"])["simulation"] for one in drawn]
    assert all(10 <= record["snr"] <= 60 for record in records)
    assert len({record["seed"] for record in records}) == 6
    random.set_random_state(5)
    assert torch.equal(random(image).as_tensor(), drawn[0].kspace.as_tensor())
    assert torch.equal(random(image, randomize=False).as_tensor(), drawn[0].kspace.as_tensor())
    twins = fm.RandSimulateKspaced(["a", "b"], (2, 3), coils=2, calibration=4)
    twins.set_random_state(1)
    both = twins({"a": image, "b": image})
    assert torch.equal(both["a"].as_tensor(), both["b"].as_tensor())
    twins.set_random_state(1)
    assert torch.equal(twins({"a": image, "b": image})["a"].as_tensor(), both["a"].as_tensor())


def test_ranges_are_checked_before_anything_is_drawn(folder) -> None:
    for wrong in (
        {"accelerations": ()},
        {"accelerations": 0.5},
        {"snr": (5, 2)},
        {"snr": (1, 2, 3)},
    ):
        with pytest.raises(UsageError, match=r"acceleration|snr"):
            fm.RandSimulateKspace(**wrong)
    with pytest.raises(UsageError, match="seed: not possible here"):
        fm.RandSimulateKspace(seed=3)
    image = loaded(folder, "slice.png")
    measured = fm.RandSimulateKspace(2, 30, coils=2, calibration=4).measure(image)
    assert int(measured.mask[0, :, 0].sum()) == 16


def test_an_image_of_two_axes_keeps_them_through_whitening_and_compression(folder) -> None:
    image = loaded(folder, "slice.png")
    kspace = fm.SimulateKspace(noise_scan=True, **SMALL)(image)
    virtual = fm.CompressCoils(2)(fm.WhitenCoils()(kspace))
    assert fm.FIRENETReconstruct(**QUICK)(virtual).shape == image.shape


def test_a_collated_batch_of_simulated_scans_goes_through_the_model(folder) -> None:
    image = loaded(folder, "slice.png")
    kspace = fm.SimulateKspaced("kspace", **SMALL)({"kspace": image})["kspace"]
    batch = list_data_collate([{"kspace": kspace}, {"kspace": kspace}])["kspace"]
    images = fm.FIRENETModel(maps="lowres", layers=2)(batch)
    assert [one.meta["domain"] for one in decollate_batch(images)] == ["image", "image"]


def test_images_of_two_axes_are_compared_with_their_truth_in_a_batch() -> None:
    """As MONAI's evaluators do; another axis would be broadcast, and the loss another."""
    x, y = np.meshgrid(np.linspace(-1, 1, 32), np.linspace(-1, 1, 40), indexing="ij")
    image = torch.from_numpy((x**2 + 2 * y**2 < 0.7).astype(np.float32))[None]
    transform = fm.SimulateKspaced("image", **SMALL)
    batch = list_data_collate([transform({"image": image}), transform({"image": 2 * image})])
    model = fm.FIRENETModel(output="magnitude", image_axes="xyz", **QUICK)
    found = model(batch["image"], batch["mask"])
    assert found.shape == batch["truth_image"].shape == (2, 1, 32, 40)
    assert psnr(batch["truth_image"].abs()[1], found[1]) > 25


def test_cached_datasets_keep_what_stands_before_the_random_twin(folder) -> None:
    files = [{"image": str(folder / "slice.png")}]
    pipeline = Compose(
        [
            LoadImaged("image"),
            EnsureChannelFirstd("image"),
            fm.RandSimulateKspaced("image", (2, 4), coils=2, calibration=4),
        ]
    )
    pipeline.set_random_state(0)
    cached = CacheDataset(files, pipeline, progress=False)
    assert not torch.equal(cached[0]["image"].as_tensor(), cached[0]["image"].as_tensor())
    assert cached._cache[0]["image"].shape == (1, 40, 32)


def test_magnitudes_may_stand_before_a_simulation_but_not_before_the_kspace_of_an_image() -> None:
    load, reconstruct = LoadImaged("image"), fm.FIRENETReconstructd("image")
    for simulate in (fm.SimulateKspaced("image"), fm.RandSimulateKspaced("image")):
        fm.check_keeps_complex(Compose([load, simulate, reconstruct]))
        with pytest.raises(DataError, match="ScaleIntensityd drops"):
            fm.check_keeps_complex(Compose([load, simulate, ScaleIntensityd("image"), reconstruct]))
    with pytest.raises(DataError, match=r"LoadImaged drops.*ImageToKspaced needs"):
        fm.check_keeps_complex(Compose([load, fm.ImageToKspaced("image", fully_sampled=True)]))


def test_transforms_pickle_by_value(folder) -> None:
    for make in (
        lambda: fm.SimulateKspace(mask=np.eye(32, 40), **SMALL),
        lambda: fm.SimulateKspaced("image", pattern="points"),
        lambda: fm.ImageToKspaced("image", fully_sampled=True),
    ):
        made = make()
        again = pickle.loads(pickle.dumps(made))
        assert pickle.dumps(made) == pickle.dumps(make()) == pickle.dumps(again)
    image = loaded(folder, "magnitude.nii.gz")
    transform = fm.SimulateKspace(mask=np.eye(32, 40), coils=2)
    again = pickle.loads(pickle.dumps(transform))
    assert torch.equal(again(image).as_tensor(), transform(image).as_tensor())


def test_the_image_of_a_fully_sampled_scan_goes_back_to_kspace(folder) -> None:
    image = loaded(folder, "complex.nii.gz")
    kspace = fm.ImageToKspace(fully_sampled=True)(image)
    assert kspace.shape == (3, 1, 32, 40)
    assert not kspace.meta["simulated"]
    assert "kspace_of_image" in json.loads(kspace.meta["record"])
    expected = np.fft.fftshift(
        np.fft.fft2(np.fft.ifftshift(image[0, ..., 1].numpy().T), norm="ortho")
    )
    np.testing.assert_allclose(kspace[1, 0].numpy(), expected, atol=1e-4)
    masked = fm.FixedKspaceMask(acceleration=2, center_fraction=0.3, native_complex=True)(kspace)
    found = fm.FIRENETReconstruct(output="complex", layers=15)(masked.kspace)
    np.testing.assert_allclose(found.affine, AFFINE, atol=1e-5)
    assert psnr(image.abs().as_tensor(), found.abs().as_tensor()) > 35
    as_volume = fm.ImageToKspace(fully_sampled=True, volume=True)(image)
    assert as_volume.shape == (1, 3, 32, 40)
    np.testing.assert_allclose(as_volume.affine, AFFINE, atol=1e-5)


def test_an_image_is_taken_for_a_scan_only_where_the_user_says_so(folder) -> None:
    with pytest.raises(UsageError, match="fully_sampled=True, or use SimulateKspace"):
        fm.ImageToKspaced("image")
    with pytest.raises(DataError, match="is real; without its phase"):
        fm.ImageToKspace(fully_sampled=True)(loaded(folder, "magnitude.nii.gz"))
    simulated = fm.FIRENETReconstruct(output="complex", **QUICK)(fm.LoadKspace()(SAMPLE))
    assert fm.ImageToKspace(fully_sampled=True)(simulated).meta["simulated"]


SAMPLE = "sample_data/brain_8coil.h5"


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (torch.ones(3, 20, 20), r"\(3, 20, 20\); give one channel"),
        (torch.ones(20, 20), r"\(20, 20\); give one channel"),
        (torch.ones(1, 2, 3, 4, 5), "give one channel"),
        (torch.zeros(1, 64, 64), "zero everywhere"),
        (torch.full((1, 64, 64), torch.nan), "NaN"),
        (torch.linspace(-1, 1, 64).expand(1, 64, 64), "values from -1 to 1"),
        ("image.nii", "read files with"),
    ],
)
def test_what_is_no_image_of_one_channel_is_refused(image, words) -> None:
    with pytest.raises((ShapeError, DataError), match=rf"'image': .*{words}"):
        fm.SimulateKspaced("image")({"image": image})


@pytest.mark.filterwarnings("ignore:PydicomReader")
def test_frames_that_monai_puts_between_the_axes_are_refused_by_name(folder, tmp_path) -> None:
    """MONAI's PydicomReader returns (y, frame, x) of several frames and loses their position."""
    place = Geometry.from_affine(np.diag([-1.0, -1, 1, 1]) @ AFFINE, (3, 32, 40))
    write_enhanced_dicom(tmp_path / "frames.dcm", np.ascontiguousarray(volume().T), place)
    image = EnsureChannelFirst()(LoadImage(reader="PydicomReader")(tmp_path / "frames.dcm"))
    with pytest.raises(DataError, match=r"frames\.dcm: .*ComplexDicomReader\(magnitude=True\)"):
        fm.SimulateKspace(**SMALL)(image)
    reader = fm.ComplexDicomReader(magnitude=True)
    ours = LoadImage(reader=reader, dtype=np.complex64)(tmp_path / "frames.dcm")
    assert fm.SimulateKspace(**SMALL)(ours[None]).shape == (3, 4, 32, 40)


def test_a_part_of_a_complex_image_is_sent_to_our_readers(folder, tmp_path) -> None:
    place = Geometry.from_affine(np.diag([-1.0, -1, 1, 1]) @ AFFINE, (3, 32, 40))
    slices = np.ascontiguousarray(volume().T) - 1
    write_dicom_series(tmp_path / "real", slices, place, component="real")
    with pytest.raises(DataError, match=r"real or imaginary part .* ComplexDicomReader"):
        fm.SimulateKspace(**SMALL)(EnsureChannelFirst()(LoadImage()(tmp_path / "real")))


def test_kspace_is_not_simulated_again() -> None:
    kspace = fm.LoadKspace()(SAMPLE)
    for given in (kspace, kspace.as_tensor()[:, 0], read(SAMPLE).kspace[:, 3]):
        with pytest.raises(DataError, match="is k-space, not an image"):
            fm.SimulateKspace()(given[:1])


def test_an_image_whose_affine_no_scan_has_keeps_it(folder) -> None:
    sheared = np.array([[2, 0.5, 0, 0], [0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1.0]])
    image = MetaTensor(volume()[None], affine=torch.from_numpy(sheared))
    result = fm.FIRENETReconstruct(**QUICK)(fm.SimulateKspace(**SMALL)(image))
    np.testing.assert_allclose(result.affine, sheared)


def test_odd_shapes_and_types_go_through() -> None:
    smooth = ellipses(21, 1, seed=0)
    for image in (
        smooth[:, :, :17].double(),
        (100 * smooth).to(torch.uint8),
        (100 * smooth).to(torch.int16).numpy(),
        smooth[:, ::2].half(),
        smooth.transpose(1, 2)[..., None],
    ):
        kspace = fm.SimulateKspace(coils=2, acceleration=1.5, calibration=6)(image)
        assert fm.FIRENETReconstruct(**QUICK)(kspace).shape == tuple(image.shape)
