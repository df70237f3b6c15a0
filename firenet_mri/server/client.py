"""Sends a scan to a reconstruction server, ours or another that speaks the protocol."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firenet_mri.errors import DataError
from firenet_mri.io.kspace.reading import read_acquisitions
from firenet_mri.io.mrd_messages import (
    ConnectionEnded,
    Kind,
    ProtocolError,
    message_bytes,
    read_message,
)
from firenet_mri.server.outgoing import allowed_header, allowed_readout
from firenet_mri.server.service import HEALTH

_LARGEST = 1 << 30


@dataclass(frozen=True)
class Answer:
    """What a server sent: ``ismrmrd.Image`` objects, and its log."""

    images: list[Any]
    log: list[str]


def send_scan(
    path: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 9002,
    config: str = "firenet",
    parameters: Mapping[str, Any] | None = None,
    whole_header: bool = False,
    timeout_s: float = 600.0,
) -> Answer:
    """Send a scan and return what comes back.

    Parameters
    ----------
    path
        An ISMRMRD or Siemens file, of which what a reconstruction needs is sent
        (:mod:`firenet_mri.server.outgoing`).
    host, port
        Where the server listens.
    config
        Name of the configuration.
    parameters
        See :class:`firenet_mri.server.process.Options`.
    whole_header
        Send institution, station, device, serial number, names of coils and the times of readouts,
        too; patient and study never.
    timeout_s
        Seconds to wait for an answer.

    Raises
    ------
    FileError
        If the file is none of these or damaged.
    DataError
        If the server cannot be reached, or goes away before it has closed.
    """
    header, acquisitions = read_acquisitions(path)
    if not whole_header:
        header, acquisitions = allowed_header(header), list(map(allowed_readout, acquisitions))
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.sendall(message_bytes(Kind.CONFIG_FILE, config))
            connection.sendall(message_bytes(Kind.HEADER, header.toXML()))
            if parameters:
                text = json.dumps({"parameters": dict(parameters)})
                connection.sendall(message_bytes(Kind.TEXT, text))
            for acquisition in acquisitions:
                connection.sendall(message_bytes(Kind.ACQUISITION, acquisition))
            connection.sendall(message_bytes(Kind.CLOSE))
            return _answer(connection)
    except ConnectionEnded:
        raise DataError(f"{host}:{port} went away before it was done; look at its log") from None
    except OSError as error:
        raise DataError(
            f"{host}:{port} cannot be reached or does not answer ({error.strerror or error}); "
            "start it with firenet serve"
        ) from None


def ask_health(
    *, host: str = "127.0.0.1", port: int = 9002, timeout_s: float = 5.0
) -> dict[str, Any]:
    """Return what a server says of itself, see :meth:`firenet_mri.server.service.Health.report`.

    Raises
    ------
    DataError
        If it does not answer in time, or is none of ours.
    """
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.sendall(message_bytes(Kind.CONFIG_FILE, HEALTH))
            connection.sendall(message_bytes(Kind.CLOSE))
            found = json.loads(_answer(connection).log[0])
    except (ConnectionEnded, ProtocolError, OSError, ValueError, IndexError) as error:
        raise DataError(
            f"{host}:{port} gives no health answer ({type(error).__name__}); look at its log"
        ) from None
    return dict(found)


def _answer(connection: socket.socket) -> Answer:
    answer = Answer([], [])
    with connection.makefile("rb") as file:
        while True:
            message = read_message(file.read, _LARGEST)
            if message.kind is Kind.CLOSE:
                return answer
            if message.kind is Kind.IMAGE:
                answer.images.append(message.value)
            elif message.kind is Kind.TEXT:
                answer.log.append(message.value)
