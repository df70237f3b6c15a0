"""``firenet recon`` works end to end in its own process, and says what is wrong in one line."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pydicom
import pytest
import sigpy
import sigpy.mri
import torch
from firenet_command import firenet as run_here
from PIL import Image

from firenet_mri.cli.progress import progress
from firenet_mri.errors import DataError
from firenet_mri.geometry import AcquisitionParameters, Geometry, Moment
from firenet_mri.io import read, write_scan
from firenet_mri.scan import RawScan

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "sample_data" / "brain_8coil.h5"
REFERENCE = ROOT / "sample_data" / "brain_8coil_reference.nii.gz"


def in_a_process(
    *arguments: object, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "firenet_mri", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "NO_COLOR": "1"},
        timeout=120,
        check=False,
    )


def firenet(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in this process, in a folder."""
    status, out, err = run_here(*arguments, folder=folder)
    return subprocess.CompletedProcess(arguments, status, out, err)


@pytest.fixture(scope="module")
def kspace() -> np.ndarray:
    """A small simulated scan, (coil, y, x), every second line and 20 in the centre."""
    maps = sigpy.mri.birdcage_maps((4, 40, 36))
    data = sigpy.fft(maps * sigpy.shepp_logan((40, 36)), axes=(-2, -1)).astype(np.complex64)
    lines = np.zeros((40, 1), bool)
    lines[::2] = True
    lines[10:30] = True
    return data * lines


