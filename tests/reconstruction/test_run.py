"""reconstruct() gives an image near the truth with a certificate, and saves it whole."""

from __future__ import annotations

import dataclasses
import json

import nibabel
import numpy as np
import pytest
import sigpy
import sigpy.mri
import torch
from laws import assert_close

from firenet_mri import RawScan, reconstruct
from firenet_mri.calibration import normalise_maps, sensitivity_maps
from firenet_mri.errors import DataError, FileError, ShapeError, UsageError
from firenet_mri.firenet.presets import make_network
from firenet_mri.io import read_certificate
from firenet_mri.metrics import nmse
from firenet_mri.operators import encoding_operator
from firenet_mri.reconstruction import ReconstructionOptions
from firenet_mri.reconstruction.checkpoint import Checkpoint, remove_checkpoint
from firenet_mri.reconstruction.prepare import prepare
from firenet_mri.reconstruction.run import reconstruct_item
from firenet_mri.scan import Geometry, split_readout


def phantom_scan(shape: tuple[int, int], slices: int = 1, coils: int = 4) -> RawScan:
    """Return a noisy simulated scan with a variable-density mask."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.from_numpy(sigpy.mri.birdcage_maps((coils, *shape))).to(torch.complex64)
    image = torch.from_numpy(sigpy.shepp_logan(shape)).to(torch.complex64)
    images = torch.stack([image.roll(3 * index, 0) for index in range(slices)])
    mask = torch.from_numpy(np.abs(sigpy.mri.poisson(shape, 3, calib=(20, 20), seed=1)) > 0)
    kspace = encoding_operator(mask, maps)(images)
    noise = torch.randn(kspace.shape, dtype=torch.complex64, generator=generator)
    geometry = Geometry((5.0, 220.0, 200.0), tuple((0.0, 0.0, 6.0 * k) for k in range(slices)))
    return RawScan(kspace + 0.005 * noise * mask, mask, 2, geometry=geometry, name="phantom.h5")


@pytest.fixture(scope="module")
def scan() -> RawScan:
    return phantom_scan((64, 56))


def truth(shape: tuple[int, int]) -> torch.Tensor:
    return torch.from_numpy(sigpy.shepp_logan(shape)).abs()


@pytest.mark.parametrize("options", [{}, {"preset": "paper"}, {"sparsifier": "db4"}])
@pytest.mark.parametrize("shape", [(64, 56), (61, 53)])
def test_image_is_far_better_than_zero_filling(shape, options) -> None:
    result = reconstruct(phantom_scan(shape), **options)
    birdcage = torch.from_numpy(sigpy.mri.birdcage_maps((4, *shape)))
    target = truth(shape) * torch.linalg.vector_norm(birdcage, dim=0)
    before = nmse(target, result.zero_filled.abs()[0])
    assert nmse(target, result.image.abs()[0]) < 0.5 * before
    assert result.image.dtype == torch.complex64
    assert 0 <= result.certificate.relative_gap[0] < 1


def test_slices_are_those_of_single_scans() -> None:
    volume = phantom_scan((40, 36), slices=2)
    together = reconstruct(volume, layers=5)
    assert together.image.shape == (2, 40, 36)
    assert len(together.certificate.duality_gap) == 2
    for index in range(2):
        alone = dataclasses.replace(volume, kspace=volume.kspace[index], mask=volume.mask[index])
        assert_close(reconstruct(alone, layers=5).image, together.image[index], 1e-4)


def test_a_volume_is_taken_apart_along_its_readout() -> None:
    """Every plane across the readout is the 2D scan of that plane."""
    generator = torch.Generator().manual_seed(0)
    z, y, x = 24, 32, 20
    kspace = torch.randn(3, z, y, x, dtype=torch.complex64, generator=generator)
    weight = torch.exp(
        -((torch.arange(z) - 12) ** 2)[:, None] / 40 - (torch.arange(y) - 16) ** 2 / 40
    )
    mask = torch.rand(1, z, y, 1, generator=generator) < 0.6
    mask[:, 6:18, 10:22] = True
    mask = mask.expand(1, z, y, x)
    scan = RawScan(
        kspace * weight[..., None] * mask,
        mask,
        3,
        geometry=Geometry((24.0, 32.0, 20.0), ((0.0, 0.0, 0.0),)),
    )
    planes = split_readout(scan)
    assert planes.kspace.shape == (x, 3, z, y)
    assert float(planes.kspace.norm()) == pytest.approx(float(scan.kspace.norm()), rel=1e-5)
    result = reconstruct(scan, layers=4, by_readout=True)
    assert result.image.shape == (z, y, x)
    apart = reconstruct(planes, layers=4)
    assert_close(result.image, apart.image.movedim(0, -1), 1e-5)
    assert_close(result.zero_filled, apart.zero_filled.movedim(0, -1), 1e-5)
    assert len(result.certificate.relative_gap) == x
    assert result.scan.geometry == scan.geometry
    assert result.scan.spatial_ndim == 3
    # The zero-filled image of a coil is that of the whole volume.
    axes = (-3, -2, -1)
    coil = torch.fft.fftshift(
        torch.fft.ifftn(torch.fft.ifftshift(scan.kspace[0], dim=axes), norm="ortho"), dim=axes
    )
    of_planes = torch.fft.fftshift(
        torch.fft.ifft2(torch.fft.ifftshift(planes.kspace[:, 0], dim=(1, 2)), norm="ortho"),
        dim=(1, 2),
    )
    assert_close(of_planes.movedim(0, -1), coil, 1e-5)
    with pytest.raises(UsageError, match="whole readouts"):
        reconstruct(phantom_scan((40, 36)), by_readout=True)
    with pytest.raises(UsageError, match="Given maps"):
        reconstruct(scan, maps=torch.ones(3, z, y, x, dtype=torch.complex64), by_readout=True)


def test_an_empty_slice_stays_empty_and_disturbs_nobody() -> None:
    scan = phantom_scan((64, 56), slices=2)
    kspace = scan.kspace.clone()
    kspace[1] = 0
    result = reconstruct(dataclasses.replace(scan, kspace=kspace), layers=5)
    assert not result.image[1].any()
    assert result.certificate.relative_gap[1] == 0
    assert_close(result.image[0], reconstruct(scan, layers=5).image[0], 1e-5)


def test_slices_on_all_cores_are_those_of_one_core() -> None:
    scan = phantom_scan((64, 56), slices=5)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = reconstruct(scan, layers=5, sparsifier="haar", jacobian=True)
        torch.set_num_threads(3)
        together = reconstruct(scan, layers=5, sparsifier="haar", jacobian=True)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert_close(together.image, alone.image, 1e-5)
    assert together.certificate.relative_gap == pytest.approx(
        alone.certificate.relative_gap, rel=1e-3
    )
    assert together.certificate.measured_gain == pytest.approx(
        alone.certificate.measured_gain, rel=1e-3
    )


class Interrupted(Exception):
    """Stands for the user's Control-C."""


