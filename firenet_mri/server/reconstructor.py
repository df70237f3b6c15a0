"""Reconstructs for all clients, one piece of work after the other, within limits.

The work is done in a separate process (:mod:`firenet_mri.server.worker`). If it takes too long or
too much memory, if it dies, or if its client has left, the process is ended and a new one is
started. No client has to wait for images that nobody wants any more.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from firenet_mri.errors import DataError
from firenet_mri.io.mrd_messages import ConnectionEnded, Kind, NotDelivered
from firenet_mri.server.limits import Limits
from firenet_mri.server.options import StreamOptions
from firenet_mri.server.saving import Saving
from firenet_mri.server.worker import Work, Worker

_log = logging.getLogger(__name__)

_TURN_S = 0.1
# Seconds after which a process that has not loaded its libraries is given up.
_START_S = 120.0
# Work for a client that has left continues for as long as a new process would take to start, but
# for at least this many seconds.
_LEFT_S = 5.0
_END_S = 10.0
# Number of lines about saved files that are kept until they are requested.
_MOST_SAVED = 1000


@dataclass(frozen=True)
class MadeElsewhere:
    """The result that the process returned."""

    images: list[Any]
    warning_lines: list[str]


class Reconstructor:
    """Reconstructs for all clients of a server, whose threads may call it at the same time.

    Parameters
    ----------
    limits
        Limits on the time and memory that a piece of work may take.
    new_worker
        Function that starts a process.
    """

    def __init__(self, limits: Limits, new_worker: Callable[[], Worker] = Worker) -> None:
        self._limits = limits
        self._new_worker = new_worker
        self._turns = _Turns()
        self._worker: Worker | None = None
        self._is_ready = False
        self._start_s = 0.0
        self._is_closed = False
        self._since: float | None = None
        self._saved: OrderedDict[str, tuple[str, str]] = OrderedDict()
        #: Number of pieces of work whose process was ended.
        self.ended = 0

    def start(self) -> None:
        """Start the process in advance, without waiting for it."""
        try:
            self._worker, self._is_ready = self._new_worker(), False
        except OSError as error:
            self._worker = None
            _log.error("no process for reconstructions could be started (%s)", error.strerror)

    @property
    def running_s(self) -> float | None:
        """Seconds since the current piece of work began; None if there is none."""
        since = self._since
        return None if since is None else time.monotonic() - since

    @property
    def waiting(self) -> int:
        """Number of clients that wait for their turn."""
        return max(0, len(self._turns) - (self._since is not None))

    def make(self, work: Work, is_left: Callable[[], bool] = lambda: False) -> MadeElsewhere:
        """Wait for this client's turn, and return the images of a piece of work.

        Parameters
        ----------
        work
            The piece of work.
        is_left
            Returns True once the client has left.

        Raises
        ------
        DataError
            If the scan cannot be reconstructed, if the work took too long or too much memory, or if
            the process ended.
        NotDelivered
            If the client has left.
        """
        watch = _Watch(self._limits, is_left)
        with self._turns.turn(lambda: self._look(watch)):
            worker = self._begun()
            watch.begin(worker, self._start_s)
            self._since = time.monotonic()
            try:
                images, said = self._exchange(worker, work, watch)
            except BaseException:
                # The state of the process is unknown, so it cannot be used again.
                self._replace()
                raise
            finally:
                self._since = None
        if "error" in said:
            raise DataError(said["error"])
        return MadeElsewhere(images, said["made"])

    def _exchange(
        self, worker: Worker, work: Work, watch: _Watch
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return the images, and the message about them."""
        images: list[Any] = []
        try:
            worker.send(work, lambda: self._look(watch))
            while True:
                message = worker.receive(lambda: self._look(watch))
                if message.kind is Kind.IMAGE:
                    images.append(message.value)
                elif not self._keeps(message.value):
                    return images, message.value
        except ConnectionEnded:
            how = self._end()
            raise DataError(
                f"The process of the reconstruction was ended {how or 'by itself'}; send the scan "
                "again, or a smaller one"
            ) from None

    def _begun(self) -> Worker:
        """Return the process once it is ready, even if the client has left in the meantime."""
        if self._worker is None or not self._worker.is_alive:
            # A process that died while idle is replaced; it is not this client's fault.
            self._end()
            self.start()
        worker, until = self._worker, time.monotonic() + _START_S
        if worker is None:
            raise DataError("no process for the reconstruction could be started; send it later")

        def look() -> None:
            if self._is_closed or time.monotonic() > until:
                raise ConnectionEnded("the server no longer waits for it")

        try:
            while not self._is_ready:
                took = worker.receive(look).value
                self._is_ready = "ready" in took
                self._start_s = max(self._start_s, took.get("ready") or 0.0)
        except ConnectionEnded:
            raise DataError(
                f"the process for reconstructions did not start ({self._end() or 'in time'}); "
                "see the server's log"
            ) from None
        return worker

    def _look(self, watch: _Watch) -> None:
        if self._is_closed:
            raise DataError("the server is being stopped; send the scan again later")
        watch.look()

    def _keeps(self, said: dict[str, Any]) -> bool:
        """Return whether a message is about saved files; if so, keep it under their name."""
        if "saved" not in said:
            return False
        name, level, text = said["saved"]
        self._saved[name] = level, text
        while len(self._saved) > _MOST_SAVED:
            self._saved.popitem(last=False)
        return True

    def saved(self, name: str) -> tuple[str, str]:
        """Wait until files of earlier work are written; return level and text of a line about them.

        Parameters
        ----------
        name
            Name of the files.
        """
        watch = _Watch(self._limits, lambda: False)
        with contextlib.suppress(DataError), self._turns.turn(lambda: self._look(watch)):
            worker = self._worker
            if worker is not None and name not in self._saved:
                watch.begin(worker)
            try:
                while worker is not None and self._is_ready and name not in self._saved:
                    self._keeps(worker.receive(lambda: self._look(watch)).value)
            except DataError:
                self._replace()
        lost = "WARNING", f"{name}: perhaps not saved; its process was ended"
        return self._saved.pop(name, lost)

    def _end(self) -> str:
        """End the process; return how it had ended by itself, if it had."""
        worker, self._worker = self._worker, None
        return "" if worker is None else worker.end()

    def _replace(self) -> None:
        self.ended += 1
        self._end()
        if not self._is_closed:
            self.start()

    def close(self) -> None:
        """End the process, whatever it is doing; waiting clients get an error."""
        self._is_closed = True
        # The client whose turn it is gives its turn up.
        with contextlib.suppress(TimeoutError), self._turns.turn(_until(time.monotonic() + _END_S)):
            pass
        self._end()


