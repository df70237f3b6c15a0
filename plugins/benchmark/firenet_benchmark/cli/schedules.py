"""``firenet benchmark schedules``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from firenet_mri.cli.app import benchmark_app
from firenet_mri.cli.scans import progress


@benchmark_app.command()
def schedules(
    image: Annotated[
        Path | None, typer.Argument(help="An image beside the phantom, .nii.gz or .npy.")
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for figure and tables.")
    ] = Path("benchmark"),
    size: Annotated[int, typer.Option(help="Size of the images, a power of two.")] = 256,
    pairs: Annotated[int, typer.Option(help="Operator pairs that a schedule may use.")] = 600,
    seed: Annotated[int, typer.Option(help="Of masks and noise.")] = 1,
    overwrite: Annotated[bool, typer.Option(help="Replace files that exist.")] = False,
    debug: Annotated[bool, typer.Option(help="Show a traceback on errors.")] = False,
) -> None:
    """Count the operator pairs that each schedule needs, on simulated data."""
    from firenet_benchmark.schedules import LEVELS, compare, make_cases, plot
    from firenet_mri.io import read_reference
    from firenet_benchmark.report import report_files, write_report

    files = report_files(output, "schedules", overwrite=overwrite)
    cases = make_cases(size, None if image is None else read_reference(image), seed=seed)
    results, optima = [], {}
    console = Console(highlight=False)
    with progress("schedules", "problems") as on_case:
        for done, case in enumerate(cases, 1):
            best, found = compare(case, pairs=pairs)
            results += found
            optima[case.name] = {
                "objective": best.objective,
                "certified_relative_gap": best.relative_gap,
                "relative_residual": best.residual,
            }
            if on_case is not None:
                on_case(done, len(cases))
    settings = {"simulated": True, "size": size, "pairs": pairs, "seed": seed, "optima": optima}
    rows = [result.row() for result in results]
    write_report(files, plot(results), rows, settings=settings, overwrite=overwrite)
    for case in cases:
        known = optima[case.name]["certified_relative_gap"]
        title = f"{case.name} (simulated); F* certified to {known:.0e}"
        table = Table("schedule", *(f"{level:.0e}" for level in LEVELS), "least", title=title)
        for result in (result for result in results if result.case == case.name):
            counts = [str(result.pairs_to(level) or "-") for level in LEVELS]
            table.add_row(result.schedule, *counts, f"{result.gaps[-1]:.0e}")
        console.print(table)
    for path in (files.figure, files.table, files.data):
        console.print(f"Written: {path}", markup=False, soft_wrap=True)
