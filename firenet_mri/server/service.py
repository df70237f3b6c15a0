"""The server: a thread a client, one reconstruction at a time, limits on memory, size and time."""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from firenet_mri.errors import UsageError
from firenet_mri.io.mrd_messages import Kind, message_bytes
from firenet_mri.server.address import check_port, family_of
from firenet_mri.server.health import HEALTH, Health
from firenet_mri.server.limits import Limits
from firenet_mri.server.saving import Saving
from firenet_mri.server.session import Held, Session

__all__ = ["HEALTH", "LOOPBACK", "Health", "Limits", "Server", "Session"]

T = TypeVar("T")

_log = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "localhost", "::1")

# Until a connection is tried again that could not be taken.
_PAUSE_S = 0.2


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
        self._held = Held(self.limits.held_bytes)
        self._clients = threading.BoundedSemaphore(self.limits.clients)
        self._threads: set[threading.Thread] = set()
        # No event: its lock may be held by the very thread that a signal interrupts.
        self._is_stopping = False
        self.health = Health()

    @property
    def port(self) -> int:
        """The port that is listened at."""
        return int(self._socket.getsockname()[1])

    def serve(self) -> None:
        """Serve until :meth:`stop` is called; fastest in the process's first thread."""
        listener = threading.Thread(target=self._listen, daemon=True)
        try:
            listener.start()
            while listener.is_alive() or self._threads:
                self._calls.make_one(timeout_s=_PAUSE_S)
        finally:
            self._socket.close()

    def _listen(self) -> None:
        self._socket.settimeout(_PAUSE_S)
        while not self._is_stopping:
            try:
                client, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError as error:
                # A client that gave up, or no file descriptors for now.
                _log.warning("a connection could not be taken: %s", error.strerror)
                time.sleep(_PAUSE_S)
                continue
            try:
                self._admit(client)
            # Whatever it is, it costs this client and not the service.
            except Exception as error:
                _log.warning("a client was left: %s", type(error).__name__)

    def _admit(self, client: socket.socket) -> None:
        """Serve a client, or turn it away."""
        if not self._clients.acquire(blocking=False):
            self._turn_away(client, f"{self.limits.clients} are connected")
            return
        try:
            self._begin(client)
        # No thread, or no memory for one.
        except (RuntimeError, MemoryError) as error:
            self._clients.release()
            self._turn_away(client, str(error) or type(error).__name__)

    def _turn_away(self, client: socket.socket, why: str) -> None:
        self.health.count("turned_away")
        _log.warning("a client was turned away: %s", why)
        with contextlib.suppress(OSError), client:
            client.sendall(message_bytes(Kind.CLOSE))

    def _begin(self, client: socket.socket) -> None:
        """Serve a client in a thread of its own."""
        thread = threading.Thread(target=self._handle, args=(client,), daemon=True)
        self._threads.add(thread)
        try:
            thread.start()
        except BaseException:
            self._threads.discard(thread)
            raise

    def stop(self) -> None:
        """Take no further clients; :meth:`serve` returns when those that are here are done."""
        self._is_stopping = True

    def _handle(self, client: socket.socket) -> None:
        try:
            with client:
                self.health.count("clients")
                session = Session(client, self.limits, self._calls, self._held, self.health)
                try:
                    session.run(self._saving)
                finally:
                    session.release()
                    self._held.add(-session.received)
        # One client must never end the service; what it sent is not logged.
        except Exception as error:
            self.health.count("left")
            _log.warning("a client was left: %s", type(error).__name__, exc_info=False)
        finally:
            self._clients.release()
            self._threads.discard(threading.current_thread())


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
