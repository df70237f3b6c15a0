"""``firenet certify``: a certificate in plain words, once it is known to be that of the image."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from firenet_mri.cli.options import AsJson, Debug, flag, panel, with_flags
from firenet_mri.errors import UsageError
from firenet_mri.io.kspace.options import ReadOptions

if TYPE_CHECKING:
    from firenet_mri.firenet.certificate import Certificate, Entry

_COLOURS = {
    "proven": "green",
    "verified on this scan": "green",
    "measured": "cyan",
    "assumed": "yellow",
    "not verified": "red",
}
_MEANINGS = {
    "proven": "follows from a proof, for every scan",
    "verified on this scan": "a theorem's conditions were checked numerically for these data",
    "measured": "a number that was seen; the truth is at least as large",
    "assumed": "taken as given",
    "not verified": "nothing is claimed",
}


@with_flags(ReadOptions, without=["maps_file"])
def certify(
    certificate: Annotated[Path, Parameter(help="The .json beside an image.")],
    /,
    *,
    image: Annotated[
        Path | None,
        Parameter(
            help="The image, if it does not lie beside the certificate.", group=panel("Input")
        ),
    ] = None,
    scan: Annotated[
        Path | None,
        Parameter(
            help="Check also that the image was made from this scan; options of reading, such as "
            "--mask and --trajectory, are those that the image was made with.",
            group=panel("Input"),
        ),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Explain a certificate entry by entry; fail if it is not the certificate of the image."""
    from firenet_mri.io import read_certificate
    from firenet_mri.io.kspace.reading import read_with

    reading = ReadOptions.from_mapping(options)
    given = [name for name, value in reading.flat().items() if value is not None]
    if given and scan is None:
        raise UsageError(f"{flag(given[0])} belongs to a scan; give --scan too")
    saved = read_certificate(certificate)
    found = saved.check_image(image)
    if scan is not None:
        saved.check_scan(read_with(scan, reading))
    if as_json:
        checked = {
            "image": str(found),
            "image_matches": True,
            "scan_matches": None if scan is None else True,
            "certificate": saved.certificate.to_dict(),
        }
        sys.stdout.write(json.dumps(checked, indent=2, allow_nan=False) + "\n")
        return
    console = Console(highlight=False)
    console.print(f"{found} is the image of this certificate (SHA-256).", markup=False)
    if scan is not None:
        console.print(f"{scan} is the scan it was made from (SHA-256).", markup=False)
    _explain(console, saved.certificate)
    if saved.certificate.not_checkable:
        sys.stderr.write(f"firenet: not checkable: {saved.certificate.not_checkable}\n")
        raise SystemExit(1)


def _explain(console: Console, certificate: Certificate) -> None:
    """Print every entry: how it is known, what it says, what it does not say, its numbers."""
    console.print()
    console.print(certificate.sentence(), markup=False)
    for entry in certificate.entries:
        console.print()
        title = entry.name.replace("_", " ").capitalize()
        console.print(f"[bold]{title}[/bold]: [{_COLOURS[entry.status]}]{entry.status}[/]")
        if len(entry.items) < certificate.items:
            slices = ", ".join(str(item + 1) for item in entry.items)
            _print_indented(console, f"Of slice {slices} only.")
        for line in _lines(entry):
            _print_indented(console, line)
        if entry.values:
            console.print(_numbers(entry))
    console.print()
    console.print("[bold]What it does not say[/bold]")
    _print_indented(console, certificate.scope)
    console.print()
    for status in dict.fromkeys(entry.status for entry in certificate.entries):
        console.print(f"[{_COLOURS[status]}]{status}[/]: {_MEANINGS[status]}")


def _print_indented(console: Console, text: str) -> None:
    """Print a paragraph with a margin that every line keeps."""
    console.print(Padding(Text(text), (0, 0, 0, 2)))


def _lines(entry: Entry) -> Iterator[str]:
    yield entry.statement
    if entry.limits:
        yield f"Not said: {entry.limits}"


def _numbers(entry: Entry) -> Table:
    """Return the numbers, a line for each, with their range over the slices."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    for name, numbers in entry.values.items():
        low, high = min(numbers), max(numbers)
        text = f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g} (over the slices)"
        table.add_row(name, text)
    return table
