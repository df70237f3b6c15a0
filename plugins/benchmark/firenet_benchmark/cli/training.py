"""``firenet benchmark train``: the networks of the stability benchmark, trained as they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from firenet_mri.cli.tables import print_table

if TYPE_CHECKING:
    from firenet_benchmark.stability.wide import WideNetwork
    from firenet_mri.training.inputs import TrainingData


@Parameter(name="*")
@dataclass(frozen=True)
class WideTraining:
    """Of opponents that learn from the cases of firenet train: "MoDL, wide" and "VarNet, wide".

    Parameters
    ----------
    images
        Images to train on, or folders of them, as firenet train takes them.
    validation
        Images on which the best weights are chosen; a tenth of the files by default.
    minutes
        Minutes of training per network, summed over all runs of the command; validation is extra.
    finish
        Stop training: write the best weights of an interrupted training.
    """

    images: Annotated[tuple[Path, ...], Parameter(consume_multiple=True)] = ()
    validation: Annotated[tuple[Path, ...], Parameter(consume_multiple=True)] = ()
    minutes: float = 120.0
    finish: bool = False

    @property
    def is_given(self) -> bool:
        """Whether any of it differs from the default."""
        return self != WideTraining()


def train(
    *,
    network: list[str] | None = None,
    wide: WideTraining = WideTraining(),
    output: Annotated[Path, Parameter(name=("--output", "-o"))] = Path("weights"),
    overwrite: bool = False,
    debug: bool = False,
) -> None:
    """Train the networks of ``firenet benchmark stability`` as the shipped ones were.

    An interrupted training resumes: at its last epoch, or where it was for those named "wide".

    Parameters
    ----------
    network
        Network such as "MoDL", "U-Net, jittered" or "MoDL, wide"; repeat the option for several.
        Default: all but the wide ones, which need --images.
    output
        Folder for weights and curves.
    overwrite
        Replace weights that were trained in another way.
    debug
        Show a traceback on errors.
    """
    from firenet_benchmark.stability.training import RECIPES
    from firenet_benchmark.stability.wide import KINDS
    from firenet_mri.errors import UsageError

    names = network or list(RECIPES)
    unknown = [name for name in names if name not in (*RECIPES, *KINDS)]
    if unknown:
        known = "; ".join((*RECIPES, *KINDS))
        raise UsageError(f"No network {unknown[0]!r}; use one of {known}")
    widely = [name for name in names if name in KINDS]
    if widely and not wide.images:
        raise UsageError(f"{widely[0]} learns from images; give --images")
    if wide.is_given and len(widely) < len(names):
        raise UsageError(
            "--images, --validation, --minutes and --finish are for the wide networks; name them "
            f"with --network, one of {'; '.join(KINDS)}"
        )
    output.mkdir(parents=True, exist_ok=True)
    if widely:
        _train_widely(names, wide, output, overwrite=overwrite)
    else:
        _train_small(names, output, overwrite=overwrite)


def _train_small(names: Sequence[str], output: Path, *, overwrite: bool) -> None:
    from firenet_benchmark.stability.training import file_name, train_network
    from firenet_mri.cli.progress import progress

    table = Table("network", "epochs", "loss", "validation PSNR dB")
    for name in names:
        path = output / file_name(name)
        with progress(f"Training {name}", "steps") as on_step:
            trained = train_network(name, path, overwrite=overwrite, on_step=on_step)
        last = f"{trained.loss[-1]:.2e}", f"{trained.validation_psnr_db[-1]:.2f}"
        table.add_row(name, str(trained.recipe.epochs), *last)
    print_table(Console(highlight=False), table)


def _train_widely(
    names: Sequence[str], wide: WideTraining, output: Path, *, overwrite: bool
) -> None:
    from firenet_benchmark.stability.wide import file_name, options_of
    from firenet_mri.io import check_outputs

    paths = {name: output / file_name(name) for name in names}
    check_outputs(paths.values(), overwrite=True)
    # A time that is no time is refused before anything is read.
    every = {name: options_of(name, wide.minutes) for name in names}
    data = gathered(wide.images, wide.validation, every[names[0]].seed)
    table = Table("network", "steps", "minutes", "best validation PSNR dB")
    for name, path in paths.items():
        trained = _train_one(name, data, wide, path, overwrite=overwrite)
        last = trained.curve[-1]
        best = max(look["validation_psnr_db"] for look in trained.curve)
        table.add_row(name, f"{last['step']:.0f}", f"{last['minutes']:.1f}", f"{best:.2f}")
    print_table(Console(highlight=False), table)


def gathered(images: Sequence[Path], validation: Sequence[Path], seed: int) -> TrainingData:
    """Return what is trained on; a bar counts the files."""
    from firenet_mri.cli.progress import progress
    from firenet_mri.io.kspace.options import ReadOptions
    from firenet_mri.training.inputs import gather

    with progress("Reading", "files") as on_file:
        assert on_file is not None
        return gather([], images, validation, ReadOptions(), "espirit", seed, on_file)


def _train_one(
    name: str, data: TrainingData, wide: WideTraining, path: Path, *, overwrite: bool
) -> WideNetwork:
    from firenet_benchmark.stability.wide import checkpoint_path, options_of, train_opponent
    from firenet_mri.cli.training_progress import (
        interruptible,
        tell_it_is_kept,
        training_progress,
    )
    from firenet_mri.training.run import memory_errors

    kept = checkpoint_path(path)
    with (
        interruptible() as should_stop,
        training_progress(f"Training {name}", wide.minutes) as (stepped, looked),
        memory_errors(kept),
    ):
        trained = train_opponent(
            name,
            data,
            options_of(name, wide.minutes),
            path,
            overwrite=overwrite,
            finish=wide.finish,
            on_step=stepped,
            on_look=looked,
            should_stop=should_stop,
        )
    if trained is None:
        tell_it_is_kept(kept)
        raise KeyboardInterrupt
    return trained
