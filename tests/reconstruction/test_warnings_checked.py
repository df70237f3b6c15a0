"""Warnings about the data stand in the certificate's file, and nobody can take them out or alter
them without the check noticing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forging import check, forge, kspace

from firenet_mri import read, reconstruct
from firenet_mri.errors import DataError
from firenet_mri.io import read_certificate
from firenet_mri.reconstruction import comparison
from firenet_mri.reconstruction.data_warnings.samples import IMAGE_WRAPPED
from firenet_mri.reconstruction.data_warnings.warning import warnings_of

NAME = "warning_image_wrapped"
Report = dict[str, Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scan whose columns alternate in sign, and its image with the certificate."""
    folder = tmp_path_factory.mktemp("made")
    signs = (-1.0) ** np.arange(36)
    np.save(folder / "scan.npy", (kspace() * signs).astype(np.complex64))
    np.save(folder / "good.npy", kspace())
    options = {"layers": 12, "sparsifier": "tv", "no_gap": True}
    reconstruct(read(folder / "scan.npy"), **options).save(folder / "a.nii.gz")
    (folder / "good").mkdir()
    reconstruct(read(folder / "good.npy"), **options).save(folder / "good" / "a.nii.gz")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of that folder."""
    shutil.copytree(made, tmp_path / "work")
    return tmp_path / "work"


def entry(report: Report) -> dict[str, Any]:
    """Return the warning in a certificate's file."""
    return next(one for one in report["certificate"]["entries"] if one["name"] == NAME)


def removed(report: Report) -> None:
    report["certificate"]["entries"].remove(entry(report))
    report["warnings"] = []


def harmless(report: Report) -> None:
    entry(report)["statement"] = "All is well."


def proven(report: Report) -> None:
    entry(report)["status"] = "proven"


def unlimited(report: Report) -> None:
    entry(report)["limits"] = ""


def smaller(report: Report) -> None:
    entry(report)["values"]["value"] = [0.2]


def higher(report: Report) -> None:
    entry(report)["values"]["threshold"] = [0.2]


def twice(report: Report) -> None:
    copy = json.loads(json.dumps(entry(report)))
    report["certificate"]["entries"].insert(0, {**copy, "statement": "All is well."})


def unsaid(report: Report) -> None:
    report["warnings"] = []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (removed, "omits the warning image wrapped about slice 1"),
        (harmless, "its warnings are not those"),
        (proven, "are not in the written form"),
        (unlimited, "are not in the written form"),
        (smaller, "its warnings are not those"),
        (higher, "its warnings are not those"),
        (twice, "its warnings are not those"),
        (unsaid, "its warnings are not those"),
    ],
)
def test_a_warning_that_was_changed_is_refused(folder, change, message) -> None:
    check(folder)
    forge(folder, change)
    with pytest.raises(DataError, match=message):
        check(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (harmless, "has other words or another threshold"),
        (smaller, "states 0.2; measured again"),
        (higher, "has other words or another threshold"),
        (twice, "are not in the written form"),
    ],
)
def test_a_warning_that_was_changed_everywhere_is_refused(folder, change, message) -> None:
    """The lines for people are left out, as older versions of the file have none."""

    def both(report: Report) -> None:
        change(report)
        del report["warnings"]

    forge(folder, both)
    with pytest.raises(DataError, match=message):
        check(folder)


def test_a_warning_that_was_made_up_is_refused(folder) -> None:
    warning = entry(json.loads((folder / "a.json").read_text()))

    def add(report: Report) -> None:
        report["certificate"]["entries"].insert(0, warning)
        del report["warnings"]

    forge(folder / "good", add)
    shutil.copy(folder / "good.npy", folder / "good" / "scan.npy")
    with pytest.raises(DataError, match="for which its data give no reason"):
        check(folder / "good")


def test_a_warning_at_its_threshold_may_hang_on_rounding(folder, monkeypatch) -> None:
    saved = read_certificate(folder / "a.json")
    (warning,) = warnings_of(saved.certificate)
    forge(folder, removed)
    monkeypatch.setattr(comparison, "_OF_WARNINGS", warning.value / IMAGE_WRAPPED.threshold - 0.99)
    assert any("depends on rounding" in line for line in check(folder).unchecked)


def test_the_file_has_the_warning_as_an_entry_and_as_a_line(made) -> None:
    report = json.loads((made / "a.json").read_text())
    assert entry(report)["status"] == "measured"
    (line,) = report["warnings"]
    assert line.startswith("Warning: The object lies across the edge of the field of view.")
    good = json.loads((made / "good" / "a.json").read_text())
    assert good["warnings"] == []
    # The certificate's own keys are those that earlier versions compare.
    assert good["certificate"].keys() == report["certificate"].keys()


def test_what_was_measured_again_is_said(made) -> None:
    assert (
        "Measured again and the same: the warnings about the data (image wrapped)."
        in check(made).agrees
    )


def test_the_picture_says_it(made) -> None:
    result = reconstruct(read(made / "scan.npy"), layers=2, sparsifier="tv", no_gap=True)
    first, *others = result._caption().split("\n")
    assert first.startswith("scan.npy")
    assert others[0].startswith("Warning: image wrapped, 0.")
    assert result.warning_lines[0].startswith("Warning: The object")