def test_an_interrupted_reconstruction_goes_on_where_it_stopped(tmp_path) -> None:
    scan = phantom_scan((64, 56), slices=4)
    whole = reconstruct(scan, layers=5)
    folder = tmp_path / "slices"
    before = torch.get_num_threads()

    def interrupt(done: int, _: int) -> None:
        if done == 12:
            raise Interrupted

    try:
        torch.set_num_threads(1)
        with pytest.raises(Interrupted):
            reconstruct(scan, layers=5, on_layer=interrupt, checkpoint=folder)
    finally:
        torch.set_num_threads(before)
    kept = sorted(folder.iterdir())
    assert len(kept) == 2
    kept[0].write_bytes(b"damaged")
    layers = []
    result = reconstruct(
        scan, layers=5, on_layer=lambda *progress: layers.append(progress), checkpoint=folder
    )
    assert layers[-1] == (15, 15)
    assert_close(result.image, whole.image, 1e-6)
    assert result.certificate.relative_gap == pytest.approx(whole.certificate.relative_gap, 1e-6)
    assert result.certificate.digests.maps == whole.certificate.digests.maps
    # Another run takes nothing of it.
    layers.clear()
    reconstruct(
        scan, layers=4, on_layer=lambda *progress: layers.append(progress), checkpoint=folder
    )
    assert layers[-1] == (16, 16)
    remove_checkpoint(folder)
    assert not folder.exists()


