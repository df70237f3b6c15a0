"""``firenet batch``: many scans on a Dask cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from firenet_mri.cli.app import app
from firenet_mri.cli.scans import progress
from firenet_mri.errors import UsageError


@app.command()
def batch(
    folder: Annotated[Path, typer.Argument(help="Folder with raw scans, also in folders below.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the images.")],
    scheduler: Annotated[
        str | None,
        typer.Option(help="Dask cluster, such as tcp://host:8786; default: this machine."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes on this machine; default: one a core.")
    ] = None,
    memory: Annotated[
        str, typer.Option(help="Limit of each process, such as 4GiB; auto shares the machine's.")
    ] = "auto",
    retries: Annotated[int, typer.Option(help="How often a scan is tried again.")] = 2,
    preset: Annotated[str, typer.Option(help="As for firenet recon.")] = "accurate",
    sparsifier: Annotated[str | None, typer.Option(help="As for firenet recon.")] = None,
    layers: Annotated[int | None, typer.Option(help="As for firenet recon.")] = None,
    maps: Annotated[str, typer.Option(help="As for firenet recon.")] = "espirit",
    overwrite: Annotated[bool, typer.Option(help="Do again what is finished.")] = False,
    debug: Annotated[bool, typer.Option(help="Show a traceback on errors.")] = False,
) -> None:
    """Reconstruct every scan in a folder; what a batch before has finished is kept.

    A scan that fails does not stop the others; the exit status is 1 then.
    """
    from firenet_mri.batch import find_jobs, run_jobs, write_summary

    if retries < 0 or (workers is not None and workers < 1):
        raise UsageError(f"{retries} retries, {workers} workers asked for; use 0 or more, and 1")
    options: dict[str, Any] = {
        "preset": preset,
        "sparsifier": sparsifier,
        "layers": layers,
        "maps": maps,
    }
    jobs = find_jobs(folder, output, options, overwrite=overwrite)
    console = Console(highlight=False, stderr=True)
    finished = []
    with progress("Scans", "scans") as on_step:

        def on_outcome(outcome: Any) -> None:
            finished.append(outcome)
            if on_step is not None:
                on_step(len(finished), len(jobs))

        outcomes = run_jobs(
            jobs,
            scheduler=scheduler,
            workers=workers,
            memory=memory,
            retries=retries,
            on_outcome=on_outcome,
            on_cluster=lambda link: console.print(f"Dask dashboard: {link}", markup=False),
        )
    # Named before the summary is written: a full disk takes that, too.
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    for outcome in failed:
        console.print(f"Failed: {outcome.scan}: {outcome.error}", markup=False)
    table, page = write_summary(output, outcomes)
    Console(highlight=False, soft_wrap=True).print(
        f"{len(outcomes) - len(failed)} of {len(outcomes)} scans are reconstructed. Summary: "
        f"{table}, {page}",
        markup=False,
    )
    if failed:
        raise typer.Exit(1)
