"""With --name-by-digest no file's name gets into what is written; it may tell who was measured."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from firenet_command import firenet

from firenet_mri import read, reconstruct
from firenet_mri.batch import find_jobs, reconstruct_job, write_summary
from firenet_mri.io import read_certificate

FAST = {"layers": 2, "sparsifier": "haar", "maps": "lowres"}
NAMES = (b"zweistein", b"albertine")


def contents(folder: Path) -> bytes:
    """Return the names and the bytes of all files below, unpacked where they are packed."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        found += [str(path.relative_to(folder)).encode(), data]
        found += [gzip.decompress(data)] if data[:2] == b"\x1f\x8b" else []
    return b"\n".join(found).lower()


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder of a scan that can be read and one that cannot."""
    rng = np.random.default_rng(0)
    parts = rng.standard_normal((2, 3, 24, 20)).astype(np.float32)
    folder = tmp_path / "in" / "Zweistein"
    folder.mkdir(parents=True)
    np.save(folder / "Albertine.npy", parts[0] + 1j * parts[1])
    (folder / "Zweistein-2.h5").write_bytes(b"nothing")
    (folder / "Albertine-3.h5").symlink_to("not-there")
    return tmp_path / "in"


def test_a_batch_names_no_file(scans, tmp_path) -> None:
    out = tmp_path / "out"
    jobs = find_jobs(scans, out, {**FAST, "name_by_digest": True})
    outcomes = [reconstruct_job(job) for job in jobs]
    write_summary(out, outcomes)
    assert sorted(outcome.state for outcome in outcomes) == ["done", "failed", "failed"]
    assert all(outcome.error for outcome in outcomes if outcome.state == "failed")
    found = contents(out)
    assert not [name for name in NAMES if name in found]
    # The same scan has the same label wherever it lies.
    (done,) = (job for job, outcome in zip(jobs, outcomes, strict=True) if outcome.state == "done")
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (scans / "Zweistein" / "Albertine.npy").rename(moved / "other.npy")
    (job,) = find_jobs(moved, out, {**FAST, "name_by_digest": True})
    assert job.image == done.image
    assert reconstruct_job(job).state == "kept"


def test_a_conversion_of_a_folder_names_no_file(scans, tmp_path) -> None:
    firenet("convert", scans, tmp_path / "o" / "out", "--to", "npy", "--name-by-digest")
    found = contents(tmp_path / "o")
    assert b"scan-unreadable" in found
    assert b"failed" in found
    assert not [name for name in NAMES if name in found]


def test_a_certificate_and_its_caption_name_no_file_and_it_is_recomputed(scans, tmp_path) -> None:
    path = scans / "Zweistein" / "Albertine.npy"
    scan = read(path, name_by_digest=True)
    assert scan.name.startswith("scan-")
    result = reconstruct(scan, **FAST)
    assert "Albertine" not in result._caption()
    result.save(tmp_path / "image.nii.gz")
    saved = read_certificate(tmp_path / "image.json")
    assert saved.report["scan"]["name"] == scan.name
    text = (tmp_path / "image.json").read_text()
    assert "Albertine" not in text
    said = firenet("certify", tmp_path / "image.json", "--scan", path)
    assert "name of the scan" not in said.out + said.err
