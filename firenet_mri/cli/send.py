"""``firenet send``: sends a scan to a reconstruction server that speaks the MRD protocol."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from firenet_mri.cli.early import check_inputs, check_replaces_none
from firenet_mri.cli.options import Debug, Overwrite, output_flag
from firenet_mri.errors import DataError, UsageError
from firenet_mri.plurals import counted

if TYPE_CHECKING:
    from firenet_mri.server.answer import Answer

_MRD_SUFFIXES = (".h5", ".mrd")


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
    from firenet_mri.io import atomic_writes
    from firenet_mri.io.image.mrd_images import write_images
    from firenet_mri.server.address import check_port
    from firenet_mri.server.answer import IncompleteAnswerError
    from firenet_mri.server.client import send_scan

    check_port(port, lowest=1)
    if expect is not None and expect < 0:
        raise UsageError(f"--expect is {expect}; give a number of images, or 0 for any")
    _check_files(scan, output, overwrite=overwrite)
    asked = None if parameters is None else _json_object(parameters)
    if whole_header:
        sys.stderr.write(
            "firenet: sending the whole header: institution, station, serial number, coils, times\n"
        )
    try:
        answer = send_scan(
            scan,
            host=host,
            port=port,
            config=config,
            parameters=asked,
            whole_header=whole_header,
            expected=expect,
        )
    except IncompleteAnswerError as error:
        _tell(error.answer)
        raise
    _tell(answer)
    if not answer.images:
        raise DataError(f"{host}:{port} sent no image; see its log")
    with atomic_writes([output], overwrite=overwrite) as (path,):
        write_images(path, answer.images)
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"Wrote {counted(len(answer.images), 'image')} to {output}", markup=False)


def _check_files(scan: Path, output: Path, *, overwrite: bool) -> None:
    """Refuse a scan that does not exist, and an output that cannot be written."""
    from firenet_mri.io import check_outputs

    check_inputs([scan])
    if output.suffix not in _MRD_SUFFIXES:
        raise UsageError(
            f"{output}: the images are written as MRD; use the suffix {' or '.join(_MRD_SUFFIXES)}"
        )
    check_outputs([output], overwrite=overwrite)
    check_replaces_none([output], [scan])


def _json_object(text: str) -> dict[str, Any]:
    """Parse a text as JSON; raise UsageError unless it is an object."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UsageError(f'{text!r} is not a JSON object; give one such as {{"layers": 15}}')
    return found


def _tell(answer: Answer) -> None:
    for line in answer.log:
        sys.stderr.write(line + "\n")