def spoilt(path, name: str, value: float) -> None:
    """Write a finished slice anew, sound to look at, with a value in all of an array or in one."""
    with np.load(path) as arrays:
        content = dict(arrays)
    where = slice(None) if value == 0 else 700
    content[name] = content[name].copy()
    content[name].reshape(-1)[where] = value
    np.savez(path, **content)


@pytest.mark.parametrize(
    ("name", "value"), [("image", 0), ("image", np.nan), ("zero_filled", 0), ("x", 1e-3)]
)
def test_a_kept_slice_that_was_changed_is_made_again(name, value, tmp_path) -> None:
    scan = phantom_scan((40, 36), slices=2)
    options = {"layers": 2, "sparsifier": "haar", "maps": "lowres", "no_gap": True, "lam": 1e-3}
    expected = reconstruct(scan, **options, checkpoint=tmp_path)
    assert expected.image[1].any()
    spoilt(sorted(tmp_path.iterdir())[1], name, value)
    counts: list[tuple[int, int]] = []
    found = reconstruct(
        scan, **options, checkpoint=tmp_path, on_layer=lambda *count: counts.append(count)
    )
    assert torch.equal(found.image, expected.image)
    assert counts[-1] == (2, 2)


def test_a_kept_slice_of_nan_is_made_again(tmp_path) -> None:
    """NaN that a fault of the device has left, written as they were."""
    scan = phantom_scan((40, 36))
    options = {"layers": 1, "sparsifier": "haar", "maps": "lowres", "no_gap": True}
    prepared = prepare(scan, ReconstructionOptions.from_mapping(options))
    (item,) = prepared.items
    made = reconstruct_item(prepared, item, prepared.net, torch.device("cpu"))
    kept = Checkpoint(tmp_path, "0" * 64)
    kept.keep(0, made)
    kept.keep(1, dataclasses.replace(made, zero_filled=made.zero_filled / 0))
    assert list(kept.finished(2)) == [0]


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_image_scales_with_the_scan(scan, scale) -> None:
    scaled = dataclasses.replace(scan, kspace=scan.kspace * scale)
    maps = sensitivity_maps(scan)
    for preset in ("accurate", "stable", "paper"):
        expected = reconstruct(scan, preset=preset, maps=maps).image * scale
        assert_close(reconstruct(scaled, preset=preset, maps=maps).image, expected, 1e-4)


def test_image_is_zero_where_the_maps_are(scan) -> None:
    maps = sensitivity_maps(scan)
    maps[..., 20:30, 20:30] = 0
    image = reconstruct(scan, maps=maps, sparsifier="db4", layers=5).image
    assert not image[..., 20:30, 20:30].any()
    assert image[..., 30:40, 30:40].all()


def test_noise_measurement_is_used(scan) -> None:
    generator = torch.Generator().manual_seed(1)
    noise = 0.005 * torch.randn(4, 5000, dtype=torch.complex64, generator=generator)
    result = reconstruct(dataclasses.replace(scan, noise=noise), layers=2)
    assert result.is_whitened
    assert result.scan.noise is None
    expected = scan.kspace / 0.005  # the noise had this standard deviation in every coil
    assert (result.scan.kspace - expected).norm() < 0.05 * expected.norm()


def test_every_layer_is_counted() -> None:
    seen = []
    two = phantom_scan((40, 36), slices=2)
    reconstruct(two, layers=3, on_layer=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 6) for done in range(1, 7)]


def test_given_maps_are_used_and_checked(scan) -> None:
    maps = sensitivity_maps(scan, "jsense")
    given = reconstruct(scan, maps=3 * maps[0]).image
    assert_close(given, reconstruct(scan, maps=maps).image, 1e-5)
    # Those that are estimated are turned by the image's phase besides, which changes little.
    assert_close(given, reconstruct(scan, maps="jsense").image, 3e-2)
    with pytest.raises(ShapeError, match=r"phantom.h5: the maps have shape \(3, 64, 56\)"):
        reconstruct(scan, maps=maps[0, :3])
    with pytest.raises(DataError, match="NaN"):
        reconstruct(scan, maps=maps * float("nan"))


