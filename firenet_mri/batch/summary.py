"""The table of a batch, as CSV and as an HTML page."""

from __future__ import annotations

import csv
import html
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from firenet_mri.batch.jobs import Outcome, State
from firenet_mri.io.names import printable
from firenet_mri.io.outputs import atomic_writes

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

# What stands in the place of a number that a finished image does not have.
_WHY_NOT = {"relative_gap": "not computed", "lipschitz_bound": "not proven"}


def write_summary(folder: Path, outcomes: Sequence[Outcome]) -> tuple[Path, Path]:
    """Write ``summary.csv`` and ``summary.html``, in the place of those before; return them."""
    table, page = folder / "summary.csv", folder / "summary.html"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [_row(outcome) for outcome in outcomes]
    with atomic_writes((table, page), overwrite=True) as (csv_file, html_file):
        with csv_file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(_HEADS)
            writer.writerows(rows)
        html_file.write_text(_page(outcomes, rows), encoding="utf-8")
    return table, page


def _row(outcome: Outcome) -> list[str]:
    values = asdict(outcome)
    return [
        printable(outcome.scan),
        printable(outcome.image),
        outcome.state,
        f"{outcome.seconds:.1f}",
        *(_number(outcome.state, values[name], why) for name, why in _WHY_NOT.items()),
        # They may quote file names that are not UTF-8.
        printable("; ".join(outcome.warnings)),
        printable(outcome.error),
    ]


def _number(state: State, value: float | None, why_not: str) -> str:
    if value is not None:
        return f"{value:.4g}"
    return "" if state == "failed" else why_not


def _page(outcomes: Sequence[Outcome], rows: Sequence[Sequence[str]]) -> str:
    counts = {
        state: sum(o.state == state for o in outcomes) for state in ("done", "kept", "failed")
    }
    head = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in _HEADS)
    body = "".join(
        f"<tr class={row[2]}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>firenet batch</title><style>"
        "body{font:14px system-ui,sans-serif;margin:2em}table{border-collapse:collapse}"
        "td,th{padding:3px 10px;border-bottom:1px solid #ddd;text-align:left}"
        ".failed td{background:#fff0ea}</style>"
        f"<h1>firenet batch</h1><p>{counts['done']} reconstructed, {counts['kept']} kept from "
        f"before, {counts['failed']} failed.</p><table><tr>{head}</tr>{body}</table></html>\n"
    )
