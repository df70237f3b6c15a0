"""Sends many small scans through one server, with clients between them that misbehave.

python tools/soak_server.py                    # 2,000 scans
python tools/soak_server.py --scans 300        # a few minutes

Good clients compare every image with ``reconstruct`` of the same file; slow ones send and take
theirs with pauses. Between them come clients that leave, lie, trickle, say nothing, or want more
than a server can give. Now and then one has to have the process of the reconstructions ended. The
table says what was lost, and what the server's processes held before and after. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ismrmrd
import numpy as np
import torch
from numpy.typing import NDArray

from firenet_mri import read, reconstruct
from firenet_mri.errors import DataError
from firenet_mri.io import write_scan
from firenet_mri.io.kspace.ismrmrd_file import read_acquisitions
from firenet_mri.io.kspace.ismrmrd_writer import write_acquisitions
from firenet_mri.io.mrd_messages import Kind, message_bytes, read_message
from firenet_mri.phantoms import shepp_logan
from firenet_mri.server.client import ask_health, send_scan
from firenet_mri.simulation import simulate

_HOST = "127.0.0.1"
_SLICES, _COILS, _KINDS = 3, 4, 6
_IDLE_S = 2.0
_RECON_S, _RECON_GIB = 30, 0.75
_HOURS = {"layers": 1000, "reweighting": 10, "sparsifier": "undecimated-haar"}
# One in so many scans is followed by a client for whom a process is ended.
_RARE = 250
# Readouts that a lying client claims to have in one message.
_MANY = 65_535
_NOISE = ismrmrd.ACQ_IS_NOISE_MEASUREMENT


@dataclass(frozen=True)
class Scan:
    """A scan's file, its messages, and the images that must come back.

    Parameters
    ----------
    path
        An ISMRMRD file.
    header, parameters
        The header's text, and the options as JSON.
    lines
        The readouts' messages, slice by slice.
    images
        (slice, y, x) float32.
    """

    path: Path
    header: str
    parameters: str
    lines: list[bytes]
    images: NDArray[np.float32]

    @property
    def start(self) -> bytes:
        """Configuration, header and parameters as they go over the wire."""
        named = message_bytes(Kind.CONFIG_FILE, "firenet")
        options = message_bytes(Kind.TEXT, self.parameters)
        return named + message_bytes(Kind.HEADER, self.header) + options


@dataclass(frozen=True)
class Held:
    """What the server holds: MiB of memory, descriptors, threads; and MiB that reconstruct."""

    mib: float
    descriptors: int
    threads: int
    reconstructing_mib: float

    @staticmethod
    def by(pid: int) -> Held:
        """Return what a process and its children hold now."""
        process = Path(f"/proc/{pid}")
        counts = [len(list((process / what).iterdir())) for what in ("fd", "task")]
        lists = (task / "children" for task in (process / "task").iterdir())
        children = [int(child) for one in lists for child in text_of(one).split()]
        return Held(resident_mib(pid), *counts, sum(map(resident_mib, children)))


def text_of(path: Path) -> str:
    """Return a file's text; nothing of one that has gone."""
    try:
        return path.read_text()
    except OSError:
        return ""


def resident_mib(pid: int) -> float:
    """Return the memory of a process, 0 of one that has gone."""
    found = text_of(Path(f"/proc/{pid}/statm")).split()
    return int(found[1]) * 4096 / 2**20 if found else 0.0