def test_sample_scan_becomes_image_picture_and_certificate(tmp_path) -> None:
    arguments = ("recon", SAMPLE, "-o", "out.nii.gz", "--reference", REFERENCE)
    result = in_a_process(*arguments, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    for name in ("out.nii.gz", "out.png", "out.json"):
        assert name in result.stdout
        assert (tmp_path / name).stat().st_size > 1000
    assert "simulated" in result.stdout
    image, reference = nibabel.load(tmp_path / "out.nii.gz"), nibabel.load(REFERENCE)
    assert image.shape == reference.shape
    np.testing.assert_allclose(image.affine, reference.affine, atol=1e-3)
    report = json.loads((tmp_path / "out.json").read_text())
    # Zero filling has 26.7 dB here, SigPy's tuned total variation 32.4 dB.
    assert report["accuracy_against_reference"]["psnr_db"] > 33.5
    assert 0 < report["certificate"]["relative_gap"][0] < 0.1


def test_json_goes_to_stdout_alone_and_paper_preset_is_certified(tmp_path, kspace) -> None:
    np.save(tmp_path / "scan.npy", kspace)
    arguments = ("recon", "scan.npy", "-o", "a.nii", "--preset", "paper", "--json", "--complex")
    result = firenet(*arguments, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    report = json.loads(result.stdout)
    assert report == json.loads((tmp_path / "a.json").read_text())
    assert report["certificate"]["lipschitz_bound"] == pytest.approx(4.2702 * 2**0.5, rel=1e-4)
    assert np.iscomplexobj(np.asarray(nibabel.load(tmp_path / "a.nii").dataobj))


def test_options_reach_the_reconstruction(tmp_path, kspace) -> None:
    np.save(tmp_path / "scan.npy", kspace)
    np.save(tmp_path / "mask.npy", np.abs(kspace).sum(0) > 0)
    np.save(tmp_path / "maps.npy", sigpy.mri.birdcage_maps((4, 40, 36)))
    options = (
        "--lam 0.002 --sparsifier db2 --layers 4 --levels 2 --mask mask.npy --maps-file maps.npy"
    )
    result = firenet(
        "recon", "scan.npy", "-o", "a.nii", "--json", *options.split(), folder=tmp_path
    )
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["network"]["lam"] == 0.002
    assert report["network"]["layers"] == 4
    assert report["network"]["sparsifier"].startswith("OrthogonalWavelet(db2, levels=2")
    assert list(report["options"]["reconstruction"]["maps"]) == ["sha256_of_array"]
    assert list(report["options"]["read"]["mask"]) == ["sha256_of_file"]
    assert list(report["options"]["read"]["maps_file"]) == ["sha256_of_file"]


def test_volumes_and_single_coils_are_reconstructed(tmp_path, kspace) -> None:
    volume = sigpy.fft(
        sigpy.mri.birdcage_maps((4, 16, 18, 20)) * sigpy.shepp_logan((16, 18, 20)), axes=(1, 2, 3)
    )
    np.save(tmp_path / "volume.npy", volume.astype(np.complex64))
    options = ("-o", "v.nii.gz", "--maps", "jsense", "--layers", 3)
    result = firenet("recon", "volume.npy", *options, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert nibabel.load(tmp_path / "v.nii.gz").shape == (20, 18, 16)
    np.save(tmp_path / "single.npy", kspace[:1])
    options = ("-o", "s.nii.gz", "--maps", "none")
    result = firenet("recon", "single.npy", *options, folder=tmp_path)
    assert result.returncode == 0, result.stderr


def test_an_image_without_a_gap_says_so(tmp_path, kspace) -> None:
    np.save(tmp_path / "scan.npy", kspace)
    recon = ("recon", "scan.npy", "--layers", "2", "--no-gap", "--overwrite")
    told = firenet(*recon, "-o", "a.nii.gz", folder=tmp_path)
    assert "How near the image is to the optimum was not computed" in " ".join(told.stdout.split())
    plain = json.loads(firenet(*recon, "-o", "a.nii.gz", "--json", folder=tmp_path).stdout)
    for name in ("objective", "lower_bound", "duality_gap", "relative_gap"):
        assert plain["certificate"][name] is None
    certified = firenet("certify", "a.json", "--scan", "scan.npy", folder=tmp_path)
    assert certified.returncode == 0
    assert "Duality gap: not verified" in certified.stdout


def test_what_an_image_had_beside_it_goes_with_it(tmp_path, kspace) -> None:
    np.save(tmp_path / "scan.npy", kspace)
    recon = ("recon", "scan.npy", "--layers", "2", "-o", "a.nii.gz")
    firenet(*recon, folder=tmp_path)
    (tmp_path / "a.jacobian.png").write_bytes(b"of another run")
    (tmp_path / "b.evidence.h5").write_bytes(b"of another image")
    firenet(*recon, "--overwrite", "--no-evidence", folder=tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"scan.npy", "a.nii.gz", "a.png", "a.json", "b.evidence.h5"}


def test_maps_can_be_of_low_resolution(tmp_path, kspace) -> None:
    kspace = kspace.copy()
    kspace[:, :, 1::2] *= np.abs(np.arange(kspace.shape[-1]) - kspace.shape[-1] // 2)[1::2] < 3
    np.save(tmp_path / "scan.npy", kspace)
    options = ("-o", "a.nii.gz", "--maps", "lowres", "--layers", 3, "--json")
    result = firenet("recon", "scan.npy", *options, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["options"]["reconstruction"]["maps"] == "lowres"


def make_bad_inputs(folder: Path, kspace: np.ndarray) -> None:
    """Write one file for each thing that goes wrong."""
    np.save(folder / "good.npy", kspace)
    (folder / "empty.h5").touch()
    (folder / "folder").mkdir()
    (folder / "truncated.h5").write_bytes(SAMPLE.read_bytes()[:100_000])
    with h5py.File(folder / "group.h5", "w") as file:
        file["other/data"] = np.zeros(3)
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4)), np.eye(4)), folder / "image.nii.gz")
    for name, value in (("nan", np.nan), ("inf", np.inf)):
        bad = kspace.copy()
        bad[0, 20, 18] = value
        np.save(folder / f"{name}.npy", bad)
    np.save(folder / "zero.npy", np.zeros_like(kspace))
    np.save(folder / "single.npy", kspace[:1])
    np.save(folder / "real.npy", kspace.real)
    np.save(folder / "mask.npy", np.ones((36, 40)))
    no_centre = kspace.copy()
    no_centre[:, 15:25] = 0
    np.save(folder / "no_centre.npy", no_centre)
    (folder / "exists.nii.gz").write_bytes(b"mine")
    (folder / "exists2.json").write_bytes(b"mine")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ("missing.h5 -o a.nii", 1, "missing.h5: no such file"),
        ("folder -o a.nii", 1, "folder: is a folder"),
        ("empty.h5 -o a.nii", 1, "empty.h5: the file is empty"),
        ("truncated.h5 -o a.nii", 1, "truncated.h5: .*truncated"),
        ("group.h5 -o a.nii", 1, "group.h5: no ISMRMRD raw data .*/other"),
        ("image.nii.gz -o a.nii", 1, "image.nii.gz: .*NIfTI"),
        ("nan.npy -o a.nii", 1, "nan.npy: .*NaN or infinite"),
        ("inf.npy -o a.nii", 1, "inf.npy: .*NaN or infinite"),
        ("zero.npy -o a.nii", 1, "zero.npy: .*zero"),
        ("real.npy -o a.nii", 1, "real.npy: .*must be complex"),
        ("single.npy -o a.nii", 1, "single.npy: 1 coil found.*--maps none"),
        ("good.npy -o a.nii --mask mask.npy", 1, r"mask.*\(36, 40\)"),
        ("good.npy -o a.nii --mask missing.npy", 1, "missing.npy: no such file"),
        ("good.npy -o a.nii --maps-file mask.npy", 1, "mask.npy: .*must be complex"),
        ("good.npy -o a.nii --reference mask.npy", 1, "reference"),
        ("no_centre.npy -o a.nii", 1, "no_centre.npy: .*centre of k-space is 0 x 0"),
        ("good.npy -o nowhere/a.nii", 1, "nowhere"),
        ("good.npy -o exists.nii.gz", 1, "exists.nii.gz: exists.*--overwrite"),
        ("good.npy -o exists2.nii.gz", 1, "exists2.json: exists.*--overwrite"),
        ("good.npy -o a.png", 2, "a.png: .*NIfTI"),
        ("good.npy -o a.nii --sparsifier bior2.2", 2, "bior2.2"),
        ("good.npy -o a.nii --sparsifier nonsense", 2, "nonsense"),
        ("good.npy -o a.nii --sparsifier undecimated-haar --levels 9", 2, "9 wavelet levels"),
        ("good.npy -o a.nii --layers 0", 2, "layers is 0"),
        ("good.npy -o a.nii --preset paper --layers 7", 2, "7 layers"),
        ("good.npy -o a.nii --preset best", 2, "best"),
        ("good.npy -o a.nii --lam -1", 2, "lam is -1"),
        ("good.npy -o a.nii --lam nan", 2, "lam is nan"),
        ("good.npy -o a.nii --maps magic", 2, "magic"),
        ("good.npy -o a.nii --maps none", 2, "4 coils"),
        ("good.npy -o a.nii --device abacus", 2, "abacus"),
    ],
)
def test_bad_input_gets_one_line_and_leaves_nothing_behind(
    arguments, status, said, tmp_path, kspace, capsys, monkeypatch
) -> None:
    """In this process, since a new one for each case would take minutes."""
    import re

    from firenet_mri.cli import main

    make_bad_inputs(tmp_path, kspace)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["firenet", "recon", *arguments.split()])
    with pytest.raises(SystemExit) as raised:
        main()
    output = capsys.readouterr()
    assert raised.value.code == status
    lines = [line for line in output.err.splitlines() if line.startswith("firenet: ")]
    assert len(lines) == 1
    assert re.search(said, lines[0]), lines[0]
    assert "Traceback" not in output.err
    assert output.out == ""
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_errors_in_a_process_are_one_line_and_debug_shows_the_traceback(tmp_path) -> None:
    plain = in_a_process("recon", "missing.h5", "-o", "a.nii", folder=tmp_path)
    assert plain.returncode == 1
    assert plain.stderr.count("\n") == 1
    assert plain.stderr.startswith("firenet: missing.h5")
    debug = in_a_process("recon", "missing.h5", "-o", "a.nii", "--debug", folder=tmp_path)
    assert debug.returncode == 1
    assert "Traceback" in debug.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_folder_is_refused_before_the_work(tmp_path, kspace) -> None:
    np.save(tmp_path / "good.npy", kspace)
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    result = firenet("recon", "good.npy", "-o", locked / "a.nii", folder=tmp_path)
    assert result.returncode == 1
    assert "not writable" in result.stderr


