"""``firenet serve``: reconstructs scans that are streamed over the MRD protocol."""

from __future__ import annotations

import json
import logging
import signal
import sys
import warnings
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from firenet_mri.cli.options import Debug, chosen, with_flags
from firenet_mri.errors import DataError, UsageError, shortened
from firenet_mri.plurals import counted
from firenet_mri.server.address import check_port
from firenet_mri.server.limits import Limits

if TYPE_CHECKING:
    from firenet_mri.server.service import Server


@with_flags(Limits, without=Limits.REFUSED)
def serve(
    *,
    host: Annotated[str, Parameter(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, Parameter(help="Port to listen on.")] = 9002,
    allow_remote: Annotated[
        bool,
        Parameter(
            help="Listen where other machines can reach it: no passwords, no encryption.",
            show_default=False,
        ),
    ] = False,
    save: Annotated[
        Path | None,
        Parameter(
            help="Folder for image, certificate, evidence and scan, under random names; nothing "
            "is kept by default."
        ),
    ] = None,
    sign: Annotated[
        Path | None,
        Parameter(
            help="Private Ed25519 key, a .pem file, with which saved certificates are signed."
        ),
    ] = None,
    log_json: Annotated[
        bool, Parameter(help="Log one JSON object per line.", show_default=False)
    ] = False,
    health: Annotated[
        bool,
        Parameter(
            help="Print the health of the server that runs at this address, and exit.",
            show_default=False,
        ),
    ] = False,
    debug: Debug = False,
    **limits: Any,
) -> None:
    """Reconstruct scans that scanners and clients stream, until stopped (SIGTERM or Control-C)."""
    check_port(port, lowest=1 if health else 0)
    if health:
        _print_health(host, port)
        return
    if sign is not None and save is None:
        raise UsageError("--sign signs the certificates that are saved; give --save FOLDER, too")
    allowed = chosen(Limits, limits)
    from firenet_mri.server.saving import Saving
    from firenet_mri.server.service import LOOPBACK, Server

    _log_to_stderr(as_json=log_json)
    saving = None if save is None else Saving(save, sign)
    server = Server(host, port, limits=allowed, allow_remote=allow_remote, saving=saving)
    if host not in LOOPBACK:
        logging.warning("other machines can reach this server, without password or encryption")
    _stop_on_signals(server)
    logging.info("listening on %s:%d", host, server.port)
    left = server.serve()
    if left:
        logging.warning("stopped; %s not finished", counted(left, "client"))
    else:
        logging.info("stopped; all clients were served")


def _print_health(host: str, port: int) -> None:
    """Print the health report of a running server; raise DataError unless its status is ok."""
    from firenet_mri.server.client import ask_health

    found = ask_health(host=host, port=port)
    sys.stdout.write(json.dumps(found) + "\n")
    if found["status"] != "ok":
        raise DataError(f"{host}:{port} is {found['status']}; restart it")


def _stop_on_signals(server: Server) -> None:
    """Stop the server on SIGTERM and Control-C; the second signal stops it at once."""
    told: list[int] = []

    def stop(number: int, _: object) -> None:
        server.stop(at_once=bool(told))
        told.append(number)

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, stop)


class _Shortened(logging.Formatter):
    """A log line whose length is limited, whatever a client sent."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line."""
        record.message = shortened(record.message)
        return super().formatMessage(record)


class _JsonLines(logging.Formatter):
    """A log line as a JSON object: time (UTC), level, logger, message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        time = datetime.fromtimestamp(record.created, timezone.utc)
        return json.dumps(
            {
                "time": time.isoformat(timespec="milliseconds"),
                "level": record.levelname,
                "logger": record.name,
                "message": shortened(record.getMessage()),
            }
        )


def _log_to_stderr(*, as_json: bool) -> None:
    from firenet_mri.server.worker import log_warning

    handler = logging.StreamHandler()
    plain = _Shortened("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(_JsonLines() if as_json else plain)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    warnings.showwarning = log_warning
