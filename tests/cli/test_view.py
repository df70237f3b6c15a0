"""``firenet view`` shows an image or a scan at an address of this machine; nothing opens here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
import webbrowser
from pathlib import Path

import nibabel
import numpy as np
import pytest
import sigpy
import sigpy.mri
from firenet_command import firenet

from firenet_mri.report.serving import PageServer

ROOT = Path(__file__).parents[2]
SMALL = ("--layers", 2, "--maps", "lowres", "--sparsifier", "haar")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a small scan and its image in several formats."""
    folder = tmp_path_factory.mktemp("view")
    maps = sigpy.mri.birdcage_maps((4, 24, 32)).astype(np.complex64)
    kspace = sigpy.fft(maps * sigpy.shepp_logan((24, 32)), axes=(-2, -1)).astype(np.complex64)
    kspace[:, 1::3] *= np.abs(np.arange(24) - 12)[1::3, None] < 6
    np.save(folder / "scan.npy", kspace)
    np.save(folder / "other.npy", 2 * kspace)
    np.save(folder / "plain.npy", np.abs(maps[0]))
    for name in ("a.nii.gz", "b.h5"):
        result = firenet("recon", "scan.npy", "-o", name, *SMALL, folder=folder)
        assert result.status == 0, result.err
    return folder


@pytest.fixture
def shown(monkeypatch, folder):
    """Return a function that runs the command and returns what it printed and would serve."""

    def refuse(*_: object) -> bool:
        raise AssertionError("a browser was opened")

    monkeypatch.setattr(webbrowser, "open", refuse)

    def run(*arguments: object):
        pages = []

        def serve(self: PageServer, given) -> None:
            pages.append(given)
            raise KeyboardInterrupt

        monkeypatch.setattr(PageServer, "serve", serve)
        result = firenet("view", *arguments, "--no-browser", folder=folder)
        return result, (pages[0]["/"].body.decode() if pages else "")

    return run


@pytest.mark.parametrize("name", ["a.nii.gz", "b.h5", "a.json"])
def test_an_image_is_shown_with_its_certificate(name, shown) -> None:
    result, page = shown(name)
    assert result.status == 0, result.err
    assert "http://127.0.0.1:" in result.out
    assert result.out.endswith("Stopped.\n")
    assert "it was recomputed here." in page
    assert "<h1>scan.npy</h1>" in page
    assert '"FIRENET"' in page
    assert "Zero-filled" not in page


def test_the_scan_adds_the_zero_filled_image_and_the_sampling(shown) -> None:
    result, page = shown("a.nii.gz", "--scan", "scan.npy")
    assert result.status == 0, result.err
    assert "Zero-filled" in page
    assert "Sampling pattern of k-space" in page


def test_a_scan_is_reconstructed_and_nothing_is_written(shown, folder) -> None:
    before = sorted(folder.iterdir())
    result, page = shown("scan.npy", *SMALL)
    assert result.status == 0, result.err
    assert "The certificate was made together with the image." in page
    assert "--layers 2" in page
    assert sorted(folder.iterdir()) == before


def test_several_images_at_one_place_are_shown(shown, tmp_path) -> None:
    images = np.random.default_rng(0).random((7, 6, 3, 2), dtype=np.float32)
    nibabel.save(nibabel.Nifti1Image(images, np.eye(4)), tmp_path / "cine.nii.gz")
    result, page = shown(tmp_path / "cine.nii.gz")
    assert result.status == 0, result.err
    assert page.count("data:image/png") == 1 + 3 * 2


def test_an_image_without_a_certificate_says_so(shown) -> None:
    result, page = shown("plain.npy")
    assert result.status == 0, result.err
    assert "An image without a certificate" in page
    assert "proven" not in page.split("<body>")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("scan.npy", "--scan", "scan.npy"), "is itself a scan"),
        (("a.nii.gz", "--layers", 3), "omit the options of the reconstruction"),
        (("a.nii.gz", "--fft-sign", 1), "give --scan, too"),
        (("plain.npy", "--scan", "scan.npy"), "no certificate next to it"),
        (("a.nii.gz", "--reference", "scan.npy"), "shape"),
        (("a.nii.gz", "--scan", "other.npy"), "is not the scan of a.json"),
        (("missing.nii",), "missing.nii"),
        (("a.nii.gz", "--port", 70000), "port is 70000"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(arguments, message, shown) -> None:
    result, page = shown(*arguments)
    assert result.status in (1, 2)
    assert message in result.err
    assert result.err.count("\n") == 1
    assert page == ""


def test_a_changed_image_is_not_shown(shown, folder, tmp_path) -> None:
    for name in ("a.nii.gz", "a.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with (tmp_path / "a.nii.gz").open("ab") as file:
        file.write(b"\0")
    result, page = shown(tmp_path / "a.nii.gz")
    assert result.status == 1
    assert "is not the image of a.json" in result.err
    assert page == ""


@pytest.mark.slow
def test_control_c_ends_it(folder) -> None:
    command = [sys.executable, "-m", "firenet_mri", "view", "a.nii.gz", "--no-browser"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        line = run.stdout.readline()
        url = next(word for word in line.split() if word.startswith("http"))
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert b"<h1>scan.npy</h1>" in answer.read()
        run.send_signal(signal.SIGINT)
        assert run.wait(timeout=30) == 0
        assert run.stdout.read() == "Stopped.\n"