@pytest.mark.parametrize(
    "options",
    [
        {"preset": "best"},
        {"preset": "paper", "layers": 12},
        {"lam": -1.0},
        {"sparsifier": "bior2.2"},
        {"levels": 9},
        {"layers": 0},
        {"device": "abacus"},
        {"maps": "magic"},
    ],
)
def test_options_that_cannot_be_used_are_refused_before_the_work(scan, options) -> None:
    with pytest.raises(UsageError):
        reconstruct(scan, **options)


def test_a_reference_in_other_units_is_compared_in_those_of_the_image(
    scan, tmp_path, caplog
) -> None:
    result = reconstruct(scan, layers=3)
    reference = truth((64, 56)).unsqueeze(0)
    assert result.accuracy(reference).reference_factor == 1
    files = result.save(tmp_path / "brain.nii.gz", reference=100 * reference)
    found = json.loads(files.certificate.read_text())["accuracy_against_reference"]
    factor = 100 * found["reference_factor"]
    assert 0.7 < factor < 1.1
    assert found["psnr_db"] == pytest.approx(result.accuracy(factor * reference).psnr_db)
    assert "it was multiplied by 0.0" in caplog.text
    shown, _ = result._compared(100 * reference)
    assert shown is not None
    assert_close(shown, factor * reference, 1e-6)


def test_saved_files_hold_image_picture_and_certificate(scan, tmp_path) -> None:
    result = reconstruct(scan, layers=3)
    files = result.save(tmp_path / "brain.nii.gz", reference=truth((64, 56)).unsqueeze(0))
    assert [file.name for file in (files.image, files.picture, files.certificate)] == [
        "brain.nii.gz",
        "brain.png",
        "brain.json",
    ]
    written = nibabel.load(files.image)
    assert_close(
        torch.from_numpy(np.asarray(written.dataobj)), result.image.abs().permute(2, 1, 0), 1e-6
    )
    np.testing.assert_allclose(written.affine, scan.geometry.affine_ras((1, 64, 56)), atol=1e-4)
    report = json.loads(files.certificate.read_text())
    assert report["certificate"]["duality_gap"] == list(result.certificate.duality_gap)
    assert report["network"]["layers"] == 3
    assert report["accuracy_against_reference"]["psnr_db"] > 10
    assert report["versions"]["torch"] == torch.__version__
    saved = read_certificate(files.certificate)
    assert saved.check_image() == files.image
    assert dataclasses.replace(saved.digests, file=None) == result.certificate.digests
    assert saved.certificate.entries == result.certificate.entries
    assert files.picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "brain.evidence.h5",
        "brain.json",
        "brain.nii.gz",
        "brain.png",
    ]


def test_certificate_is_never_written_for_another_image(scan, tmp_path) -> None:
    result = reconstruct(scan, layers=2)
    other = reconstruct(dataclasses.replace(scan, kspace=2 * scan.kspace), layers=2)
    bare = dataclasses.replace(result.certificate, digests=None)
    options = result.options.replace(lam=1.0)
    for swapped, said in (
        ({"image": 2 * result.image}, "image was changed"),
        ({"certificate": other.certificate}, "image was changed"),
        ({"certificate": bare}, "does not state to which image"),
        ({"options": options}, "options are not those"),
    ):
        with pytest.raises(DataError, match=f"phantom.h5: .*{said}"):
            dataclasses.replace(result, **swapped).save(tmp_path / "a.nii.gz")
    result.image[0, 3, 4] += 1e-3
    with pytest.raises(DataError, match="image was changed"):
        result.save(tmp_path / "a.nii.gz")
    assert not list(tmp_path.iterdir())


