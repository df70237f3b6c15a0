"""``firenet benchmark stability`` and ``firenet benchmark train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from firenet_mri.cli.app import benchmark_app
from firenet_mri.cli.scans import progress
from firenet_mri.errors import UsageError


@benchmark_app.command()
def stability(
    data: Annotated[
        Path | None, typer.Option(help="Folder of raw scans, or one; default: simulated brains.")
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(help="Your network, FILE.py:factory, or the folder of a MONAI Bundle."),
    ] = None,
    weights: Annotated[
        list[Path] | None, typer.Option(help="State dict of each --network, in their order.")
    ] = None,
    takes: Annotated[
        str,
        typer.Option(help="What your network is called with: kspace, magnitude or complex."),
    ] = "kspace",
    scale: Annotated[
        float | None,
        typer.Option(help="Largest value of zero-filled images that your network is used to."),
    ] = None,
    report: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("stability"),
    smoke: Annotated[bool, typer.Option(help="A look of two minutes: few slices and steps.")] = (
        False
    ),
    acceleration: Annotated[
        float, typer.Option(help="Under-sampling of your fully sampled scans.")
    ] = 4.0,
    seed: Annotated[int, typer.Option(help="Of noise and attacks.")] = 0,
    overwrite: Annotated[bool, typer.Option(help="Replace a report that exists.")] = False,
    debug: Annotated[bool, typer.Option(help="Show a traceback on errors.")] = False,
) -> None:
    """Compare accuracy and stability with trained networks; write one HTML page with all of it.

    Methods that are finished are kept in REPORT/finished: the same command goes on from there.
    """
    from dataclasses import replace

    from firenet_benchmark.stability.data import Protocol
    from firenet_benchmark.stability.html_report import pages_in, write_pages
    from firenet_benchmark.stability.run import StabilityBenchmark, compare, default_methods
    from firenet_benchmark.stability.evaluation_data import from_scans, read_scans
    from firenet_benchmark.stability.summary import verdicts
    from firenet_benchmark.stability.custom_networks import custom_method

    files = pages_in(report, overwrite=overwrite)
    if weights and len(weights) != len(network or []):
        raise UsageError(f"{len(weights)} --weights for {len(network or [])} --network; give pairs")
    settings = StabilityBenchmark.smoke() if smoke else StabilityBenchmark()
    settings = replace(settings, seed=seed, attack=replace(settings.attack, seed=seed))
    users = [
        custom_method(
            name,
            weights=weights[i] if weights else None,
            takes=takes,  # type: ignore[arg-type]
            scale=scale,
        )
        for i, name in enumerate(network or [])
    ]
    evaluation = None
    if data is not None:
        protocol = Protocol(acceleration=acceleration)
        evaluation = from_scans(read_scans(data), settings.slices, settings.attacked, protocol)
    methods = default_methods(settings, users)
    console = Console(highlight=False, stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as bars:
        whole = bars.add_task("Methods", total=len(methods))
        running: dict[str, TaskID] = {}

        def on_step(name: str, done: int, total: int) -> None:
            if name not in running:
                running[name] = bars.add_task(name, total=total)
            bars.update(running[name], completed=done, total=total, visible=done < total)

        try:
            found = compare(
                methods,
                settings,
                report / "finished",
                data=evaluation,
                on_step=on_step,
                on_method=lambda: bars.advance(whole),
            )
        except KeyboardInterrupt:
            console.print("Finished methods are kept; the same command goes on with the others.")
            raise
    write_pages(files, found, overwrite=overwrite)
    table = Table("question", "best trained", "", "best FIRENET", "", "ahead")
    for verdict in verdicts(found):
        trained, own = f"{verdict.trained_mean:.4g}", f"{verdict.firenet_mean:.4g}"
        table.add_row(
            verdict.criterion.words, verdict.trained, trained, verdict.firenet, own, verdict.ahead
        )
    out = Console(highlight=False)
    out.print(table)
    for name, error in found.failures.items():
        out.print(f"Failed: {name}: {error}", markup=False)
    out.print(f"Report: {files.page}\nNumbers: {files.table}, {files.data}", markup=False)
    if found.failures:
        raise typer.Exit(1)


@benchmark_app.command()
def train(
    network: Annotated[
        list[str] | None,
        typer.Option(help='Such as "MoDL" or "U-Net, jittered"; default: all of them.'),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for weights and curves.")
    ] = Path("weights"),
    overwrite: Annotated[bool, typer.Option(help="Replace weights of other recipes.")] = False,
    debug: Annotated[bool, typer.Option(help="Show a traceback on errors.")] = False,
) -> None:
    """Train the networks of ``firenet benchmark stability`` as the shipped ones were.

    An interrupted training goes on at its last epoch.
    """
    from firenet_benchmark.stability.training import RECIPES, file_name
    from firenet_benchmark.stability.training import train as train_network

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
