"""Reconstruction of many scans on a Dask cluster, resumed where it stopped."""

from __future__ import annotations

from firenet_mri.batch.jobs import Job, Outcome, find_jobs, reconstruct_job
from firenet_mri.batch.run import run_jobs
from firenet_mri.batch.summary import write_summary

__all__ = ["Job", "Outcome", "find_jobs", "reconstruct_job", "run_jobs", "write_summary"]
