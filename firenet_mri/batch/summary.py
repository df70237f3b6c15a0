"""The table of a batch, as CSV and as an HTML page with small images and links."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from urllib.parse import quote

from firenet_mri.batch.jobs import Outcome, State
from firenet_mri.batch.tree import write_study_files
from firenet_mri.io.image.suffixes import image_stem
from firenet_mri.io.names import printable
from firenet_mri.io.outputs import atomic_writes
from firenet_mri.io.tables import cell
from firenet_mri.plurals import counted
from firenet_mri.report.layers import data_url
from firenet_mri.report.markup import Markup, element, join
from firenet_mri.report.page import badge, document

_HEADS = (
    "scan",
    "image",
    "state",
    "seconds",
    "relative_gap",
    "lipschitz_bound",
    "warnings",
    "error",
)

_STATE_CLASSES = {"done": "proven", "kept": "measured", "failed": "failed"}

# Text for a number that a finished image does not have.
_WHY_NOT = {"relative_gap": "not computed", "lipschitz_bound": "not proven"}


def write_summary(folder: Path, outcomes: Sequence[Outcome]) -> tuple[Path, Path]:
    """Write ``summary.csv`` and ``summary.html``, replacing earlier ones; return their paths.

    The files that make the folder a BIDS study are written, too, unless they exist.
    """
    table, page = folder / "summary.csv", folder / "summary.html"
    folder.mkdir(parents=True, exist_ok=True)
    write_study_files(folder)
    outcomes = [_printable(outcome) for outcome in outcomes]
    rows = [_row(outcome) for outcome in outcomes]
    with atomic_writes((table, page), overwrite=True) as (csv_file, html_file):
        with csv_file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(_HEADS)
            writer.writerows([cell(text) for text in row] for row in rows)
        html_file.write_text(_page(folder, outcomes, rows), encoding="utf-8")
    return table, page


def _printable(outcome: Outcome) -> Outcome:
    """Return an outcome whose text can be written, since it may quote names that are not UTF-8."""
    return replace(
        outcome,
        scan=printable(outcome.scan),
        error=printable(outcome.error),
        warnings=tuple(map(printable, outcome.warnings)),
    )


def _row(outcome: Outcome) -> list[str]:
    values = asdict(outcome)
    return [
        outcome.scan,
        outcome.image,
        outcome.state,
        f"{outcome.seconds:.1f}",
        *(_number(outcome.state, values[name], why) for name, why in _WHY_NOT.items()),
        "; ".join(outcome.warnings),
        outcome.error,
    ]


def _number(state: State, value: float | None, why_not: str) -> str:
    if value is not None:
        return f"{value:.4g}"
    return "" if state == "failed" else why_not


def _page(folder: Path, outcomes: Sequence[Outcome], rows: Sequence[Sequence[str]]) -> str:
    """Return the page: one row per scan, with a small image and links to the scan's files."""
    counts = {
        state: sum(o.state == state for o in outcomes) for state in ("done", "kept", "failed")
    }
    heads = ("image", "scan", *_HEADS[2:-2], "remarks")
    head = element("tr", *(element("th", name.replace("_", " "), scope="col") for name in heads))
    pairs = zip(outcomes, rows, strict=True)
    body = [_shown(folder, outcome, row) for outcome, row in pairs]
    table = element("table", element("thead", head), element("tbody", *body), class_="scans")
    text = (
        f"{counts['done']} reconstructed, {counts['kept']} kept from before, {counts['failed']} "
        "failed."
    )
    content = join(
        element("header", element("p", "firenet batch", class_="kicker"), element("h1", text)),
        element("main", element("div", table, class_="wide", tabindex=0)),
    )
    return document("Batch", content)


def _shown(folder: Path, outcome: Outcome, row: Sequence[str]) -> Markup:
    """Return the row of a scan."""
    picture = None
    if outcome.thumbnail:
        picture = element("img", src=data_url(outcome.thumbnail), alt=f"Image of {outcome.scan}")
    state = element("td", badge(outcome.state, _STATE_CLASSES[outcome.state]))
    files = element("p", *_links(folder, outcome))
    cells = [
        element("td", picture),
        element("td", element("strong", outcome.scan), files),
        state,
        *(element("td", text) for text in row[3:-2]),
        element("td", _warnings(outcome.warnings), outcome.error),
    ]
    return element("tr", *cells)


def _warnings(lines: Sequence[str]) -> Markup | None:
    """Return the number of warnings, which expands to the list of them."""
    if not lines:
        return None
    count = counted(len(lines), "warning")
    return element(
        "details",
        element("summary", badge(count, "assumed")),
        *(element("p", line) for line in lines),
    )


def _links(folder: Path, outcome: Outcome) -> Iterator[Markup]:
    """Yield a link, relative to the page, to each existing file of an image."""
    if not outcome.folder or outcome.state == "failed":
        return
    stem = image_stem(Path(outcome.image))
    names = {
        "report": f"{stem}.html",
        "picture": f"{stem}.png",
        "certificate": f"{stem}.json",
        "image": outcome.image,
    }
    for word, name in names.items():
        place = f"{outcome.folder}/{name}"
        if (folder / place).is_file():
            yield join(element("a", word, href=quote(place)), " ")
