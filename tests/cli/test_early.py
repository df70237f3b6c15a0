"""Mistakes in a command's words are found before torch is loaded and a scan is read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from firenet_mri.cli import main

ROOT = Path(__file__).parents[2]
SCAN = "sample_data/brain_3slices.h5"

# Each with what is told of it.
MISTAKES = {
    f"recon {SCAN} -o a.png": "end the name in one of these",
    f"recon {SCAN} -o no/a.nii": "the folder no does not exist",
    f"recon {SCAN} -o README.nii --lam -1": "lam is -1",
    f"recon {SCAN} -o a.dcm --complex": "DICOM images hold the magnitude only",
    "recon no.h5 -o a.nii": "no.h5: no such file; check the path",
    "certify no.json": "no.json: no such file",
    "train no.h5 -o a.safetensors": "no.h5: no such file",
    "train --images no -o a.safetensors": "no: no such file",
    f"train {SCAN} -o a.safetensors --start no.safetensors": "after --start",
    "simulate no.nii -o a.h5 --pattern spiral": "spiral",
    f"recon {SCAN} -o sample_data/brain_8coil.h5 --reference sample_data/brain_8coil.h5 "
    "--overwrite": "sample_data/brain_8coil.h5: is an input of this command",
    f"recon {SCAN} -o {SCAN} --overwrite": f"{SCAN}: is an input of this command",
    "repeat no.json no.h5 -o a.nii": "no.json: no such file",
    f"repeat README.md {SCAN} -o a.png": "end the name in one of these",
    "convert no.h5 -o a.cfl": "no.h5: no such file",
    "convert no -o a --to npy": "no: no such file",
    f"convert {SCAN} -o a.cfl --mask no.npy": "check the path after --mask",
    "view no.nii": "no.nii: no such file",
    f"view {SCAN} --reference no.npy": "no.npy: no such file",
    f"view {SCAN} --network no.safetensors": "no.safetensors: no such file",
    "batch no -o a": "no: no such file",
    "batch sample_data -o a --network no.safetensors": "no.safetensors: no such file",
    "design 64xA -o a.npy": "give whole numbers separated by 'x'",
    "design 64 -o a.npy --image no.npy": "check the path after --image",
    "bundle -o no/bundle": "the folder no does not exist; create it first",
}
FILES = ("mask", "trajectory", "noise-file", "maps-file", "calibration", "network", "reference")
MISTAKES |= {
    f"recon {SCAN} -o a.nii --{name} no.npy": f"no.npy: no such file; check the path after --{name}"
    for name in (*FILES, "dicom-reference", "sign")
}


def test_mistakes_are_told_without_loading_torch_or_a_reader(tmp_path) -> None:
    """All in one process, which says at every command what is loaded by then."""
    code = (
        "import sys\n"
        "from firenet_mri.cli import main\n"
        f"for command in {list(MISTAKES)}:\n"
        "    sys.argv = ['firenet', *command.split()]\n"
        "    try: main()\n"
        "    except SystemExit as ended: print(ended.code, 'torch' in sys.modules)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    told = result.stderr.splitlines()
    assert len(told) == len(MISTAKES)
    for line, expected in zip(told, MISTAKES.values(), strict=True):
        assert line.startswith("firenet: ")
        assert expected in line
    outcomes = [line.split() for line in result.stdout.splitlines()]
    assert all(code in ("1", "2") for code, _ in outcomes)
    assert [loaded for _, loaded in outcomes] == ["False"] * len(MISTAKES)


# Each needs torch to be found, but neither a scan nor a cluster; with what is told of it.
UNUSABLE = {
    "--sparsifier nope": "Unknown sparsifier 'nope'",
    "--sparsifier tv+haar": "is not a sum of frames",
    "--device mars": "Device 'mars' is not available here",
    "--network README.md": "README.md: is not a safetensors file",
}
WORK = (
    # Modules with the name of their own come first: loaded later they would keep what replaced it.
    "firenet_mri.batch.jobs.read_with",
    "firenet_mri.conversion.convert.read_with",
    "firenet_mri.training.sources.read_with",
    "firenet_mri.io.kspace.reading.read_with",
    "firenet_mri.batch.run._client",
    "firenet_mri.training.inputs.read_image_source",
    "firenet_mri.server.client.send_scan",
)


def _told(command: str, monkeypatch, capsys) -> str:
    """Return what a command that must fail says, without any of the work."""

    def works(*_: object, **__: object) -> None:
        raise AssertionError("the work was begun")

    for place in WORK:
        monkeypatch.setattr(place, works)
    monkeypatch.setattr("sys.argv", ["firenet", *command.split()])
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (1, 2)
    told = capsys.readouterr().err
    # A bar may stand above it.
    assert told.splitlines()[-1].startswith("firenet: ")
    return told


@pytest.mark.parametrize("options", UNUSABLE)
@pytest.mark.parametrize(
    "command", [f"recon {SCAN} -o a.nii", f"view {SCAN} --no-browser", "batch sample_data -o a"]
)
def test_what_serves_no_scan_is_refused_before_one_is_read(
    command, options, monkeypatch, capsys
) -> None:
    if command.startswith("batch"):
        pytest.importorskip("distributed")
    assert UNUSABLE[options] in _told(f"{command} {options}", monkeypatch, capsys)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("batch sample_data -o a --memory lots", "memory is 'lots'; give a size such as 4GiB"),
        ("batch sample_data -o a --workers 0", "workers is 0; give at least 1"),
        ("batch sample_data -o a --retries -1", "retries is -1; give 0 or more"),
        ("batch sample_data -o a --scheduler tcp://h:1 --workers 2", "has workers of its own"),
        ("batch sample_data -o a --scheduler tcp://h:1 --memory 4GiB", "has workers of its own"),
        ("batch sample_data -o README.md", "README.md: is a file; give another folder"),
        ("convert sample_data -o README.md/a --to npy", "README.md, which is a file"),
        ("convert sample_data -o a", "name it with --to"),
        (f"recon {SCAN} -o a.nii --dicom no/series", "the folder no does not exist"),
        (f"send {SCAN} -o a.nii.gz --port 1", "the images are written as MRD"),
        (f"send {SCAN} -o {SCAN} --overwrite --port 1", "is an input of this command"),
        ("send no.h5 -o a.h5 --port 1", "no.h5: no such file"),
        ("serve --port 0 --idle nan", "idle is nan"),
        ("serve --port 0 --scan-hours -1", "scan_hours is -1"),
        ("serve --port 0 --clients 0", "clients is 0"),
        ("train --images sample_data --validation tests -o a.safetensors", "tests: holds no image"),
    ],
)
def test_mistakes_are_told_before_any_work(command, words, monkeypatch, capsys) -> None:
    if command.startswith("batch"):
        pytest.importorskip("distributed")
    assert words in _told(command, monkeypatch, capsys)


def test_the_files_that_a_network_is_trained_on_are_not_replaced(tmp_path, monkeypatch, capsys):
    picture = tmp_path / "net.png"
    picture.write_bytes(b"x")
    command = f"train --images {picture} -o {tmp_path / 'net.safetensors'} --overwrite"
    assert "net.png: is an input of this command" in _told(command, monkeypatch, capsys)
    assert picture.read_bytes() == b"x"


@pytest.mark.parametrize("there", ["maps", "maps.cfl"])
def test_a_bart_pair_is_found_by_its_stem(there, tmp_path) -> None:
    from firenet_mri.cli.early import is_there

    assert not is_there(tmp_path / "maps")
    (tmp_path / there).write_bytes(b"")
    assert is_there(tmp_path / "maps")
