"""``firenet benchmark layers``: the time of a layer beside the FFTs that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from firenet_benchmark.cli.options import BenchmarkOutput
from firenet_mri.cli.tables import print_table

if TYPE_CHECKING:
    from firenet_benchmark.layers import LayerTime


def layers(
    scans: list[str],
    /,
    *,
    threads: list[int] | None = None,
    files: BenchmarkOutput = BenchmarkOutput(),
) -> None:
    """Time one layer and its parts, compared with the FFTs that it needs.

    A, B and C are the simulated Cartesian problems of ``firenet benchmark speed``.

    Parameters
    ----------
    scans
        Scans, of which the first slice is used, or A, B, C.
    threads
        Number of threads; repeat the option for several numbers. Default: 1 and 2.
    """
    import torch

    from firenet_benchmark.layers import plot
    from firenet_benchmark.report import report_files, write_report

    report = report_files(files.output, "layers", overwrite=files.overwrite)
    times = [time for scan in scans for time in _times(scan, threads or [1, 2])]
    rows = [{**asdict(time), "ratio": time.ratio} for time in times]
    settings = {"median_of": 15, "torch": torch.__version__}
    write_report(report, plot(times), rows, settings=settings, overwrite=files.overwrite)
    console = Console(highlight=False)
    print_table(console, _table(times))
    console.print(report.text(), markup=False)


def _times(scan: str, threads: Sequence[int]) -> list[LayerTime]:
    """Return the times of every network on a scan."""
    from firenet_benchmark.layers import layer_time
    from firenet_benchmark.problems import make_problem
    from firenet_benchmark.scans import first_slice
    from firenet_mri.firenet.presets import make_network
    from firenet_mri.io import read

    problem = make_problem(scan) if scan in ("A", "B", "C") else None
    y, encoding = first_slice(read(Path(scan))) if problem is None else problem.tensors()
    coils, *shape = y.shape
    names = ["haar", "db4", "undecimated-haar"]
    if len(shape) == 2:
        names.append("undecimated-dct3")
    nets = {name: make_network(coils, tuple(shape), sparsifier=name) for name in names}
    return [
        layer_time(net, y, encoding, threads=count, scan=Path(scan).stem, network=name)
        for name, net in nets.items()
        for count in threads
    ]


def _table(times: Sequence[LayerTime]) -> Table:
    table = Table("scan")
    table.add_column("network", overflow="fold")
    for column in ("threads", "FFTs ms", "residual", "prox", "layer", "ratio"):
        table.add_column(column, justify="right")
    for time in times:
        parts = (time.fft_ms, time.residual_ms, time.sparsifier_ms, time.layer_ms, time.ratio)
        cells = [f"{part:.2f}" for part in parts]
        table.add_row(time.scan, time.network, str(time.threads), *cells)
    return table