def test_digests_tell_scans_and_parameters_apart(scan) -> None:
    maps = sensitivity_maps(scan)
    noise = torch.randn(4, 500, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    fewer = scan.mask.clone()
    fewer[..., :10, :] = False
    variants = {
        "kspace": ({"kspace": 2 * scan.kspace}, {}),
        "mask": ({"mask": fewer}, {}),
        "noise": ({"noise": noise}, {}),
        "maps": ({}, {"maps": maps.roll(1, -1)}),
        "parameters": ({}, {"layers": 3}),
    }
    plain = reconstruct(scan, maps=maps, layers=2).certificate.digests
    assert plain == reconstruct(scan, maps=maps, layers=2).certificate.digests
    for name, (data, options) in variants.items():
        changed = dataclasses.replace(scan, **data)
        digests = reconstruct(changed, **{"maps": maps, "layers": 2, **options}).certificate.digests
        assert getattr(digests, name) != getattr(plain, name), name


def test_jacobian_and_recovery_are_added_when_asked_for() -> None:
    two = phantom_scan((40, 36), slices=2)
    layers = []
    result = reconstruct(
        two,
        layers=5,
        sparsifier="haar",
        jacobian=True,
        recovery=True,
        on_layer=lambda done, total: layers.append((done, total)),
    )
    certificate = result.certificate
    assert certificate.measured_gain is not None
    assert certificate.lipschitz_bound_at_data is not None
    for gain, bound in zip(
        certificate.measured_gain, certificate.lipschitz_bound_at_data, strict=True
    ):
        assert 0 < gain < bound
    names = {entry.name for entry in certificate.entries}
    assert {"localisation", "recovery", "stability_of_the_optimum"} < names
    assert {"maps_1_percent", "image_with_maps_1_percent"} < names
    done, totals = zip(*layers, strict=True)
    assert list(done) == sorted(done)
    assert set(totals) == {done[-1]}
    assert totals[0] == 2 * (3 * 5 + 2 * 5 * 24)
    assert reconstruct(two, layers=5).certificate.measured_gain is None


def test_gap_is_that_of_the_written_image(scan) -> None:
    """Also where maps are zero, and the network's own image is not."""
    maps = sensitivity_maps(scan)
    maps[..., 20:40, 20:40] = 0
    result = reconstruct(scan, maps=maps, layers=3)
    net = make_network(4, (64, 56), layers=3)
    encoding = encoding_operator(scan.mask, normalise_maps(maps, 2))
    kspace = scan.kspace.to(torch.complex128)
    objective = net.problem(encoding).objective(result.image[0].to(torch.complex128), kspace[0])
    assert result.certificate.objective[0] == pytest.approx(objective.item(), rel=1e-6)


def test_adaptive_preset_stops_at_the_gap_asked_for(scan) -> None:
    gap = reconstruct(scan, preset="adaptive", relative_gap=0.02).certificate.relative_gap[0]
    assert 0.002 < gap <= 0.0201
    assert reconstruct(scan, preset="adaptive", relative_gap=1e-3).certificate.relative_gap[0] < gap
    with pytest.raises(UsageError, match="only the adaptive preset"):
        reconstruct(scan, relative_gap=0.02)


def test_complex_images_keep_their_phase(scan, tmp_path) -> None:
    result = reconstruct(scan, layers=3)
    files = result.save(tmp_path / "brain.nii", complex_image=True)
    written = torch.from_numpy(np.asarray(nibabel.load(files.image).dataobj))
    assert_close(written, result.image.permute(2, 1, 0), 1e-6)


def test_existing_files_are_kept_unless_told_otherwise(scan, tmp_path) -> None:
    result = reconstruct(scan, layers=2)
    (tmp_path / "brain.json").write_text("mine")
    with pytest.raises(FileError, match=r"brain.json.*--overwrite"):
        result.save(tmp_path / "brain.nii.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["brain.json"]
    result.save(tmp_path / "brain.nii.gz", overwrite=True)
    assert (tmp_path / "brain.json").read_text() != "mine"


def test_names_that_are_no_images_are_refused(scan, tmp_path) -> None:
    result = reconstruct(scan, layers=2)
    for name in ("brain.png", "brain", ".nii"):
        with pytest.raises(UsageError, match="NIfTI"):
            result.save(tmp_path / name)


def test_reference_of_another_shape_is_refused_and_nothing_is_written(scan, tmp_path) -> None:
    with pytest.raises(ShapeError, match="reference"):
        reconstruct(scan, layers=2).save(tmp_path / "a.nii", reference=torch.ones(9, 9))
    assert not list(tmp_path.iterdir())
