"""What surrounds a command, such as a pipe that is closed, costs neither its work nor a traceback.

What is run in this process is quick; the streams of a process are those of another one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from firenet_mri.cli.progress import progress

ROOT = Path(__file__).parents[2]
CODE = "from firenet_mri.cli import main; main()"


def run(*arguments: str, folder: Path, out: int = subprocess.PIPE, **settings: str):
    """Run a command in a process whose environment has these settings alone."""
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.defpath, **settings}
    return subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        stdout=out,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=environment,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder with a scan whose name is not ASCII."""
    made = tmp_path_factory.mktemp("streams")
    np.save(made / "scän.npy", np.ones((2, 16, 16), np.complex64))
    return made


@pytest.fixture
def closed() -> int:
    """Return the end of a pipe that nobody reads any more."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.parametrize("arguments", [("info", "--json", "scän.npy"), ("info", "scän.npy")])
def test_a_reader_that_has_seen_enough_gets_no_complaint(arguments, folder, closed) -> None:
    found = run(*arguments, folder=folder, out=closed, LC_ALL="C.UTF-8")
    assert (found.returncode, found.stderr) == (1, b"")


def test_names_are_shown_where_text_is_ascii_and_there_is_no_home(folder) -> None:
    found = run(
        "info", "scän.npy", folder=folder, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"
    )
    assert (found.returncode, found.stderr) == (0, b"")
    assert b"sc\\xe4n.npy" in found.stdout or b"sc\\udcc3\\udca4n.npy" in found.stdout


def test_a_folder_that_was_deleted_is_told(folder, tmp_path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import os; os.rmdir({str(gone)!r}); {CODE}"
    found = subprocess.run(
        [sys.executable, "-c", code, "info", "scan.npy"],
        capture_output=True,
        text=True,
        cwd=gone,
        env={"PYTHONPATH": str(ROOT), "PATH": os.defpath},
        timeout=120,
        check=False,
    )
    assert found.returncode == 1
    assert found.stderr.startswith("firenet: the current folder cannot be found (No such file")
    assert found.stderr.count("\n") == 1


def test_work_goes_on_when_nobody_reads_its_progress(closed, monkeypatch) -> None:
    with os.fdopen(os.dup(closed), "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with progress("Reading", "files") as on_file:
            assert on_file is not None
            for done in range(3):
                on_file(done, 2)
        # Nothing is left in the buffer that could not be written.
        stream.write("further")
        stream.flush()
