"""``firenet paper tradeoff``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from firenet_mri.cli.app import paper_app
from firenet_mri.cli.scans import progress

if TYPE_CHECKING:
    from firenet_benchmark.paper.tradeoff import TradeoffRow


@paper_app.command("tradeoff")
def paper_tradeoff(
    folder: Annotated[Path, typer.Option("-o", "--output", help="Folder to write to.")] = Path(
        "paper"
    ),
    quick: Annotated[
        bool, typer.Option("--quick", help="Small and hardly trained, a minute.")
    ] = False,
    size: Annotated[int | None, typer.Option(help="Pixels along an axis; default 128.")] = None,
    images: Annotated[int | None, typer.Option(help="Training images; default 3000.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over them; default 3.")] = None,
    seed: Annotated[int, typer.Option(help="Of images, pattern, training and attacks.")] = 0,
    overwrite: Annotated[
        bool, typer.Option(help="Replace outputs that exist, and weights of other settings.")
    ] = False,
    debug: Annotated[bool, typer.Option(help="Show a traceback on errors.")] = False,
) -> None:
    """Compare U-Nets and FIRENET: accuracy, stability, and whether an unseen detail survives.

    The weights are kept in the folder, as tradeoff_unet.pt: a run that was stopped goes on there,
    and a second one does not train again.
    """
    from firenet_benchmark.paper.tradeoff import TradeoffExperiment, reading, report_settings, tradeoff, train
    from firenet_benchmark.paper.tradeoff_figure import tradeoff_figure
    from firenet_benchmark.report import report_files, write_report

    given: dict[str, Any] = {"size": size, "images": images, "epochs": epochs}
    changes = {name: value for name, value in given.items() if value is not None}
    settings = replace(TradeoffExperiment.quick(seed) if quick else TradeoffExperiment(seed=seed), **changes)
    files = report_files(folder, "tradeoff", overwrite=overwrite)
    weights = folder / "tradeoff_unet.pt"
    with progress("Training U-Nets", "steps") as on_step:
        unets = train(settings, weights, overwrite=overwrite, on_step=on_step)
    with progress("Perturbing", "steps") as on_step:
        result = tradeoff(settings, unets, on_step=on_step)
    write_report(
        files,
        tradeoff_figure(result),
        [row.row() for row in result.rows],
        settings=report_settings(settings, result),
        overwrite=overwrite,
    )
    console = Console(highlight=False, width=112)
    console.print(_table(result.rows))
    for sentence in ("The data are simulated, one coil", *reading(result.rows)):
        console.print(f"{sentence}.", markup=False)
    for path in (files.figure, files.table, files.data, weights):
        console.print(f"Written: {path}", markup=False, soft_wrap=True)


def _table(rows: Sequence[TradeoffRow]) -> Table:
    table = Table(
        "method",
        "PSNR dB",
        "SSIM",
        "NMSE",
        *(f"{attack.relative_size:.1%}" for attack in rows[0].attacks),
        "proven bound",
        "letters",
        title="Accuracy on noiseless data; worst amplification found for perturbations of k-space "
        "of 0.5 to 5 %; contrast of unseen letters",
    )
    table.columns[0].no_wrap = True
    for row in rows:
        bound = "none" if row.lipschitz_bound is None else f"{row.lipschitz_bound:.2f}"
        table.add_row(
            row.method,
            f"{row.psnr_db:.2f}",
            f"{row.ssim:.3f}",
            f"{row.nmse:.4f}",
            *(f"{attack.amplification:.2f}" for attack in row.attacks),
            bound,
            f"{row.detail_contrast:.0%}",
        )
    return table
