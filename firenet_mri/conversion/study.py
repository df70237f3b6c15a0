"""Converts a folder of raw scans to another format, scan by scan, and resumes after interruption.

Next to the output folder, not in it, ``NAME.csv`` has one row per scan: its result, the digest of
its bytes and options, and the digests of the files that were written. This table is both summary
and record: files that are recorded and unchanged are kept, and the others are written. Loaders such
as fastMRI's read every file of a folder, so the output folder may contain nothing else.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path

from firenet_mri.conversion.convert import Converted, convert_scan
from firenet_mri.conversion.options import ConversionOptions
from firenet_mri.digests import digest_of_data, digest_of_file
from firenet_mri.errors import FileError, FirenetError, UsageError
from firenet_mri.io.kspace.folders import (
    check_folder_for_outputs,
    digests_of_scan,
    find_scans,
    shown_names,
    with_files_beside,
    without_name,
)
from firenet_mri.io.kspace.options import check_serves_many
from firenet_mri.io.kspace.targets import suffix_of
from firenet_mri.io.kspace.writing import check_conversion
from firenet_mri.io.names import printable
from firenet_mri.io.outputs import atomic_writes
from firenet_mri.io.tables import cell, text_of_cell
from firenet_mri.memory import memory_ran_out, shortage


@dataclass(frozen=True)
class Conversion:
    """Outcome for one scan.

    Parameters
    ----------
    scan, output
        Path of the scan within its folder, and name of the file that was written.
    state
        "done", "kept" from an earlier conversion, or "failed"; also "begun" in the summary of an
        interrupted conversion.
    coils, size, slices, images, sampled, simulated
        Content of the file, such as "256 x 256" and "25.0 %"; empty if failed.
    notes
        Parts of the scan that the format cannot store.
    error
        Error message in one line; empty unless failed.
    job, sha256
        Digest of the scan's bytes and the options, and the digests of all files that were written,
        as JSON.
    """

    scan: str
    output: str
    state: str
    coils: str = ""
    size: str = ""
    slices: str = ""
    images: str = ""
    sampled: str = ""
    simulated: str = ""
    notes: str = ""
    error: str = ""
    job: str = ""
    sha256: str = ""


def summary_path(output: Path) -> Path:
    """Return the path of an output folder's summary."""
    # "." and ".." have no names.
    named = output if output.name not in ("", "..") else output.resolve()
    return named.with_name(f"{named.name}.csv")


def convert_study(
    folder: Path,
    output: Path,
    options: ConversionOptions,
    *,
    overwrite: bool = False,
    on_outcome: Callable[[Conversion, int, int], None] | None = None,
) -> list[Conversion]:
    """Convert every raw scan in a folder and its subfolders, and return the outcomes.

    A scan that fails does not stop the others. The files lie side by side in the output folder,
    named after the scans' paths: ``day1/scan.dat`` becomes ``day1_scan.h5``.

    Parameters
    ----------
    folder, output
        Folder of the scans, and folder for the outputs, which is created if it is missing.
    options
        Options for all scans, including the format (``to``).
    overwrite
        Convert finished scans again, and replace files that exist.
    on_outcome
        Called after each scan with its outcome, the number of finished scans, and the total.

    Raises
    ------
    UsageError
        If the folder contains no scan, the output lies in it or is a file, or an option cannot be
        used for many scans.
    FileError
        If the output folder or the summary cannot be written.
    """
    check_study(folder, output, options)
    sources = find_scans(folder)
    suffix = suffix_of(options.to or "mrd")
    shown = [
        Path(name or source.relative_to(folder))
        for source, name in zip(sources, shown_names(sources, options.read), strict=True)
    ]
    names = [f"{name}{suffix}" for name in _names(shown)]
    _make_folder(output)
    rows = {row.output: row for row in _read_summary(summary_path(output))}

    def record(row: Conversion) -> None:
        rows[row.output] = row
        _write_summary(summary_path(output), rows.values())

    study = _Study(output, options, overwrite, record)
    outcomes = []
    for source, called, name in zip(sources, shown, names, strict=True):
        start = Conversion(printable(str(called)), name, "failed")
        outcome = study.convert(source, start, rows.get(name))
        if options.read.name_by_digest:
            error = without_name(outcome.error, source, str(called))
            outcome = replace(outcome, error=error)
        outcomes.append(outcome)
        record(outcome)
        if on_outcome is not None:
            on_outcome(outcome, len(outcomes), len(sources))
    return outcomes


def check_study(folder: Path, output: Path, options: ConversionOptions) -> None:
    """Refuse what :func:`convert_study` would refuse before the first scan.

    Raises
    ------
    UsageError
        If no format is named, the output lies among the scans, or an option cannot be used for many
        scans.
    FileError
        If the output folder can neither be written to nor created.
    """
    if options.to is None:
        raise UsageError("A folder of scans is converted to one format; name it with --to")
    check_serves_many(options.read)
    check_folder_for_outputs(output, folder)


