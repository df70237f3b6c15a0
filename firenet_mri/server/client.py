"""Sends a scan to a reconstruction server, ours or another that speaks the protocol.

The client reads while it sends, since a server may send images before it has all data. It then
compares the answer with the scan: missing images are an error.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firenet_mri.errors import DataError, UsageError
from firenet_mri.io.kspace.reading import read_acquisitions
from firenet_mri.io.mrd_messages import (
    ConnectionEnded,
    Kind,
    ProtocolError,
    message_bytes,
    read_message,
)
from firenet_mri.plurals import counted
from firenet_mri.server.answer import Answer, check_answer
from firenet_mri.server.health import HEALTH
from firenet_mri.server.outgoing import allowed_header, allowed_readout
from firenet_mri.server.wire import Wire

_LARGEST = 1 << 30


def send_scan(
    path: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 9002,
    config: str = "firenet",
    parameters: Mapping[str, Any] | None = None,
    whole_header: bool = False,
    timeout_s: float = 600.0,
    expected: int | None = None,
) -> Answer:
    """Send a scan and return the server's answer.

    Parameters
    ----------
    path
        An ISMRMRD or Siemens file. Only the part that a reconstruction needs is sent
        (:mod:`firenet_mri.server.outgoing`).
    host, port
        Address and port of the server.
    config
        Name of the configuration, or the configuration itself as XML, which Gadgetron accepts.
    parameters
        See :class:`firenet_mri.server.answering.Options`.
    whole_header
        Also send institution, station, device, serial number, names of coils and the times of the
        readouts. Patient and study are never sent.
    timeout_s
        Seconds of silence in both directions after which the client gives up.
    expected
        Number of images that must come back. None requires one for each slice, partition,
        repetition, contrast, phase and set of the scan; 0 accepts any number.

    Raises
    ------
    UsageError
        If the parameters are nested inside another object of parameters.
    FileError
        If the file has another format or is damaged.
    IncompleteAnswerError
        If the server reports an error, or sends fewer images than expected or announced. Its
        ``answer`` holds what arrived.
    DataError
        If the server cannot be reached, or disconnects without a closing message.
    """
    # The server ignores parameters of other programs, so the nested options would be lost.
    if parameters and isinstance(parameters.get("parameters"), Mapping):
        raise UsageError(
            'The parameters are nested in another "parameters"; give only the inner object, such '
            'as {"joint": "phase"}'
        )
    header, acquisitions = read_acquisitions(Path(path))
    if not whole_header:
        header, acquisitions = allowed_header(header), list(map(allowed_readout, acquisitions))
    kind = Kind.CONFIG_TEXT if config.lstrip().startswith("<") else Kind.CONFIG_FILE
    first = [message_bytes(kind, config), message_bytes(Kind.HEADER, header.toXML())]
    if parameters:
        text = json.dumps({"parameters": dict(parameters)})
        first.append(message_bytes(Kind.TEXT, text))
    messages = _Messages(first, acquisitions)
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            answer = _exchange(connection, messages, timeout_s)
    except ConnectionEnded:
        raise DataError(
            f"{host}:{port} disconnected before it was done, after {messages.sent} of "
            f"{counted(len(acquisitions), 'readout')}; see its log"
        ) from None
    except OSError as error:
        raise DataError(
            f"{host}:{port} cannot be reached or does not answer ({error.strerror or error}); "
            "start it with firenet serve"
        ) from None
    check_answer(answer, header, acquisitions, name=f"{host}:{port}", expected=expected)
    return answer


def ask_health(
    *, host: str = "127.0.0.1", port: int = 9002, timeout_s: float = 5.0
) -> dict[str, Any]:
    """Return a server's health report, see :meth:`firenet_mri.server.health.Health.report`.

    Raises
    ------
    DataError
        If the server does not answer in time, or is not ours.
    """
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            found = json.loads(_exchange(connection, _Messages.of_health(), timeout_s).log[0])
    except TimeoutError:
        raise DataError(
            f"{host}:{port} gives no health answer within {timeout_s:g} s; see its log"
        ) from None
    except (ConnectionEnded, IndexError):
        raise DataError(
            f"{host}:{port} disconnected without a health answer: it has reached its limit of "
            "clients, is being stopped, or is another server; see its log"
        ) from None
    except OSError as error:
        raise DataError(
            f"{host}:{port} cannot be reached ({error.strerror or error}); start it with firenet "
            "serve"
        ) from None
    except (ProtocolError, ValueError) as error:
        raise DataError(
            f"{host}:{port} gives no health answer ({type(error).__name__}); it is another server"
        ) from None
    return dict(found)


@dataclass
class _Messages:
    """The messages to send: the first messages, the readouts, which it counts, and a close."""

    first: Sequence[bytes]
    acquisitions: Sequence[Any]
    sent: int = 0

    @staticmethod
    def of_health() -> _Messages:
        return _Messages([message_bytes(Kind.CONFIG_FILE, HEALTH)], [])

    def __iter__(self) -> Iterator[bytes]:
        yield from self.first
        for acquisition in self.acquisitions:
            yield message_bytes(Kind.ACQUISITION, acquisition)
            self.sent += 1
        yield message_bytes(Kind.CLOSE)


def _exchange(connection: socket.socket, messages: _Messages, silence_s: float) -> Answer:
    """Send in another thread, and return what this thread receives up to the close."""
    wire = Wire(connection, silence_s)
    failures: list[Exception] = []

    def send() -> None:
        try:
            for message in messages:
                wire.send(message)
        except OSError:
            # The server may have closed early and sent the reason, which the receiving thread gets.
            return
        except Exception as error:
            failures.append(error)
            wire.end()

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    try:
        answer = Answer([], [])
        while True:
            message = read_message(wire.receive, _LARGEST)
            if message.kind is Kind.CLOSE:
                return answer
            if message.kind is Kind.IMAGE:
                answer.images.append(message.value)
            elif message.kind is Kind.TEXT:
                answer.log.append(message.value)
    finally:
        wire.end()
        sender.join()
        if failures:
            raise failures[0]
