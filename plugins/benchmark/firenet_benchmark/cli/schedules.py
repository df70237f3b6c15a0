"""``firenet benchmark schedules``: the operator pairs that each schedule needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from firenet_benchmark.cli.options import BenchmarkOutput
from firenet_mri.cli.tables import print_table

if TYPE_CHECKING:
    from firenet_benchmark.schedules import Result


def schedules(
    image: Path | None = None,
    /,
    *,
    size: int = 256,
    pairs: int = 600,
    seed: int = 1,
    files: BenchmarkOutput = BenchmarkOutput(),
) -> None:
    """Count the operator pairs that each schedule needs, on simulated data.

    Parameters
    ----------
    image
        Image to use in addition to the phantom, .nii.gz or .npy.
    size
        Size of the images, a power of two.
    pairs
        Largest number of operator pairs that a schedule may use.
    seed
        Seed of masks and noise.
    """
    from firenet_benchmark.report import report_files, write_report
    from firenet_benchmark.schedules import compare, make_cases, plot
    from firenet_mri.cli.progress import progress
    from firenet_mri.io import read_reference

    report = report_files(files.output, "schedules", overwrite=files.overwrite)
    cases = make_cases(size, None if image is None else read_reference(image), seed=seed)
    results: list[Result] = []
    optima: dict[str, dict[str, Any]] = {}
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
    write_report(report, plot(results), rows, settings=settings, overwrite=files.overwrite)
    console = Console(highlight=False)
    for table in _tables(results, optima):
        print_table(console, table)
    console.print(report.text(), markup=False, soft_wrap=True)


def _tables(results: Sequence[Result], optima: dict[str, dict[str, Any]]) -> Iterator[Table]:
    """Yield a table for each problem."""
    from firenet_benchmark.schedules import LEVELS

    for name, best in optima.items():
        title = f"{name} (simulated); F* certified to {best['certified_relative_gap']:.0e}"
        table = Table("schedule", *(f"{level:.0e}" for level in LEVELS), "least", title=title)
        for result in (result for result in results if result.case == name):
            counts = [str(result.pairs_to(level) or "-") for level in LEVELS]
            table.add_row(result.schedule, *counts, f"{result.gaps[-1]:.0e}")
        yield table
