"""The server: one thread per client, one reconstruction at a time, limits on size and time."""

from __future__ import annotations

import contextlib
import logging
import math
import socket
import threading
import time

from firenet_mri.errors import UsageError
from firenet_mri.io.mrd_messages import Kind, message_bytes
from firenet_mri.plurals import by_number, counted
from firenet_mri.server.address import check_port, family_of
from firenet_mri.server.health import HEALTH, Health
from firenet_mri.server.limits import Limits, lack_of_files
from firenet_mri.server.reconstructor import Reconstructor
from firenet_mri.server.saving import Saving
from firenet_mri.server.session import Held, Session

__all__ = ["HEALTH", "LOOPBACK", "Health", "Limits", "Server", "Session"]

_log = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "localhost", "::1")

# Seconds until the next attempt after a connection could not be accepted.
_PAUSE_S = 0.2
# Seconds at the end for telling the remaining clients and ending their threads.
_TOLD_S = 5.0


class Server:
    """Listens on an address, and reconstructs the scans that clients send.

    Parameters
    ----------
    host
        Address to listen on.
    port
        Port; 0 chooses a free one.
    limits
        See :class:`Limits`.
    allow_remote
        Listen on an address that other machines can reach, without encryption or passwords.
    saving
        Where the files are written; None keeps nothing.
    reconstructor
        The object that makes the images, which is not closed with the server; None creates one.

    Raises
    ------
    UsageError
        If other machines can reach the address and this was not allowed, or if the server cannot
        listen on it.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 9002,
        *,
        limits: Limits | None = None,
        allow_remote: bool = False,
        saving: Saving | None = None,
        reconstructor: Reconstructor | None = None,
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
            # Python appends the address to the system's message.
            why = (error.strerror or str(error)).partition(" (while ")[0]
            raise UsageError(
                f"the server cannot listen on {host}:{port} ({why}); choose another address or "
                "port, or stop the program that uses it"
            ) from None
        self._is_owner = reconstructor is None
        self._reconstructor = reconstructor or Reconstructor(self.limits)
        self._held = Held(self.limits.held_bytes)
        self._clients = threading.BoundedSemaphore(self.limits.clients)
        self._threads: set[threading.Thread] = set()
        self._sessions: set[Session] = set()
        # Not an Event, whose lock may be held by the very thread that a signal interrupts.
        self._is_stopping = False
        self._end = math.inf
        self.health = Health(self._reconstructor, self.limits.recon_s)
        if lack := lack_of_files(self.limits.clients):
            _log.warning("%s", lack)

    @property
    def port(self) -> int:
        """The port on which the server listens."""
        return int(self._socket.getsockname()[1])

    def serve(self) -> int:
        """Serve until :meth:`stop` is called; return how many clients were disconnected then."""
        # Set here, since the socket may be closed before the thread begins.
        self._socket.settimeout(_PAUSE_S)
        listener = threading.Thread(target=self._listen, daemon=True)
        if self._is_owner:
            self._reconstructor.start()
        try:
            listener.start()
            while (listener.is_alive() or self._threads) and time.monotonic() < self._end:
                time.sleep(_PAUSE_S)
        finally:
            # The listener must not continue without a socket after an exception, such as Control-C.
            self._is_stopping = True
            self._socket.close()
            left = self._leave()
        return left

    def _leave(self) -> int:
        """Disconnect the remaining clients within seconds; return how many there were."""
        left = len(self._threads)
        if self._is_owner:
            self._reconstructor.close()
        for end in (Session.stop, Session.end):
            for session in list(self._sessions):
                end(session)
            until = time.monotonic() + _TOLD_S
            while self._threads and time.monotonic() < until:
                time.sleep(_PAUSE_S)
        return left

    def _listen(self) -> None:
        while not self._is_stopping:
            try:
                client, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError as error:
                # The client gave up, or there are no file descriptors at the moment.
                _log.warning("a connection could not be accepted: %s", error.strerror)
                time.sleep(_PAUSE_S)
                continue
            try:
                self._admit(client)
            # Any error costs this client only, not the service.
            except Exception as error:
                _log.warning("a client was disconnected: %s", type(error).__name__)

    def _admit(self, client: socket.socket) -> None:
        """Serve a client, or turn it away."""
        if not self._clients.acquire(blocking=False):
            self._turn_away(
                client,
                f"{counted(self.limits.clients, 'client')} "
                f"{by_number(self.limits.clients, 'is', 'are')} connected",
            )
            return
        try:
            self._begin(client)
        # There is no thread left, or no memory for one.
        except (RuntimeError, MemoryError) as error:
            self._clients.release()
            self._turn_away(client, str(error) or type(error).__name__)

    def _turn_away(self, client: socket.socket, why: str) -> None:
        self.health.count("turned_away")
        _log.warning("a client was turned away: %s", why)
        with contextlib.suppress(OSError), client:
            client.sendall(message_bytes(Kind.CLOSE))

    def _begin(self, client: socket.socket) -> None:
        """Serve a client in a separate thread."""
        thread = threading.Thread(target=self._handle, args=(client,), daemon=True)
        self._threads.add(thread)
        try:
            thread.start()
        except BaseException:
            self._threads.discard(thread)
            raise

    def stop(self, *, at_once: bool = False) -> None:
        """Accept no further clients, and make :meth:`serve` return.

        Parameters
        ----------
        at_once
            Disconnect the connected clients; otherwise the limits state how long they may take.
        """
        # The end is set first, since a thread that sees the flag reads it.
        end = time.monotonic() + (0 if at_once else self.limits.stop_seconds)
        self._end = min(self._end, end)
        self._is_stopping = True

    def _handle(self, client: socket.socket) -> None:
        try:
            with client:
                self.health.count("clients")
                session = Session(client, self.limits, self._reconstructor, self._held, self.health)
                self._sessions.add(session)
                try:
                    session.run(self._saving)
                finally:
                    session.release()
                    self._sessions.discard(session)
                    self._held.add(-session.received)
        # One client must never end the service. The data that it sent are not logged.
        except Exception as error:
            self.health.count("left")
            _log.warning("a client was disconnected: %s", type(error).__name__, exc_info=False)
        finally:
            self._clients.release()
            self._threads.discard(threading.current_thread())
