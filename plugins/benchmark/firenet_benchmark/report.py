"""What an experiment leaves behind: a figure (PNG) and its table (CSV, JSON), written as one.

The stability benchmark writes a page as well; it uses the parts of this module.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from firenet_mri.errors import FileError
from firenet_mri.io import atomic_writes, check_outputs

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class ReportFiles:
    """The three files of an experiment."""

    figure: Path
    table: Path
    data: Path

    def text(self) -> str:
        """Return where they are, one line each."""
        return "\n".join(f"Written: {path}" for path in (self.figure, self.table, self.data))


def report_files(folder: Path, name: str, *, overwrite: bool = False) -> ReportFiles:
    """Return where an experiment's files go; makes the folder. Call it before the long work.

    Raises
    ------
    FileError
        If a file exists and may not be replaced, or the folder cannot be made or written.
    """
    return ReportFiles(*free_paths(folder, name, ("png", "csv", "json"), overwrite=overwrite))


def free_paths(
    folder: Path, name: str, suffixes: Sequence[str], *, overwrite: bool = False
) -> list[Path]:
    """Return a path for each suffix, all of which can be written; makes the folder.

    Raises
    ------
    FileError
        If a file exists and may not be replaced, or the folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"{folder}: cannot be created ({error.strerror}); choose another"
        ) from error
    paths = [folder / f"{name}.{suffix}" for suffix in suffixes]
    check_outputs(paths, overwrite=overwrite)
    return paths


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
        write_table(table, list(rows[0]), [[row[key] for key in rows[0]] for row in rows])
        write_json(data, {"settings": dict(settings), "rows": [dict(row) for row in rows]})


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table as CSV."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write JSON data; NaN is refused."""
    text = json.dumps(content, indent=2, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
