"""Real Dask workers: the whole command, a worker killed in the middle, a cluster by address."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import psutil
import pytest
import torch

from firenet_mri.batch import find_jobs, run_jobs
from firenet_mri.cli import main
from firenet_mri.errors import UsageError
from firenet_mri.simulation import simulate

SAMPLE = Path(__file__).parents[2] / "sample_data/brain_8coil.h5"
FAST = {"layers": 2, "sparsifier": "haar", "maps": "lowres"}

# Dask's own clean-up of killed workers.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for i in range(4):
        shutil.copy(SAMPLE, tmp_path / "in" / f"scan{i}.h5")
    return tmp_path / "in"


def test_the_command_names_what_failed_and_does_the_rest(
    folder, tmp_path, monkeypatch, capsys
) -> None:
    (folder / "broken.h5").write_bytes(SAMPLE.read_bytes()[:50_000])
    args = [str(folder), "-o", str(tmp_path / "out"), "--layers", "2", "--maps", "lowres"]
    args += ["--workers", "1"]
    codes = []
    for _ in range(2):
        monkeypatch.setattr(sys, "argv", ["firenet", "batch", *args, "--sparsifier", "haar"])
        with pytest.raises(SystemExit) as ended:
            main()
        codes.append(ended.value.code)
    assert codes == [1, 1]
    captured = capsys.readouterr()
    assert "Failed: broken.h5" in captured.err
    assert "Dask dashboard: http://127.0.0.1" in captured.err
    assert "4 of 5 scans are reconstructed" in captured.out
    with (tmp_path / "out" / "summary.csv").open(newline="") as stream:
        states = {row["scan"]: row["state"] for row in csv.DictReader(stream)}
    assert states == {"broken.h5": "failed", **{f"scan{i}.h5": "kept" for i in range(4)}}


@pytest.mark.slow
def test_a_killed_worker_loses_nothing_and_nothing_is_done_twice(folder, tmp_path) -> None:
    jobs = find_jobs(folder, tmp_path / "out", {"maps": "lowres"})
    killed = []

    def kill_one() -> None:
        """Kill the process of a worker while it reconstructs: the first record is there by then."""
        deadline = time.monotonic() + 120
        while not any(job.record.exists() for job in jobs) and time.monotonic() < deadline:
            time.sleep(0.01)
        workers = [
            process
            for process in psutil.Process(os.getpid()).children(recursive=True)
            if "spawn_main" in " ".join(process.cmdline())
        ]
        busy = max(workers, key=lambda process: process.cpu_times().user)
        busy.send_signal(signal.SIGKILL)
        killed.append(busy.pid)

    killer = threading.Thread(target=kill_one)
    killer.start()
    seen = []
    outcomes = run_jobs(jobs, workers=2, on_outcome=seen.append)
    killer.join()
    assert killed
    assert [outcome.error for outcome in outcomes] == [""] * 4
    assert {outcome.state for outcome in outcomes} <= {"done", "kept"}
    assert len(seen) == 4
    assert all(job.image.is_file() for job in jobs)
    left = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert len(left) == 4 * 5


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 kB: the outputs of two or three of the scans fit."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
def test_a_full_disk_fails_scans_by_name_and_leaves_none_half_written(
    folder, small_disk, tmp_path, monkeypatch, capsys
) -> None:
    args = ["firenet", "batch", str(folder), "-o", str(small_disk / "out"), "--workers", "1"]
    args += ["--layers", "2", "--maps", "lowres", "--sparsifier", "haar"]
    monkeypatch.setattr(sys, "argv", args)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert "Failed: scan" in error
    assert "No space left" in error
    assert "Traceback" not in error
    whole = list((small_disk / "out").rglob("*.nii.gz"))
    assert 0 < len(whole) < 4
    for image in whole:
        np.asanyarray(nibabel.load(image).dataobj)
    # With space, the same command finishes.
    subprocess.run(["mount", "-o", "remount,size=9m", str(small_disk)], check=True)
    monkeypatch.setattr(sys, "argv", args)
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert len(list((small_disk / "out").rglob("*.nii.gz"))) == 4


@pytest.mark.slow
def test_an_output_folder_that_vanishes_costs_the_scans_under_way(folder, tmp_path) -> None:
    jobs = find_jobs(folder, tmp_path / "out", FAST)
    run_jobs(
        jobs, workers=1, on_outcome=lambda _: shutil.rmtree(tmp_path / "out", ignore_errors=True)
    )
    outcomes = run_jobs(jobs, workers=1)
    assert [outcome.error for outcome in outcomes] == [""] * 4
    assert all(job.image.is_file() for job in jobs)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.slow
def test_memory_stays_flat_over_hundreds_of_scans(tmp_path) -> None:
    image = torch.zeros(1, 96, 96)
    image[0, 20:70, 30:60] = 1
    (tmp_path / "in").mkdir()
    for i in range(300):
        kspace = simulate(image, coils=6, acceleration=2, snr=50, seed=i).kspace[0]
        np.save(tmp_path / "in" / f"scan{i:03}.npy", kspace.numpy())
    resident = []

    def measure(_: object) -> None:
        workers = psutil.Process().children(recursive=True)
        resident.append(sum(process.memory_info().rss for process in workers) / 2**20)

    outcomes = run_jobs(
        find_jobs(tmp_path / "in", tmp_path / "out", FAST), workers=2, on_outcome=measure
    )
    assert [outcome.error for outcome in outcomes] == [""] * 300
    assert len(list((tmp_path / "out").rglob("*.nii.gz"))) == 300
    # Python's collector takes about 80 scans a worker to settle. Had they been kept from then on,
    # half a megabyte each, it would be 50.
    assert max(resident[-20:]) - max(resident[180:200]) < 20


@pytest.mark.slow
def test_a_cluster_by_its_address(folder, tmp_path) -> None:
    from distributed import LocalCluster

    jobs = find_jobs(folder, tmp_path / "out", FAST)[:1]
    with LocalCluster(n_workers=1, dashboard_address="127.0.0.1:0") as cluster:
        (outcome,) = run_jobs(jobs, scheduler=cluster.scheduler_address)
    assert outcome.state == "done"
    with pytest.raises(UsageError, match="no Dask cluster answers"):
        run_jobs(jobs, scheduler="tcp://127.0.0.1:1")


def test_two_batches_on_one_cluster_are_two(tmp_path) -> None:
    """The second starts while tasks of the first, of scans of the same names, wait."""
    from distributed import LocalCluster

    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for i in range(2):
        parts = rng.standard_normal((2, 3, 24, 20)).astype(np.float32)
        np.save(tmp_path / "in" / f"scan{i}.npy", parts[0] + 1j * parts[1])
    first = find_jobs(tmp_path / "in", tmp_path / "first", FAST)
    second = find_jobs(tmp_path / "in", tmp_path / "second", {**FAST, "layers": 1})
    outcomes = []

    def start_the_other(_: object) -> None:
        if not outcomes:
            outcomes.extend(run_jobs(second, scheduler=address))

    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        address = cluster.scheduler_address
        outcomes += run_jobs(first, scheduler=address, on_outcome=start_the_other)
    assert [outcome.state for outcome in outcomes] == ["done"] * 4
    assert all(job.image.is_file() for job in (*first, *second))
    layers = []
    for job in (*first, *second):
        report = job.image.with_name(job.image.name.replace(".nii.gz", ".json"))
        layers.append(json.loads(report.read_text())["network"]["layers"])
    assert layers == [2, 2, 1, 1]