def main() -> None:
    """Print the table; the exit status is 1 if an image was lost or wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scans", type=int, default=2000, help="Scans of good clients.")
    parser.add_argument("--size", type=int, default=64, help="Rows and columns.")
    parser.add_argument("--layers", type=int, default=3, help="Layers of the network.")
    parser.add_argument("--workers", type=int, default=4, help="Clients at once.")
    chosen = parser.parse_args()
    options = {"layers": chosen.layers, "sparsifier": "haar", "maps": "lowres", "no_gap": True}
    with tempfile.TemporaryDirectory() as folder:
        scans = [made(Path(folder), i, chosen.size, options) for i in range(_KINDS)]
        with serving() as (pid, port):
            run(scans, chosen.scans, chosen.workers, options, pid, port)


def made(folder: Path, number: int, size: int, options: dict[str, Any]) -> Scan:
    """Return a scan of some slices, unlike those of other numbers."""
    image = torch.as_tensor(shepp_logan(size)).to(torch.complex64)
    slices = torch.stack([(1 + number) * image.roll(4 * i, 0) for i in range(_SLICES)])
    scan = simulate(slices, coils=_COILS, acceleration=2, snr=50, seed=number)
    path = folder / f"scan{number}.h5"
    write_scan(path, scan)
    header, lines = read_acquisitions(path)
    one = ismrmrd.xsd.limitType(minimum=0, maximum=0, center=0)
    for counter in ("average", "contrast", "phase", "set", "repetition"):
        setattr(header.encoding[0].encodingLimits, counter, one)
    last = {line.idx.slice: line for line in lines if not line.is_flag_set(_NOISE)}
    for line in last.values():
        line.set_flag(ismrmrd.ACQ_LAST_IN_SLICE)
    path.unlink()
    write_acquisitions(path, header, lines)
    expected = reconstruct(read(path), **options).magnitude.numpy()
    messages = [message_bytes(Kind.ACQUISITION, line) for line in lines]
    parameters = json.dumps({"parameters": options})
    return Scan(path, header.toXML(), parameters, messages, expected)


@contextmanager
def serving() -> Iterator[tuple[int, int]]:
    """Yield process and port of a server, which must end by itself when it is told to."""
    with socket.create_server((_HOST, 0)) as unused:
        port = unused.getsockname()[1]
    command = [sys.executable, "-m", "firenet_mri", "serve", "--port", str(port)]
    command += ["--idle", str(_IDLE_S), "--clients", "16"]
    command += ["--recon-minutes", str(_RECON_S / 60), "--recon-gib", str(_RECON_GIB)]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(DataError):
                ask_health(port=port)
                break
            if time.monotonic() > deadline:
                raise SystemExit("the server did not start")
            time.sleep(0.2)
        yield server.pid, port
        server.terminate()
        if server.wait(60):
            raise SystemExit(f"the server ended with {server.returncode}")
    finally:
        server.kill()
        server.wait()


def run(
    scans: list[Scan], count: int, workers: int, options: dict[str, Any], pid: int, port: int
) -> None:
    """Send the scans, misbehave between them, and print what became of all."""
    for scan in scans * 3:
        assert good(scan, port, options) == "whole"
    before, started = Held.by(pid), time.monotonic()
    faults, rare = itertools.cycle(FAULTS.items()), itertools.cycle(ENDING.items())
    found: Counter[tuple[str, str]] = Counter()

    def work(number: int) -> list[tuple[str, str]]:
        scan = scans[number % len(scans)]
        name, client = ("slow", slow) if number % 10 == 9 else ("good", good)
        fault, misbehave = next(rare if number % _RARE == _RARE - 1 else faults)
        bad = misbehaved(misbehave, scan, port)
        return [(name, client(scan, port, options)), (fault, bad)]

    with ThreadPoolExecutor(workers) as pool:
        for done, outcomes in enumerate(pool.map(work, range(count)), start=1):
            found.update(outcomes)
            if done % max(1, count // 10) == 0:
                sys.stderr.write(f"{done} of {count}: {Held.by(pid)}\n")
    # What is idle is left by then.
    time.sleep(2 * _IDLE_S)
    after, health = Held.by(pid), ask_health(port=port)
    show(found, before, after, health, time.monotonic() - started)
    lost = [key for key in found if key[1] not in ("whole", "refused", "ended", "left")]
    raise SystemExit(1 if lost else 0)


def show(
    found: Counter[tuple[str, str]],
    before: Held,
    after: Held,
    health: dict[str, Any],
    seconds: float,
) -> None:
    """Print the tables."""
    lines = ["| clients | outcome | number |", "|---|---|---|"]
    lines += [f"| {name} | {what} | {number} |" for (name, what), number in sorted(found.items())]
    lines += ["", "| the server's process | before | after |", "|---|---|---|"]
    lines += [
        f"| resident memory, MiB | {before.mib:.0f} | {after.mib:.0f} |",
        f"| of its process, MiB | {before.reconstructing_mib:.0f} | "
        f"{after.reconstructing_mib:.0f} |",
        f"| descriptors | {before.descriptors} | {after.descriptors} |",
        f"| threads | {before.threads} | {after.threads} |",
        "",
        f"{seconds:.0f} s; health: {health}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def good(scan: Scan, port: int, options: dict[str, Any]) -> str:
    """Send a scan as ``firenet send`` does."""
    try:
        images = send_scan(scan.path, port=port, parameters=options).images
    except DataError as error:
        return f"lost: {error}"
    return compared(scan, images)


def compared(scan: Scan, images: list[Any]) -> str:
    if len(images) != _SLICES:
        return f"lost: {len(images)} of {_SLICES} images"
    for image in images:
        expected = scan.images[image.slice]
        if np.abs(np.squeeze(image.data) - expected).max() > 1e-4 * expected.max():
            return "wrong image"
    return "whole"


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection((_HOST, port), timeout=60) as connection:
        yield connection


def slow(scan: Scan, port: int, options: dict[str, Any]) -> str:
    """Send with pauses, and take the images with pauses, all shorter than the server's patience."""
    images = []
    with connected(port) as connection, connection.makefile("rb") as file:
        connection.sendall(scan.start)
        step = len(scan.lines) // 4
        for i in range(0, len(scan.lines), step):
            connection.sendall(b"".join(scan.lines[i : i + step]))
            time.sleep(_IDLE_S / 4)
        connection.sendall(message_bytes(Kind.CLOSE))
        while True:
            message = read_message(file.read, 1 << 26)
            if message.kind is Kind.CLOSE:
                return compared(scan, images)
            if message.kind is Kind.IMAGE:
                images.append(message.value)
            time.sleep(_IDLE_S / 20)


