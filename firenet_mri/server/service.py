"""The server: a thread a client, one reconstruction at a time, limits on memory, size and time."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import queue
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, TypeVar

from firenet_mri.errors import UsageError
from firenet_mri.io.mrd_messages import (
    ConnectionEnded,
    Kind,
    ProtocolError,
    message_bytes,
    read_message,
)
from firenet_mri.server.address import check_limit, check_port, family_of
from firenet_mri.server.process import parse_parameters, process
from firenet_mri.server.saving import Saving

T = TypeVar("T")

_log = logging.getLogger(__name__)

#: Name of the configuration that is answered with :meth:`Health.report`, and nothing else.
HEALTH = "firenet-health"

# How long a client that was told why it is left may take to read it.
_LINGER_S = 5.0

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Limits:
    """What clients may take.

    Parameters
    ----------
    message_bytes
        Of one part of a message.
    scan_bytes
        Of all that a client sends.
    held_bytes
        Of all that the connected clients have sent; whoever sends more is refused.
    clients
        Connected at once; further ones are told to come back, and closed.
    idle_s
        Seconds without a byte after which a client is left.
    scan_s
        Seconds that a client may take to send its scan, however slowly the bytes come.

    Raises
    ------
    UsageError
        If one is not positive, or beyond what can be counted.
    """

    message_bytes: int = 1 << 28
    scan_bytes: int = 1 << 33
    held_bytes: int = 1 << 34
    clients: int = 32
    idle_s: float = 60.0
    scan_s: float = 6 * 3600.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_limit(field.name, getattr(self, field.name))


class Server:
    """Listens, and reconstructs what clients send.

    Parameters
    ----------
    host
        Address to listen at.
    port
        Port; 0 takes a free one.
    limits
        See :class:`Limits`.
    allow_remote
        Listen at an address that other machines reach, without encryption or passwords.
    saving
        Where the files of what was made go; None keeps nothing.

    Raises
    ------
    UsageError
        If the address is not this machine's own and that was not allowed, or cannot be had.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 9002,
        *,
        limits: Limits | None = None,
        allow_remote: bool = False,
        saving: Saving | None = None,
    ) -> None:
        if host not in LOOPBACK and not allow_remote:
            raise UsageError(
                f"{host} can be reached by other machines, and the protocol has neither passwords "
                "nor encryption; use 127.0.0.1, or allow it with --allow-remote in a closed network"
            )
        self.limits = limits or Limits()
        self._saving = saving
        check_port(port)
        try:
            self._socket = socket.create_server((host, port), family=family_of(host))
        except OSError as error:
            raise UsageError(f"{host}:{port} cannot be listened at ({error.strerror})") from None
        self._calls = _Calls()
        self._held = _Held(self.limits.held_bytes)
        self._clients = threading.BoundedSemaphore(self.limits.clients)
        self._threads: set[threading.Thread] = set()
        self._is_stopping = threading.Event()
        self.health = Health()

    @property
    def port(self) -> int:
        """The port that is listened at."""
        return int(self._socket.getsockname()[1])

    def serve(self) -> None:
        """Serve until :meth:`stop` is called; fastest in the process's first thread."""
        listener = threading.Thread(target=self._listen, daemon=True)
        listener.start()
        while listener.is_alive() or self._threads:
            self._calls.make_one(timeout_s=0.2)
        self._socket.close()

    def _listen(self) -> None:
        self._socket.settimeout(0.2)
        while not self._is_stopping.is_set():
            try:
                client, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError as error:
                # A client that gave up, or no file descriptors for now.
                _log.warning("a connection could not be taken: %s", error.strerror)
                time.sleep(0.2)
                continue
            if not self._clients.acquire(blocking=False):
                self.health.count("turned_away")
                _log.warning("a client was turned away: %d are connected", self.limits.clients)
                with contextlib.suppress(OSError), client:
                    client.sendall(message_bytes(Kind.CLOSE))
                continue
            thread = threading.Thread(target=self._handle, args=(client,), daemon=True)
            self._threads.add(thread)
            thread.start()

    def stop(self) -> None:
        """Take no further clients; :meth:`serve` returns when those that are here are done."""
        self._is_stopping.set()

    def _handle(self, client: socket.socket) -> None:
        try:
            with client:
                client.settimeout(self.limits.idle_s)
                self.health.count("clients")
                session = Session(client, self.limits, self._calls, self._held, self.health)
                try:
                    session.run(self._saving)
                finally:
                    self._held.add(-session.received)
                    session.release()
        # One client must never end the service; what it sent is not logged.
        except Exception as error:
            self.health.count("left")
            _log.warning("a client was left: %s", type(error).__name__, exc_info=False)
        finally:
            self._clients.release()
            self._threads.discard(threading.current_thread())


