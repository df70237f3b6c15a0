"""``firenet benchmark speed``: PSNR against seconds beside other libraries."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from firenet_mri.cli.app import benchmark_app
from firenet_mri.cli.scans import progress


@benchmark_app.command()
def speed(
    problems: Annotated[
        list[str] | None, typer.Option(help="Problems, A to D; default all.")
    ] = None,
    methods: Annotated[
        list[str] | None, typer.Option(help="Methods; default all that are installed.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads that each method may use.")] = 2,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for figure and tables.")
    ] = Path("benchmark"),
    overwrite: Annotated[bool, typer.Option(help="Replace files that exist.")] = False,
    debug: Annotated[bool, typer.Option(help="Show a traceback on errors.")] = False,
) -> None:
    """Race FIRENET against other libraries on simulated scans with known maps; minutes.

    Those that are not installed are left out by name. A run that was interrupted goes on.
    """
    from firenet_benchmark.problems import NAMES
    from firenet_benchmark.speed import (
        available,
        forget,
        judge,
        plot,
        race,
        summarise,
        versions,
    )
    from firenet_mri.errors import UsageError
    from firenet_benchmark.report import report_files, write_report

    wanted = problems or list(NAMES)
    if unknown := [name for name in wanted if name not in NAMES]:
        raise UsageError(f"Unknown problem {unknown[0]!r}; use {', '.join(NAMES)}")
    files = report_files(output, "speed", overwrite=overwrite)
    here, missing = available()
    if methods and (absent := [name for name in methods if name not in here]):
        raise UsageError(f"{absent[0]!r} is unknown or not installed; use {', '.join(here)}")
    chosen = methods or here
    with progress("Racing", "runs") as on_run:
        points = race(wanted, chosen, threads, output, on_run)
    verdicts = judge(points)
    settings = {
        "threads": threads,
        "simulated": True,
        "versions": versions(chosen),
        "not_installed": missing,
        "goals": [verdict.text() for verdict in verdicts],
    }
    rows = [asdict(point) for point in points]
    write_report(files, plot(points), rows, settings=settings, overwrite=overwrite)
    forget(output)
    table = Table("", title=f"simulated data, {threads} threads")
    table.add_column("method", no_wrap=True)
    for column in ("best PSNR dB", "s to 0.1 dB of it", "ms an iteration", "MiB"):
        table.add_column(column, justify="right")
    for row in summarise(points):
        numbers = (row.best_psnr_db, row.seconds, row.ms_an_iteration)
        cells = [f"{number:.2f}" for number in numbers]
        memory = "" if row.peak_mib is None else f"{row.peak_mib:.0f}"
        table.add_row(row.problem, row.method, *cells, memory)
    console = Console(highlight=False)
    console.print(table)
    for name in missing:
        console.print(f"{name} is not installed; left out.")
    for verdict in verdicts:
        console.print(verdict.text(), markup=False)
    console.print(f"Figure: {files.figure}\nTable:  {files.table}, {files.data}", markup=False)
