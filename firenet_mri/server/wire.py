"""A connection that one thread reads while another writes, each with a limit on silence.

Both threads wait in short intervals. A wait therefore ends when another thread ends the connection,
and bytes in one direction end the silence in the other. A client that sends a long scan need not
read the first images before it has finished.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import time
from collections.abc import Callable

_TURN_S = 0.25
_READ_AHEAD = 1 << 16
_AT_ONCE = 1 << 20
# Bytes per second below which a client counts as too slow.
_LEAST_RATE = 10_000
_FINISHED = getattr(select, "POLLRDHUP", 0)
_GONE = select.POLLERR | select.POLLHUP | select.POLLNVAL


class Wire:
    """A connected socket with limits on silence.

    Parameters
    ----------
    connection
        The socket; whoever made it closes it.
    silence_s
        Seconds without a byte in either direction after which a wait fails.
    longest_s
        Seconds that sending one message may take in all.
    excuse
        Returns True while the other side need not send anything.
    """

    def __init__(
        self,
        connection: socket.socket,
        silence_s: float,
        *,
        longest_s: float = math.inf,
        excuse: Callable[[], bool] = lambda: False,
    ) -> None:
        connection.settimeout(min(_TURN_S, max(silence_s, 1e-3)))
        self._connection = connection
        self._silence_s, self._longest_s = silence_s, longest_s
        self._excuse = excuse
        self._moved = time.monotonic()
        self._rest = memoryview(b"")
        self._is_ended = False

    def receive(
        self, count: int, *, deadline: float = math.inf, patience_s: float = math.inf
    ) -> bytes:
        """Return ``count`` bytes, or fewer if the other side has ended the connection.

        Parameters
        ----------
        count
            Number of bytes.
        deadline
            Time at which they must have arrived, in seconds of ``time.monotonic``.
        patience_s
            Seconds after which they must have arrived, extended by the time that the received bytes
            would take at the lowest accepted rate.

        Raises
        ------
        TimeoutError
            If the other side is silent for too long, or the deadline has passed.
        OSError
            If the connection is broken.
        """
        parts = [self._rest[:count]]
        self._rest = self._rest[count:]
        missing = count - len(parts[0])
        latest = time.monotonic() + patience_s
        while missing:
            until = min(deadline, latest + (count - missing) / _LEAST_RATE)
            found = memoryview(self._some(min(max(missing, _READ_AHEAD), _AT_ONCE), until))
            if not found:
                break
            parts.append(found[:missing])
            self._rest = found[missing:]
            missing -= len(parts[-1])
        return b"".join(parts)

    def _some(self, most: int, deadline: float) -> bytes:
        since = time.monotonic()
        while not self._is_ended:
            if time.monotonic() > deadline:
                raise TimeoutError("bytes came too slowly")
            try:
                found = self._connection.recv(most)
            except TimeoutError:
                if self._excuse():
                    since = time.monotonic()
                self._check_silence(since)
                continue
            self._moved = time.monotonic()
            return found
        return b""

    def send(self, data: bytes) -> None:
        """Send all bytes of the data.

        Raises
        ------
        TimeoutError
            If the other side accepts nothing for too long, or takes too long to accept everything.
        OSError
            If the connection is broken.
        """
        left, since = memoryview(data), time.monotonic()
        while left:
            if time.monotonic() > since + self._longest_s:
                raise TimeoutError(f"it was not accepted within {self._longest_s:g} s")
            try:
                count = self._connection.send(left[:_AT_ONCE])
            except TimeoutError:
                self._check_silence(since)
                continue
            self._moved = time.monotonic()
            left = left[count:]

    def _check_silence(self, since: float) -> None:
        if time.monotonic() > max(since, self._moved) + self._silence_s:
            raise TimeoutError(f"no byte was sent or received for {self._silence_s:g} s")

    @property
    def is_gone(self) -> bool:
        """True if the connection is broken, or the other side has closed it."""
        return self._is_ended or bool(self._events() & _GONE)

    @property
    def has_finished(self) -> bool:
        """True if the other side has finished sending; it may still wait for an answer."""
        return bool(self._events() & _FINISHED)

    def _events(self) -> int:
        poll = select.poll()
        poll.register(self._connection, _FINISHED)
        return sum(found for _, found in poll.poll(0))

    def stop_receiving(self) -> None:
        """End any wait for incoming bytes; sending continues."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RD)

    def end(self) -> None:
        """End the connection, and with it any wait for it."""
        self._is_ended = True
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def finish(self, within_s: float) -> None:
        """Stop sending, and discard incoming data for a moment.

        Closing a socket with unread data resets the connection, and the other side would lose the
        last message.
        """
        end = time.monotonic() + within_s
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
            while (left := end - time.monotonic()) > 0 and not self._is_ended:
                self._connection.settimeout(left)
                if not self._connection.recv(_AT_ONCE):
                    break
        # An object that lives longer need not keep the data that were read ahead.
        self._rest = memoryview(b"")