def test_help_and_version_are_there() -> None:
    assert "recon" in in_a_process("--help").stdout
    assert in_a_process("--version").stdout.startswith("firenet_mri 0.")


def test_trajectory_and_reweighting_are_options(tmp_path) -> None:
    generator = np.random.default_rng(0)
    points = generator.uniform(-16, 16, (30, 64, 2)) * np.linspace(0.05, 0.99, 64)[:, None]
    maps = sigpy.mri.birdcage_maps((4, 32, 32))
    data = sigpy.nufft(maps * sigpy.shepp_logan((32, 32)), points, oversamp=2, width=6)
    np.save(tmp_path / "scan.npy", data.astype(np.complex64))
    np.save(tmp_path / "points.npy", points.astype(np.float32))
    np.save(tmp_path / "maps.npy", maps.astype(np.complex64))
    arguments = ["recon", "scan.npy", "--trajectory", "points.npy", "--matrix-size", "32x32"]
    arguments += ["--maps-file", "maps.npy", "--reweighting", 1, "-o", "a.nii", "--json"]
    result = firenet(*arguments, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    report = json.loads(result.stdout)
    assert report["options"]["reconstruction"]["reweighting"] == 1
    # The weights come from the image: of the whole no bound is proven.
    names = {entry["name"]: entry["status"] for entry in report["certificate"]["entries"]}
    assert names["lipschitz_bound"] != "proven"
    image = nibabel.load(tmp_path / "a.nii").get_fdata()[..., 0]
    truth = abs(sigpy.shepp_logan((32, 32))).T
    error = min(
        np.linalg.norm(flipped - truth) / np.linalg.norm(truth)
        for flipped in (image, image[::-1], image[:, ::-1], image[::-1, ::-1])
    )
    assert error < 0.15


def test_a_matrix_size_that_is_none_is_refused(tmp_path) -> None:
    np.save(tmp_path / "scan.npy", np.ones((2, 8, 8), np.complex64))
    result = firenet("recon", "scan.npy", "-o", "a.nii", "--matrix-size", "8by8", folder=tmp_path)
    assert result.returncode != 0
    assert "8by8" in result.stderr


def test_what_is_odd_about_the_data_is_said_below_the_sentence(kspace, tmp_path) -> None:
    np.save(tmp_path / "good.npy", kspace)
    np.save(tmp_path / "scan.npy", kspace * (-1.0) ** np.arange(36, dtype=np.float32))
    for name, count in (("good", 0), ("scan", 1)):
        arguments = (
            "recon",
            f"{name}.npy",
            "-o",
            f"{name}_image.nii.gz",
            "--layers",
            20,
            "--no-gap",
        )
        result = firenet(*arguments, folder=tmp_path)
        assert result.returncode == 0, result.stderr
        lines = result.stdout.splitlines()
        found = [line for line in lines if line.startswith("Warning: The object lies across")]
        assert len(found) == count
        shown = firenet("info", f"{name}.npy", "--check", folder=tmp_path)
        assert ("Warning: The object lies across" in shown.stdout) == bool(count)
        arguments = "info", f"{name}.npy", "--check", "--json"
        as_json = json.loads(firenet(*arguments, folder=tmp_path).stdout)
        assert [line[:7] for line in as_json["warnings"]] == ["Warning"] * count
    explained = firenet("certify", "scan_image.json", folder=tmp_path).stdout
    assert "Do the data look wrong?" in explained
    assert "Warning image wrapped: measured" in explained


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--bids", "sub-01.nii"), "without suffix"),
        (("--bids", "sub-01_T1w", "--map-sets", "2"), "not have a single phase"),
        (("--bids", "there_T1w"), "exists"),
        (("--dicom", "full"), "contains 1 other file, such as"),
        (("--dicom", "there_part-mag_T1w.json"), "is not a folder"),
        (("--dicom", "a.nii"), "a.nii would be inside it"),
        (("--dicom", "."), "a.nii would be inside it"),
        (("--dicom", "new", "--bids", "new/a_T1w"), "new does not exist"),
        (("--dicom", "empty", "--bids", "empty/a_T1w"), "a_part-mag_T1w.nii.gz would be inside it"),
        (("--dicom", "empty", "--dicom-reference", "empty"), "empty would be inside it"),
        (("--dicom", "nowhere/series"), "nowhere does not exist"),
        (("--bids", "nowhere/a_T1w"), "nowhere does not exist"),
        (("--bids", "a_T1w", "-o", "a_part-mag_T1w.nii.gz"), "is named for two outputs"),
    ],
)
def test_what_could_only_fail_after_the_work_fails_before_it(
    arguments, words, tmp_path, monkeypatch
) -> None:
    (tmp_path / "there_part-mag_T1w.json").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("x")

    def works(*_: object, **__: object) -> None:
        raise AssertionError("the work was begun")

    monkeypatch.setattr("firenet_mri.reconstruction.reconstruct_with", works)
    result = firenet("recon", SAMPLE, "-o", "a.nii", *arguments, folder=tmp_path)
    assert result.returncode in (1, 2)
    assert words in result.stderr
    assert not (tmp_path / "a.nii").exists()


