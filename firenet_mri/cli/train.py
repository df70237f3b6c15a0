"""``firenet train``: trains a network with a proven Lipschitz constant on scans or images."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from firenet_mri.cli.early import check_files, check_inputs, check_replaces_none
from firenet_mri.cli.loading import loading
from firenet_mri.cli.options import Debug, chosen, output_flag, panel, with_flags
from firenet_mri.cli.training_progress import (
    interruptible,
    tell_it_is_kept,
    training_progress,
)
from firenet_mri.errors import DataError, UsageError
from firenet_mri.io.kspace.options import ReadOptions
from firenet_mri.options import Options, documented, option
from firenet_mri.plurals import by_number, counted
from firenet_mri.training.options import TrainingOptions

if TYPE_CHECKING:
    from firenet_mri.training.inputs import TrainingData
    from firenet_mri.training.run import Trained

# These options belong to a single scan, or make a scan unusable for training.
_OF_ONE_SCAN = (
    "mask",
    "trajectory",
    "matrix_size",
    "slices",
    "noise_file",
    "maps_file",
    "calibration_file",
    "calibration_encoding",
    "pulseq_file",
    "phase_correction_file",
)


@documented
@dataclass(frozen=True, eq=False)
class TrainingOutput(Options):
    """Options of the files that are written."""

    panel = "Output"

    finish: bool = option(
        False, "Stop training: write the best weights of an interrupted training."
    )
    json: bool = option(False, "Print the training report as JSON.")
    overwrite: bool = option(False, "Replace outputs that exist.")


@with_flags(TrainingOptions, ReadOptions, TrainingOutput, without=_OF_ONE_SCAN)
def train(
    *scans: Annotated[
        Path,
        Parameter(
            help=(
                "Fully sampled scans in any format that firenet reads; they are undersampled "
                "for training."
            )
        ),
    ],
    images: Annotated[
        list[Path] | None,
        Parameter(
            help=(
                "NIfTI, DICOM, PNG, JPEG or .npy images, or folders of them, from which scans "
                "are simulated."
            ),
            group=panel("Input"),
            consume_multiple=True,
        ),
    ] = None,
    validation: Annotated[
        list[Path] | None,
        Parameter(
            help=(
                "Scans or images on which the best weights are chosen; a tenth of the files "
                "is held out by default."
            ),
            group=panel("Input"),
            consume_multiple=True,
        ),
    ] = None,
    output: Annotated[Path, output_flag("Network to write: .safetensors.")],
    debug: Debug = False,
    **options: Any,
) -> None:
    """Train a network with a proven Lipschitz constant on scans or images.

    An interruption loses nothing; the same command resumes.
    """
    written = chosen(TrainingOutput, options)
    wanted, reading = chosen(TrainingOptions, options), chosen(ReadOptions, options)
    if not scans and not images:
        raise UsageError("There are neither scans nor images to train on; give SCANS or --images")
    check_inputs([*scans, *(images or []), *(validation or [])])
    check_files(wanted, reading)
    with loading():
        from firenet_mri.device import find_device
        from firenet_mri.training.families import learner_of
        from firenet_mri.training.run import (
            checkpoint_path,
            memory_errors,
            training_files,
        )

    files = training_files(output, overwrite=written.overwrite)
    named = [*scans, *(images or []), *(validation or [])]
    check_replaces_none(vars(files).values(), named, wanted, reading)
    find_device(wanted.device)
    learner_of(wanted)
    with memory_errors(checkpoint_path(output)):
        data = _gathered(list(scans), images or [], validation or [], reading, wanted, written)
    trained = _train(data, wanted, output, written)
    if written.json:
        sys.stdout.write(trained.files.report.read_text(encoding="utf-8"))
    else:
        _tell(trained)
    if trained.diverged is not None:
        raise DataError(f"{trained.diverged}. The best weights before that are in {output}")


def _gathered(
    scans: list[Path],
    images: list[Path],
    validation: list[Path],
    reading: ReadOptions,
    wanted: TrainingOptions,
    written: TrainingOutput,
) -> TrainingData:
    from firenet_mri.cli.progress import progress
    from firenet_mri.training.inputs import gather

    with progress("Reading", "files", quiet=written.json) as on_file:
        on_file = on_file or (lambda done, total: None)
        return gather(
            scans,
            images,
            validation,
            reading,
            wanted.maps,
            wanted.seed,
            on_file,
            wanted.simulation,
        )


def _train(
    data: TrainingData, wanted: TrainingOptions, output: Path, written: TrainingOutput
) -> Trained:
    """Train with a bar that shows the latest numbers."""
    from firenet_mri.training.run import Interrupted, checkpoint_path, train_network

    with (
        interruptible() as should_stop,
        training_progress("Training", wanted.minutes, quiet=written.json) as (stepped, looked),
    ):
        try:
            return train_network(
                data,
                wanted,
                output,
                overwrite=written.overwrite,
                finish=written.finish,
                on_step=stepped,
                on_look=looked,
                should_stop=should_stop,
            )
        except Interrupted as stopped:
            tell_it_is_kept(checkpoint_path(output), stopped.step)
            raise KeyboardInterrupt from None


def _tell(trained: Trained) -> None:
    """Print where the outputs are, what is proven, and what the network was trained on."""
    console = Console(highlight=False, soft_wrap=True)
    files, recipe = trained.files, trained.report.recipe
    console.print(f"Weights: {files.weights}", markup=False)
    console.print(f"Report:  {files.report}", markup=False)
    console.print(f"Curve:   {files.curve}", markup=False)
    for line, warns in trained.frozen.remarks():
        console.print(line, style="yellow" if warns else None)
    psnr = recipe["validation_psnr_db"]["of_the_weights_as_written"]
    console.print(
        f"Validation {psnr:.2f} dB after {counted(recipe['steps'], 'step')} in "
        f"{recipe['minutes']:.1f} min ({recipe['cases']['validation_is']})."
    )
    if shared := recipe["cases"]["validation_slices_among_the_training"]:
        console.print(
            f"{counted(shared, 'validation slice')} {by_number(shared, 'is', 'are')} among the "
            "training slices; the validation is too optimistic.",
            style="yellow",
        )
    for part in recipe["simulated"]:
        console.print(f"Simulated: {part}.", markup=False)