def _until(end: float) -> Callable[[], None]:
    def look() -> None:
        if time.monotonic() > end:
            raise TimeoutError

    return look


class _Watch:
    """The limits that are checked while a client waits and the process works.

    Parameters
    ----------
    limits
        Limits on time and memory.
    is_left
        Returns True once the client has left.
    """

    def __init__(self, limits: Limits, is_left: Callable[[], bool]) -> None:
        self._limits = limits
        self._is_left = is_left
        self._left_since: float | None = None
        self._worker: Worker | None = None
        self._deadline = self._patience_s = 0.0

    def begin(self, worker: Worker, start_s: float = 0.0) -> None:
        """Start timing the work and monitoring the process.

        Parameters
        ----------
        worker
            The process.
        start_s
            Seconds that a new process would take to start.
        """
        self._worker, self._patience_s = worker, max(_LEFT_S, start_s)
        self._deadline = time.monotonic() + self._limits.recon_s

    def look(self) -> None:
        """Raise DataError if a limit is exceeded, or NotDelivered if the client has left."""
        now = time.monotonic()
        if self._left_since is None and self._is_left():
            self._left_since = now
        # A client that is still waiting for its turn may leave at once.
        if self._left_since is not None and now > self._left_since + self._patience_s:
            raise NotDelivered("a client left before its images were made")
        if self._worker is None:
            return
        if now > self._deadline:
            raise DataError(
                f"The reconstruction took more than {self._limits.recon_s:g} s and was ended; ask "
                "for fewer layers, send a smaller scan, or have --recon-minutes increased"
            )
        held = self._worker.resident_bytes
        if held > self._limits.recon_bytes:
            raise DataError(
                f"The reconstruction took {held / 2**30:.1f} GiB of memory, where "
                f"{self._limits.recon_bytes / 2**30:.3g} are allowed, and was ended; send a "
                "smaller scan or fewer slices at once, or ask the administrator to raise "
                "--recon-gib"
            )


class _Turns:
    """Lets one client proceed at a time, in order of arrival; a client may stop waiting."""

    def __init__(self) -> None:
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._waiting)

    @contextlib.contextmanager
    def turn(self, look: Callable[[], None]) -> Iterator[None]:
        """Wait for a turn and hold it; ``look`` is called while waiting and may raise an error."""
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
        try:
            while not self._is_first(ticket):
                look()
            yield
        finally:
            with self._changed:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _is_first(self, ticket: object) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._waiting[0] is ticket, _TURN_S)


class Elsewhere:
    """Makes the images of one connection in the process; see ``server.answering.Maker``.

    Parameters
    ----------
    reconstructor
        The owner of the process.
    limits
        Limit on the memory.
    saving
        Where files are written; None writes none.
    is_left
        Returns True once the client has left.
    """

    def __init__(
        self,
        reconstructor: Reconstructor,
        limits: Limits,
        saving: Saving | None,
        is_left: Callable[[], bool],
    ) -> None:
        self._reconstructor = reconstructor
        self._limits = limits
        self._saving = saving
        self._is_left = is_left
        self._name: str | None = None

    def make(self, header: Any, readouts: list[Any], options: StreamOptions) -> MadeElsewhere:
        """Return the images of complete readouts."""
        self._name = None if self._saving is None else self._saving.new_name()
        most = self._limits.recon_bytes
        work = Work(header, readouts, options, most, self._saving, self._name)
        return self._reconstructor.make(work, self._is_left)

    def saved(self) -> tuple[str, str] | None:
        """Return level and text of a line about the latest files; None without files."""
        return None if self._name is None else self._reconstructor.saved(self._name)
