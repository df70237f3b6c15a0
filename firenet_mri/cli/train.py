"""``firenet train``: scans or images in, a network with a proven Lipschitz constant out."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from firenet_mri.cli.loading import loading
from firenet_mri.cli.options import Debug, chosen, output_flag, panel, with_flags
from firenet_mri.errors import DataError, UsageError
from firenet_mri.io.kspace.options import ReadOptions
from firenet_mri.options import Options, documented, option
from firenet_mri.training.options import TrainingOptions

if TYPE_CHECKING:
    from firenet_mri.training.inputs import TrainingData
    from firenet_mri.training.run import Trained

# What these name belongs to one scan, or makes it one that cannot train.
_OF_ONE_SCAN = ("mask", "trajectory", "matrix_size", "slices", "noise_file", "maps_file")


@documented
@dataclass(frozen=True, eq=False)
class TrainingOutput(Options):
    """What is written, and when."""

    panel = "Output"

    finish: bool = option(
        False, "Train no further: write the best weights of a training that was interrupted."
    )
    json: bool = option(False, "Print the training report as JSON.")
    overwrite: bool = option(False, "Replace outputs that exist.")


@with_flags(TrainingOptions, ReadOptions, TrainingOutput, without=_OF_ONE_SCAN)
def train(
    *scans: Annotated[
        Path,
        Parameter(
            help="Fully sampled scans of any format that firenet reads; masks are put on them."
        ),
    ],
    images: Annotated[
        list[Path] | None,
        Parameter(
            help="NIfTI, DICOM, PNG, JPEG or .npy images, or folders of them, of which scans are "
            "simulated.",
            group=panel("Input"),
            consume_multiple=True,
        ),
    ] = None,
    validation: Annotated[
        list[Path] | None,
        Parameter(
            help="Scans or images that choose which weights are kept; a tenth of the files is "
            "held out by default.",
            group=panel("Input"),
            consume_multiple=True,
        ),
    ] = None,
    output: Annotated[Path, output_flag("Network to write: .safetensors.")],
    debug: Debug = False,
    **options: Any,
) -> None:
    """Train a network whose Lipschitz constant is proven, on scans or images.

    Interrupted, it keeps everything, and the same command resumes.
    """
    written = chosen(TrainingOutput, options)
    wanted, reading = chosen(TrainingOptions, options), chosen(ReadOptions, options)
    if not scans and not images:
        raise UsageError("Neither scans nor images to train on; give SCANS or --images")
    with loading():
        from firenet_mri.training.families import learner_of
        from firenet_mri.training.run import (
            check_device,
            checkpoint_path,
            memory_errors,
            training_files,
        )

    training_files(output, overwrite=written.overwrite)
    check_device(wanted.device)
    learner_of(wanted)
    with memory_errors(checkpoint_path(output)):
        data = _gathered(list(scans), images or [], validation or [], reading, wanted, written)
    trained = _train(data, wanted, output, written)
    if written.json:
        sys.stdout.write(trained.files.report.read_text(encoding="utf-8"))
    else:
        _tell(trained)
    if trained.diverged is not None:
        raise DataError(f"{trained.diverged}. The best weights before are in {output}")


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
        return gather(scans, images, validation, reading, wanted.maps, wanted.seed, on_file)


def _train(
    data: TrainingData, wanted: TrainingOptions, output: Path, written: TrainingOutput
) -> Trained:
    """Train with a bar that shows the latest numbers."""
    from firenet_mri.cli.progress import noted_progress
    from firenet_mri.training.run import Interrupted, checkpoint_path, train_network
    from firenet_mri.training.timed import Look, Progress

    total = round(60 * wanted.minutes)
    note = [""]
    with (
        _interruptible() as should_stop,
        noted_progress("Training", "s", quiet=written.json) as report,
    ):

        def looked(look: Look) -> None:
            note[0] = f"validation {look['validation_psnr_db']:.2f} dB"
            if "bound_estimate" in look:
                note[0] += f", constant about {look['bound_estimate']:.1f}"
            stepped_to(60 * look["minutes"])
            # A log gets a line instead of a bar.
            if not written.json and not sys.stderr.isatty():
                sys.stderr.write(f"{look['minutes']:.1f} min: {note[0]}\n")

        def stepped_to(seconds: float) -> None:
            report(min(round(seconds), total), total, note[0])

        def stepped(progress: Progress) -> None:
            stepped_to(progress.seconds)

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
            place = checkpoint_path(output)
            sys.stderr.write(
                f"The training is kept in {place} after step {stopped.step}; the same command "
                "resumes there, and with --finish writes the best weights so far\n"
            )
            raise KeyboardInterrupt from None


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C, or the end that a batch system asks for, into a question's answer.

    So a training stops between two steps, with everything kept. A second Ctrl-C stops at once.
    """
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    is_main = threading.current_thread() is threading.main_thread()
    signals = (signal.SIGINT, signal.SIGTERM) if is_main else ()
    before = {number: signal.signal(number, ask) for number in signals}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(trained: Trained) -> None:
    """Say where the outputs are, what is proven, and what the network was trained on."""
    console = Console(highlight=False, soft_wrap=True)
    files, recipe = trained.files, trained.report.recipe
    console.print(f"Weights: {files.weights}", markup=False)
    console.print(f"Report:  {files.report}", markup=False)
    console.print(f"Curve:   {files.curve}", markup=False)
    for line, warns in trained.frozen.remarks():
        console.print(line, style="yellow" if warns else None)
    psnr = recipe["validation_psnr_db"]["of_the_weights_as_written"]
    console.print(
        f"Validation {psnr:.2f} dB after {recipe['steps']} steps in {recipe['minutes']:.1f} min "
        f"({recipe['cases']['validation_is']})."
    )
    if shared := recipe["cases"]["validation_slices_among_the_training"]:
        console.print(
            f"{shared} validation slices are among the training's; the validation is too good.",
            style="yellow",
        )
    for part in recipe["simulated"]:
        console.print(f"Simulated: {part}.", markup=False)
