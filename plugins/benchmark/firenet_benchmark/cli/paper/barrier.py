"""``firenet paper barrier``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from firenet_mri.cli.app import paper_app
from firenet_mri.cli.scans import progress

if TYPE_CHECKING:
    from firenet_benchmark.paper.barrier import BarrierRow


@paper_app.command("barrier")
def paper_barrier(
    folder: Annotated[Path, typer.Option("-o", "--output", help="Folder to write to.")] = Path(
        "paper"
    ),
    steps: Annotated[int, typer.Option(help="Training steps of a LISTA network.")] = 600,
    seed: Annotated[int, typer.Option(help="Of the training data.")] = 0,
    overwrite: Annotated[bool, typer.Option(help="Replace outputs that exist.")] = False,
    debug: Annotated[bool, typer.Option(help="Show a traceback on errors.")] = False,
) -> None:
    """Show how many digits networks have where the matrix is known to n bits (Table 1)."""
    from firenet_benchmark.paper import barrier
    from firenet_benchmark.paper.lista import Recipe
    from firenet_benchmark.report import report_files, write_report

    recipe = Recipe(steps=steps)
    files = report_files(folder, "barrier", overwrite=overwrite)
    with progress("Training LISTA networks", "steps") as on_step:
        result = barrier.barrier(recipe=recipe, seed=seed, on_step=on_step)
    write_report(
        files,
        barrier.barrier_figure(result),
        [row.row() for row in result.rows],
        settings=barrier.settings(result, recipe, seed),
        overwrite=overwrite,
    )
    console = Console(highlight=False, width=112)
    console.print(_table(result.rows))
    for sentence in (*barrier.reading(result.rows), barrier.THEOREM):
        console.print(f"{sentence}.", markup=False)
    for path in (files.figure, files.table, files.data):
        console.print(f"Written: {path}", markup=False, soft_wrap=True)


def _table(rows: Sequence[BarrierRow]) -> Table:
    table = Table(
        "K",
        "n",
        "half distance",
        "FIRENET",
        "LISTA",
        "LISTA, both",
        "FIRENET",
        "LISTA",
        "LISTA, both",
        title="Distance to the minimiser if problem 1 is true (left) and if 2 is (right); the "
        "networks get problem 2, whose matrix is 2^-n near. LISTA, both: trained on both problems",
    )
    for row in rows:
        distances = (
            row.unavoidable,
            row.firenet_true_1,
            row.lista_true_1,
            row.lista_both_true_1,
            row.firenet_true_2,
            row.lista_true_2,
            row.lista_both_true_2,
        )
        table.add_row(str(row.digits), str(row.bits), *(f"{d:.7f}" for d in distances))
    return table
