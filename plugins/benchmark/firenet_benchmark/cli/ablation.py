"""``firenet benchmark ablation``: what each part of the learned network's training contributes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console

if TYPE_CHECKING:
    from firenet_benchmark.stability.ablation import Variant
    from firenet_benchmark.stability.run import Comparison
    from firenet_mri.training.inputs import TrainingData


def ablation(
    *,
    images: Annotated[list[Path], Parameter(consume_multiple=True)],
    validation: Annotated[list[Path] | None, Parameter(consume_multiple=True)] = None,
    minutes: float = 25.0,
    variant: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    evaluate: bool = False,
    output: Annotated[Path, Parameter(name=("--output", "-o"))] = Path("ablation"),
    overwrite: bool = False,
    debug: bool = False,
) -> None:
    """Train variants of the learned network one after the other, and compare them.

    An interruption loses nothing; the same command resumes.

    Parameters
    ----------
    images
        Images to train on, or folders of them, as firenet train takes them.
    validation
        Images on which the best weights are chosen; a tenth of the files by default.
    minutes
        Minutes of processor time per variant; validation is extra.
    variant
        Some of the variants, by name, such as "bound 8" or "no attack"; several may follow.
        Default: all.
    evaluate
        Do not train; compare the finished variants.
    output
        Folder for weights, table and picture.
    overwrite
        Replace existing table and picture.
    debug
        Show a traceback on errors.
    """
    from firenet_benchmark.stability import ablation as study
    from firenet_mri.errors import UsageError

    known = study.variants(study.BASE.replace(minutes=minutes))
    chosen = [one for one in known if not variant or one.name in variant]
    unknown = set(variant or ()) - {one.name for one in known}
    if unknown:
        names = "; ".join(one.name for one in known)
        raise UsageError(f"No variant {unknown.pop()!r}; use some of {names}")
    paths = study.result_paths(output, overwrite=overwrite)
    if not evaluate:
        _train_all(chosen, images, validation or [], output)
    finished = [one for one in chosen if one.path(output).exists()]
    if not finished:
        raise UsageError(f"{output}: no variant is finished; leave --evaluate out to train them")
    found = _compared(finished, output)
    rows = study.table(finished, output, found)
    study.write(paths, finished, rows, found)
    console = Console(highlight=False, soft_wrap=True)
    console.print(study.markdown(rows), markup=False)
    console.print("\n".join(f"Written: {path}" for path in paths), markup=False)
    if found.failures:
        raise SystemExit(1)


def _train_all(
    chosen: Sequence[Variant], images: Sequence[Path], validation: Sequence[Path], output: Path
) -> None:
    from firenet_benchmark.cli.training import gathered

    data = gathered(images, validation, chosen[0].options.seed)
    for one in chosen:
        _train(one, data, output)


def _train(one: Variant, data: TrainingData, output: Path) -> None:
    from firenet_benchmark.stability.ablation import train_variant
    from firenet_mri.cli.training_progress import (
        interruptible,
        tell_it_is_kept,
        training_progress,
    )
    from firenet_mri.training.run import Interrupted, checkpoint_path

    with (
        interruptible() as should_stop,
        training_progress(one.name, one.options.minutes) as (stepped, looked),
    ):
        try:
            train_variant(
                one, data, output, on_step=stepped, on_look=looked, should_stop=should_stop
            )
        except Interrupted as stopped:
            tell_it_is_kept(checkpoint_path(one.path(output)), stopped.step, can_finish=False)
            raise KeyboardInterrupt from None


def _compared(finished: Sequence[Variant], output: Path) -> Comparison:
    from firenet_benchmark.stability.ablation import SETTINGS, methods_of
    from firenet_benchmark.stability.run import compare
    from firenet_mri.cli.progress import progress_bars

    with progress_bars() as report:
        methods = methods_of(finished, output)
        return compare(methods, SETTINGS, output / "finished", on_step=report)
