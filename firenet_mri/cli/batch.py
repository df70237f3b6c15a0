"""``firenet batch``: many scans on a Dask cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from firenet_mri.batch.options import JobOptions
from firenet_mri.batch.tree import Suffix
from firenet_mri.cli.early import check_files, check_inputs
from firenet_mri.cli.options import Debug, chosen, output_flag, panel, with_flags
from firenet_mri.cli.progress import progress
from firenet_mri.extras import require
from firenet_mri.plurals import by_number, counted

_RUNNING = panel("Running")


@with_flags(JobOptions, without=JobOptions.REFUSED)
def batch(
    folder: Annotated[Path, Parameter(help="Folder with raw scans, searched with its subfolders.")],
    /,
    *,
    output: Annotated[Path, output_flag("Folder for the images.")],
    scheduler: Annotated[
        str | None,
        Parameter(
            help="Dask cluster, such as tcp://host:8786; this machine by default.", group=_RUNNING
        ),
    ] = None,
    workers: Annotated[
        int | None,
        Parameter(help="Processes on this machine; one per core by default.", group=_RUNNING),
    ] = None,
    memory: Annotated[
        str,
        Parameter(
            help="Memory limit of a process, such as 4GiB; auto shares the machine's.",
            group=_RUNNING,
        ),
    ] = "auto",
    retries: Annotated[
        int, Parameter(help="Number of further attempts per scan after a failure.", group=_RUNNING)
    ] = 2,
    suffix: Annotated[
        Suffix | None,
        Parameter(
            help="BIDS suffix for the images' contrast; MRI by default.",
            group=panel("Output"),
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        Parameter(
            help="Reconstruct finished scans again.", group=panel("Output"), show_default=False
        ),
    ] = False,
    no_evidence: Annotated[
        bool,
        Parameter(
            help="Omit the evidence files that others need to check the certificates.",
            group=panel("Output"),
            negative=(),
            show_default=False,
        ),
    ] = False,
    sign: Annotated[
        Path | None,
        Parameter(
            help="Private Ed25519 key, a .pem file, with which the certificates are signed; the "
            "workers need it, too.",
            group=panel("Output"),
        ),
    ] = None,
    report: Annotated[
        bool,
        Parameter(
            help=(
                "Write a page next to every image that explains it, as firenet recon --report does."
            ),
            group=panel("Output"),
            negative=(),
            show_default=False,
        ),
    ] = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Reconstruct every scan in a folder; scans that an earlier batch finished are kept.

    A scan that fails does not stop the others; the exit status is then 1. The options are those of
    firenet recon, except for files that belong to a single scan.
    """
    require("distributed")
    wanted = chosen(JobOptions, options)
    check_inputs([folder])
    check_files(wanted)
    from firenet_mri.batch import find_jobs, write_summary
    from firenet_mri.batch.run import check_run

    jobs = find_jobs(
        folder,
        output,
        wanted,
        overwrite=overwrite,
        evidence=not no_evidence,
        key=sign,
        report=report,
        suffix=suffix,
    )
    console = Console(highlight=False, stderr=True)
    cluster: dict[str, Any] = {
        "scheduler": scheduler,
        "workers": workers,
        "memory": memory,
        "retries": retries,
    }
    check_run(jobs, **cluster)
    outcomes = _run(jobs, console, cluster)
    # Named before the summary is written: a full disk takes that, too.
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    for outcome in failed:
        console.print(f"Failed: {outcome.scan}: {outcome.error}", markup=False)
    table, page = write_summary(output, outcomes)
    made = len(outcomes) - len(failed)
    Console(highlight=False, soft_wrap=True).print(
        f"{made} of {counted(len(outcomes), 'scan')} "
        f"{by_number(made or len(outcomes), 'is', 'are')} reconstructed. Summary: {table}, {page}",
        markup=False,
    )
    if failed:
        raise SystemExit(1)


def _run(jobs: Sequence[Any], console: Console, cluster: dict[str, Any]) -> Sequence[Any]:
    """Run the jobs under a progress bar; return their outcomes."""
    from firenet_mri.batch import run_jobs

    finished = []
    with progress("Scans", "scans") as on_step:

        def on_outcome(outcome: Any) -> None:
            finished.append(outcome)
            if on_step is not None:
                on_step(len(finished), len(jobs))

        return run_jobs(
            jobs,
            **cluster,
            on_outcome=on_outcome,
            on_cluster=lambda link: console.print(f"Dask dashboard: {link}", markup=False),
        )
