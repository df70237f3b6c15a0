"""--network on the command line: recon, certify, repeat, and what is refused in one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from forging import kspace
from learned_networks import frame_file, weights_file

from firenet_mri.cli import main
from firenet_mri.errors import UsageError
from firenet_mri.server import StreamOptions


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two files of weights, a scan, and the image that the first one makes."""
    folder = tmp_path_factory.mktemp("trained")
    weights_file(folder), weights_file(folder, 1)
    np.save(folder / "scan.npy", kspace())
    file = folder / "net0.safetensors"
    assert run("recon", folder / "scan.npy", "--network", file, "-o", folder / "a.nii.gz") == 0
    return folder


def run(*words: object) -> int:
    """Run the command in this process; return the exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        patch.setattr(sys, "argv", ["firenet", *map(str, words)])
        with pytest.raises(SystemExit) as raised:
            main()
    return int(raised.value.code or 0)


def test_certify_asks_for_the_weights_and_takes_no_others(folder, capsys) -> None:
    given = ("certify", folder / "a.json", "--scan", folder / "scan.npy")
    assert run(*given) == 2
    assert "give it with --network" in capsys.readouterr().err
    assert run(*given, "--network", folder / "net1.safetensors") == 1
    assert "net1.safetensors: has another SHA-256" in capsys.readouterr().err
    assert run(*given, "--network", folder / "net0.safetensors") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "The network was run again and gives this image." in said
    assert "It follows from the layers, whatever their weights." in said
    assert "minimises nothing" in said


def test_certify_of_a_preset_takes_no_weights(folder, tmp_path, capsys) -> None:
    image = tmp_path / "b.nii.gz"
    assert run("recon", folder / "scan.npy", "--layers", 3, "--no-gap", "-o", image) == 0
    given = ("certify", tmp_path / "b.json", "--scan", folder / "scan.npy")
    assert run(*given, "--network", folder / "net0.safetensors") == 2
    assert "was made without --network FILE; omit it" in capsys.readouterr().err
    assert run("certify", tmp_path / "b.json", "--network", folder / "net0.safetensors") == 2
    assert "--network belongs to a scan" in capsys.readouterr().err


def test_repeat_makes_the_same_image(folder, tmp_path, capsys) -> None:
    files = ("repeat", folder / "a.json", folder / "scan.npy", "-o", tmp_path / "c.nii.gz")
    assert run(*files, "--network", folder / "net0.safetensors") == 0
    assert "the same, bit for bit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--lam", "0.1"], "lam: belongs to a preset, and weights (--network)"),
        (["--preset", "stable"], "preset: belongs to a preset"),
        (["--reweighting", "1"], "reweighting: the trained network"),
    ],
)
def test_what_means_nothing_beside_it_is_one_line(folder, flags, message, tmp_path, capsys) -> None:
    file = folder / "net0.safetensors"
    words = ("recon", folder / "scan.npy", "--network", file, "-o", tmp_path / "x.nii", *flags)
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_file_that_holds_no_network_is_one_line(folder, tmp_path, capsys) -> None:
    scan = folder / "scan.npy"
    assert run("recon", scan, "--network", scan, "-o", tmp_path / "x.nii") == 1
    error = capsys.readouterr().err
    assert "scan.npy: is not a safetensors file" in error
    assert error.count("\n") == 1


def test_a_host_asks_for_weights_by_the_options_name() -> None:
    options = StreamOptions.of({"parameters": {"weights": "learned"}})
    assert options.reconstruction.network.weights == "learned"
    with pytest.raises(UsageError, match="layers: belongs to a preset"):
        StreamOptions.of({"parameters": {"weights": "learned", "layers": 3}})


def test_the_record_names_no_file(folder) -> None:
    report = json.loads((folder / "a.json").read_text())
    weights = report["options"]["reconstruction"]["network"]["weights"]
    assert list(weights) == ["sha256_of_file"]


def test_a_learned_frame_is_run_repeated_and_certified_with_its_gap(
    folder, tmp_path, capsys
) -> None:
    frame, scan = frame_file(tmp_path), folder / "scan.npy"
    flags = ("--network", frame, "--layers", 5, "--lam", 0.02, "--preset", "stable")
    assert run("recon", scan, *flags, "-o", tmp_path / "f.nii.gz") == 0
    report = tmp_path / "f.json"
    assert run("certify", report, "--scan", scan, "--network", frame) == 0
    said = " ".join(capsys.readouterr().out.split())
    for what in ("duality gap", "lipschitz bound"):
        assert f"Recomputed and the same: {what}" in said
    other = frame_file(tmp_path, 1)
    assert run("certify", report, "--scan", scan, "--network", other) == 1
    assert "frame1.safetensors: has another SHA-256" in capsys.readouterr().err
    again = ("repeat", report, scan, "-o", tmp_path / "g.nii.gz")
    assert run(*again, "--network", frame) == 0
    assert "the same, bit for bit" in capsys.readouterr().err
    assert run("recon", scan, *flags, "--levels", 2, "-o", tmp_path / "h.nii.gz") == 2
    assert "levels: a learned frame (--network) replaces" in capsys.readouterr().err


def test_a_host_asks_for_a_frame_with_options_of_its_preset(tmp_path) -> None:
    file = frame_file(tmp_path)
    asked = {"weights": file.name, "layers": 3}
    options = StreamOptions.of({"parameters": asked}, file.parent)
    assert options.reconstruction.network.layers == 3
    with pytest.raises(UsageError, match="sparsifier: a learned frame"):
        StreamOptions.of({"parameters": {"weights": file.name, "sparsifier": "haar"}}, file.parent)
