"""Time the server against the reconstruction itself, and the batch on two workers against one.

    python tools/time_throughput.py

Both as ratios within one run, on scans of 8 coils made from the sample image.
"""

from __future__ import annotations

import logging
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np
import torch

from firenet_mri import reconstruct
from firenet_mri.batch import find_jobs
from firenet_mri.batch.run import run_jobs
from firenet_mri.io import write_scan
from firenet_mri.io.kspace.ismrmrd import assemble
from firenet_mri.io.kspace.ismrmrd_file import read_acquisitions
from firenet_mri.io.mrd_messages import Kind, message_bytes, read_message
from firenet_mri.simulation import simulate

SAMPLE = Path(__file__).parents[1] / "sample_data"
TURNS, SCANS, SLICES = 9, 12, 3


def main() -> None:
    """Print both ratios."""
    logging.disable(logging.INFO)
    sys.stdout.write(_server() + "\n")
    sys.stdout.flush()
    sys.stdout.write(_batch() + "\n")


def _server() -> str:
    """Return the time from the last acquisition to the image over that of the reconstruction."""
    header, lines = read_acquisitions(SAMPLE / "brain_8coil.h5")
    sent = [message_bytes(Kind.HEADER, header.toXML())]
    sent += [message_bytes(Kind.ACQUISITION, line) for line in lines]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "firenet_mri", "serve", "--port", str(port)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    while "listening" not in (line := server.stderr.readline()):
        assert line, "the server did not start"
    served, alone = [], []
    for _ in range(TURNS):
        served.append(_seconds_served(port, sent))
        scan = assemble(header, lines, name="stream")
        started = time.perf_counter()
        reconstruct(scan)
        alone.append(time.perf_counter() - started)
    server.terminate()
    server.communicate()
    # The first turn compiles.
    last, plain = statistics.median(served[1:]), statistics.median(alone[1:])
    return (
        f"server: {last:.3f} s from the last acquisition to the image, {plain:.3f} s the "
        f"reconstruction itself, ratio {last / plain:.2f}"
    )


def _seconds_served(port: int, sent: list[bytes]) -> float:
    """Return the seconds from the last acquisition to the image, the others read before."""
    with (
        socket.create_connection(("127.0.0.1", port)) as connection,
        connection.makefile("rb") as file,
    ):
        connection.sendall(b"".join(sent[:-1]))
        time.sleep(0.5)
        started = time.perf_counter()
        connection.sendall(sent[-1] + message_bytes(Kind.CLOSE))
        while read_message(file.read, 1 << 28).kind is not Kind.IMAGE:
            pass
        seconds = time.perf_counter() - started
        while read_message(file.read, 1 << 28).kind is not Kind.CLOSE:
            pass
    return seconds


def _batch() -> str:
    """Return the time of one worker over that of two, each with one thread."""
    image = np.asanyarray(nibabel.load(SAMPLE / "brain_8coil_reference.nii.gz").dataobj)
    image = torch.from_numpy(np.squeeze(image).astype(np.float32))[None]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        for i in range(SCANS):
            scan = simulate(image.expand(SLICES, -1, -1), acceleration=3.0, seed=i)
            write_scan(folder / "in" / f"scan{i:02}.h5", scan)
        seconds = {}
        for workers in (1, 2):
            seconds[workers] = _seconds_batch(folder, workers)
    return (
        f"batch: {SCANS} scans, {seconds[1]:.1f} s on one worker, {seconds[2]:.1f} s on two, "
        f"ratio {seconds[1] / seconds[2]:.2f}"
    )


def _seconds_batch(folder: Path, workers: int) -> float:
    """Return the seconds of a batch, without the start of its workers."""
    started: list[float] = []
    jobs = find_jobs(folder / "in", folder / f"out{workers}", {})
    outcomes = run_jobs(
        jobs, workers=workers, on_cluster=lambda _: started.append(time.perf_counter())
    )
    assert all(outcome.state == "done" for outcome in outcomes), outcomes[0]
    return time.perf_counter() - started[0]


if __name__ == "__main__":
    main()
