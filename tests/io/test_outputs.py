"""Outputs appear all together and complete, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import nibabel
import pytest
import torch

from firenet_mri.errors import FileError
from firenet_mri.io import atomic_writes, check_outputs, write_nifti
from firenet_mri.io.outputs import check_apart, check_folder, is_writable
from firenet_mri.temporary import is_temporary


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


@pytest.mark.parametrize(("number", "writable"), [("EROFS", False), ("ENOSPC", True)])
def test_a_folder_whose_permissions_promise_too_much_is_refused_unless_it_is_full(
    number, writable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The superuser may write anywhere, say the permissions, on a read-only file system too."""

    def fails(**_: object) -> None:
        raise OSError(getattr(errno, number), number)

    monkeypatch.setattr("tempfile.TemporaryFile", fails)
    assert is_writable(tmp_path) is writable
    if not writable:
        with pytest.raises(FileError, match="is not writable; choose another"):
            check_outputs([tmp_path / "out.txt"])
        with pytest.raises(FileError, match=rf"new/deep: the folder {tmp_path} is not writable"):
            check_folder(tmp_path / "new" / "deep")


def test_asking_whether_a_folder_is_writable_leaves_nothing_there(tmp_path: Path) -> None:
    assert is_writable(tmp_path)
    check_folder(tmp_path / "new" / "deep")
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_is_an_input_by_another_name_is_refused(tmp_path: Path) -> None:
    scan = tmp_path / "scan.h5"
    scan.write_text("x")
    (tmp_path / "link.h5").hardlink_to(scan)
    with pytest.raises(FileError, match=r"link\.h5: is an input of this command"):
        check_apart([tmp_path / "new.h5", tmp_path / "link.h5"], [tmp_path / "none.h5", scan])
    check_apart([tmp_path / "new.h5"], [scan])


@pytest.mark.parametrize("fails_at", range(1, 8))
def test_if_one_file_cannot_be_moved_all_are_as_they_were(tmp_path, monkeypatch, fails_at) -> None:
    """Two files are replaced, one is new, one goes: six moves, of which any may fail."""
    paths = [tmp_path / name for name in ("picture", "image", "certificate")]
    stale = tmp_path / "evidence"
    for path in (*paths[1:], stale):
        path.write_text("before")
    replace, count = Path.replace, 0

    def failing(source, target):
        nonlocal count
        count += 1
        if count == fails_at:
            raise OSError(5, "Input/output error")
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", failing)
    gone = [stale, tmp_path / "none"]
    with (
        contextlib.suppress(FileError),
        atomic_writes(paths, overwrite=True, removing=gone) as files,
    ):
        for file in files:
            file.write_text("after")
    monkeypatch.setattr(Path, "replace", replace)
    content = {path.name: path.read_text() for path in tmp_path.iterdir()}
    if fails_at <= 6:
        assert content == {"image": "before", "certificate": "before", "evidence": "before"}
    else:
        assert content == {"image": "after", "certificate": "after", "picture": "after"}


def killed(folder: Path, work: str) -> None:
    """Run work in a process that is killed in the middle."""
    code = (
        "import os; from pathlib import Path; import firenet_mri.io.outputs as outputs\n"
        f"paths = [Path({str(folder / 'image.nii')!r}), Path({str(folder / 'image.json')!r})]\n"
        + textwrap.dedent(work)
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == -9, done.stderr


def test_what_a_killed_run_left_goes_at_the_next_and_what_others_write_stays(tmp_path) -> None:
    killed(
        tmp_path,
        """
        with outputs.atomic_writes(paths) as files:
            files[0].write_text("half")
            os.kill(os.getpid(), 9)
        """,
    )
    (left,) = tmp_path.iterdir()
    assert is_temporary(left)
    other = tmp_path / ".fn-123456-1-0123abcd-image.nii"
    other.write_text("another machine's")
    with atomic_writes([tmp_path / "image.nii"]) as (mine,):
        mine.write_text("mine")
        with atomic_writes([tmp_path / "second.nii"]) as (second,):
            second.write_text("mine")
        assert mine.exists()
        assert other.exists()
        assert not left.exists()
    old = time.time() - 2 * 24 * 3600
    os.utime(other, (old, old))
    with atomic_writes([tmp_path / "third.nii"]) as (third,):
        third.write_text("mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "image.nii",
        "second.nii",
        "third.nii",
    ]


def test_a_run_that_is_killed_while_it_moves_files_leaves_no_mixture(tmp_path) -> None:
    for name in ("image.nii", "image.json"):
        (tmp_path / name).write_text("before")
    killed(
        tmp_path,
        """
        replace, count = Path.replace, 0
        def dying(source, target):
            global count
            count += 1
            if count == 4:
                os.kill(os.getpid(), 9)
            return replace(source, target)
        Path.replace = dying
        with outputs.atomic_writes(paths, overwrite=True) as files:
            for file in files:
                file.write_text("after")
        """,
    )
    assert (tmp_path / "image.nii").read_text() == "after"
    assert not (tmp_path / "image.json").exists()
    with atomic_writes([tmp_path / "x"]) as (file,):
        file.write_text("x")
    # The only copy of the old certificate is kept, the old image has been replaced.
    assert [p.read_text() for p in tmp_path.iterdir() if is_temporary(p)] == ["before"]
    with atomic_writes([tmp_path / "image.json"]) as (file,):
        file.write_text("after")
    with atomic_writes([tmp_path / "image.json"], overwrite=True) as (file,):
        file.write_text("after")
    assert not any(map(is_temporary, tmp_path.iterdir()))


def test_a_full_disk_is_told_in_the_words_of_the_system(tmp_path: Path) -> None:
    def fail() -> None:
        raise OSError(errno.ENOSPC, "file write failed: buf = 0x55dce546c68, filename = .fn-1")

    with (
        pytest.raises(FileError, match=r"a\.h5: cannot be written \(No space left on device\)"),
        atomic_writes([tmp_path / "a.h5"]),
    ):
        fail()
