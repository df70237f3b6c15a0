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
from firenet_mri.cli.tables import print_table

if TYPE_CHECKING:
    from firenet_benchmark.paper.convergence import Curve, Problem
    from firenet_benchmark.paper.known_constants import KnownProblem
    from firenet_mri import RawScan


_INNER = (5, 8, 10, 20, 50, 100)


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
    iterations: int = 400,
    lam: float = 0.00025,
    simulation: Simulation = Simulation(),
    files: PaperOutput = PaperOutput(),
) -> None:
    """Show the network's exponential convergence, and the plateau that a small p ends on.

    Parameters
    ----------
    image
        An image beside the phantom, .nii.gz or .npy.
    scan
        Instead of simulated data, the first slice of this scan.
    inner
        Inner iterations p; repeat the option for several numbers. Default: 5, 8, 10, 20, 50
        and 100.
    iterations
        Inner iterations in all, n p.
    lam
        Weight of the sparsity.
    """
    from firenet_benchmark.paper.convergence import figure, optima
    from firenet_benchmark.paper.known_constants import (
        draw,
        known_problem,
        promised_curves,
        summary,
    )
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
    curves = _curves(problems, tuple(dict.fromkeys(inner or _INNER)), iterations)
    known = known_problem()
    promised = promised_curves(known)
    settings = {"simulated": simulated, "lam": lam, **({} if scan else asdict(simulation))}
    title = f"λ = {lam:g}"
    if scan is None:
        title = f"Simulated: {simulation.rate:.0%} sampled, {simulation.noise:.0%} noise, {title}"
    write_report(
        report,
        figure(curves, title=title, beside=lambda axes: draw(axes, known, promised)),
        [row for curve in (*curves, *promised) for row in curve.rows()],
        settings={
            **settings,
            "optimum": optima(curves),
            "known_constants": summary(known, promised),
        },
        overwrite=files.overwrite,
    )
    console = Console(highlight=False, soft_wrap=True)
    print_table(console, _table(curves))
    _tell(console, curves)
    _tell_known(console, known, promised)
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
        "fall per restart",
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


def _tell_known(console: Console, known: KnownProblem, curves: Sequence[Curve]) -> None:
    """Say what the theorem promised where its constants are known, and what came out."""
    from firenet_benchmark.paper.known_constants import (
        ACCURACIES,
        is_below,
        needed_layers,
        promised_layers,
    )

    promised, *others = curves
    below = "below" if is_below(promised) else "NOT below"
    needed = needed_layers(known, promised)[-1]
    also = ", ".join(f"p = {c.inner}: {needed_layers(known, c)[-1]}" for c in others)
    console.print(
        f"Known constants: rho = {known.constants.rho:.3g}, gamma = {known.constants.gamma:.3g}, "
        f"chi = {known.chi:.4g}, so p = {promised.inner}. The gap is {below} eps_k at every "
        f"restart, {promised.gap[-1]:.1e} of ||c|| at the end. Layers to {ACCURACIES[-1]:.0e}: "
        f"{promised_layers(known)[-1]} are proven to suffice, {needed} did ({also}, without a "
        "promise).",
        markup=False,
    )
