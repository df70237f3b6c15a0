"""Reads messages ahead while a reconstruction runs, until they fill their share of memory.

Beyond that share nothing is read and nothing is lost: the operating system makes the client wait.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator

from firenet_mri.io.mrd_messages import Kind, Message


class Incoming:
    """The messages of a connection up to its close, read by a separate thread.

    Parameters
    ----------
    read
        Returns the next message and its size in bytes.
    limit_bytes
        Largest total size of the waiting messages; a larger message waits alone.
    """

    def __init__(self, read: Callable[[], tuple[Message, int]], limit_bytes: int) -> None:
        self._read = read
        self._limit = limit_bytes
        self._waiting: deque[tuple[Message | Exception, int]] = deque()
        self._bytes = 0
        self._is_stopped = False
        self._is_wanted = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read_all, daemon=True)

    def start(self) -> None:
        """Start reading.

        Raises
        ------
        RuntimeError
            If the system cannot start another thread.
        """
        self._thread.start()

    @property
    def is_wanted(self) -> bool:
        """True while somebody waits for the next message."""
        return self._is_wanted

    def _read_all(self) -> None:
        is_last = False
        while not is_last and not self._is_stopped:
            found: Message | Exception
            try:
                found, size = self._read()
                is_last = found.kind is Kind.CLOSE
            # The consumer raises it, after the messages that arrived before it.
            except Exception as error:
                found, size, is_last = error, 0, True
            self._put(found, size)

    def _put(self, found: Message | Exception, size: int) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_stopped or not self._waiting or self._bytes + size <= self._limit
            )
            self._waiting.append((found, size))
            self._bytes += size
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Message]:
        """Yield the messages before the close, or raise the error that ended them."""
        while True:
            found = self._next()
            if isinstance(found, Exception):
                raise found
            if found.kind is Kind.CLOSE:
                return
            yield found

    def _next(self) -> Message | Exception:
        with self._changed:
            self._is_wanted = True
            self._changed.wait_for(lambda: self._waiting)
            self._is_wanted = False
            found, size = self._waiting.popleft()
            self._bytes -= size
            self._changed.notify_all()
            return found

    def stop(self) -> None:
        """Stop reading, and discard the waiting messages."""
        with self._changed:
            self._is_stopped = True
            self._waiting.clear()
            self._bytes = 0
            self._changed.notify_all()

    def join(self) -> None:
        """Wait for the thread, which ends after its current message or with the connection."""
        if self._thread.ident is not None:
            self._thread.join()
