"""One client's connection: it receives messages while others are processed, and sends answers.

If a message cannot be sent, the connection ends: a client never gets the closing message after an
image that was lost.
"""

from __future__ import annotations

import json
import logging
import math
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from firenet_mri.errors import UsageError
from firenet_mri.io.mrd_messages import (
    ConnectionEnded,
    Kind,
    Message,
    NotDelivered,
    ProtocolError,
    message_bytes,
    read_message,
)
from firenet_mri.plurals import counted
from firenet_mri.server.answering import parse_parameters, process
from firenet_mri.server.health import HEALTH, Health
from firenet_mri.server.incoming import Incoming
from firenet_mri.server.limits import Limits
from firenet_mri.server.reconstructor import Elsewhere, Reconstructor
from firenet_mri.server.saving import Saving
from firenet_mri.server.wire import Wire

_log = logging.getLogger(__name__)

# Seconds for a client that is being disconnected to read the reason.
_LINGER_S = 5.0
# Bytes that Python needs for a message besides its content.
_OF_A_MESSAGE = 1024


class Held:
    """Counts the bytes that all connected clients have sent."""

    def __init__(self, limit: int) -> None:
        self._limit, self._bytes = limit, 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """Add to the count, or raise ProtocolError if it would exceed the limit."""
        with self._lock:
            if count > 0 and self._bytes + count > self._limit:
                raise ProtocolError("the server holds too much of other scans; send this one later")
            self._bytes += count


