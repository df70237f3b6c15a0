"""Damaged files of every format give a named error or an image: no crash, no hang, no memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import ismrmrd
import numpy as np
import pytest
from mrd_scans import make_header, make_readouts

from firenet_mri.errors import DataError, FileError
from firenet_mri.io import read
from firenet_mri.io.kspace.bart import write_cfl

SEEDS = 200
# Reads what 200 seeds make of a file, in a process with little memory; prints what happened.
READER = """
import collections, json, pathlib, resource, sys
import numpy as np
from firenet_mri.errors import FirenetError
from firenet_mri.io import read
resource.setrlimit(resource.RLIMIT_DATA, (3 << 30, 3 << 30))
path, target = map(pathlib.Path, sys.argv[1:3])
content = target.read_bytes()
outcomes = collections.Counter()
for seed in range(int(sys.argv[3])):
    generator = np.random.default_rng(seed)
    damaged = bytearray(content)
    limit = len(content) if seed % 2 else min(len(content), 4096)
    for at in generator.integers(0, limit, 8):
        damaged[at] = generator.integers(256)
    target.write_bytes(damaged)
    try:
        scan = read(path)
        outcomes["image"] += 1
        assert scan.kspace.numel() < 1 << 24, seed
    except FirenetError as error:
        outcomes["named"] += path.stem in str(error)
        outcomes["error"] += 1
target.write_bytes(content)
print(json.dumps(outcomes))
"""


@pytest.fixture
def kspace() -> np.ndarray:
    generator = np.random.default_rng(0)
    return (generator.normal(size=(2, 24, 32, 2)) @ [1, 1j]).astype(np.complex64)


def write_mrd(path: Path, kspace: np.ndarray) -> None:
    with ismrmrd.File(path, "w") as file:
        dataset = file["dataset"]
        dataset.header = make_header((32, 24, 1))
        dataset.acquisitions = make_readouts(kspace)


def write_fastmri(path: Path, kspace: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace[None]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["mrd", "fastmri", "npy", "cfl", "hdr"])
def test_flipped_bytes(form, kspace, tmp_path) -> None:
    path = target = tmp_path / f"scan.{'h5' if form in ('mrd', 'fastmri') else form}"
    if form in ("cfl", "hdr"):
        path = tmp_path / "scan.cfl"
        write_cfl(path, kspace[:, None])
    elif form == "npy":
        np.save(path, kspace)
    else:
        (write_mrd if form == "mrd" else write_fastmri)(path, kspace)
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READER, str(path), str(target), str(SEEDS)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    outcomes = json.loads(result.stdout)
    assert outcomes.get("image", 0) + outcomes.get("error", 0) == SEEDS
    assert outcomes.get("named", 0) == outcomes.get("error", 0)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("form", ["mrd", "fastmri", "npy", "cfl"])
def test_truncated_files_are_named(form, share, kspace, tmp_path) -> None:
    path = tmp_path / f"scan.{'h5' if form in ('mrd', 'fastmri') else form}"
    if form == "cfl":
        write_cfl(path, kspace[:, None])
    elif form == "npy":
        np.save(path, kspace)
    else:
        (write_mrd if form == "mrd" else write_fastmri)(path, kspace)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(FileError, match=path.name):
        read(path)


def test_a_data_set_that_unpacks_to_terabytes_is_refused(tmp_path) -> None:
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "kspace", (4000, 16, 640, 4000), np.complex64, chunks=(1, 1, 64, 64), compression="gzip"
        )
    with pytest.raises(FileError, match=r"scan\.h5: /kspace would take \d+\.\d GiB"):
        read(path)


def test_a_header_with_an_endless_matrix_is_refused(kspace, tmp_path) -> None:
    path = tmp_path / "scan.h5"
    with ismrmrd.File(path, "w") as file:
        dataset = file["dataset"]
        dataset.header = make_header((60_000, 60_000, 1))
        dataset.acquisitions = make_readouts(kspace)
    with pytest.raises(DataError, match="points per measured sample"):
        read(path)


def test_a_link_to_a_scan_is_read_and_a_dangling_one_named(kspace, tmp_path) -> None:
    np.save(tmp_path / "scan.npy", kspace)
    (tmp_path / "link.npy").symlink_to(tmp_path / "scan.npy")
    assert read(tmp_path / "link.npy").coils == 2
    shutil.move(tmp_path / "scan.npy", tmp_path / "moved.npy")
    with pytest.raises(FileError, match=r"link\.npy: is a link to a file that is not there"):
        read(tmp_path / "link.npy")
