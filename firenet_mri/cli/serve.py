"""``firenet serve`` and ``firenet send``: reconstruction over the MRD streaming protocol."""

from __future__ import annotations

import json
import logging
import signal
import sys
import warnings
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console

from firenet_mri.cli.early import check_inputs, check_replaces_none
from firenet_mri.cli.options import Debug, Overwrite, output_flag
from firenet_mri.errors import DataError, UsageError, shortened
from firenet_mri.plurals import counted

if TYPE_CHECKING:
    from firenet_mri.server.answer import Answer

_MRD_SUFFIXES = (".h5", ".mrd")


def serve(
    *,
    host: Annotated[str, Parameter(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, Parameter(help="Port to listen on.")] = 9002,
    clients: Annotated[int, Parameter(help="Number of clients served at once.")] = 32,
    idle: Annotated[
        float, Parameter(help="Seconds of silence after which a client is disconnected.")
    ] = 60.0,
    scan_gib: Annotated[float, Parameter(help="Largest scan of one client, in GiB.")] = 8.0,
    memory_gib: Annotated[
        float, Parameter(help="Memory for the scans of all connected clients, in GiB.")
    ] = 16.0,
    recon_minutes: Annotated[
        float, Parameter(help="Longest time that one reconstruction may take, in minutes.")
    ] = 30.0,
    recon_gib: Annotated[
        float, Parameter(help="Memory that one reconstruction may take, in GiB.")
    ] = 8.0,
    stop_seconds: Annotated[
        float,
        Parameter(help="Time that connected clients have to finish after SIGTERM, in seconds."),
    ] = 300.0,
    scan_hours: Annotated[
        float, Parameter(help="Longest time that a client may take to send its scan, in hours.")
    ] = 6.0,
    networks: Annotated[
        Path | None,
        Parameter(
            help="Folder of trained networks (.safetensors) that clients may name in the parameter "
            "weights; by default only those that are included."
        ),
    ] = None,
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
) -> None:
    """Reconstruct scans that scanners and clients stream, until stopped (SIGTERM or Control-C)."""
    from firenet_mri.server.address import check_limit, check_port
    from firenet_mri.server.client import ask_health
    from firenet_mri.server.saving import Saving
    from firenet_mri.server.service import LOOPBACK, Limits, Server

    check_port(port, lowest=1 if health else 0)
    if health:
        found = ask_health(host=host, port=port)
        sys.stdout.write(json.dumps(found) + "\n")
        if found["status"] != "ok":
            raise DataError(f"{host}:{port} is {found['status']}; restart it")
        return
    if sign is not None and save is None:
        raise UsageError("--sign signs the certificates that are saved; give --save FOLDER, too")
    # By their flags, and before NaN is rounded.
    given = {
        "--clients": clients,
        "--idle": idle,
        "--scan-gib": scan_gib,
        "--memory-gib": memory_gib,
        "--scan-hours": scan_hours,
        "--recon-minutes": recon_minutes,
        "--recon-gib": recon_gib,
        "--stop-seconds": stop_seconds,
    }
    for flag, value in given.items():
        check_limit(flag, value)
    limits = Limits(
        scan_bytes=int(scan_gib * 2**30),
        held_bytes=int(memory_gib * 2**30),
        clients=clients,
        idle_s=idle,
        scan_s=scan_hours * 3600,
        recon_s=recon_minutes * 60,
        recon_bytes=int(recon_gib * 2**30),
        stop_s=stop_seconds,
        networks=networks,
    )
    _log_to_stderr(as_json=log_json)
    saving = None if save is None else Saving(save, sign)
    server = Server(host, port, limits=limits, allow_remote=allow_remote, saving=saving)
    if host not in LOOPBACK:
        logging.warning("other machines can reach this server, without password or encryption")
    told: list[int] = []

    def stop(number: int, _: object) -> None:
        # Whoever says it twice does not want to wait.
        server.stop(at_once=bool(told))
        told.append(number)

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, stop)
    logging.info("listening at %s:%d", host, server.port)
    left = server.serve()
    if left:
        logging.warning("stopped; %s left", counted(left, "client"))
    else:
        logging.info("stopped; all clients were served")


class _Shortened(logging.Formatter):
    """A log line that is not as long as what a client sent."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line."""
        record.message = shortened(record.message)
        return super().formatMessage(record)


class _JsonLines(logging.Formatter):
    """A log line as a JSON object: time (UTC), level, where it comes from, message."""

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


def send(
    scan: Annotated[
        Path, Parameter(help="ISMRMRD (.h5), MRD stream (.mrd, .ismrmrd) or Siemens (.dat) scan.")
    ],
    /,
    *,
    output: Annotated[Path, output_flag("MRD images to write: .h5.")],
    host: Annotated[str, Parameter(help="Address on which the server listens.")] = "127.0.0.1",
    port: Annotated[int, Parameter(help="Port on which it listens.")] = 9002,
    config: Annotated[
        str,
        Parameter(help="Name of the server's configuration, or the configuration itself as XML."),
    ] = "firenet",
    parameters: Annotated[
        str | None,
        Parameter(help='Options as JSON, such as {"preset": "stable", "dtype": "int16"}.'),
    ] = None,
    whole_header: Annotated[
        bool,
        Parameter(
            help="Send institution, station, serial number, names of coils and times, too; by "
            "default what a reconstruction needs is sent and nothing else.",
            show_default=False,
        ),
    ] = False,
    expect: Annotated[
        int | None,
        Parameter(
            help="Number of images that must come back; by default one for each slice and image "
            "of the scan, 0 for any."
        ),
    ] = None,
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Send a scan to a reconstruction server, and write the images that come back.

    Nothing is written, and the exit status is not 0, unless all of them came.
    """
    from firenet_mri.io import atomic_writes, check_outputs
    from firenet_mri.io.image.mrd_images import write_images
    from firenet_mri.server.address import check_port
    from firenet_mri.server.answer import IncompleteAnswerError
    from firenet_mri.server.client import send_scan

    check_port(port, lowest=1)
    if expect is not None and expect < 0:
        raise UsageError(f"--expect is {expect}; give a number of images, or 0 for any")
    check_inputs([scan])
    if output.suffix not in _MRD_SUFFIXES:
        raise UsageError(
            f"{output}: the images are written as MRD; end the name in {' or '.join(_MRD_SUFFIXES)}"
        )
    check_outputs([output], overwrite=overwrite)
    check_replaces_none([output], [scan])
    chosen = None
    if parameters is not None:
        try:
            chosen = json.loads(parameters)
        except ValueError:
            chosen = None
        if not isinstance(chosen, dict):
            raise UsageError(
                f'{parameters!r} is not a JSON object; give one such as {{"layers": 15}}'
            )
    if whole_header:
        sys.stderr.write(
            "firenet: the header is sent whole: institution, station, serial number, coils, times\n"
        )
    try:
        answer = send_scan(
            scan,
            host=host,
            port=port,
            config=config,
            parameters=chosen,
            whole_header=whole_header,
            expected=expect,
        )
    except IncompleteAnswerError as error:
        _tell(error.answer)
        raise
    _tell(answer)
    if not answer.images:
        raise DataError(f"{host}:{port} sent no image; its log says why")
    with atomic_writes([output], overwrite=overwrite) as (path,):
        write_images(path, answer.images)
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"Wrote {counted(len(answer.images), 'image')} to {output}", markup=False)


def _tell(answer: Answer) -> None:
    for line in answer.log:
        sys.stderr.write(line + "\n")
