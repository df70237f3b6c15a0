"""``firenet info`` and ``firenet convert`` on the sample scan, real scans and made-up ones."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from firenet_command import firenet
from real_scans import twix

from firenet_mri import read
from firenet_mri.cli.main import main
from firenet_mri.io.kspace.bart import read_array

SAMPLE = Path(__file__).parents[2] / "sample_data/brain_8coil.h5"


def run(*arguments: object) -> str:
    result = firenet(*arguments)
    assert result.status == 0, result.err
    return result.out


def test_info_says_what_is_in_the_sample_scan() -> None:
    printed = run("info", SAMPLE)
    for words in ("ISMRMRD file, simulated", "180 x 216", "33.3 %", "24 x 216", "5 x 180 x 216 mm"):
        assert words in printed
    rows = [line for line in printed.splitlines() if line.startswith("|")]
    # The fully sampled centre is the darkest band, and the first lines were not sampled.
    assert rows[len(rows) // 2 - 1] == "|" + "@" * 48 + "|"
    assert rows[0].strip("| ") == ""


def test_info_as_json() -> None:
    found = json.loads(run("info", SAMPLE, "--json"))
    assert found["coils"] == 8
    assert found["matrix"] == [180, 216]
    assert found["noise_samples"] == 10_240
    assert found["simulated"] is True


def test_info_names_rows_that_are_missing(tmp_path, caplog) -> None:
    rng = np.random.default_rng(0)
    kspace = rng.standard_normal((2, 32, 24, 2)).astype(np.float32).view(np.complex64)[..., 0]
    kspace[:, 16, 12] = 100
    kspace[:, 20] = 0
    np.save(tmp_path / "scan.npy", kspace)
    run("info", tmp_path / "scan.npy")
    assert "scan.npy: rows 20 were not measured, though their neighbours were" in caplog.text
    caplog.clear()
    run("info", SAMPLE)
    assert not caplog.text


def test_info_has_a_line_for_each_group_of_a_file(tmp_path) -> None:
    with h5py.File(SAMPLE) as one, h5py.File(tmp_path / "two.h5", "w") as two:
        for group in ("dataset", "dataset_2"):
            one.copy("dataset", two, name=group)
    lines = run("info", tmp_path / "two.h5").splitlines()
    assert [line.split(":")[0] for line in lines] == ["two.h5 /dataset", "two.h5 /dataset_2"]
    result = firenet("convert", tmp_path / "two.h5", "-o", tmp_path / "out.npy")
    assert result.status == 2
    assert "--group" in result.err


def test_info_of_a_philips_export_is_one_line(tmp_path) -> None:
    values = "0 0 0 0 0 {chan} 0 0 {ky} 0 0 0 1 0 0 0 0 0 64 {offset}"
    lines = ["STD " + values.format(chan=i % 2, ky=i // 2 - 4, offset=64 * i) for i in range(16)]
    (tmp_path / "raw.list").write_text("\n".join(lines) + "\n")
    np.ones((16, 8), np.complex64).tofile(tmp_path / "raw.data")
    np.save(tmp_path / "b.npy", np.ones((3, 8, 8), np.complex64))
    found = run("info", tmp_path).splitlines()
    assert [line.split(",")[0] for line in found] == [
        "b.npy: NumPy file",
        "raw.list: Philips list/data export",
    ]


def test_info_of_a_folder_is_a_line_a_scan(tmp_path, capsys) -> None:
    shutil.copy(SAMPLE, tmp_path / "a.h5")
    np.save(tmp_path / "b.npy", np.ones((3, 8, 8), np.complex64))
    (tmp_path / "notes.txt").write_text("no scan")
    assert [line.split(":")[0] for line in run("info", tmp_path).splitlines()] == ["a.h5", "b.npy"]
    lines = run("info", tmp_path, "--check").splitlines()
    # Ones are an image's samples rather than k-space's.
    assert [line.split(":")[0] for line in lines] == ["a.h5", "b.npy", "  Warning"]
    assert len(json.loads(run("info", tmp_path, "--json"))) == 2
    # A damaged scan among them is named, the others are still told, and the status is not 0.
    (tmp_path / "c.h5").write_bytes(SAMPLE.read_bytes()[:5000])
    result = firenet("info", str(tmp_path))
    assert result.status == 1
    assert "c.h5" in result.out + result.err
    assert "a.h5: ISMRMRD file" in result.out + result.err


def test_info_of_a_folder_without_scans_is_refused(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["firenet", "info", str(tmp_path)])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert "no raw scan found" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["h5", "cfl", "npy"])
def test_a_converted_scan_is_read_as_it_was(suffix, tmp_path) -> None:
    scan = read(SAMPLE)
    printed = run("convert", SAMPLE, tmp_path / f"scan.{suffix}")
    assert f"scan.{suffix}" in printed
    again = read(tmp_path / f"scan.{suffix}")
    assert torch.equal(again.kspace.reshape(scan.kspace.shape), scan.kspace)
    assert torch.equal(again.mask.squeeze(), scan.mask.squeeze())
    if suffix == "h5":
        assert torch.equal(again.noise, scan.noise)
        assert again.geometry == scan.geometry
        assert again.simulated
    if suffix == "npy":
        np.testing.assert_array_equal(np.load(tmp_path / "scan_noise.npy"), scan.noise)
    if suffix == "cfl":
        np.testing.assert_array_equal(
            read_array(tmp_path / "scan_noise.cfl").reshape(scan.noise.shape), scan.noise
        )


@pytest.mark.skipif(shutil.which("bart") is None, reason="bart is not installed")
def test_bart_reconstructs_a_converted_scan(tmp_path) -> None:
    run("convert", SAMPLE, tmp_path / "scan.cfl")
    for command in (["fft", "-iu", "7", "scan", "coils"], ["rss", "8", "coils", "image"]):
        subprocess.run(["bart", *command], check=True, cwd=tmp_path, capture_output=True)
    found = np.abs(read_array(tmp_path / "image.cfl")).squeeze()
    shifted = torch.fft.ifftshift(read(SAMPLE).kspace[0], dim=(-2, -1))
    images = torch.fft.fftshift(torch.fft.ifft2(shifted, norm="ortho"), dim=(-2, -1))
    expected = torch.linalg.vector_norm(images, dim=0).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max())


def test_siemens_data_become_ismrmrd(tmp_path) -> None:
    path = twix("gre.dat")
    run("convert", path, tmp_path / "gre.h5")
    scan, again = read(path), read(tmp_path / "gre.h5")
    assert torch.equal(again.kspace, scan.kspace)
    np.testing.assert_allclose(
        again.geometry.affine_lps((1, 160, 160)), scan.geometry.affine_lps((1, 160, 160)), atol=1e-4
    )
    turned = read(path, fft_sign=1)
    run("convert", path, tmp_path / "turned.h5", "--fft-sign", 1)
    assert torch.equal(read(tmp_path / "turned.h5").kspace, turned.kspace)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("scan.mat", "scans are written as .h5"),
        ("there.h5", "exists; use --overwrite"),
        ("missing/scan.h5", "does not exist"),
    ],
)
def test_what_cannot_be_written_is_refused(output, words, tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "there.h5").write_bytes(b"kept")
    monkeypatch.setattr("sys.argv", ["firenet", "convert", str(SAMPLE), str(tmp_path / output)])
    with pytest.raises(SystemExit):
        main()
    assert words in capsys.readouterr().err
    assert (tmp_path / "there.h5").read_bytes() == b"kept"


def test_a_scan_is_not_written_over_itself(tmp_path, monkeypatch, capsys) -> None:
    path = tmp_path / "scan.h5"
    shutil.copy(SAMPLE, path)
    monkeypatch.setattr("sys.argv", ["firenet", "convert", str(path), str(path), "--overwrite"])
    with pytest.raises(SystemExit):
        main()
    assert "is an input of this command" in capsys.readouterr().err
    assert path.read_bytes() == SAMPLE.read_bytes()
