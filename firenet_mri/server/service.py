"""The server: a thread a client, one reconstruction at a time, limits on memory, size and time."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from firenet_mri.errors import UsageError
from firenet_mri.server.process import parse_parameters, process
from firenet_mri.server.protocol import (
    ConnectionEnded,
    Kind,
    ProtocolError,
    message_bytes,
    read_message,
)

_log = logging.getLogger(__name__)

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
    clients
        Connected at once; further ones are told to come back, and closed.
    idle_s
        Seconds without a byte after which a client is left.
    """

    message_bytes: int = 1 << 28
    scan_bytes: int = 1 << 33
    clients: int = 32
    idle_s: float = 60.0


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
    ) -> None:
        if host not in LOOPBACK and not allow_remote:
            raise UsageError(
                f"{host} can be reached by other machines, and the protocol has neither passwords "
                "nor encryption; use 127.0.0.1, or allow it with --allow-remote in a closed network"
            )
        self.limits = limits or Limits()
        try:
            self._socket = socket.create_server((host, port))
        except OSError as error:
            raise UsageError(f"{host}:{port} cannot be listened at ({error.strerror})") from None
        self._work = threading.Lock()
        self._clients = threading.BoundedSemaphore(self.limits.clients)
        self._threads: set[threading.Thread] = set()
        self._is_stopping = threading.Event()

    @property
    def port(self) -> int:
        """The port that is listened at."""
        return int(self._socket.getsockname()[1])

    def serve(self) -> None:
        """Serve until :meth:`stop` is called."""
        self._socket.settimeout(0.2)
        while not self._is_stopping.is_set():
            try:
                client, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError:
                break
            if not self._clients.acquire(blocking=False):
                _log.warning("a client was turned away: %d are connected", self.limits.clients)
                with contextlib.suppress(OSError), client:
                    client.sendall(message_bytes(Kind.CLOSE))
                continue
            thread = threading.Thread(target=self._handle, args=(client,), daemon=True)
            self._threads.add(thread)
            thread.start()
        for thread in list(self._threads):
            thread.join()
        self._socket.close()

    def stop(self) -> None:
        """Take no further clients; :meth:`serve` returns when those that are here are done."""
        self._is_stopping.set()

    def _handle(self, client: socket.socket) -> None:
        try:
            with client:
                client.settimeout(self.limits.idle_s)
                Session(client, self.limits, self._work).run()
        # One client must never end the service; what it sent is not logged.
        except Exception as error:
            _log.warning("a client was left: %s", type(error).__name__, exc_info=False)
        finally:
            self._clients.release()
            self._threads.discard(threading.current_thread())


class Session:
    """One client's connection, as :func:`firenet_mri.server.process` takes it."""

    def __init__(self, client: socket.socket, limits: Limits, work: threading.Lock) -> None:
        self._client = client
        self._file = client.makefile("rb")
        self._limits = limits
        self._work = work
        self._received = 0
        self._is_closed = False
        self.config: Any = "firenet"
        self.header: str | None = None

    def run(self) -> None:
        """Read configuration and header, then have what follows processed."""
        try:
            first = self._begin()
        except (ConnectionEnded, TimeoutError, OSError):
            _log.warning("a client went away before its data came")
            return
        except (ProtocolError, UsageError) as error:
            _log.warning("a client was refused: %s", error)
            self.send_logging("ERROR", str(error))
            self.send_close()
            return
        self._pending = first
        process(self, self.config, self.header)

    def _begin(self) -> Any:
        """Return the first item of data, once the header has come; None if there is none."""
        while True:
            message = read_message(self._receive, self._limits.message_bytes)
            if message.kind in (Kind.CONFIG_FILE, Kind.CONFIG_TEXT):
                self.config = message.value
            elif message.kind is Kind.HEADER:
                self.header = message.value
            elif message.kind is Kind.TEXT:
                self.config = parse_parameters(message.value)
            elif self.header is None:
                raise ProtocolError("data came before the header; send it first")
            else:
                return message.value

    def _receive(self, count: int) -> bytes:
        self._received += count
        if self._received > self._limits.scan_bytes:
            raise ProtocolError(
                f"more than {self._limits.scan_bytes} bytes; raise the limit or send less"
            )
        return self._file.read(count)

    def __iter__(self) -> Iterator[Any]:
        """Yield the items of data until the client closes."""
        if self._pending is None:
            return
        yield self._pending
        while True:
            message = read_message(self._receive, self._limits.message_bytes)
            if message.kind is Kind.CLOSE:
                return
            if message.kind is Kind.TEXT:
                continue
            yield message.value

    def turn(self) -> threading.Lock:
        """Return what to hold while reconstructing: one at a time has the cores."""
        return self._work

    def send_image(self, images: Any) -> None:
        """Send images."""
        for image in images if isinstance(images, list) else [images]:
            self._send(message_bytes(Kind.IMAGE, image))

    def send_logging(self, level: str, text: str) -> None:
        """Send a line for the host's log."""
        self._send(message_bytes(Kind.TEXT, f"{level:<8} {text}"))

    def send_close(self) -> None:
        """Say that nothing more comes, once."""
        if not self._is_closed:
            self._is_closed = True
            self._send(message_bytes(Kind.CLOSE))

    def _send(self, data: bytes) -> None:
        # Whoever went away cannot be told; what is left of the work ends by itself.
        with contextlib.suppress(OSError):
            self._client.sendall(data)
