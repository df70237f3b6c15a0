"""What an experiment leaves behind: a figure (PNG) and its table (CSV, JSON), written as one."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from firenet_mri.errors import FileError
from firenet_mri.io.outputs import atomic_writes, check_outputs

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class ReportFiles:
    """The three files of an experiment."""

    figure: Path
    table: Path
    data: Path

    def text(self) -> str:
        """Return where they are, a line each."""
        return "\n".join(f"Written: {path}" for path in (self.figure, self.table, self.data))


def report_files(folder: Path, name: str, *, overwrite: bool = False) -> ReportFiles:
    """Return where an experiment's files go; makes the folder. Call it before the long work.

    Raises
    ------
    FileError
        If a file exists and may not be replaced, or the folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{folder}: cannot be made ({error.strerror}); choose another") from error
    files = ReportFiles(*(folder / f"{name}.{suffix}" for suffix in ("png", "csv", "json")))
    check_outputs((files.figure, files.table, files.data), overwrite=overwrite)
    return files


def write_report(
    files: ReportFiles,
    figure: Figure,
    rows: Sequence[Mapping[str, object]],
    *,
    settings: Mapping[str, object],
    overwrite: bool = False,
) -> None:
    """Write figure and table.

    Parameters
    ----------
    files
        As :func:`report_files` returned them.
    figure
        A matplotlib figure; made without pyplot, so that no window system is needed.
    rows
        The table, every row with the same keys, plain numbers and strings.
    settings
        What the experiment was run with: seeds, sizes, parameters, what is simulated. JSON data.

    Raises
    ------
    FileError
        If a file cannot be written; then none is.
    """
    paths = (files.figure, files.table, files.data)
    with atomic_writes(paths, overwrite=overwrite) as (picture, table, data):
        figure.savefig(picture, dpi=150, bbox_inches="tight")
        with table.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        report = {"settings": dict(settings), "rows": [dict(row) for row in rows]}
        data.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")