def misbehaved(client: Callable[[Scan, socket.socket], None], scan: Scan, port: int) -> str:
    """Return whether the server refused a client or was left by it."""
    try:
        with connected(port) as connection:
            client(scan, connection)
            if client.__name__.startswith("leaves"):
                return "left"
            with connection.makefile("rb") as file:
                texts = []
                while (message := read_message(file.read, 1 << 26)).kind is not Kind.CLOSE:
                    if message.kind is Kind.TEXT:
                        texts.append(message.value)
        refused = [text for text in texts if text.startswith("ERROR")]
        if not refused:
            return f"taken: {texts}"
        return "ended" if "was ended" in refused[0] else "refused"
    except (OSError, DataError):
        return "left"


def leaves_at_once(scan: Scan, connection: socket.socket) -> None:
    """Connect, and go."""


def leaves_in_the_middle(scan: Scan, connection: socket.socket) -> None:
    """Go in the middle of a readout."""
    connection.sendall(scan.start + b"".join(scan.lines[:20]) + scan.lines[20][:100])


def leaves_when_all_is_sent(scan: Scan, connection: socket.socket) -> None:
    """Take no image."""
    connection.sendall(scan.start + b"".join(scan.lines) + message_bytes(Kind.CLOSE))


def leaves_with_the_first_image(scan: Scan, connection: socket.socket) -> None:
    """Take a part of the first image."""
    connection.sendall(scan.start + b"".join(scan.lines))
    connection.recv(1000)


def says_nothing(scan: Scan, connection: socket.socket) -> None:
    """Wait until the server has enough."""
    connection.sendall(scan.start + scan.lines[0])


def sends_garbage(scan: Scan, connection: socket.socket) -> None:
    """Send bytes that are no message."""
    connection.sendall(scan.start + scan.lines[0] + b"\x99" * 1000)


def lies_about_a_size(scan: Scan, connection: socket.socket) -> None:
    """Announce a readout of gigabytes."""
    head = ismrmrd.AcquisitionHeader.from_buffer_copy(scan.lines[0][2:342])
    head.number_of_samples = head.active_channels = _MANY
    connection.sendall(scan.start + scan.lines[0][:2] + bytes(head))


