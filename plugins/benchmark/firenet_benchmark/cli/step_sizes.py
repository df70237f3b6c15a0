"""``firenet benchmark steps``: accuracy against certified stability."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from firenet_benchmark.cli.options import BenchmarkOutput
from firenet_mri.cli.tables import print_table

if TYPE_CHECKING:
    from firenet_benchmark.step_sizes import Curves


def steps(
    scans: list[Path],
    /,
    *,
    files: BenchmarkOutput = BenchmarkOutput(),
) -> None:
    """Show accuracy against certified stability for the steps and depths of the network.

    Parameters
    ----------
    scans
        Scans; the first slice of each is used.
    """
    from firenet_benchmark.report import report_files, write_report
    from firenet_benchmark.step_sizes import plot

    report = report_files(files.output, "steps", overwrite=files.overwrite)
    curves = [_curves(scan) for scan in scans]
    rows = [point.row() for one in curves for point in one.points]
    settings = {
        "best_objectives": [one.best_objective for one in curves],
        "certified_relative_gaps_of_best": [one.best_objective_gap for one in curves],
    }
    write_report(report, plot(curves), rows, settings=settings, overwrite=files.overwrite)
    console = Console(highlight=False)
    print_table(console, _table(curves))
    console.print(report.text(), markup=False)


def _curves(scan: Path) -> Curves:
    """Return all networks on a scan's first slice."""
    from firenet_benchmark.scans import first_slice
    from firenet_benchmark.step_sizes import trade_off
    from firenet_mri.cli.progress import progress
    from firenet_mri.firenet.presets import make_network
    from firenet_mri.io import read

    raw = read(scan)
    y, encoding = first_slice(raw)
    coils, *shape = y.shape
    name = f"{raw.name} ({'simulated' if raw.simulated else 'measured'})"
    with progress(name, "runs") as on_run:
        net = make_network(coils, tuple(shape))
        return trade_off(name, net, y, encoding, on_run=on_run)


def _table(curves: Sequence[Curves]) -> Table:
    table = Table("scan", "schedule", "layers", "certified constant", "relative gap")
    for point in (point for one in curves for point in one.points if point.is_shown):
        numbers = f"{point.lipschitz_bound:.2f}", f"{point.relative_gap:.1e}"
        table.add_row(point.scan, point.schedule, str(point.layers), *numbers)
    return table
