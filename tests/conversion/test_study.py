"""A folder of scans in another format: every scan once, resumed, nothing replaced unasked."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from firenet_command import firenet

from firenet_mri import RawScan, read
from firenet_mri.conversion import ConversionOptions, convert_study, summary_path
from firenet_mri.conversion import study as module
from firenet_mri.errors import FileError, UsageError
from firenet_mri.io import write_scan

FASTMRI = ConversionOptions(to="fastmri")


def scan_of(seed: int) -> RawScan:
    generator = torch.Generator().manual_seed(seed)
    kspace = torch.randn(2, 3, 8, 6, dtype=torch.complex64, generator=generator)
    noise = torch.randn(3, 30, dtype=torch.complex64, generator=generator)
    return RawScan(kspace, torch.ones(1, 8, 6, dtype=torch.bool), 2, noise=noise)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Return a folder of two scans, one below, and a file that is damaged."""
    (tmp_path / "in/day1").mkdir(parents=True)
    write_scan(tmp_path / "in/a.h5", scan_of(0))
    write_scan(tmp_path / "in/day1/b.cfl", scan_of(1))
    (tmp_path / "in/broken.h5").write_bytes((tmp_path / "in/a.h5").read_bytes()[:3000])
    (tmp_path / "in/notes.txt").write_text("not a scan")
    return tmp_path / "in"


def states(outcomes) -> dict[str, str]:
    return {one.scan: one.state for one in outcomes}


def rows(output: Path) -> dict[str, dict[str, str]]:
    with summary_path(output).open(newline="") as stream:
        return {row["scan"]: row for row in csv.DictReader(stream)}


def test_every_scan_is_converted_and_one_that_fails_stops_no_other(folder, tmp_path) -> None:
    output, seen = tmp_path / "out", []
    outcomes = convert_study(folder, output, FASTMRI, on_outcome=lambda *each: seen.append(each))
    assert states(outcomes) == {"a.h5": "done", "broken.h5": "failed", "day1/b.cfl": "done"}
    assert [each[1:] for each in seen] == [(1, 3), (2, 3), (3, 3)]
    # Loaders read whatever lies in the folder.
    assert sorted(path.name for path in output.iterdir()) == ["a.h5", "day1_b.h5"]
    expected = scan_of(1).kspace.transpose(-1, -2)
    assert torch.equal(read(output / "day1_b.h5").kspace, expected)
    table = rows(output)
    assert "truncated or damaged" in table["broken.h5"]["error"]
    assert (table["a.h5"]["coils"], table["a.h5"]["size"]) == ("3", "8 x 6")


def test_what_is_finished_is_kept_and_what_is_missing_is_made(folder, tmp_path) -> None:
    output = tmp_path / "out"
    convert_study(folder, output, FASTMRI)
    before = (output / "a.h5").stat().st_mtime_ns
    (output / "day1_b.h5").unlink()
    again = states(convert_study(folder, output, FASTMRI))
    assert again == {"a.h5": "kept", "broken.h5": "failed", "day1/b.cfl": "done"}
    assert (output / "a.h5").stat().st_mtime_ns == before
    assert rows(output)["a.h5"]["coils"] == "3"


