"""Simulated scans say so, lie where their image lay, and give the image back."""

from __future__ import annotations

import shutil
import subprocess

import h5py
import nibabel
import numpy as np
import pytest
import torch
from dcm2niix_images import assert_same_in_space, converted, needs_dcm2niix
from firenet_command import firenet
from real_scans import DATA

from firenet_mri import read, reconstruct
from firenet_mri.errors import DataError, FileError, ShapeError, UsageError
from firenet_mri.io.image.dicom import write_dicom_series
from firenet_mri.io.image.nifti import write_nifti
from firenet_mri.io.image.reading import read_image
from firenet_mri.metrics import psnr
from firenet_mri.scan import Geometry
from firenet_mri.simulation import simulate

READ, PHASE = np.array([0.6, 0.8, 0.0]), np.array([-0.8, 0.6, 0.0])
PLACE = Geometry(
    (5.0, 96.0, 80.0),
    tuple((10.0, -20.0, 5.0 * i) for i in range(3)),
    tuple(READ),
    tuple(PHASE),
    (0.0, 0.0, 1.0),
)


def image(slices: int = 3) -> torch.Tensor:
    """Return blobs of another size in every slice, (slice, 48, 40)."""
    y, x = np.indices((48, 40))
    planes = [
        ((y - 22) ** 2 / (12 + i) ** 2 + (x - 18) ** 2 / 14**2 < 1) * (1 + 0.5 * np.sin(x / 3))
        for i in range(slices)
    ]
    return torch.from_numpy(np.stack(planes).astype(np.complex64))


def run(*arguments: object) -> str:
    result = firenet(*arguments)
    assert result.status == 0, result.err
    return result.out


@pytest.mark.parametrize("form", ["nifti", "complex nifti", "dicom"])
def test_an_image_becomes_a_scan_and_an_image_at_the_same_place(form, tmp_path) -> None:
    truth = image()
    source = tmp_path / "series" if form == "dicom" else tmp_path / "image.nii.gz"
    if form == "dicom":
        write_dicom_series(source, truth.abs().numpy(), PLACE)
        for path in source.iterdir():
            _as_magnitude(path)
    else:
        write_nifti(source, truth if form == "complex nifti" else truth.abs(), PLACE)
    printed = run("simulate", source, "-o", tmp_path / "scan.h5", "--acceleration", 2)
    assert "(simulated)" in printed
    scan = read(tmp_path / "scan.h5")
    assert scan.simulated
    assert scan.noise is not None
    np.testing.assert_allclose(
        scan.geometry.affine_ras((3, 48, 40)), PLACE.affine_ras((3, 48, 40)), atol=1e-4
    )
    result = reconstruct(scan)
    found = result.image.abs() * (truth.abs().norm() / result.image.norm())
    assert psnr(truth.abs(), found) > 30
    result.save(tmp_path / "again.nii.gz")
    saved = nibabel.load(tmp_path / "again.nii.gz")
    np.testing.assert_allclose(saved.affine, PLACE.affine_ras((3, 48, 40)), atol=1e-3)


def _as_magnitude(path) -> None:
    """Say which part of a complex image a file holds, as scanners do."""
    import pydicom

    dataset = pydicom.dcmread(path)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    dataset.save_as(path)


def test_noise_and_sampling_are_what_was_asked_for() -> None:
    truth = image(1)
    scan = simulate(truth, acceleration=3, calibration=8, snr=20, seed=4)
    lines = scan.mask[0, 0].all(-1)
    assert torch.equal(lines, scan.mask[0, 0].any(-1))
    assert int(lines.sum()) == 16
    assert bool(lines[20:28].all())
    sigma = float(truth.abs()[truth.abs() > 0.1 * truth.abs().max()].mean()) / 20
    assert float(scan.noise.abs().square().mean().sqrt()) == pytest.approx(sigma, rel=0.02)
    clean = simulate(truth, acceleration=3, calibration=8, snr=1e9, seed=4)
    noise = (scan.kspace - clean.kspace)[scan.mask.expand(scan.kspace.shape)]
    assert float(noise.abs().square().mean().sqrt()) == pytest.approx(sigma, rel=0.02)
    again = simulate(truth, acceleration=3, calibration=8, snr=20, seed=4)
    assert torch.equal(scan.kspace, again.kspace)


def test_points_and_volumes() -> None:
    points = simulate(image(1), acceleration=5, calibration=8, pattern="points")
    assert float(points.mask.float().mean()) == pytest.approx(1 / 5, abs=1e-3)
    assert bool(points.mask[0, 0, 20:28, 16:24].all())
    volume = simulate(image(6), acceleration=4, calibration=6, pattern="points", volume=True)
    assert volume.spatial_ndim == 3
    # Readouts of a volume are whole.
    assert torch.equal(volume.mask.all(-1), volume.mask.any(-1))
    assert int(volume.mask.all(-1).sum()) == round(6 * 48 / 4)


def test_every_option_of_the_command_reaches_the_scan(tmp_path) -> None:
    np.save(tmp_path / "image.npy", image(2).numpy())
    asked = {"coils": 3, "acceleration": 3.0, "calibration": 10, "pattern": "points"}
    asked |= {"snr": 15.0, "seed": 7}
    flags = [word for name, value in asked.items() for word in (f"--{name}", value)]
    run("simulate", tmp_path / "image.npy", "-o", tmp_path / "scan.npy", *flags, "--slices", 1)
    expected = simulate(image(2)[1:], **asked)
    np.testing.assert_array_equal(np.load(tmp_path / "scan.npy"), expected.kspace.squeeze(0))


