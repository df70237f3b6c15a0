"""``firenet paper tradeoff``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from firenet_benchmark.cli.options import PaperOutput
from firenet_mri.cli.tables import print_table

if TYPE_CHECKING:
    from firenet_benchmark.paper.tradeoff import TradeoffRow


def tradeoff(
    *,
    quick: bool = False,
    size: int | None = None,
    images: int | None = None,
    epochs: int | None = None,
    seed: int = 0,
    files: PaperOutput = PaperOutput(),
) -> None:
    """Compare U-Nets and FIRENET: accuracy, stability, and whether an unseen detail survives.

    The weights are kept in the folder, as tradeoff_unet.pt: an interrupted run resumes there, and
    a second one does not train again.

    Parameters
    ----------
    quick
        Small and hardly trained; takes a minute.
    size
        Pixels along an axis. Default: 128.
    images
        Training images. Default: 3000.
    epochs
        Passes over the training images. Default: 3.
    seed
        Seed of images, pattern, training and attacks.
    """
    from firenet_benchmark.paper import tradeoff
    from firenet_benchmark.paper.tradeoff_figure import tradeoff_figure
    from firenet_benchmark.report import report_files, write_report
    from firenet_mri.cli.progress import progress

    given: dict[str, Any] = {"size": size, "images": images, "epochs": epochs}
    changes = {name: value for name, value in given.items() if value is not None}
    experiment = tradeoff.TradeoffExperiment
    settings = replace(experiment.quick(seed) if quick else experiment(seed=seed), **changes)
    report = report_files(files.output, "tradeoff", overwrite=files.overwrite)
    weights = files.output / "tradeoff_unet.pt"
    with progress("Training U-Nets", "steps") as on_step:
        unets = tradeoff.train(settings, weights, overwrite=files.overwrite, on_step=on_step)
    with progress("Perturbing", "steps") as on_step:
        result = tradeoff.tradeoff(settings, unets, on_step=on_step)
    write_report(
        report,
        tradeoff_figure(result),
        [row.row() for row in result.rows],
        settings=tradeoff.report_settings(settings, result),
        overwrite=files.overwrite,
    )
    console = Console(highlight=False, width=112)
    print_table(console, _table(result.rows))
    for sentence in ("The data are simulated, one coil", *tradeoff.reading(result.rows)):
        console.print(f"{sentence}.", markup=False)
    console.print(f"{report.text()}\nWritten: {weights}", markup=False, soft_wrap=True)


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
