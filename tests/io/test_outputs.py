"""Outputs appear all together and complete, or not at all."""

from __future__ import annotations

from pathlib import Path

import nibabel
import pytest
import torch

from firenet_mri.errors import FileError
from firenet_mri.io import atomic_writes, check_outputs, write_nifti


def test_all_outputs_appear_at_the_end(tmp_path: Path) -> None:
    paths = [tmp_path / "image.nii.gz", tmp_path / "report.json"]
    with atomic_writes(paths) as (image, report):
        write_nifti(image, torch.ones(5, 6))
        report.write_text("{}")
        assert not any(path.exists() for path in paths)
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert nibabel.load(paths[0]).shape == (6, 5, 1)


def test_failure_leaves_nothing_new_and_nothing_lost(tmp_path: Path) -> None:
    old, new = tmp_path / "old.txt", tmp_path / "new.txt"
    old.write_text("before")

    def work() -> None:
        with atomic_writes([old, new], overwrite=True) as (first, second):
            first.write_text("after")
            second.write_text("after")
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        work()
    assert [path.name for path in tmp_path.iterdir()] == ["old.txt"]
    assert old.read_text() == "before"


def test_output_that_was_not_written_is_an_error(tmp_path: Path) -> None:
    paths = [tmp_path / "a.txt", tmp_path / "b.txt"]
    with pytest.raises(FileError, match="cannot be written"), atomic_writes(paths) as (a, _):
        a.write_text("only this one")
    assert not list(tmp_path.iterdir())


def test_existing_output_is_replaced_only_if_asked(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("before")
    with pytest.raises(FileError, match=r"out\.txt: exists; use --overwrite"):
        check_outputs([path])
    with pytest.raises(FileError, match="exists"), atomic_writes([path]):
        pytest.fail("the work must not begin")
    with atomic_writes([path], overwrite=True) as (temporary,):
        temporary.write_text("after")
    assert path.read_text() == "after"


def test_output_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"

    def work() -> None:
        with atomic_writes([path]) as (temporary,):
            temporary.write_text("mine")
            path.write_text("another's")

    with pytest.raises(FileError, match="exists"):
        work()
    assert path.read_text() == "another's"
    assert len(list(tmp_path.iterdir())) == 1


def test_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    with (
        pytest.raises(FileError, match=r"out\.txt: cannot be written \(No space left on device\)"),
        atomic_writes([tmp_path / "out.txt"]),
        Path("/dev/full").open("w") as device,
    ):
        device.write("x")


def test_places_that_cannot_be_written_are_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="does not exist; create it first"):
        check_outputs([tmp_path / "none" / "out.txt"])
    with pytest.raises(FileError, match="is a folder"):
        check_outputs([tmp_path])
    with pytest.raises(FileError, match="is named for two outputs"):
        check_outputs([tmp_path / "out.txt", tmp_path / "." / "out.txt"])


def test_unwritable_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The superuser may write anywhere, so what the system says is replaced here."""
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(FileError, match="is not writable; choose another"):
        check_outputs([tmp_path / "out.txt"])
