"""``firenet paper stability``."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from firenet_mri.cli.app import paper_app
from firenet_mri.cli.scans import progress

if TYPE_CHECKING:
    from torch import Tensor

    from firenet_benchmark.paper.stability import Stability

_SAMPLE = Path("sample_data/brain_8coil_reference.nii.gz")


@paper_app.command("stability")
def paper_stability(
    folder: Annotated[Path, typer.Option("-o", "--output", help="Folder to write to.")] = Path(
        "paper"
    ),
    quick: Annotated[
        bool, typer.Option("--quick", help="Small and hardly trained, seconds.")
    ] = False,
    image: Annotated[
        Path | None,
        typer.Option(help=f"One more image, .nii.gz or .npy. [{_SAMPLE}, if it is there]"),
    ] = None,
    size: Annotated[int | None, typer.Option(help="Pixels along an axis; default 48.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Of the training; default 24.")] = None,
    noise: Annotated[
        float | None, typer.Option(help="Of the training, relative; default 0.01.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of images, pattern, training and attacks.")] = 0,
    overwrite: Annotated[
        bool, typer.Option(help="Replace outputs that exist, and weights of other settings.")
    ] = False,
    debug: Annotated[bool, typer.Option(help="Show a traceback on errors.")] = False,
) -> None:
    """Perturb an AUTOMAP-type network, FIRENET, and the network followed by FIRENET.

    The weights are kept in the folder, as stability_automap.pt: a run that was stopped goes on
    there, and a second one does not train again.
    """
    from firenet_benchmark.paper.stability import StabilityExperiment, attacked_images, stability, train
    from firenet_benchmark.paper.stability_report import (
        differences,
        reading,
        report_settings,
        stability_figure,
    )
    from firenet_benchmark.report import report_files, write_report

    given: dict[str, Any] = {"size": size, "epochs": epochs, "noise": noise}
    changes = {name: value for name, value in given.items() if value is not None}
    settings = replace(StabilityExperiment.quick(seed) if quick else StabilityExperiment(seed=seed), **changes)
    images = attacked_images(settings, _one_more(image))
    files = report_files(folder, "stability", overwrite=overwrite)
    weights = folder / "stability_automap.pt"
    with progress("Training the network", "steps") as on_step:
        trained = train(settings, weights, overwrite=overwrite, on_step=on_step)
    with progress("Perturbing", "methods") as on_step:
        result = stability(settings, trained, images, on_step=on_step)
    write_report(
        files,
        stability_figure(result),
        [asdict(row) for row in result.rows],
        settings=report_settings(settings, result, list(images)),
        overwrite=overwrite,
    )
    console = Console(highlight=False, width=112)
    console.print(_table(result))
    sentences = ("The data are simulated, one coil", *reading(result))
    for sentence in (*sentences, f"Differs from the paper: {differences(settings)}"):
        console.print(f"{sentence}.", markup=False)
    for path in (files.figure, files.table, files.data, weights):
        console.print(f"Written: {path}", markup=False, soft_wrap=True)


def _one_more(image: Path | None) -> tuple[str, Tensor] | None:
    """Return name and pixels of the image that is attacked last."""
    from firenet_mri.io import read_reference

    if image is None and not _SAMPLE.is_file():
        return None
    path = image or _SAMPLE
    return path.name.split(".")[0], read_reference(path)


def _table(result: Stability) -> Table:
    from firenet_benchmark.paper.stability import AUTOMAP, METHODS, PUBLISHED, RANDOM

    table = Table(
        "method",
        "PSNR dB",
        "worst",
        "published",
        f"{AUTOMAP}'s",
        "random",
        "worst, data",
        "proven bound",
        title="Accuracy on held-out ellipses; largest ||change|| / ||r|| for the worst r found, "
        "the published ascent's, the AUTOMAP-type network's, random ones; ||change|| / ||A r|| for "
        "the worst found and its proven bound",
    )
    table.columns[0].no_wrap = True
    for name in METHODS:
        bound = result.bounds[name]
        in_data = max(row.data_amplification or 0.0 for row in result.select(name, name))
        table.add_row(
            name,
            f"{result.accuracy[name]:.2f}",
            *(
                f"{result.largest_amplification(name, source):.2f}"
                for source in (name, PUBLISHED, AUTOMAP, RANDOM)
            ),
            f"{in_data:.2f}",
            "none" if bound is None else f"{bound:.2f}",
        )
    return table
