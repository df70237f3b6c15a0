"""``firenet paper barrier``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from firenet_benchmark.cli.options import PaperOutput
from firenet_mri.cli.tables import print_table

if TYPE_CHECKING:
    from firenet_benchmark.paper.barrier import BarrierRow


def barrier(
    *,
    steps: int = 600,
    seed: int = 0,
    files: PaperOutput = PaperOutput(),
) -> None:
    """Show how many digits networks have where the matrix is known to n bits (Table 1).

    Parameters
    ----------
    steps
        Training steps of a LISTA network.
    seed
        Seed of the training data.
    """
    from firenet_benchmark.paper import barrier
    from firenet_benchmark.paper.lista import Recipe
    from firenet_benchmark.report import report_files, write_report
    from firenet_mri.cli.progress import progress

    recipe = Recipe(steps=steps)
    report = report_files(files.output, "barrier", overwrite=files.overwrite)
    with progress("Training LISTA networks", "steps") as on_step:
        result = barrier.barrier(recipe=recipe, seed=seed, on_step=on_step)
    write_report(
        report,
        barrier.barrier_figure(result),
        [row.row() for row in result.rows],
        settings=barrier.settings(result, recipe, seed),
        overwrite=files.overwrite,
    )
    console = Console(highlight=False, width=112)
    print_table(console, _table(result.rows))
    for sentence in (*barrier.reading(result.rows), barrier.THEOREM):
        console.print(f"{sentence}.", markup=False)
    console.print(report.text(), markup=False, soft_wrap=True)


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
        "networks get problem 2, whose matrix is within 2^-n. LISTA, both: trained on both "
        "problems",
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