@pytest.mark.slow
def test_a_scan_whose_name_is_not_utf_8_becomes_an_image(tmp_path, kspace) -> None:
    scan = os.fsencode(tmp_path) + b"/caf\xe9 $x_{.npy"
    with open(scan, "wb") as file:  # noqa: PTH123 - a path of bytes
        np.save(file, kspace)
    command = [sys.executable, "-m", "firenet_mri", "recon", scan, "-o", scan + b".nii"]
    result = subprocess.run(
        [*command, "--layers", "2"],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8:strict"},
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert b"\\udce9 $x_{.npy.nii" in result.stdout
    assert os.path.exists(scan + b".nii")  # noqa: PTH110


def test_a_report_is_asked_for_and_does_not_outlive_its_image(tmp_path, kspace) -> None:
    np.save(tmp_path / "scan.npy", kspace)
    arguments = ("recon", "scan.npy", "-o", "a.nii", "--layers", 2, "--maps", "lowres")
    result = firenet(*arguments, "--report", folder=tmp_path)
    assert "Report:      a.html" in result.stdout
    assert "<h1>scan.npy</h1>" in (tmp_path / "a.html").read_text()
    for name in ("a.nii", "a.png", "a.json", "a.evidence.h5"):
        (tmp_path / name).unlink()
    refused = firenet(*arguments, "--report", folder=tmp_path)
    assert refused.returncode == 1
    assert "a.html: exists" in refused.stderr
    assert not (tmp_path / "a.nii").exists()
    assert firenet(*arguments, "--overwrite", folder=tmp_path).returncode == 0
    assert not (tmp_path / "a.html").exists()


def test_several_images_are_no_enhanced_dicom_which_is_said_before_the_work(tmp_path) -> None:
    scan = read(ROOT / "sample_data/brain_3slices.h5")
    kspace, mask = (torch.stack([values, values]) for values in (scan.kspace, scan.mask))
    names = ("repetition 0", "repetition 1")
    several = dataclasses.replace(scan, kspace=kspace, mask=mask, images=names)
    write_scan(tmp_path / "two.h5", several)
    result = firenet("recon", "two.h5", "-o", "image.dcm", folder=tmp_path)
    assert result.returncode == 2
    assert "2 images (repetition 0, ...), and an enhanced file holds one" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["two.h5"]


def test_a_cine_is_one_series_with_its_time_in_every_format(kspace, tmp_path) -> None:
    frames = np.stack([kspace * scale for scale in (1.0, 0.8, 0.6, 0.9)])[:, None]
    names = tuple(f"phase {i}" for i in range(4))
    moments = tuple(Moment(name, None, 10.0 + 50 * i) for i, name in enumerate(names))
    plain = RawScan(
        torch.from_numpy(frames),
        torch.from_numpy(frames[:, :, :1] != 0),
        2,
        images=names,
        simulated=True,
        geometry=Geometry((5.0, 200.0, 180.0), ((0.0, 0.0, 0.0),)),
        parameters=AcquisitionParameters(repetition_time_ms=3.0, moments=moments),
    )
    write_scan(tmp_path / "cine.h5", plain)
    wanted = (
        "--joint",
        "phase",
        "--layers",
        2,
        "--no-gap",
        "--maps",
        "lowres",
        "--sparsifier",
        "across-fourier",
    )
    for film, said in (("cine.avi", "written as .gif or .mp4"), ("a.png", "written as .gif")):
        result = firenet("recon", "cine.h5", "-o", "a.nii", "--film", film, folder=tmp_path)
        assert said in result.stderr
    others = ("--film", "a.gif", "--dicom", "series", "--report")
    result = firenet("recon", "cine.h5", "-o", "a.nii", *wanted, *others, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Film:        a.gif\n" in result.stdout
    header = nibabel.load(tmp_path / "a.nii").header
    assert header.get_zooms()[3] == pytest.approx(0.05)
    assert header.get_xyzt_units() == ("mm", "sec")
    with Image.open(tmp_path / "a.gif") as shown:
        assert (shown.n_frames, shown.info["duration"]) == (4, 50)
    files = sorted((tmp_path / "series").iterdir())
    assert [pydicom.dcmread(path).TriggerTime for path in files] == [10, 60, 110, 160]
    page = (tmp_path / "a.html").read_text()
    assert '"frames": ["0, 10 ms", "1, 60 ms"' in page
    # What is refused beside --joint is not advised.
    assert "Give --reference" in page
    assert "Give --jacobian" not in page
    told = json.loads((tmp_path / "a.json").read_text())["scan"]["images"]
    assert told[1] == {"name": "phase 1", "phase": 2, "from_trigger_ms": 60.0}


def test_a_film_of_one_image_is_refused_before_the_work(kspace, tmp_path) -> None:
    np.save(tmp_path / "scan.npy", kspace)
    result = firenet("recon", "scan.npy", "-o", "a.nii", "--film", "a.gif", folder=tmp_path)
    assert result.returncode == 2
    assert "scan.npy is one image, and a film needs several" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scan.npy"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--joint", "repetition"), "does not have several images along such an axis"),
        (("--joint", "slice", "--preset", "paper"), "the preset paper is for single images"),
        (("--layers", "2"), "the image is shown"),
    ],
)
def test_what_is_refused_leaves_no_line_of_progress(
    arguments, said, kspace, tmp_path, monkeypatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise DataError("the image is shown")

    np.save(tmp_path / "scan.npy", kspace)
    monkeypatch.setattr("firenet_mri.reconstruction.run.reconstruct_prepared", refuse)
    result = firenet("recon", "scan.npy", "-o", "a.nii", *arguments, folder=tmp_path)
    assert result.returncode != 0
    assert result.stderr.count("\n") == 1
    assert said in result.stderr


def test_progress_that_was_made_is_still_shown_when_the_work_fails(capsys) -> None:
    for done in (0, 3):
        try:
            with progress("Reading", "files") as on_file:
                assert on_file is not None
                if done:
                    on_file(done, 5)
                raise DataError("no")
        except DataError:
            pass
        assert ("3/5 files" in capsys.readouterr().err) == bool(done)
