"""``firenet repeat`` makes an image again from its certificate, with the same files only."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import sigpy
import sigpy.mri
import torch
from firenet_command import firenet

from firenet_mri import RawScan
from firenet_mri.io import write_scan

OPTIONS = "--layers 3 --coils 3 --lam 0.01 --sparsifier haar --mask mask.npy --slices 0,1"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a scan of three slices, a mask, maps, and an image of two slices."""
    monkeypatch.chdir(tmp_path)
    maps = sigpy.mri.birdcage_maps((4, 32, 28))
    data = sigpy.fft(maps * sigpy.shepp_logan((32, 28)), axes=(-2, -1)).astype(np.complex64)
    lines = np.zeros((32, 28), bool)
    lines[::2] = lines[4:28] = True
    for name, factor in (("scan.h5", 1.0), ("louder.h5", 1.5)):
        kspace = torch.from_numpy(factor * np.stack([data, 2 * data, 3 * data]) * lines)
        write_scan(tmp_path / name, RawScan(kspace.to(torch.complex64), torch.from_numpy(lines), 2))
    mask = np.zeros((32, 28), bool)
    mask[::2] = mask[8:24] = True
    np.save("mask.npy", mask)
    np.save("other.npy", ~mask)
    np.save("maps.npy", maps.astype(np.complex64))
    result = firenet("recon", "scan.h5", "-o", "a.nii", *OPTIONS.split())
    assert result.status == 0, result.err
    return tmp_path


def test_the_image_is_the_same_bit_for_bit(folder) -> None:
    result = firenet("repeat", "a.json", "scan.h5", "-o", "b.nii", "--mask", "mask.npy")
    assert result.status == 0, result.err
    assert "the image is the same, bit for bit" in result.err
    first, second = (json.loads((folder / name).read_text()) for name in ("a.json", "b.json"))
    assert first["options"] == second["options"]
    assert first["certificate"]["digests"]["pixels"] == second["certificate"]["digests"]["pixels"]
    assert (folder / "a.nii").read_bytes() == (folder / "b.nii").read_bytes()


def test_another_scan_gives_another_image_and_that_is_said(folder) -> None:
    result = firenet("repeat", "a.json", "louder.h5", "-o", "b.nii", "--mask", "mask.npy")
    assert result.status == 0
    assert "the image is different" in result.err


def test_the_certificate_that_is_repeated_is_never_replaced(folder) -> None:
    before = (folder / "a.json").read_bytes()
    result = firenet(
        "repeat", "a.json", "louder.h5", "-o", "a.nii", "--mask", "mask.npy", "--overwrite"
    )
    assert result.status == 1
    assert "a.json: is an input of this command" in result.err
    assert (folder / "a.json").read_bytes() == before


def test_maps_of_a_file_are_asked_for_and_used_again(folder) -> None:
    plain = "--layers 2 --sparsifier haar --maps-file maps.npy --slices 0"
    assert firenet("recon", "scan.h5", "-o", "m.nii", *plain.split()).status == 0
    refused = firenet("repeat", "m.json", "scan.h5", "-o", "n.nii")
    assert refused.status == 2
    assert "give it with --maps-file" in refused.err
    result = firenet("repeat", "m.json", "scan.h5", "-o", "n.nii", "--maps-file", "maps.npy")
    assert "the same, bit for bit" in result.err


def test_a_calibration_file_is_asked_for_and_used_again(folder) -> None:
    """The mask leaves no calibration region, so that the maps come from the other scan."""
    np.save("few.npy", np.arange(32)[:, None] % 2 * np.ones(28, int))
    asked = ["--layers", "2", "--sparsifier", "haar", "--mask", "few.npy", "--slices", "0"]
    refused = firenet("recon", "scan.h5", "-o", "c.nii", *asked)
    assert "a scan to make them from with --calibration" in refused.err
    given = ["--calibration", "louder.h5"]
    assert firenet("recon", "scan.h5", "-o", "c.nii", *asked, *given).status == 0
    files = ["--mask", "few.npy"]
    refused = firenet("repeat", "c.json", "scan.h5", "-o", "d.nii", *files)
    assert "give it with --calibration" in refused.err
    other = firenet(
        "repeat", "c.json", "scan.h5", "-o", "d.nii", *files, "--calibration", "scan.h5"
    )
    assert "another SHA-256 than the calibration_file of c.json" in other.err
    again = firenet("repeat", "c.json", "scan.h5", "-o", "d.nii", *files, *given)
    assert "the same, bit for bit" in again.err
    assert firenet("certify", "c.json", "--scan", "scan.h5", *files, *given).status == 0


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ("", 2, "give it with --mask"),
        ("--mask other.npy", 1, "other.npy: has another SHA-256 than the mask of a.json"),
        ("--mask mask.npy --noise-file maps.npy", 2, "without --noise-file; omit it"),
        ("--mask missing.npy", 1, "missing.npy"),
        ("--mask mask.npy --layers 5", 2, "--layers"),
    ],
)
def test_other_files_and_options_are_refused(folder, arguments, status, said) -> None:
    result = firenet("repeat", "a.json", "scan.h5", "-o", "b.nii", *arguments.split())
    assert result.status == status
    assert said in result.err
    assert result.err.count("\n") == 1
    assert not (folder / "b.nii").exists()


def test_a_certificate_of_version_1_has_no_options() -> None:
    old = Path(__file__).parents[1] / "reconstruction" / "certificate_version_1.json"
    result = firenet("repeat", old, old, "-o", "b.nii")
    assert result.status == 1
    assert "holds no options" in result.err
