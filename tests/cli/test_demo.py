"""``firenet demo`` and ``firenet_mri.sample``: a first image without a file of the user's."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import nibabel
import pytest
from firenet_command import Run, firenet

import firenet_mri
from firenet_mri.io import read_reference
from firenet_mri.metrics import psnr

FILES = {
    "scan.h5",
    "reference.nii.gz",
    "image.nii.gz",
    "image.png",
    "image.json",
    "image.evidence.h5",
}


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> tuple[Path, Run]:
    """Return the folder of a demonstration and what was printed; nothing may be fetched."""
    folder = tmp_path_factory.mktemp("first") / "made" / "picture"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", None)
        return folder, firenet("demo", folder)


def test_scan_image_picture_and_certificate_are_written(shown) -> None:
    folder, result = shown
    assert result.status == 0, result.err
    assert {path.name for path in folder.iterdir()} == FILES
    assert "The scan is simulated." in result.out
    image = read_reference(folder / "image.nii.gz")
    reference = read_reference(folder / "reference.nii.gz")
    assert psnr(image, reference) > 34
    assert nibabel.load(folder / "image.nii.gz").shape == (108, 90, 3)
    assert json.loads((folder / "image.json").read_text())["scan"]["simulated"] is True


def next_steps(result: Run) -> dict[str, list[str]]:
    """Return the commands that it says can be run next."""
    lines = [line.split() for line in result.out.splitlines() if line.startswith("    firenet ")]
    return {words[1]: words[1:] for words in lines}


def test_what_it_says_to_do_next_can_be_done(shown, tmp_path) -> None:
    folder, result = shown
    steps = next_steps(result)
    assert list(steps) == ["info", "recon", "certify"]
    assert "simulated" in firenet(*steps["info"]).out
    assert firenet(*steps["recon"], folder=tmp_path).status == 0
    again = tmp_path / "my_image.nii.gz"
    assert read_reference(again).equal(read_reference(folder / "image.nii.gz"))


@pytest.mark.slow
def test_the_certificate_is_recomputed_as_it_says(shown) -> None:
    result = firenet(*next_steps(shown[1])["certify"])
    assert result.status == 0, result.err
    assert "scan.h5 is the scan it was made from" in " ".join(result.out.split())


def test_files_that_are_there_are_kept_unless_told_otherwise(shown, tmp_path) -> None:
    folder, _ = shown
    result = firenet("demo", "-o", folder)
    assert result.status == 1
    assert "scan.h5: exists; use --overwrite to replace it" in result.err
    (tmp_path / "file").write_text("mine")
    assert "cannot be created" in firenet("demo", tmp_path / "file").err
    (tmp_path / "image.png").write_text("mine")
    assert "image.png: exists" in firenet("demo", tmp_path).err
    assert {path.name for path in tmp_path.iterdir()} == {"file", "image.png"}


def test_an_interruption_leaves_nothing(tmp_path, monkeypatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("firenet_mri.cli.demo.reconstruct_file", interrupt)
    assert firenet("demo", tmp_path / "out").status == 130
    assert list((tmp_path / "out").iterdir()) == []


def test_the_sample_is_a_simulated_scan_and_the_same_every_time() -> None:
    first, second = firenet_mri.sample(), firenet_mri.sample()
    assert first.simulated
    assert first.kspace.shape == (3, 4, 90, 108)
    assert first.kspace.equal(second.kspace)
    assert first.noise.equal(second.noise)