class Session:
    """One client's connection, as :func:`firenet_mri.server.process` takes it.

    Parameters
    ----------
    client
        The connected socket.
    limits
        Limits on the client.
    reconstructor
        Makes the client's images.
    held
        Counts the bytes of all clients.
    health
        Counts clients and images.
    """

    def __init__(
        self,
        client: socket.socket,
        limits: Limits,
        reconstructor: Reconstructor,
        held: Held,
        health: Health,
    ) -> None:
        self._limits = limits
        self._reconstructor = reconstructor
        self._held = held
        self._health = health
        self._incoming = Incoming(self._message, limits.ahead_bytes)
        self._wire = Wire(
            client, limits.idle, longest_s=limits.scan_s, excuse=self._owes_the_client
        )
        self._deadline = time.monotonic() + limits.scan_s
        self._header_by = time.monotonic() + limits.idle
        #: Number of bytes received.
        self.received = 0
        self._is_closed = False
        self._is_broken = False
        self._is_stopped = False
        self._has_begun = False
        self._has_asked = False
        self._is_within = False
        self._pending: Any = None
        self.config: Any = "firenet"
        self.header: str | None = None

    def _owes_the_client(self) -> bool:
        """Return whether the server has to answer next, so that the client may be silent."""
        return self._has_begun and not self._incoming.is_wanted

    def run(self, saving: Saving | None = None) -> None:
        """Read configuration and header, then process the data that follow."""
        try:
            first = self._begin()
        except (ConnectionEnded, OSError):
            _log.warning("a client disconnected before it sent data")
            return
        except (ProtocolError, UsageError) as error:
            self._health.count("refused")
            _log.warning("a client was refused: %s", error)
            self._say_last(Kind.TEXT, _line("ERROR", str(error)))
            return
        if self.config == HEALTH:
            self._say_last(Kind.TEXT, json.dumps(self._health.report()))
            return
        self._pending = first
        # The reading thread depends on this flag.
        self._has_begun = True
        try:
            self._incoming.start()
        except RuntimeError:
            self._health.count("turned_away")
            _log.warning("a client was turned away: the system has no thread left")
            self._say_last(Kind.TEXT, _line("ERROR", "the server is busy; send this scan later"))
            return
        try:
            maker = Elsewhere(self._reconstructor, self._limits, saving, self._is_left)
            networks = self._limits.networks
            process(self, self.config, self.header, maker=maker, networks=networks)
        except NotDelivered as error:
            _log.warning("%s", error)

    def _begin(self) -> Any:
        """Return the first item of data after the header; None if there is none."""
        while True:
            message, _ = self._message()
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
                raise ProtocolError("data came before the header; send the header first")
            else:
                return message.value

    def _message(self) -> tuple[Message, int]:
        """Return the next message and its size in bytes."""
        before, self._is_within = self.received, False
        self._count(_OF_A_MESSAGE)
        message = read_message(self._receive, self._limits.message_bytes)
        return message, self.received - before

    def _receive(self, count: int) -> bytes:
        self._count(count)
        # A client may pause between messages, but not within one, nor before the first ones.
        is_expected = self._is_within or not self._has_begun
        patience_s = self._limits.idle if is_expected else math.inf
        deadline = self._deadline if self.header else min(self._deadline, self._header_by)
        self._is_within = True
        try:
            found = self._wire.receive(count, deadline=deadline, patience_s=patience_s)
            if self._is_stopped:
                raise ProtocolError("the server is being stopped; send the scan again later")
            return found
        except TimeoutError as error:
            if time.monotonic() > self._deadline:
                raise ProtocolError(
                    f"the scan took more than {self._limits.scan_s:g} s to arrive; have the limit "
                    "raised"
                ) from None
            raise ProtocolError(f"{error}, and the scan is not complete") from None
        except OSError as error:
            raise ConnectionEnded(f"the connection broke ({error.strerror or error})") from None

    def _count(self, count: int) -> None:
        """Count bytes before they are received, or raise ProtocolError if they are too many."""
        if self.received + count > self._limits.scan_bytes:
            raise ProtocolError(
                f"the scan has more than {self._limits.scan_bytes} bytes; have the limit raised or "
                "send less"
            )
        self._held.add(count)
        self.received += count

    def __iter__(self) -> Iterator[Any]:
        """Yield the items of data until the client closes."""
        if self._pending is None:
            return
        first, self._pending = self._pending, None
        yield first
        for message in self._incoming:
            if message.kind not in (Kind.TEXT, Kind.ARRAY):
                yield message.value

    def _is_left(self) -> bool:
        """Return whether the client has disconnected, so that nobody waits for its images."""
        if self._wire.has_finished and not self._has_asked:
            self._has_asked = True
            # A client that has only finished sending accepts this line. If the client has gone, the
            # connection is reset.
            try:
                self.send_logging("INFO", "the images are being made")
            except NotDelivered:
                return True
        return self._is_broken or self._wire.is_gone

    def stop(self) -> None:
        """Accept nothing more from the client, which is told so."""
        self._is_stopped = True
        self._wire.stop_receiving()

    def end(self) -> None:
        """End the connection at once; whoever runs the session calls :meth:`release`."""
        self._is_broken = True
        self._wire.end()

    def send_image(self, images: Any) -> None:
        """Send images; each is counted once it has been sent completely.

        Raises
        ------
        NotDelivered
            If one of them could not be sent; the connection has then ended.
        """
        found = images if isinstance(images, list) else [images]
        for number, image in enumerate(found):
            try:
                self._send(message_bytes(Kind.IMAGE, image))
            except NotDelivered as error:
                self._health.count("undelivered", len(found) - number)
                raise NotDelivered(
                    f"{len(found) - number} of {counted(len(found), 'image')} could not be sent: "
                    f"{error}"
                ) from None
            self._health.count("images")

    def send_logging(self, level: str, text: str) -> None:
        """Send a line for the host's log; errors are those of :meth:`send_image`."""
        self._send(message_bytes(Kind.TEXT, _line(level, text)))

    def send_close(self) -> None:
        """Send the closing message once, unless an earlier message could not be sent."""
        if not self._is_closed and not self._is_broken:
            self._is_closed = True
            self._send(message_bytes(Kind.CLOSE))

    def _say_last(self, kind: Kind, text: str) -> None:
        try:
            self._send(message_bytes(kind, text))
            self.send_close()
        except NotDelivered as error:
            _log.warning("%s", error)

    def release(self) -> None:
        """End the session completely: none of its threads runs when this returns."""
        self._incoming.stop()
        if self._is_broken:
            self._wire.end()
        # The thread discards what it still reads.
        self._wire.finish(min(self._limits.idle, _LINGER_S))
        self._wire.end()
        self._incoming.join()

    def _send(self, data: bytes) -> None:
        if self._is_broken:
            raise NotDelivered("the connection has ended")
        try:
            self._wire.send(data)
        except OSError as error:
            self._is_broken = True
            # A closing message after a lost one would suggest that everything had been sent.
            self._wire.end()
            raise NotDelivered(
                f"the client accepted no more data ({error.strerror or error})"
            ) from None


def _line(level: str, text: str) -> str:
    return f"{level:<8} {text}"