def test_a_conversion_that_was_cut_short_resumes(folder, tmp_path, monkeypatch) -> None:
    """It was cut between the moment when a file is there and that when it is recorded."""
    output = tmp_path / "out"
    with monkeypatch.context() as patch:

        def cut(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(module, "_described", cut)
        with pytest.raises(KeyboardInterrupt):
            convert_study(folder, output, FASTMRI)
    assert rows(output)["a.h5"]["state"] == "begun"
    assert (output / "a.h5").is_file()
    assert states(convert_study(folder, output, FASTMRI))["a.h5"] == "done"


def test_nothing_is_replaced_unless_that_is_asked_for(folder, tmp_path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "a.h5").write_text("mine")
    assert states(convert_study(folder, output, FASTMRI))["a.h5"] == "failed"
    assert (output / "a.h5").read_text() == "mine"
    # Nor what was changed since it was written, or what other options ask for.
    (output / "day1_b.h5").write_text("mine now")
    outcomes = convert_study(folder, output, FASTMRI)
    assert "exists; use --overwrite" in outcomes[2].error
    assert (output / "day1_b.h5").read_text() == "mine now"
    outcomes = convert_study(folder, output, FASTMRI, overwrite=True)
    assert states(outcomes) == {"a.h5": "done", "broken.h5": "failed", "day1/b.cfl": "done"}
    kept = (output / "a.h5").read_bytes()
    other = FASTMRI.replace(slices="0")
    assert "exists" in convert_study(folder, output, other)[0].error
    assert (output / "a.h5").read_bytes() == kept
    # What lies there is still known to be that of the first options.
    assert states(convert_study(folder, output, FASTMRI))["a.h5"] == "kept"


def test_scans_of_one_name_stay_apart(tmp_path) -> None:
    source = tmp_path / "in"
    (source / "a").mkdir(parents=True)
    kspace = scan_of(0).kspace[0].numpy()
    np.save(source / "a_b.npy", kspace)
    np.save(source / "a/B.npy", 2 * kspace)
    write_scan(source / "a_b.h5", scan_of(3))
    outcomes = convert_study(source, tmp_path / "out", ConversionOptions(to="mrd"))
    assert {one.state for one in outcomes} == {"done"}
    assert len({one.output.lower() for one in outcomes}) == 3
    doubled = next(one for one in outcomes if one.scan == "a/B.npy")
    np.testing.assert_array_equal(read(tmp_path / "out" / doubled.output).kspace[0], 2 * kspace)


def test_the_file_of_another_scan_stays_that_ones(folder, tmp_path) -> None:
    output, other = tmp_path / "out", tmp_path / "other"
    convert_study(folder, output, FASTMRI)
    before = (output / "day1_b.h5").read_bytes()
    other.mkdir()
    write_scan(other / "day1_b.h5", scan_of(5))
    (outcome,) = convert_study(other, output, FASTMRI)
    assert (outcome.scan, outcome.state) == ("day1_b.h5", "failed")
    assert "exists" in outcome.error
    assert (output / "day1_b.h5").read_bytes() == before


def test_the_folder_in_which_one_is_may_be_the_output(folder, tmp_path, monkeypatch) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    convert_study(folder, Path(), FASTMRI)
    assert (tmp_path / "out.csv").is_file()
    assert (tmp_path / "out/a.h5").is_file()


def test_what_a_conversion_writes_is_converted_again_with_what_lies_beside_it(tmp_path) -> None:
    (tmp_path / "in").mkdir()
    scan = RawScan(scan_of(0).kspace[0], torch.ones(1, 8, 6, dtype=torch.bool), 2, scan_of(0).noise)
    write_scan(tmp_path / "in/a.npy", scan)
    outcomes = convert_study(tmp_path / "in", tmp_path / "out", ConversionOptions(to="mrd"))
    assert states(outcomes) == {"a.npy": "done"}
    assert torch.equal(read(tmp_path / "out/a.h5").noise, scan.noise)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "name it with --to"),
        ({"to": "mrd", "matrix_size": "8x8"}, "cannot be used for all scans"),
    ],
)
def test_what_cannot_serve_a_folder_is_refused(options, words, folder, tmp_path) -> None:
    with pytest.raises(UsageError, match=words):
        convert_study(folder, tmp_path / "out", ConversionOptions.from_mapping(options))


def test_folders_that_cannot_be_are_refused(folder, tmp_path) -> None:
    with pytest.raises(UsageError, match="is inside the folder of the scans"):
        convert_study(folder, folder / "out", FASTMRI)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"Bruker experiments$"):
        convert_study(tmp_path / "empty", tmp_path / "out", FASTMRI)
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 2)), np.eye(4)), tmp_path / "empty/a.nii.gz")
    refused = firenet("convert", tmp_path / "empty", "-o", tmp_path / "out", "--to", "mrd")
    assert "is a folder of NIfTI files: an image, not k-space" in refused.err
    assert len(refused.err.splitlines()) == 1
    (tmp_path / "out.csv").write_text("other,columns\n1,2\n")
    with pytest.raises(FileError, match="is not the summary"):
        convert_study(folder, tmp_path / "out", FASTMRI)


def test_the_command_prints_one_summary_and_names_what_failed(folder, tmp_path) -> None:
    output = tmp_path / "out"
    first = firenet("convert", folder, "-o", output, "--to", "fastmri", "--whiten")
    assert first.status == 1
    # A .cfl file has its noise measurement beside it.
    assert "2 of 3 scans are converted, 0 of them before." in first.out
    assert "Failed: broken.h5: " in first.err
    (folder / "broken.h5").unlink()
    again = firenet("convert", folder, "-o", output, "--to", "fastmri", "--whiten")
    assert again.status == 0
    assert "2 of 2 scans are converted, 2 of them before." in again.out
    shutil.rmtree(output)
    assert firenet("convert", folder, output).status == 2


def test_names_that_are_not_utf_8_and_what_killed_runs_left_stop_nothing(tmp_path) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    write_scan(folder / "a.npy", RawScan(scan_of(0).kspace[0], torch.ones(1, 8, 6).bool(), 2))
    try:
        (folder / "a.npy").rename(folder / os.fsdecode(b"caf\xe9.npy"))
    except OSError:
        pytest.skip("names must be UTF-8 here")
    (folder / ".fn-0123ab-1-0123abcd-half.npy").write_bytes(b"half")
    (folder / "away.h5").symlink_to("nowhere")
    for state in ("done", "kept"):
        outcomes = convert_study(folder, output, ConversionOptions(to="mrd"))
        assert states(outcomes) == {"away.h5": "failed", "caf%E9.npy": state}
        assert "is a link to a file that is not there" in outcomes[0].error
    assert [path.name for path in output.iterdir()] == ["caf%E9.h5"]