def lies_about_the_matrix(scan: Scan, connection: socket.socket) -> None:
    """Send a header of half as many rows."""
    rows = scan.images.shape[-2]
    half = replace(scan, header=scan.header.replace(f"<y>{rows}<", f"<y>{rows // 2}<"))
    connection.sendall(half.start + b"".join(scan.lines) + message_bytes(Kind.CLOSE))


def lies_about_averages(scan: Scan, connection: socket.socket) -> None:
    """Send a slice again after its image, though the header knows no averages."""
    connection.sendall(scan.start + 2 * b"".join(scan.lines) + message_bytes(Kind.CLOSE))


def asks_for_magic(scan: Scan, connection: socket.socket) -> None:
    """Ask for an option that there is not."""
    text = message_bytes(Kind.TEXT, '{"parameters": {"preset": "magic"}}')
    connection.sendall(scan.start + text + b"".join(scan.lines) + message_bytes(Kind.CLOSE))


def asks_for_layers(scan: Scan, connection: socket.socket) -> None:
    """Ask for a thousand million layers."""
    send_with(scan, connection, layers=10**9)


def asks_for_a_huge_matrix(scan: Scan, connection: socket.socket) -> None:
    """Send a header of a matrix that no memory holds."""
    connection.sendall(larger(scan, 1000).start + b"".join(scan.lines))
    connection.sendall(message_bytes(Kind.CLOSE))


def trickles(scan: Scan, connection: socket.socket) -> None:
    """Send a readout byte by byte, as long as the server takes it."""
    connection.sendall(scan.start + scan.lines[0])
    connection.settimeout(0.05)
    for byte in scan.lines[1]:
        with contextlib.suppress(TimeoutError):
            connection.sendall(bytes([byte]))
            if connection.recv(1, socket.MSG_PEEK):
                break
    connection.settimeout(60)


def asks_for_hours(scan: Scan, connection: socket.socket) -> None:
    """Ask for as many layers as a server takes, again and again."""
    send_with(scan, connection, **_HOURS)


def leaves_hours_of_work(scan: Scan, connection: socket.socket) -> None:
    """Ask for the same, and go."""
    send_with(scan, connection, **_HOURS)
    time.sleep(1.0)


def asks_for_memory(scan: Scan, connection: socket.socket) -> None:
    """Ask for more coefficients than the estimate has, of a matrix that is larger than the scan."""
    frames = "+".join(["undecimated-haar", "tv", "undecimated-db4", "dual-tree"] * 4)
    send_with(larger(scan, 10), connection, layers=1000, sparsifier=frames)


def larger(scan: Scan, times: int) -> Scan:
    """Return a scan whose header states so many times the rows and columns."""
    size, text = scan.images.shape[-1], scan.header
    for axis in "xy":
        text = text.replace(f"<{axis}>{size}<", f"<{axis}>{min(times * size, 65_000)}<")
    return replace(scan, header=text)


def send_with(scan: Scan, connection: socket.socket, **options: Any) -> None:
    """Send a scan with other options than the usual ones; the last ones count."""
    text = json.dumps({"parameters": {"sparsifier": "haar", "maps": "lowres", **options}})
    connection.sendall(scan.start + message_bytes(Kind.TEXT, text))
    connection.sendall(b"".join(scan.lines) + message_bytes(Kind.CLOSE))


#: For these a process is ended.
ENDING: dict[str, Callable[[Scan, socket.socket], None]] = {
    one.__name__.replace("_", " "): one
    for one in (asks_for_hours, leaves_hours_of_work, asks_for_memory)
}

FAULTS: dict[str, Callable[[Scan, socket.socket], None]] = {
    one.__name__.replace("_", " "): one
    for one in (
        leaves_at_once,
        leaves_in_the_middle,
        leaves_when_all_is_sent,
        leaves_with_the_first_image,
        says_nothing,
        sends_garbage,
        lies_about_a_size,
        lies_about_the_matrix,
        lies_about_averages,
        asks_for_magic,
        asks_for_layers,
        asks_for_a_huge_matrix,
        trickles,
    )
}


if __name__ == "__main__":
    main()
