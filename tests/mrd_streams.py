"""Small scans as streams of readouts, and connections that take what becomes of them."""

from __future__ import annotations

import atexit
import functools
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ismrmrd
import numpy as np

from firenet_mri.io.kspace.ismrmrd_file import read_acquisitions
from firenet_mri.io.mrd_messages import Kind, message_bytes, read_message
from firenet_mri.server.reconstructor import Reconstructor
from firenet_mri.server.saving import Saving
from firenet_mri.server.service import Limits, Server

SAMPLE = Path(__file__).parents[1] / "sample_data/brain_8coil.h5"
FAST = {"layers": 2, "sparsifier": "haar", "maps": "lowres", "no_gap": True}
SIZE, COILS = 24, 3


def header(*, counted: Iterable[str] = ()) -> Any:
    """Return a header of SIZE x SIZE; the limits say that there is one of what is ``counted``."""
    made, _ = read_acquisitions(SAMPLE)
    encoding = made.encoding[0]
    for space in (encoding.encodedSpace, encoding.reconSpace):
        space.matrixSize.x = space.matrixSize.y = SIZE
        space.fieldOfView_mm.x = space.fieldOfView_mm.y = 240.0
    encoding.encodingLimits.kspace_encoding_step_1 = limit(SIZE - 1, SIZE // 2)
    for counter in counted:
        setattr(encoding.encodingLimits, counter, limit(0))
    return made


def limit(maximum: int, center: int = 0) -> Any:
    return ismrmrd.xsd.limitType(minimum=0, maximum=maximum, center=center)


#: Counters of which FIRE's headers state the limits.
COUNTED = ("average", "contrast", "phase", "set", "repetition")


def kspace(number: int = 0) -> np.ndarray:
    """Return (coil, y, x) of an object whose energy lies in the centre."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    object_ = (abs(y + number % 3) < 6) & (abs(x) < 8)
    coils = np.stack([np.exp(-((x - s) ** 2 + y**2) / 300) for s in (-8, 0, 8)])
    image = object_ * coils * (number + 1)
    found = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image, (1, 2))), (1, 2))
    noise = rng.standard_normal((*found.shape, 2)) @ [1, 1j]
    return (found + 0.05 * noise).astype(np.complex64)


def readouts(data: np.ndarray, **counters: int) -> list[Any]:
    """Return the readouts of a slice; its last one says so."""
    found = []
    for step in range(SIZE):
        line = ismrmrd.Acquisition.from_array(np.ascontiguousarray(data[:, step]))
        line.center_sample = SIZE // 2
        line.idx.kspace_encode_step_1 = step
        for name, value in counters.items():
            setattr(line.idx, name, value)
        line.read_dir[:], line.phase_dir[:], line.slice_dir[:] = (1, 0, 0), (0, 1, 0), (0, 0, 1)
        line.position[:] = 0, 0, 5 * line.idx.slice
        found.append(line)
    found[-1].set_flag(ismrmrd.ACQ_LAST_IN_SLICE)
    return found


def noise_readout(size: int = 64) -> Any:
    rng = np.random.default_rng(7)
    data = (rng.standard_normal((COILS, size, 2)) @ [1, 1j]).astype(np.complex64)
    line = ismrmrd.Acquisition.from_array(data * np.array([[1], [3], [2]], np.complex64))
    line.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    return line


class FakeConnection:
    """A host's connection, such as python-ismrmrd-server's."""

    def __init__(self, items: Iterable[Any]) -> None:
        self.items = items
        self.sent: list[Any] = []
        self.log: list[tuple[str, str]] = []
        self.closes = 0

    def __iter__(self) -> Iterator[Any]:
        yield from self.items
        yield None

    def send_image(self, images: Any) -> None:
        self.sent += images

    def send_logging(self, level: str, text: str) -> None:
        self.log.append((level, text))

    def send_close(self) -> None:
        self.closes += 1

    @property
    def errors(self) -> list[str]:
        return [text for level, text in self.log if level == "ERROR"]


@functools.cache
def reconstructor() -> Reconstructor:
    """Return the one that all tests share: each has a process, which takes seconds to start."""
    made = Reconstructor(Limits())
    atexit.register(made.close)
    return made


@contextmanager
def serving(
    *,
    buffer_bytes: int | None = None,
    saving: Saving | None = None,
    own: bool = False,
    **limits: Any,
) -> Iterator[Server]:
    """Yield a server that serves in another thread.

    ``buffer_bytes`` is for its sockets; with ``own`` it has a process for reconstructions of its
    own, so that the limits hold for that, too.
    """
    server = Server(
        port=0,
        limits=Limits(**{"idle": 5.0, **limits}),
        saving=saving,
        reconstructor=None if own else reconstructor(),
    )
    if buffer_bytes is not None:
        # Connections that are accepted have those of the socket that listens.
        for which in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            server._socket.setsockopt(socket.SOL_SOCKET, which, buffer_bytes)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(timeout=30)
        assert not thread.is_alive()


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Yield the port of somebody else's server, which answers one client."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def take() -> None:
            connection, _ = listening.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=take)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(timeout=30)
        assert not thread.is_alive()


def read_to_the_close(connection: socket.socket) -> None:
    """Take all that a client sends."""
    with connection.makefile("rb") as file:
        while read_message(file.read, 1 << 24).kind is not Kind.CLOSE:
            pass


def image_message(shape: Sequence[int] = (4, 4), *, slice_: int = 0) -> bytes:
    image = ismrmrd.Image.from_array(np.ones(shape, np.float32), transpose=False)
    image.slice = slice_
    return message_bytes(Kind.IMAGE, image)
