"""``firenet paper convergence``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from firenet_mri.cli.app import paper_app
from firenet_mri.cli.scans import first_slice


@paper_app.command("convergence")
def paper_convergence(
    scan: Annotated[Path, typer.Argument(help="A scan; its first slice is used.")],
    restarts: Annotated[int, typer.Option(help="Restarts n.")] = 5,
    inner: Annotated[int, typer.Option(help="Inner iterations p.")] = 5,
    lam: Annotated[float, typer.Option(help="Weight of the sparsity.")] = 0.00025,
    debug: Annotated[bool, typer.Option(help="Show a traceback on errors.")] = False,
) -> None:
    """Show the objective gap of the paper's network after every inner iteration."""
    from firenet_mri import FIRENET, PaperSchedule
    from firenet_mri.firenet.presets import make_network
    from firenet_mri.io import read
    from firenet_mri.paper.convergence import convergence

    y, encoding = first_slice(read(scan))
    coils, *shape = y.shape
    preset = make_network(coils, tuple(shape), preset="paper", lam=lam)
    weights = preset.problem(encoding).weights
    schedule = PaperSchedule(restarts=restarts, inner=inner)
    result = convergence(FIRENET(preset.sparsifier, lam, weights, schedule), y, encoding)
    table = Table(
        "restart",
        *(f"inner {j}" for j in range(1, inner + 1)),
        "fall in restart",
        "eps_k",
        title=f"{scan.name}: (F(x) - F*) / ||y||, lam {lam}",
    )
    before = None
    for k in range(restarts):
        gaps = result.gap[k * inner : (k + 1) * inner]
        fall = "" if before is None else f"{gaps[-1] / before:.3f}"
        table.add_row(str(k + 1), *(f"{g:.2e}" for g in gaps), fall, f"{result.eps[k * inner]:.2e}")
        before = gaps[-1]
    console = Console(highlight=False, width=40 + 12 * inner)
    console.print(table)
    console.print(
        f"F* = {result.best_objective:.8g}, certified to within {result.best_objective_gap:.2g}; "
        "eps_k is what the theorem promises where p >= 2 chi L / nu"
    )
