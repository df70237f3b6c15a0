"""Runs jobs on Dask: on a cluster that is started on this machine, or on an existing one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from firenet_mri.batch.jobs import Job, Outcome, failed, reconstruct_job
from firenet_mri.batch.options import ClusterOptions
from firenet_mri.errors import UsageError
from firenet_mri.extras import require
from firenet_mri.options import takes_options
from firenet_mri.reconstruction.run import check_options
from firenet_mri.threads import passive_waiting

#: Environment of the workers. Dask makes glibc return freed memory at once. Every new array then
#: causes page faults, which makes a reconstruction take four times as long.
_KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 25),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
}


@takes_options(ClusterOptions)
def run_jobs(
    jobs: Sequence[Job],
    *,
    on_outcome: Callable[[Outcome], None] | None = None,
    on_cluster: Callable[[str], None] | None = None,
    **options: Any,
) -> list[Outcome]:
    """Return the outcome of every job, in the order of the jobs.

    Every job is a separate task. If a worker dies, or is killed because it uses too much memory,
    only its task is lost and runs again on another worker. A task that fails every time becomes a
    failed outcome, and the others continue.

    Parameters
    ----------
    jobs
        See :func:`firenet_mri.batch.find_jobs`; workers must see the same paths.
    on_outcome
        Called with each outcome as it arrives.
    on_cluster
        Called with the address of the cluster's dashboard.
    options
        The fields of :class:`ClusterOptions`.

    Raises
    ------
    UsageError
        If Dask is not installed, if the cluster cannot be reached, if an option is out of its
        range, or for the reasons of :func:`check_jobs`.
    """
    require("distributed")
    from distributed import as_completed

    cluster = ClusterOptions.from_mapping(options)
    check_jobs(jobs, cluster)
    found: dict[int, Outcome] = {}
    with _client(cluster) as client:
        if on_cluster is not None:
            on_cluster(str(client.dashboard_link))
        # Dask treats tasks with the same key as one task, even if they come from different clients.
        batch = secrets.token_hex(8)
        futures = {
            client.submit(_task, job, key=f"firenet-{batch}-{i}", retries=cluster.retries): i
            for i, job in enumerate(jobs)
        }
        for future in as_completed(futures):
            i = futures[future]
            outcome = _outcome_of(future, jobs[i])
            found[i] = outcome
            future.release()
            if on_outcome is not None:
                on_outcome(outcome)
    return [found[i] for i in range(len(jobs))]


def check_jobs(jobs: Sequence[Job], cluster: ClusterOptions) -> None:
    """Refuse jobs on which :func:`run_jobs` would fail only after the cluster was started.

    Raises
    ------
    UsageError
        If an option of the jobs cannot be used for any scan.
    FileError
        If the file of trained weights cannot be used.
    """
    # Usually all jobs share one value.
    for options in {id(job.options): job.options for job in jobs}.values():
        check_options(options.reconstruction, here=cluster.scheduler is None)


def _task(job: Job) -> Outcome:
    """Run a job in a worker, with the number of threads that Dask assigned to it."""
    import torch
    from distributed import get_worker

    torch.set_num_threads(max(1, get_worker().state.nthreads))
    return reconstruct_job(job)


def _outcome_of(future: Any, job: Job) -> Outcome:
    """Return the outcome of a task, or a failed one if the task killed its worker."""
    try:
        outcome: Outcome = future.result()
    # A task raises whatever its worker raised.
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        return failed(job, f"{type(error).__name__}: {text}")
    return outcome


def _client(cluster: ClusterOptions) -> AbstractContextManager[Any]:
    """Return a client of the cluster; a cluster that was started here ends with it."""
    if cluster.scheduler is None:
        return _own_cluster(cluster.workers, cluster.memory)
    from distributed import Client

    try:
        client: AbstractContextManager[Any] = Client(cluster.scheduler, timeout=10)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{cluster.scheduler}: no Dask cluster answers ({type(error).__name__}); start one, or "
            "omit the address"
        ) from None
    return client


@contextmanager
def _own_cluster(workers: int | None, memory: str) -> Iterator[Any]:
    """Yield a client of a cluster on this machine, which ends with it."""
    import dask
    from distributed import Client, LocalCluster

    count = workers or os.cpu_count() or 1
    threads = max(1, (os.cpu_count() or 1) // count)
    environment = {
        "OMP_NUM_THREADS": str(threads),
        **passive_waiting(os.environ),
        **_KEEP_FREED_MEMORY,
    }
    with (
        dask.config.set({"distributed.nanny.pre-spawn-environ": environment}),
        LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            memory_limit=memory,
            dashboard_address="127.0.0.1:0",
            env=environment,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client