def _make_folder(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{output}: cannot be created ({error.strerror or error})") from None


def _names(paths: Sequence[Path]) -> list[str]:
    """Return a name without suffix for each path; the names differ in more than case."""
    plain = [printable("_".join(path.with_suffix("").parts)) for path in paths]
    counts: dict[str, int] = {}
    for name in plain:
        counts[name.lower()] = counts.get(name.lower(), 0) + 1
    names: list[str] = []
    for path, name in zip(paths, plain, strict=True):
        # Scans that differ only in their suffix are told apart by it.
        wanted = name if counts[name.lower()] == 1 else f"{name}_{path.suffix[1:] or 'folder'}"
        taken = {other.lower() for other in names}
        unique, number = wanted, 2
        while unique.lower() in taken:
            unique, number = f"{wanted}_{number}", number + 1
        names.append(unique)
    return names


@dataclass(frozen=True, eq=False)
class _Study:
    """Settings that all conversions of a study share.

    Parameters
    ----------
    output, options, overwrite
        As in :func:`convert_study`.
    record
        Function that writes a row of the summary.
    """

    output: Path
    options: ConversionOptions
    overwrite: bool
    record: Callable[[Conversion], None]

    def convert(self, source: Path, start: Conversion, before: Conversion | None) -> Conversion:
        """Return the outcome for a scan; every error becomes an outcome.

        Parameters
        ----------
        source
            The scan.
        start
            Its row before the conversion.
        before
            The row with its name in the earlier summary.
        """
        # A row with the same name may belong to a scan of another folder.
        before = before if before is not None and before.scan == start.scan else None
        try:
            options = _with_files_beside(source, self.options)
            content = digests_of_scan(source)
            job = digest_of_data([*content, options.key(), version("firenet_mri")])
            is_same = before is not None and before.job == job
            if before is not None and is_same and not self.overwrite:
                if _is_whole(self.output, before):
                    return replace(before, state="kept", error="")
                may_replace = _is_ours(self.output, before)
            else:
                may_replace = self.overwrite
            target = self.output / start.output
            check_conversion(source, target, to=options.to, overwrite=may_replace)
            # If the work is interrupted, a file that exists then counts as ours.
            self.record(replace(start, state="begun", job=job))
            made = convert_scan(source, target, options, overwrite=may_replace)
            return replace(start, state="done", job=job, **_described(made))
        except (FirenetError, OSError, MemoryError, RuntimeError, SystemError) as error:
            text = printable(" ".join(str(error).split())) or type(error).__name__
            if not isinstance(error, FirenetError) and memory_ran_out(error):
                text = shortage()
            elif not isinstance(error, FirenetError | OSError):
                raise
            # The files of an earlier conversion still exist and are still recorded.
            return replace(before or start, state="failed", error=text)


def _with_files_beside(source: Path, options: ConversionOptions) -> ConversionOptions:
    found = with_files_beside(source, options.read)
    return options if found is options.read else replace(options, read=found)


def _described(made: Converted) -> dict[str, str]:
    """Return the columns that describe what was written."""
    digests = {path.name: digest_of_file(path) for path in made.files}
    return {
        "coils": str(made.coils),
        "size": " x ".join(map(str, made.spatial_shape)),
        "slices": str(made.slices),
        "images": str(made.images),
        "sampled": f"{100 * made.sampled_fraction:.1f} %",
        "simulated": "yes" if made.simulated else "",
        "notes": printable(" ".join(made.notes)),
        "sha256": json.dumps(digests),
    }


def _recorded(output: Path, row: Conversion) -> dict[Path, str]:
    """Return the files that a row records, with their digests."""
    try:
        files = json.loads(row.sha256 or "{}")
    except ValueError:
        return {}
    return {output / name: digest for name, digest in files.items()}


def _is_whole(output: Path, row: Conversion) -> bool:
    """Return whether all written files exist and are unchanged."""
    files = _recorded(output, row)
    return bool(files) and all(
        path.is_file() and digest_of_file(path) == digest for path, digest in files.items()
    )


def _is_ours(output: Path, row: Conversion) -> bool:
    """Return whether a conversion wrote the files and nothing changed them since."""
    if row.state == "begun":
        return True
    files = _recorded(output, row)
    return bool(files) and all(
        digest_of_file(path) == digest for path, digest in files.items() if path.is_file()
    )


def _read_summary(path: Path) -> list[Conversion]:
    """Return the rows of a summary; none if there is no such file.

    Raises
    ------
    FileError
        If the file is not a summary.
    """
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = csv.DictReader(stream)
            return [Conversion(**{k: text_of_cell(v) for k, v in row.items()}) for row in rows]
    except (OSError, ValueError, TypeError, AttributeError):
        raise FileError(
            f"{path}: is not the summary of a conversion; move it, or write to another folder"
        ) from None


def _write_summary(path: Path, rows: Iterable[Conversion]) -> None:
    with (
        atomic_writes([path], overwrite=True) as (file,),
        file.open("w", newline="", encoding="utf-8") as stream,
    ):
        heads = [field.name for field in fields(Conversion)]
        writer = csv.DictWriter(stream, heads, lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: cell(v) for k, v in asdict(row).items()} for row in rows)
