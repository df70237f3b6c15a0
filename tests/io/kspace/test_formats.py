"""What cannot be read is named with what to do, and the list of what can be read is complete."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import pytest

from firenet_mri.errors import FileError
from firenet_mri.io import read
from firenet_mri.io.kspace.formats import Format
from firenet_mri.io.kspace.recognise import READABLE

ROOT = Path(__file__).parents[3]
# The first word of each format's name, and how its files are called.
CALLED = {
    Format.BART: ".cfl",
    Format.BRUKER: "folder",
    Format.FASTMRI: ".h5",
    Format.GE: ".7",
    Format.ISMRMRD: ".h5",
    Format.MRD2: ".mrd",
    Format.NUMPY: ".npy",
    Format.PHILIPS: ".list",
    Format.SIEMENS: ".dat",
    Format.STREAM: ".ismrmrd",
}


@pytest.mark.parametrize("format_", Format)
def test_every_format_that_is_read_stands_in_every_list(format_) -> None:
    name, files = format_.value.split()[0], CALLED[format_]
    table = re.search(r"## Formats\n(.*?)\n\n", (ROOT / "docs/scanner.md").read_text(), re.S)
    assert table is not None
    paragraph = re.search(r"`SCAN` is.*?\n\n", (ROOT / "docs/command_line.md").read_text(), re.S)
    assert paragraph is not None
    for text in (READABLE, table[1], paragraph[0]):
        assert name in text
        assert files in text


@pytest.mark.parametrize(
    ("name", "content", "beside", "words"),
    [
        (
            "a.raw",
            b"\0\1",
            ["a.lab", "a.sin"],
            r"Philips raw data.*export the scan as \.list/\.data",
        ),
        ("a.lab", b"\0\1", ["a.raw", "a.sin"], r"Philips raw data.*philips_to_ismrmrd"),
        ("a.sin", b"text", ["a.raw", "a.lab"], "Philips raw data"),
        ("a.data", b"\0\1", [], r"put a\.list next to it"),
        ("a.list", b"a list of something\n", [], "named as a Philips index but is not one"),
        ("a.rec", b"\0\1", ["a.par"], "PAR/REC.*an image, not k-space"),
        ("fid", b"\0\1", ["procpar"], "Agilent.*agilent_to_ismrmrd"),
        ("fid", b"\0\1", [], "without method and acqp"),
        ("2dseq", b"\0\1", ["reco"], "Bruker's own image"),
    ],
)
def test_a_format_that_is_not_read_is_named_with_what_to_do(
    name, content, beside, words, tmp_path
) -> None:
    for other in beside:
        (tmp_path / other).write_bytes(b"x")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileError, match=words):
        read(tmp_path / name)


def test_a_scan_archive_is_named(tmp_path) -> None:
    with h5py.File(tmp_path / "ScanArchive_1.h5", "w") as file:
        file["something"] = 1
    with pytest.raises(FileError, match=r"GE ScanArchive.*save a P-file"):
        read(tmp_path / "ScanArchive_1.h5")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["fid", "procpar"], "Agilent"),
        (["method", "acqp"], "without its data"),
        (["x.lab", "x.raw", "x.sin"], "Philips raw data"),
        (["notes.txt"], "give a scan file in it"),
    ],
)
def test_a_folder_is_named_by_what_it_holds(names, words, tmp_path, monkeypatch) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(FileError, match=words):
        read(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileError, match=words):
        read(".")
