"""Trains a network: resumes, keeps the best weights, and writes network and report.

A training in progress is kept in a hidden file beside the output, which is removed when the network
is written.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firenet_mri.device import find_device
from firenet_mri.errors import DataError, UsageError
from firenet_mri.firenet.learned.report import TrainingReport
from firenet_mri.io.outputs import atomic_writes, check_outputs
from firenet_mri.memory import memory_ran_out
from firenet_mri.training.checkpoint import Checkpoint
from firenet_mri.training.curve import figure
from firenet_mri.training.families import learner_of
from firenet_mri.training.inputs import TrainingData
from firenet_mri.training.learner import Family, Frozen
from firenet_mri.training.options import TrainingOptions
from firenet_mri.training.timed import Diverged, Look, Progress, Training
from firenet_mri.training.training_report import inputs_of, training_report

_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class TrainingFiles:
    """The files of a trained network.

    Parameters
    ----------
    weights, report, curve
        .safetensors, .json and .png.
    """

    weights: Path
    report: Path
    curve: Path


@dataclass(frozen=True, eq=False)
class Trained:
    """A network that was written.

    Parameters
    ----------
    files
        Where.
    report
        What it was trained on.
    frozen
        Its weights and its constant.
    diverged
        Why a training ended early; None if it did not.
    """

    files: TrainingFiles
    report: TrainingReport
    frozen: Frozen
    diverged: str | None = None


class Interrupted(Exception):
    """A training was asked to stop; ``step`` is how far it is."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped after step {step}")
        self.step = step


def training_files(output: Path, *, overwrite: bool = False) -> TrainingFiles:
    """Return the files of an output, after a check that they can be written.

    Raises
    ------
    UsageError
        If the name does not end in .safetensors.
    FileError
        If a file exists and may not be replaced, or cannot be written.
    """
    if output.suffix != _SUFFIX:
        raise UsageError(
            f"{output}: a network is written as {_SUFFIX}; give a name that ends in it"
        )
    files = TrainingFiles(output, output.with_suffix(".json"), output.with_suffix(".png"))
    check_outputs(vars(files).values(), overwrite=overwrite)
    return files


def checkpoint_path(output: Path) -> Path:
    """Return where a training is kept until its network is written."""
    return output.with_name(f".{output.name}.training")


def train_network(
    data: TrainingData,
    options: TrainingOptions,
    output: Path,
    *,
    overwrite: bool = False,
    finish: bool = False,
    on_step: Callable[[Progress], None] = lambda _: None,
    on_look: Callable[[Look], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> Trained:
    """Train a network, or resume its training, and write it.

    Parameters
    ----------
    data
        What to train on.
    options
        How.
    output
        The file, .safetensors; report (.json) and curve (.png) are written beside it.
    overwrite
        Replace files that exist.
    finish
        Stop training; write the best weights so far.
    on_step, on_look, should_stop
        As :meth:`Training.run` takes them.
    clock
        Counts the minutes of the options, in seconds.

    Raises
    ------
    Interrupted
        If it was asked to stop; all is kept.
    FileError
        If a training that is kept beside the output has other options or data.
    DataError
        If there is not enough memory, or there are no weights to write.
    """
    files = training_files(output, overwrite=overwrite)
    find_device(options.device)
    checkpoint = Checkpoint(checkpoint_path(output), options.key(), data.digest())
    with memory_errors(checkpoint.path):
        learner = learner_of(options)
        cases = data.validation_cases()
        training = Training(learner, options, data.case, cases, clock=clock)
        was_there = checkpoint.resume(training)
        if finish and not was_there:
            raise UsageError(
                f"{checkpoint.path}: no training to finish; leave --finish out to begin one"
            )
        diverged = None
        if not finish:
            diverged = _run(training, checkpoint, on_step, on_look, should_stop)
        if training.progress.step == 0:
            raise DataError("No step was done, so there is no network to write; train longer")
        if finish:
            training.look()
        return _write(learner, training, data, files, checkpoint, diverged, overwrite=overwrite)


def _run(
    training: Training,
    checkpoint: Checkpoint,
    on_step: Callable[[Progress], None],
    on_look: Callable[[Look], None],
    should_stop: Callable[[], bool],
) -> str | None:
    """Train until the time is over; return what went wrong if the loss is no longer finite."""

    def looked(look: Look) -> None:
        checkpoint.save(training)
        on_look(look)

    try:
        training.run(on_step, looked, should_stop)
    except Diverged as error:
        if training.progress.step <= training.progress.not_finite:
            raise
        # The last average is of finite steps, and may be the best.
        training.look()
        return str(error)
    if not training.is_done:
        checkpoint.save(training)
        raise Interrupted(training.progress.step)
    return None


def _write(
    learner: Family,
    training: Training,
    data: TrainingData,
    files: TrainingFiles,
    checkpoint: Checkpoint,
    diverged: str | None,
    *,
    overwrite: bool,
) -> Trained:
    """Write the best weights, report and curve."""
    options = training.options
    best = training.best()
    result = learner.frozen(best)
    psnr = training.validation_psnr(best)
    ended = diverged or ("the time was over" if training.is_done else "asked to finish early")
    report = training_report(training, data, result, written_psnr=psnr, ended=ended)
    picture = figure(
        training.progress.curve,
        wanted=options.bound if options.family == "layers" else None,
        title=f"proven constant {result.constant:.3g}, validation {psnr:.2f} dB as written",
    )
    content: dict[str, Any] = {**report.to_dict(), "sha256_of_inputs": inputs_of(data)}
    names = [files.weights, files.report, files.curve]
    with atomic_writes(names, overwrite=overwrite) as (weights, text, drawing):
        result.save(weights, report)
        text.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        picture.savefig(drawing, dpi=150, metadata={"Software": None})
    checkpoint.remove()
    return Trained(files, report, result, diverged)


@contextmanager
def memory_errors(kept: Path) -> Iterator[None]:
    """Report in one line that memory was not enough, which torch does in errors of several kinds.

    Parameters
    ----------
    kept
        Checkpoint, which the line names if it is there.
    """
    try:
        yield
    except (MemoryError, RuntimeError, SystemError) as error:
        if not memory_ran_out(error):
            raise
        where = f"; {kept} is kept" if kept.exists() else ""
        raise DataError(
            "Not enough memory to train; give fewer scans, scans of fewer coils or pixels, or "
            f"fewer stages, filters or copies{where}"
        ) from None
