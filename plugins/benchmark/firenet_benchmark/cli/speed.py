"""``firenet benchmark speed``: PSNR against seconds beside other libraries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from firenet_benchmark.cli.options import BenchmarkOutput
from firenet_mri.cli.tables import print_table

if TYPE_CHECKING:
    from firenet_benchmark.speed import Point


def speed(
    *,
    problems: list[str] | None = None,
    methods: list[str] | None = None,
    threads: int = 2,
    files: BenchmarkOutput = BenchmarkOutput(),
) -> None:
    """Race FIRENET against other libraries on simulated scans with known maps; takes minutes.

    Libraries that are not installed are skipped and named. An interrupted run resumes.

    Parameters
    ----------
    problems
        Problem, A to D; repeat the option for several. Default: all.
    methods
        Method; repeat the option for several. Default: all that are installed.
    threads
        Number of threads that each method may use.
    """
    from firenet_benchmark.problems import NAMES
    from firenet_benchmark.report import report_files, write_report
    from firenet_benchmark.speed import available, forget, judge, plot, race, versions
    from firenet_mri.cli.progress import progress
    from firenet_mri.errors import UsageError

    wanted = problems or list(NAMES)
    if unknown := [name for name in wanted if name not in NAMES]:
        raise UsageError(f"Unknown problem {unknown[0]!r}; use {', '.join(NAMES)}")
    report = report_files(files.output, "speed", overwrite=files.overwrite)
    here, missing = available()
    if methods and (absent := [name for name in methods if name not in here]):
        raise UsageError(f"{absent[0]!r} is unknown or not installed; use {', '.join(here)}")
    chosen = methods or here
    with progress("Racing", "runs") as on_run:
        points = race(wanted, chosen, threads, files.output, on_run)
    verdicts = judge(points)
    settings = {
        "threads": threads,
        "simulated": True,
        "versions": versions(chosen),
        "not_installed": missing,
        "goals": [verdict.text() for verdict in verdicts],
    }
    rows = [asdict(point) for point in points]
    write_report(report, plot(points), rows, settings=settings, overwrite=files.overwrite)
    forget(files.output)
    console = Console(highlight=False)
    print_table(console, _table(points, threads))
    for name in missing:
        console.print(f"{name} is not installed; left out.")
    for verdict in verdicts:
        console.print(verdict.text(), markup=False)
    console.print(report.text(), markup=False)


def _table(points: Sequence[Point], threads: int) -> Table:
    from firenet_benchmark.speed import summarise

    used = "1 thread" if threads == 1 else f"{threads} threads"
    table = Table("", title=f"simulated data, {used}")
    table.add_column("method", no_wrap=True)
    for column in ("best PSNR dB", "s to 0.1 dB of it", "ms per iteration", "MiB"):
        table.add_column(column, justify="right")
    for row in summarise(points):
        numbers = (row.best_psnr_db, row.seconds, row.ms_an_iteration)
        cells = [f"{number:.2f}" for number in numbers]
        memory = "" if row.peak_mib is None else f"{row.peak_mib:.0f}"
        table.add_row(row.problem, row.method, *cells, memory)
    return table
