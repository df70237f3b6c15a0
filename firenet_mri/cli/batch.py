"""``firenet batch``: many scans on a Dask cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from firenet_mri.batch.options import ClusterOptions, JobOptions
from firenet_mri.batch.tree import Suffix
from firenet_mri.cli.early import check_files, check_inputs
from firenet_mri.cli.options import Debug, chosen, output_flag, with_flags
from firenet_mri.cli.progress import progress
from firenet_mri.extras import require
from firenet_mri.options import Options, documented, option
from firenet_mri.plurals import by_number, counted

if TYPE_CHECKING:
    from firenet_mri.batch import Job, Outcome


@documented
@dataclass(frozen=True, eq=False)
class BatchOutput(Options):
    """Options of the files that are written for every scan."""

    panel = "Output"

    suffix: Suffix | None = option(None, "BIDS suffix for the images' contrast; MRI by default.")
    overwrite: bool = option(False, "Reconstruct finished scans again.")
    no_evidence: bool = option(
        False, "Omit the evidence files that others need to check the certificates."
    )
    sign: Path | None = option(
        None,
        "Private Ed25519 key, a .pem file, with which the certificates are signed; the workers "
        "need it, too.",
    )
    report: bool = option(
        False,
        "Write a page next to every image that explains it, as firenet recon --report does.",
    )


@with_flags(JobOptions, ClusterOptions, BatchOutput, without=JobOptions.REFUSED)
def batch(
    folder: Annotated[Path, Parameter(help="Folder with raw scans, searched with its subfolders.")],
    /,
    *,
    output: Annotated[Path, output_flag("Folder for the images.")],
    debug: Debug = False,
    **options: Any,
) -> None:
    """Reconstruct every scan in a folder; scans that an earlier batch finished are kept.

    A scan that fails does not stop the others; the exit status is then 1. The options are those of
    firenet recon, except for files that belong to a single scan.
    """
    require("distributed")
    wanted, cluster = chosen(JobOptions, options), chosen(ClusterOptions, options)
    written = chosen(BatchOutput, options)
    check_inputs([folder])
    check_files(wanted)
    from firenet_mri.batch import find_jobs, write_summary
    from firenet_mri.batch.run import check_jobs

    jobs = find_jobs(
        folder,
        output,
        wanted,
        overwrite=written.overwrite,
        evidence=not written.no_evidence,
        key=written.sign,
        report=written.report,
        suffix=written.suffix,
    )
    check_jobs(jobs, cluster)
    console = Console(highlight=False, stderr=True)
    outcomes = _run(jobs, console, cluster)
    # Reported before the summary is written, since a full disk would prevent that, too.
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


def _run(jobs: Sequence[Job], console: Console, cluster: ClusterOptions) -> Sequence[Outcome]:
    """Run the jobs under a progress bar; return their outcomes."""
    from firenet_mri.batch import run_jobs

    finished = []
    with progress("Scans", "scans") as on_step:

        def on_outcome(outcome: Outcome) -> None:
            finished.append(outcome)
            if on_step is not None:
                on_step(len(finished), len(jobs))

        return run_jobs(
            jobs,
            **cluster.flat(),
            on_outcome=on_outcome,
            on_cluster=lambda link: console.print(f"Dask dashboard: {link}", markup=False),
        )
