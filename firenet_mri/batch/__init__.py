"""Reconstruct many scans on a Dask cluster; an interrupted batch resumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firenet_mri._lazy import lazy

if TYPE_CHECKING:
    from firenet_mri.batch.jobs import Job, Outcome, find_jobs, reconstruct_job
    from firenet_mri.batch.options import JobOptions
    from firenet_mri.batch.run import run_jobs
    from firenet_mri.batch.summary import write_summary

__all__ = [
    "Job",
    "JobOptions",
    "Outcome",
    "find_jobs",
    "reconstruct_job",
    "run_jobs",
    "write_summary",
]

__getattr__ = lazy(
    __name__,
    {
        "Job": "firenet_mri.batch.jobs",
        "JobOptions": "firenet_mri.batch.options",
        "Outcome": "firenet_mri.batch.jobs",
        "find_jobs": "firenet_mri.batch.jobs",
        "reconstruct_job": "firenet_mri.batch.jobs",
        "run_jobs": "firenet_mri.batch.run",
        "write_summary": "firenet_mri.batch.summary",
    },
)