class Health:
    """What the service has done since its start, for monitoring; no word of what was sent."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._last_image: float | None = None

    def count(self, what: str, number: int = 1) -> None:
        """Add to a count: clients, turned_away, left, refused or images."""
        with self._lock:
            self._counts[what] += number
            if what == "images":
                self._last_image = time.monotonic()

    def report(self) -> dict[str, object]:
        """Return the counts, seconds since the start, and since the last image (or None)."""
        with self._lock:
            now, last = time.monotonic(), self._last_image
            names = ("clients", "images", "refused", "left", "turned_away")
            return {
                "status": "ok",
                "version": version("firenet_mri"),
                "uptime_s": round(now - self._started, 1),
                "since_last_image_s": None if last is None else round(now - last, 1),
                **{name: self._counts[name] for name in names},
            }


class _Calls:
    """What the clients' threads want done, one after the other, by the thread that serves.

    OpenMP's threads wait actively only for a process's first thread: reconstructing in another one
    takes up to twice as long.
    """

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]]
        self._waiting = queue.SimpleQueue()

    def make(self, function: Callable[[], T]) -> T:
        """Return what the function returns, or raise what it raises, once its turn has come."""
        future: Future[T] = Future()
        self._waiting.put((future, function))
        return future.result()

    def make_one(self, timeout_s: float) -> None:
        """Make the next call, if there is one until then."""
        try:
            future, function = self._waiting.get(timeout=timeout_s)
        except queue.Empty:
            return
        try:
            future.set_result(function())
        except Exception as error:
            future.set_exception(error)
            # The error holds this frame, and it the data.
            del future, function


class _Held:
    """Bytes that all connected clients have sent."""

    def __init__(self, limit: int) -> None:
        self._limit, self._bytes = limit, 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """Add to them, or raise ProtocolError if that is more than the limit."""
        with self._lock:
            if count > 0 and self._bytes + count > self._limit:
                raise ProtocolError("the server holds too much of other scans; send this one later")
            self._bytes += count


class Session:
    """One client's connection, as :func:`firenet_mri.server.process` takes it."""

    def __init__(
        self,
        client: socket.socket,
        limits: Limits,
        calls: _Calls,
        held: _Held,
        health: Health,
    ) -> None:
        self._client = client
        self._health = health
        self._file = client.makefile("rb")
        self._limits = limits
        self._calls = calls
        self._held = held
        self._deadline = time.monotonic() + limits.scan_s
        #: Bytes.
        self.received = 0
        self._is_closed = False
        self._pending: Any = None
        self.config: Any = "firenet"
        self.header: str | None = None

    def run(self, saving: Saving | None = None) -> None:
        """Read configuration and header, then have what follows processed."""
        try:
            first = self._begin()
        except (ConnectionEnded, TimeoutError, OSError):
            _log.warning("a client went away before its data came")
            return
        except (ProtocolError, UsageError) as error:
            self._health.count("refused")
            _log.warning("a client was refused: %s", error)
            self.send_logging("ERROR", str(error))
            self.send_close()
            return
        if self.config == HEALTH:
            self._send(message_bytes(Kind.TEXT, json.dumps(self._health.report())))
            self.send_close()
            return
        self._pending = first
        process(self, self.config, self.header, saving=saving)

    def _begin(self) -> Any:
        """Return the first item of data, once the header has come; None if there is none."""
        while True:
            message = read_message(self._receive, self._limits.message_bytes)
            if message.kind in (Kind.CONFIG_FILE, Kind.CONFIG_TEXT):
                self.config = message.value
                if self.config == HEALTH:
                    return None
            elif message.kind is Kind.HEADER:
                self.header = message.value
            elif message.kind is Kind.TEXT:
                self.config = parse_parameters(message.value)
            elif message.kind is Kind.ARRAY:
                continue
            elif self.header is None:
                raise ProtocolError("data came before the header; send it first")
            else:
                return message.value

    def _receive(self, count: int) -> bytes:
        if self.received + count > self._limits.scan_bytes:
            raise ProtocolError(
                f"more than {self._limits.scan_bytes} bytes; raise the limit or send less"
            )
        self._held.add(count)
        self.received += count
        parts = []
        while count:
            if time.monotonic() > self._deadline:
                raise ProtocolError(f"more than {self._limits.scan_s:g} s; raise the limit")
            # One part at a time: a client that trickles must meet its deadline.
            part = self._file.read1(count)
            if not part:
                break
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def __iter__(self) -> Iterator[Any]:
        """Yield the items of data until the client closes."""
        if self._pending is None:
            return
        yield self._pending
        while True:
            message = read_message(self._receive, self._limits.message_bytes)
            if message.kind is Kind.CLOSE:
                return
            if message.kind in (Kind.TEXT, Kind.ARRAY):
                continue
            yield message.value

    def in_turn(self, function: Callable[[], T]) -> T:
        """Return what the function returns when its turn has come: one at a time has the cores."""
        return self._calls.make(function)

    def send_image(self, images: Any) -> None:
        """Send images."""
        found = images if isinstance(images, list) else [images]
        for image in found:
            self._send(message_bytes(Kind.IMAGE, image))
        self._health.count("images", len(found))

    def send_logging(self, level: str, text: str) -> None:
        """Send a line for the host's log."""
        self._send(message_bytes(Kind.TEXT, f"{level:<8} {text}"))

    def send_close(self) -> None:
        """Say that nothing more comes, once."""
        if not self._is_closed:
            self._is_closed = True
            self._send(message_bytes(Kind.CLOSE))

    def release(self) -> None:
        """Close for good; for a moment what still comes is thrown away.

        A socket that is closed with unread data resets the connection, and the client would lose
        what it was told last.
        """
        end = time.monotonic() + min(self._limits.idle_s, _LINGER_S)
        with contextlib.suppress(OSError):
            self._client.shutdown(socket.SHUT_WR)
            while (left := end - time.monotonic()) > 0:
                self._client.settimeout(left)
                if not self._client.recv(1 << 20):
                    break
        # The socket stays open while the file is.
        self._file.close()

    def _send(self, data: bytes) -> None:
        # Whoever went away cannot be told; what is left of the work ends by itself.
        with contextlib.suppress(OSError):
            self._client.sendall(data)
