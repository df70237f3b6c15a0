"""``firenet paper convergence``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from firenet_mri.cli.app import paper_app
from firenet_mri.cli.scans import first_slice
from firenet_mri.errors import UsageError
from firenet_mri.scan import RawScan

if TYPE_CHECKING:
    from firenet_benchmark.paper.convergence import Curve, Problem


@paper_app.command("convergence")
def paper_convergence(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for figure and tables.")
    ] = Path("paper"),
    image: Annotated[
        Path | None, typer.Option(help="An image beside the phantom, .nii.gz or .npy.")
    ] = None,
    scan: Annotated[
        Path | None, typer.Option(help="Instead of simulated data, the first slice of this scan.")
    ] = None,
    size: Annotated[int, typer.Option(help="Size of the phantom, a power of two.")] = 256,
    inner: Annotated[
        list[int] | None, typer.Option("--inner", help="Inner iterations p; several. [5, 8, 10]")
    ] = None,
    iterations: Annotated[int, typer.Option(help="Inner iterations in all, n p.")] = 80,
    rate: Annotated[float, typer.Option(help="Part of the coefficients sampled.")] = 0.15,
    noise: Annotated[float, typer.Option(help="Noise, relative to the data.")] = 0.02,
    lam: Annotated[float, typer.Option(help="Weight of the sparsity.")] = 0.00025,
    seed: Annotated[int, typer.Option(help="Of mask and noise.")] = 1,
    overwrite: Annotated[bool, typer.Option(help="Replace outputs that exist.")] = False,
    debug: Annotated[bool, typer.Option(help="Show a traceback on errors.")] = False,
) -> None:
    """Show the network's exponential convergence, and the plateau that p sets."""
    from firenet_mri.io import read
    from firenet_benchmark.paper.convergence import convergence, figure, optima
    from firenet_benchmark.report import report_files, write_report

    if scan is not None and image is not None:
        raise UsageError("--scan and --image given; give one of them")
    files = report_files(output, "convergence", overwrite=overwrite)
    simulated = True
    if scan is None:
        problems = _simulated(image, size, rate=rate, noise=noise, lam=lam, seed=seed)
    else:
        raw = read(scan)
        simulated = raw.simulated
        problems = [_measured(raw, lam)]
    numbers = tuple(dict.fromkeys(inner or (5, 8, 10)))
    curves: list[Curve] = []
    with _progress(len(problems) * (1 + len(numbers))) as bar:
        task = bar.task_ids[0]
        for problem in problems:
            bar.update(task, description=problem.name)
            curves += convergence(
                problem, numbers, iterations=iterations, on_curve=lambda: bar.advance(task)
            )
    simulation = {} if scan else {"rate": rate, "noise": noise, "seed": seed, "size": size}
    settings = {"simulated": simulated, "lam": lam, **simulation, "optimum": optima(curves)}
    title = f"λ = {lam:g}"
    if scan is None:
        title = f"Simulated: {rate:.0%} sampled, {noise:.0%} noise, {title}"
    rows = [row for curve in curves for row in curve.rows()]
    write_report(files, figure(curves, title=title), rows, settings=settings, overwrite=overwrite)
    console = Console(highlight=False, soft_wrap=True)
    console.print(_table(curves))
    _tell(console, curves)
    for path in (files.figure, files.table, files.data):
        console.print(f"Written: {path}", markup=False)


def _simulated(
    image: Path | None, size: int, *, rate: float, noise: float, lam: float, seed: int
) -> list[Problem]:
    """Return the phantom's problems, and those of an image."""
    from firenet_mri.io import read_reference
    from firenet_benchmark.paper.convergence import simulated_problem
    from firenet_benchmark.paper.images import on_square_grid
    from firenet_mri.phantoms import shepp_logan

    images = {"phantom": shepp_logan(size)}
    if image is not None:
        images[image.name.split(".")[0]] = on_square_grid(read_reference(image))
    return [
        simulated_problem(name, pixels, transform, rate=rate, noise=noise, lam=lam, seed=seed)
        for name, pixels in images.items()
        for transform in ("fourier", "walsh")
    ]


def _measured(raw: RawScan, lam: float) -> Problem:
    """Return the problem of a scan's first slice, with the paper preset."""
    from firenet_mri.firenet.presets import make_network
    from firenet_benchmark.paper.convergence import Problem

    y, encoding = first_slice(raw)
    coils, *shape = y.shape
    preset = make_network(coils, tuple(shape), preset="paper", lam=lam)
    weights = preset.problem(encoding).weights
    name = f"{raw.name}, simulated" if raw.simulated else raw.name
    return Problem(name, encoding, preset.sparsifier, weights, lam, y)


def _progress(total: int) -> Progress:
    """Return a bar on stderr."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("runs"),
        TimeElapsedColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True))
    bar.add_task("", total=total)
    return bar


def _table(curves: Sequence[Curve]) -> Table:
    places = sorted({j for j in (5, 10, 20, 40) if j < len(curves[0].gap)})
    table = Table(
        "problem",
        "p",
        *(f"j = {j}" for j in places),
        "end",
        "fall a restart",
        title="(F(c_j) - F*) / ||c|| | ||c_j - c|| / ||c||",
    )
    for curve in curves:
        table.add_row(
            curve.problem,
            str(curve.inner),
            *(_cell(curve, j) for j in places),
            _cell(curve, len(curve.gap)),
            " ".join(f"{fall:.2f}" for fall in curve.falls[:3]),
        )
    return table


def _cell(curve: Curve, j: int) -> str:
    gap = f"{curve.gap[j - 1]:.2e}"
    return f"{gap} | {curve.error[j - 1]:.3f}" if curve.error else gap


def _tell(console: Console, curves: Sequence[Curve]) -> None:
    """Say what F* is, and what the slope means."""
    for curve in {curve.problem: curve for curve in curves}.values():
        best = curve.optimum
        error = "" if best.error is None else f", error of the minimiser {best.error:.4f}"
        console.print(
            f"{curve.problem}: F* = {best.objective:.8g}, proven to within {best.gap:.2g}{error}",
            markup=False,
        )
    console.print(
        "The theorem's fall is e^-1 = 0.37 a restart or less, for p >= 2 chi L / nu; with a "
        "smaller p the gap ends on a plateau."
    )