def test_slices_of_an_image_and_a_volume_keep_their_place(tmp_path) -> None:
    write_nifti(tmp_path / "image.nii", image().abs(), PLACE)
    common = ("simulate", tmp_path / "image.nii", "--calibration", 12)
    run(*common, "-o", tmp_path / "one.h5", "--slices", 2)
    one = read(tmp_path / "one.h5").geometry
    np.testing.assert_allclose(one.positions_mm, PLACE.positions_mm[2:], atol=1e-4)
    run(*common, "-o", tmp_path / "volume.h5", "--3d")
    np.testing.assert_allclose(
        read(tmp_path / "volume.h5").geometry.affine_ras((3, 48, 40)),
        PLACE.affine_ras((3, 48, 40)),
        atol=1e-4,
    )


@pytest.mark.skipif(
    shutil.which("ismrmrd_recon_cartesian_2d") is None, reason="ismrmrd-tools are not installed"
)
def test_ismrmrd_tools_reconstruct_a_simulated_scan(tmp_path) -> None:
    np.save(tmp_path / "image.npy", image(1)[0].numpy())
    path = tmp_path / "scan.h5"
    run("simulate", tmp_path / "image.npy", "-o", path, "--acceleration", 1, "--coils", 1)
    subprocess.run(["ismrmrd_recon_cartesian_2d", str(path)], check=True, capture_output=True)
    with h5py.File(path) as file:
        (name,) = [name for name in file["dataset"] if name not in ("xml", "data")]
        found = np.abs(np.squeeze(file[f"dataset/{name}/data"][()]))
    truth = image(1)[0].abs().numpy()
    assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] > 0.99


@needs_dcm2niix
@pytest.mark.parametrize("name", ["nih_ge/In", "enhanced/In/Siemens/XA10/6_1.dcm"])
def test_real_dicom_images_are_read_where_dcm2niix_puts_them(name, tmp_path) -> None:
    source = DATA / "dicom" / name
    if not source.exists():
        pytest.skip("the real DICOM series is not here")
    if source.is_dir():
        folder = tmp_path / "volume"
        folder.mkdir()
        for path in sorted(source.iterdir())[:15]:
            shutil.copy(path, folder)
        source = folder
    pixels, place = read_image(source)
    assert pixels.shape[0] > 1
    assert place.is_placed
    write_nifti(tmp_path / "ours.nii", pixels.abs().numpy(), place)
    expected = converted(source, tmp_path / "converted")
    ours = nibabel.load(tmp_path / "ours.nii")
    assert_same_in_space(ours, expected, 1e-3 * float(pixels.abs().max()))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"coils": 0}, UsageError, "coils is 0; give a number from 1 to 1024"),
        ({"coils": 10**20}, UsageError, "give a number from 1 to 1024"),
        ({"acceleration": 0.5}, UsageError, "acceleration is 0.5"),
        ({"acceleration": 8}, UsageError, "leaves 6 samples of 48, .* alone has 24; .* of 1 to 2,"),
        ({"acceleration": 1e9}, UsageError, r"is 1e\+09; .* give a number from 1 to 48"),
        ({"acceleration": 1e9, "pattern": "radial"}, UsageError, "give a number from 1 to 48"),
        ({"acceleration": 1e9, "pattern": "interleaved"}, UsageError, "a number from 1 to 48"),
        ({"acceleration": 1e308, "pattern": "points"}, UsageError, "a number from 1 to 1920"),
        ({"frames": 10**9}, UsageError, "frames is 1000000000; give a number from 2 to 10000"),
        ({"snr": 0}, UsageError, r"snr is 0; give a number from 1e-06 to 1e\+12"),
        ({"snr": 1e300}, UsageError, "give a number from"),
        ({"phase": 1e308}, UsageError, "give a number from 0 to 1000"),
        ({"pattern": "spiral"}, UsageError, "'spiral'; use one of lines, points"),
    ],
)
def test_what_cannot_be_simulated_is_refused(options, error, words) -> None:
    with pytest.raises(error, match=words):
        simulate(image(1), **options)


def test_bad_images_are_refused(tmp_path) -> None:
    with pytest.raises(ShapeError, match=r"give \(z, y, x\)"):
        simulate(image(1)[0])
    with pytest.raises(DataError, match="zero everywhere"):
        simulate(torch.zeros(1, 48, 40))
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(FileError, match="is not an image"):
        read_image(tmp_path / "notes.txt")
    np.save(tmp_path / "nan.npy", np.full((8, 8), np.nan))
    with pytest.raises(DataError, match="NaN"):
        read_image(tmp_path / "nan.npy")
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4, 3)), np.eye(4)), tmp_path / "series.nii")
    with pytest.raises(ShapeError, match="one image or one volume"):
        read_image(tmp_path / "series.nii")
    sheared = np.eye(4)
    sheared[0, 1] = 0.5
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4)), sheared), tmp_path / "sheared.nii")
    with pytest.raises(DataError, match="not perpendicular"):
        read_image(tmp_path / "sheared.nii")
    (tmp_path / "cut.nii").write_bytes((tmp_path / "series.nii").read_bytes()[:400])
    with pytest.raises(FileError, match="truncated: 400 of 1888 bytes"):
        read_image(tmp_path / "cut.nii")
