"""``firenet certify``: checks that a certificate belongs to an image, and explains it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from firenet_mri.cli.early import check_files, check_inputs
from firenet_mri.cli.loading import loading
from firenet_mri.cli.options import AsJson, Debug, flag, panel, with_flags
from firenet_mri.cli.record import RECORDED, WEIGHTS, recorded_options
from firenet_mri.cli.tables import print_table
from firenet_mri.errors import UsageError
from firenet_mri.io.kspace.options import ReadOptions

if TYPE_CHECKING:
    from firenet_mri.firenet.certificate import Certificate, Entry
    from firenet_mri.io.certificates import SavedCertificate
    from firenet_mri.reconstruction.check import Checked

_COLOURS = {
    "proven": "green",
    "verified on this scan": "green",
    "measured": "cyan",
    "assumed": "yellow",
    "not verified": "red",
}

# Entries that the sentence is about.
_IN_SENTENCE = ("duality_gap", "lipschitz_bound")


@with_flags(ReadOptions, without=RECORDED)
def certify(
    certificate: Annotated[Path, Parameter(help="The .json file next to an image.")],
    /,
    *,
    image: Annotated[
        Path | None,
        Parameter(help="The image, if it is not next to the certificate.", group=panel("Input")),
    ] = None,
    scan: Annotated[
        Path | None,
        Parameter(
            help=(
                "The scan that the image was made from; recomputes everything that can be "
                "recomputed from it. Also give the files that the image was made with, such as a "
                "mask."
            ),
            group=panel("Input"),
        ),
    ] = None,
    evidence: Annotated[
        Path | None,
        Parameter(help="The evidence, if it is not next to the certificate.", group=panel("Input")),
    ] = None,
    network: Annotated[Path | None, WEIGHTS] = None,
    again: Annotated[
        bool,
        Parameter(
            help="Also run the network once more, and compare its image.",
            group=panel("Certificate"),
            negative=(),
            show_default=False,
        ),
    ] = False,
    signed_by: Annotated[
        Path | None,
        Parameter(
            help="Public Ed25519 key, a .pem file, of the expected signer of the certificate.",
            group=panel("Certificate"),
        ),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Explain a certificate entry by entry, and recompute it from the scan.

    The command fails if the certificate does not belong to the image, or if a recomputed number
    differs.
    """
    reading = ReadOptions.from_mapping(options)
    defaults = ReadOptions().flat()
    given = [name for name, value in reading.flat().items() if value is not defaults[name]]
    flags = {field.name: field.flag for field in ReadOptions.fields()}
    own = {"evidence": evidence, "network": network, "again": again}
    for name in (*given, *(name for name, value in own.items() if value)):
        if scan is None:
            raise UsageError(f"{flags.get(name, flag(name))} belongs to a scan; give --scan too")
    check_inputs([certificate, *(one for one in (image, scan, evidence) if one is not None)])
    check_files(reading)
    from firenet_mri.io import read_certificate

    saved = read_certificate(certificate)
    found = saved.check_image(image)
    if signed_by is not None:
        saved.check_signature(signed_by)
    checked = None
    if scan is not None:
        checked = _recomputed(saved, scan, reading, network, evidence, image, again, quiet=as_json)
    if as_json:
        _write_json(saved, found, checked, signed_by)
        return
    console = Console(highlight=False)
    console.print(f"{found} is the image of this certificate (SHA-256).", markup=False)
    if signed_by is not None:
        console.print(f"It was signed with the key that belongs to {signed_by}.", markup=False)
    elif "signature" in saved.report:
        console.print("Its signature was not checked; give the signer's key with --signed-by.")
    _tell(console, scan, checked)
    _explain(console, saved.certificate, _not_recomputed(saved, checked))
    if saved.certificate.not_checkable:
        sys.stderr.write(f"firenet: not checkable: {saved.certificate.not_checkable}\n")
        raise SystemExit(1)


def _recomputed(
    saved: SavedCertificate,
    scan: Path,
    given: ReadOptions,
    network: Path | None,
    evidence: Path | None,
    image: Path | None,
    again: bool,
    *,
    quiet: bool,
) -> Checked:
    """Return the parts of a certificate that were recomputed from a scan."""
    from firenet_mri.cli.progress import progress

    with loading():
        from firenet_mri.io.evidence import read_evidence
        from firenet_mri.io.kspace.reading import read_with
        from firenet_mri.reconstruction.check import check_reconstruction

    reading, wanted = recorded_options(saved, given, network)
    raw = read_with(scan, reading)
    saved.check_scan(raw)
    place = saved.evidence_beside() if evidence is None else evidence
    proof = read_evidence(place)
    saved.check_evidence(place)
    with progress(f"Recomputing {saved.path.name}", "slices", quiet=quiet) as on_item:
        return check_reconstruction(
            saved, raw, proof, wanted, image=image, again=again, on_item=on_item
        )


