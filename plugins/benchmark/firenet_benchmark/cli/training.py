"""``firenet benchmark train``: the networks of the stability benchmark, trained as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table


def train(
    *,
    network: list[str] | None = None,
    output: Annotated[Path, Parameter(name=("--output", "-o"))] = Path("weights"),
    overwrite: bool = False,
    debug: bool = False,
) -> None:
    """Train the networks of ``firenet benchmark stability`` as the shipped ones were.

    An interrupted training resumes at its last epoch.

    Parameters
    ----------
    network
        Such as "MoDL" or "U-Net, jittered"; give it several times for several. Default: all.
    output
        Folder for weights and curves.
    overwrite
        Replace weights of other recipes.
    debug
        Show a traceback on errors.
    """
    from firenet_benchmark.stability.training import RECIPES, file_name, train_network
    from firenet_mri.cli.progress import progress
    from firenet_mri.errors import UsageError

    names = network or list(RECIPES)
    unknown = [name for name in names if name not in RECIPES]
    if unknown:
        raise UsageError(f"No network {unknown[0]!r}; use one of {'; '.join(RECIPES)}")
    output.mkdir(parents=True, exist_ok=True)
    table = Table("network", "epochs", "loss", "validation PSNR dB")
    for name in names:
        path = output / file_name(name)
        with progress(f"Training {name}", "steps") as on_step:
            trained = train_network(name, path, overwrite=overwrite, on_step=on_step)
        last = f"{trained.loss[-1]:.2e}", f"{trained.validation_psnr_db[-1]:.2f}"
        table.add_row(name, str(trained.recipe.epochs), *last)
    Console(highlight=False).print(table)
