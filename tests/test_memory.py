"""A lack of memory is told in one line, in whatever words a library put it."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from firenet_command import firenet

from firenet_mri import memory
from firenet_mri.batch import find_jobs, reconstruct_job
from firenet_mri.errors import FileError
from firenet_mri.io.kspace import npy
from firenet_mri.memory import memory_ran_out, shortage

ROOT = Path(__file__).parents[1]


def chained() -> Exception:
    """Return an error of a library that hides what it came from, as llvmlite's does."""
    try:
        try:
            raise OSError("libllvmlite.so: failed to map segment from shared object")
        except OSError:
            raise OSError("Could not find/load shared object file") from None
    except OSError as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
        torch.OutOfMemoryError("CUDA out of memory"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        chained(),
    ],
)
def test_every_library_s_words_for_a_lack_of_memory_are_known(error) -> None:
    assert memory_ran_out(error)


def test_what_numpy_and_torch_raise_is_known() -> None:
    for ask in (lambda: np.ones(1 << 55), lambda: torch.ones(1 << 55)):
        with pytest.raises((MemoryError, RuntimeError)) as raised:
            ask()
        assert memory_ran_out(raised.value)


def test_other_errors_are_not_taken_for_it(monkeypatch) -> None:
    unsaid = SystemError("<built-in method> returned NULL without setting an exception")
    assert not memory_ran_out(RuntimeError("shapes do not match"))
    monkeypatch.setattr(memory, "limit_bytes", lambda: None)
    assert not memory_ran_out(unsaid)
    monkeypatch.setattr(memory, "limit_bytes", lambda: 800 << 20)
    assert memory_ran_out(unsaid)
    assert "(the limit, ulimit -v, is 800 MiB); raise the limit, take fewer slices" in shortage()


def test_a_good_file_is_not_called_damaged_where_memory_ran_out(tmp_path, monkeypatch) -> None:
    np.save(tmp_path / "scan.npy", np.ones((2, 4, 4), np.complex64))

    def lacks(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "load", lacks)
    with pytest.raises(FileError, match=r"scan.npy: while the file was read, memory ran out"):
        npy.read_array(tmp_path / "scan.npy")


def test_a_limit_that_is_too_low_for_torch_is_told_before_it_is_loaded(tmp_path) -> None:
    resource = pytest.importorskip("resource")
    code = "from firenet_mri.cli import main; main()"
    found = subprocess.run(
        [sys.executable, "-c", code, "simulate", "image.npy", "-o", "scan.h5"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20)),
        timeout=60,
        check=False,
    )
    assert found.returncode == 1
    assert found.stderr == (
        "firenet: the memory is limited to 300 MiB (ulimit -v), and loading torch alone takes 600; "
        "raise the limit\n"
    )


@pytest.fixture
def lacking(tmp_path, monkeypatch) -> Path:
    """Return a folder with a scan, which torch finds too large to reconstruct."""
    np.save(tmp_path / "scan.npy", np.ones((2, 8, 8), np.complex64))

    def lacks(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes.\nException raised")

    monkeypatch.setattr("firenet_mri.reconstruction.run.prepare", lacks)
    return tmp_path


def test_recon_says_in_one_line_that_memory_ran_out(lacking) -> None:
    found = firenet("recon", "scan.npy", "-o", "image.nii", folder=lacking)
    assert found.status == 1
    assert "firenet: memory ran out; take fewer slices or coils" in found.err.splitlines()[-1]
    assert not list(lacking.glob("image*"))


def test_a_batch_names_the_scan_for_which_memory_ran_out(lacking, tmp_path_factory) -> None:
    (job,) = find_jobs(lacking, tmp_path_factory.mktemp("out"), {"maps": "lowres"})
    outcome = reconstruct_job(job)
    assert outcome.state == "failed"
    assert outcome.error.startswith("memory ran out; take fewer slices or coils")
    assert "fewer --workers" in outcome.error