def _write_json(
    saved: SavedCertificate, image: Path, checked: Checked | None, key: Path | None
) -> None:
    result = {
        "image": str(image),
        "image_matches": True,
        "scan_matches": None if checked is None else True,
        "signed": None if key is None else True,
        "recomputed": None if checked is None else list(checked.agrees),
        "not_checked": None if checked is None else list(checked.unchecked),
        "entries_not_recomputed": [entry.name for entry in _not_recomputed(saved, checked)],
        "certificate": saved.certificate.to_dict(),
    }
    sys.stdout.write(json.dumps(result, indent=2, allow_nan=False) + "\n")


def _tell(console: Console, scan: Path | None, checked: Checked | None) -> None:
    """Print what was recomputed and what was not."""
    if checked is None:
        console.print(
            "Nothing was recomputed: anybody who can write the certificate can write any "
            "number into it. Give the scan (--scan) to recompute it.",
            markup=False,
        )
        return
    console.print(f"{scan} is the scan it was made from (SHA-256).", markup=False)
    console.print()
    for line in checked.agrees:
        console.print(f"[green]✓[/] {escape(_printable(line))}")
    for line in checked.unchecked:
        console.print(f"[yellow]not checked[/] {escape(_printable(line))}")


def _not_recomputed(saved: SavedCertificate, checked: Checked | None) -> tuple[Entry, ...]:
    """Return the entries that are shown as written, without having been recomputed."""
    return saved.certificate.entries if checked is None else checked.not_recomputed


def _explain(console: Console, certificate: Certificate, not_recomputed: tuple[Entry, ...]) -> None:
    """Print every entry: its status, its statement, its limits, and its numbers."""
    from firenet_mri.report.answers import MEANINGS, title

    if any(entry.name in _IN_SENTENCE for entry in not_recomputed):
        console.print()
        console.print("[yellow]Stated, not recomputed:[/]")
    _in_short(console, certificate)
    for entry in certificate.entries:
        console.print()
        heading = escape(_printable(title(entry)))
        status = f"[{_COLOURS[entry.status]}]{entry.status}[/]"
        if entry in not_recomputed and entry.status not in ("assumed", "not verified"):
            status = f"[yellow]{entry.status} (stated, not recomputed)[/]"
        console.print(f"[bold]{heading}[/bold]: {status}")
        if len(entry.items) < certificate.items:
            slices = ", ".join(str(item + 1) for item in entry.items)
            _print_indented(console, f"For slice {slices} only." if slices else "For no slice.")
        for line in _lines(entry):
            _print_indented(console, line)
        if entry.values:
            print_table(console, _numbers(entry))
    console.print()
    for status in dict.fromkeys(entry.status for entry in certificate.entries):
        console.print(f"[{_COLOURS[status]}]{status}[/]: {MEANINGS[status]}")


def _in_short(console: Console, certificate: Certificate) -> None:
    """Print the answers that a reader wants first, without mathematical symbols."""
    from firenet_mri.reconstruction.data_warnings.warning import warnings_of
    from firenet_mri.report.answers import answers

    places = [f"slice {item + 1}" for item in range(certificate.items)]
    warnings = [warning.line(places) for warning in warnings_of(certificate)]
    console.print()
    for answer in answers(certificate, warnings):
        console.print(f"[bold]{answer.question}[/bold]")
        _print_indented(console, answer.text)


def _print_indented(console: Console, text: str) -> None:
    """Print a paragraph in which every line is indented."""
    console.print(Padding(Text(_printable(text)), (0, 0, 0, 2)))


def _printable(text: str) -> str:
    """Return text without characters that would move the cursor or change colours."""
    return "".join(character if character.isprintable() else " " for character in text)


def _lines(entry: Entry) -> Iterator[str]:
    yield entry.statement
    if entry.limits:
        yield f"Limits: {entry.limits}"


def _numbers(entry: Entry) -> Table:
    """Return the numbers, one per line, with their range over the slices."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    for name, numbers in entry.values.items():
        if not numbers:
            continue
        low, high = min(numbers), max(numbers)
        text = f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g} (over the slices)"
        table.add_row(Text(_printable(name)), text)
    return table
