"""``firenet benchmark``: accuracy beside the baselines, and time beside the FFTs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from firenet_mri.cli.app import benchmark_app
from firenet_mri.cli.scans import first_slice, progress
from firenet_mri.scan import RawScan


@benchmark_app.command()
def accuracy(
    scan: Annotated[str, typer.Argument(help="One 2D slice, (coil, y, x); or A or B, simulated.")],
    reference: Annotated[
        Path | None,
        typer.Option(help="Reference magnitude image; without it the scan must be fully sampled."),
    ] = None,
    acceleration: Annotated[
        float, typer.Option(help="Under-sampling of a fully sampled scan.")
    ] = 6.0,
    calibration: Annotated[int, typer.Option(help="Width of the sampled centre.")] = 24,
    maps: Annotated[str, typer.Option(help="Sensitivity maps: espirit or jsense.")] = "espirit",
    seed: Annotated[int, typer.Option(help="Of the sampling mask.")] = 0,
    debug: Annotated[bool, typer.Option(help="Show a traceback on errors.")] = False,
) -> None:
    """Compare PSNR and SSIM with zero filling and SigPy's apps, their lambdas tuned.

    Maps are estimated. A and B are the problems of ``firenet benchmark speed``.
    """
    from torch import from_numpy

    from firenet_benchmark.accuracy import compare, undersample
    from firenet_benchmark.problems import make_problem
    from firenet_mri.io import read, read_reference

    target: Tensor | RawScan
    if scan in ("A", "B"):
        problem = make_problem(scan)
        raw, target = problem.scan(), from_numpy(problem.truth).abs()
    elif reference is not None:
        raw, target = read(Path(scan)), read_reference(reference)
    else:
        raw = read(Path(scan))
        target = raw
        raw = undersample(raw, acceleration, calibration=calibration, seed=seed)
    kind = "simulated" if raw.simulated else "measured"
    title = f"{raw.name}: {kind} data, {100 * raw.sampled_fraction:.1f} % sampled, maps {maps}"
    table = Table("method", "PSNR dB", "SSIM", "seconds", "tuned lambda", title=title)
    for row in compare(raw, target, maps=maps):  # type: ignore[arg-type]
        tuned = "" if row.tuned_lambda is None else f"{row.tuned_lambda:.1e}"
        table.add_row(
            row.method, f"{row.psnr_db:.2f}", f"{row.ssim:.4f}", f"{row.seconds:.2f}", tuned
        )
    Console(highlight=False).print(table)


@benchmark_app.command()
def layers(
    scans: Annotated[
        list[str], typer.Argument(help="Scans, of which the first slice is used, or A, B, C.")
    ],
    threads: Annotated[list[int] | None, typer.Option(help="Threads; default 1 and 2.")] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for figure and tables.")
    ] = Path("benchmark"),
    overwrite: Annotated[bool, typer.Option(help="Replace files that exist.")] = False,
    debug: Annotated[bool, typer.Option(help="Show a traceback on errors.")] = False,
) -> None:
    """Time one layer, and its parts, beside the FFTs that it needs.

    A, B and C are the simulated Cartesian problems of ``firenet benchmark speed``.
    """
    import torch

    from firenet_benchmark.layers import layer_time, plot
    from firenet_benchmark.problems import make_problem
    from firenet_mri.firenet.presets import make_network
    from firenet_mri.io import read
    from firenet_benchmark.report import report_files, write_report

    files = report_files(output, "layers", overwrite=overwrite)
    times = []
    for scan in scans:
        problem = make_problem(scan) if scan in ("A", "B", "C") else None
        y, encoding = first_slice(read(Path(scan))) if problem is None else problem.tensors()
        coils, *shape = y.shape
        names = ["haar", "db4", "undecimated-haar"]
        if len(shape) == 2:
            names.append("undecimated-haar+undecimated-dct3")
        for name in names:
            net = make_network(coils, tuple(shape), sparsifier=name)
            for count in threads or [1, 2]:
                stem = Path(scan).stem
                times.append(layer_time(net, y, encoding, threads=count, scan=stem, network=name))
    table = Table("scan")
    table.add_column("network", overflow="fold")
    for column in ("threads", "FFTs ms", "residual", "prox", "layer", "ratio"):
        table.add_column(column, justify="right")
    for time in times:
        parts = (time.fft_ms, time.residual_ms, time.sparsifier_ms, time.layer_ms, time.ratio)
        cells = [f"{part:.2f}" for part in parts]
        table.add_row(time.scan, time.network, str(time.threads), *cells)
    rows = [{**asdict(time), "ratio": time.ratio} for time in times]
    settings = {"median_of": 15, "torch": torch.__version__}
    write_report(files, plot(times), rows, settings=settings, overwrite=overwrite)
    console = Console(highlight=False)
    console.print(table)
    console.print(f"Figure: {files.figure}\nTable:  {files.table}, {files.data}", markup=False)


@benchmark_app.command()
def steps(
    scans: Annotated[list[Path], typer.Argument(help="Scans; the first slice of each is used.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for figure and tables.")
    ] = Path("benchmark"),
    overwrite: Annotated[bool, typer.Option(help="Replace files that exist.")] = False,
    debug: Annotated[bool, typer.Option(help="Show a traceback on errors.")] = False,
) -> None:
    """Show accuracy against certified stability for the steps and depths of the network."""
    from firenet_benchmark.step_sizes import plot, trade_off
    from firenet_mri.firenet.presets import make_network
    from firenet_mri.io import read
    from firenet_benchmark.report import report_files, write_report

    files = report_files(output, "steps", overwrite=overwrite)
    curves = []
    for scan in scans:
        raw = read(scan)
        y, encoding = first_slice(raw)
        coils, *shape = y.shape
        kind = "simulated" if raw.simulated else "measured"
        name = f"{raw.name} ({kind})"
        with progress(name, "runs") as on_run:
            net = make_network(coils, tuple(shape))
            curves.append(trade_off(name, net, y, encoding, on_run=on_run))
    rows = [point.row() for one in curves for point in one.points]
    settings = {
        "best_objectives": [one.best_objective for one in curves],
        "certified_relative_gaps_of_best": [one.best_objective_gap for one in curves],
    }
    write_report(files, plot(curves), rows, settings=settings, overwrite=overwrite)
    table = Table("scan", "schedule", "layers", "certified constant", "relative gap")
    for point in (point for one in curves for point in one.points if point.is_shown):
        numbers = f"{point.lipschitz_bound:.2f}", f"{point.relative_gap:.1e}"
        table.add_row(point.scan, point.schedule, str(point.layers), *numbers)
    console = Console(highlight=False)
    console.print(table)
    console.print(f"Figure: {files.figure}\nTable:  {files.table}, {files.data}", markup=False)
