"""``firenet paper stability``."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from firenet_benchmark.cli.options import PaperOutput
from firenet_mri.cli.tables import print_table

if TYPE_CHECKING:
    from torch import Tensor

    from firenet_benchmark.paper.stability import Stability

_SAMPLE = Path("sample_data/brain_8coil_reference.nii.gz")


def stability(
    *,
    quick: bool = False,
    image: Path | None = None,
    size: int | None = None,
    epochs: int | None = None,
    noise: float | None = None,
    seed: int = 0,
    files: PaperOutput = PaperOutput(),
) -> None:
    """Perturb an AUTOMAP-type network, FIRENET, and the network followed by FIRENET.

    The weights are kept in the folder, as stability_automap.pt: an interrupted run resumes there,
    and a second one does not train again.

    Parameters
    ----------
    quick
        Small and hardly trained; takes seconds.
    image
        One more image, .nii.gz or .npy. Default: sample_data/brain_8coil_reference.nii.gz, if it
        is there.
    size
        Pixels along an axis. Default: 48.
    epochs
        Epochs of the training. Default: 24.
    noise
        Noise of the training, relative. Default: 0.01.
    seed
        Seed of images, pattern, training and attacks.
    """
    from firenet_benchmark.paper import stability, stability_report
    from firenet_benchmark.report import report_files, write_report
    from firenet_mri.cli.progress import progress

    given: dict[str, Any] = {"size": size, "epochs": epochs, "noise": noise}
    changes = {name: value for name, value in given.items() if value is not None}
    experiment = stability.StabilityExperiment
    settings = replace(experiment.quick(seed) if quick else experiment(seed=seed), **changes)
    images = stability.attacked_images(settings, _one_more(image))
    report = report_files(files.output, "stability", overwrite=files.overwrite)
    weights = files.output / "stability_automap.pt"
    with progress("Training the network", "steps") as on_step:
        trained = stability.train(settings, weights, overwrite=files.overwrite, on_step=on_step)
    with progress("Perturbing", "methods") as on_step:
        result = stability.stability(settings, trained, images, on_step=on_step)
    write_report(
        report,
        stability_report.stability_figure(result),
        [asdict(row) for row in result.rows],
        settings=stability_report.report_settings(settings, result, list(images)),
        overwrite=files.overwrite,
    )
    console = Console(highlight=False, width=112)
    print_table(console, _table(result))
    sentences = ("The data are simulated, one coil", *stability_report.reading(result))
    differences = stability_report.differences(settings)
    for sentence in (*sentences, f"Differs from the paper: {differences}"):
        console.print(f"{sentence}.", markup=False)
    console.print(f"{report.text()}\nWritten: {weights}", markup=False, soft_wrap=True)


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
