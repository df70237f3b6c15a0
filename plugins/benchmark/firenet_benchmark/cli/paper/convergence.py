"""``firenet paper convergence``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from firenet_benchmark.cli.options import PaperOutput

if TYPE_CHECKING:
    from firenet_benchmark.paper.convergence import Curve, Problem
    from firenet_mri import RawScan


@Parameter(name="*")
@dataclass(frozen=True)
class Simulation:
    """How data are simulated.

    Parameters
    ----------
    size
        Size of the phantom, a power of two.
    rate
        Part of the coefficients that is sampled.
    noise
        Noise, relative to the data.
    seed
        Seed of mask and noise.
    """

    size: int = 256
    rate: float = 0.15
    noise: float = 0.02
    seed: int = 1


def convergence(
    *,
    image: Path | None = None,
    scan: Path | None = None,
    inner: list[int] | None = None,
    iterations: int = 80,
    lam: float = 0.00025,
    simulation: Simulation = Simulation(),
    files: PaperOutput = PaperOutput(),
) -> None:
    """Show the network's exponential convergence, and the plateau that p sets.

    Parameters
    ----------
    image
        An image beside the phantom, .nii.gz or .npy.
    scan
        Instead of simulated data, the first slice of this scan.
    inner
        Inner iterations p; give it several times for several numbers. Default: 5, 8 and 10.
    iterations
        Inner iterations in all, n p.
    lam
        Weight of the sparsity.
    """
    from firenet_benchmark.paper.convergence import figure, optima
    from firenet_benchmark.report import report_files, write_report
    from firenet_mri.errors import UsageError
    from firenet_mri.io import read

    if scan is not None and image is not None:
        raise UsageError("--scan and --image given; give one of them")
    report = report_files(files.output, "convergence", overwrite=files.overwrite)
    simulated = True
    if scan is None:
        problems = _simulated(image, simulation, lam=lam)
    else:
        raw = read(scan)
        simulated = raw.simulated
        problems = [_measured(raw, lam)]
    curves = _curves(problems, tuple(dict.fromkeys(inner or (5, 8, 10))), iterations)
    settings = {"simulated": simulated, "lam": lam, **({} if scan else asdict(simulation))}
    title = f"λ = {lam:g}"
    if scan is None:
        title = f"Simulated: {simulation.rate:.0%} sampled, {simulation.noise:.0%} noise, {title}"
    write_report(
        report,
        figure(curves, title=title),
        [row for curve in curves for row in curve.rows()],
        settings={**settings, "optimum": optima(curves)},
        overwrite=files.overwrite,
    )
    console = Console(highlight=False, soft_wrap=True)
    console.print(_table(curves))
    _tell(console, curves)
    console.print(report.text(), markup=False)


def _curves(problems: Sequence[Problem], inner: tuple[int, ...], iterations: int) -> list[Curve]:
    """Return the curves of all problems; a bar counts them, with one long run for each F*."""
    from firenet_benchmark.paper.convergence import convergence
    from firenet_mri.cli.progress import progress

    curves: list[Curve] = []
    total, done = len(problems) * (1 + len(inner)), 0
    with progress("Converging", "runs") as on_run:

        def on_curve() -> None:
            nonlocal done
            done += 1
            if on_run is not None:
                on_run(done, total)

        for problem in problems:
            curves += convergence(problem, inner, iterations=iterations, on_curve=on_curve)
    return curves


def _simulated(image: Path | None, simulation: Simulation, *, lam: float) -> list[Problem]:
    """Return the phantom's problems, and those of an image."""
    from firenet_benchmark.paper.convergence import simulated_problem
    from firenet_benchmark.paper.images import on_square_grid
    from firenet_mri.io import read_reference
    from firenet_mri.phantoms import shepp_logan

    images = {"phantom": shepp_logan(simulation.size)}
    if image is not None:
        images[image.name.split(".")[0]] = on_square_grid(read_reference(image))
    sampling = asdict(simulation)
    del sampling["size"]
    return [
        simulated_problem(name, pixels, transform, lam=lam, **sampling)
        for name, pixels in images.items()
        for transform in ("fourier", "walsh")
    ]


def _measured(raw: RawScan, lam: float) -> Problem:
    """Return the problem of a scan's first slice, with the paper preset."""
    from firenet_benchmark.paper.convergence import Problem
    from firenet_benchmark.scans import first_slice
    from firenet_mri.firenet.presets import make_network

    y, encoding = first_slice(raw)
    coils, *shape = y.shape
    preset = make_network(coils, tuple(shape), preset="paper", lam=lam)
    weights = preset.problem(encoding).weights
    name = f"{raw.name}, simulated" if raw.simulated else raw.name
    return Problem(name, encoding, preset.sparsifier, weights, lam, y)


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
