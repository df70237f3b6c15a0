"""The jobs of a batch: one per scan, each of which recognises its own outputs.

Beside every image lies ``NAME.done.json``. It holds the options, their digest, the digests of the
scan's path and bytes, and the digests of all files that were written. The job writes this record
before the work, without the digests of the files, and again after it. A job whose worker was killed
therefore starts again and replaces what it left behind. A finished job is not repeated, unless its
scan has changed. An image that no batch wrote, or that belongs to another scan, is not replaced.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

from firenet_mri.batch.options import JobOptions
from firenet_mri.batch.tree import Suffix, image_paths
from firenet_mri.digests import digest_of_data, digest_of_file
from firenet_mri.errors import FileError, FirenetError
from firenet_mri.io.kspace.folders import (
    check_folder_for_outputs,
    digests_of_scan,
    find_scans,
    shown_names,
    with_files_beside,
    without_name,
)
from firenet_mri.io.kspace.reading import read_with
from firenet_mri.io.names import printable
from firenet_mri.io.outputs import atomic_writes, check_outputs
from firenet_mri.io.signatures import public_digest
from firenet_mri.memory import memory_ran_out, shortage
from firenet_mri.reconstruction import output_paths
from firenet_mri.reconstruction.result import files_of
from firenet_mri.reconstruction.run import reconstruct_with
from firenet_mri.report import report_path, reports_beside, write_report
from firenet_mri.report.layers import thumbnail

State = Literal["done", "kept", "failed"]

_RECORD = ".done.json"
_FILES = ("image", "picture", "certificate", "evidence", "sensitivity")


@dataclass(frozen=True)
class Job:
    """A scan, where its image goes, and the options.

    Parameters
    ----------
    scan, image, options
        The scan to reconstruct, the image to write, and how both are done.
    overwrite
        Reconstruct the scan again even if its image is finished.
    evidence
        Write the evidence that others need to check the certificate.
    key
        Private Ed25519 key, a PEM file, with which the certificate is signed.
    report
        Write a page beside the image that explains it, see :mod:`firenet_mri.report`.
    label
        Name in summaries and messages that replaces the name of the scan's file, which is then
        never shown.
    """

    scan: Path
    image: Path
    options: JobOptions
    overwrite: bool = False
    evidence: bool = True
    key: Path | None = None
    report: bool = False
    label: str = ""

    @property
    def shown(self) -> str:
        """The scan's name in summaries and messages."""
        return self.label or printable(self.scan.name)

    @property
    def record(self) -> Path:
        """The file that records what was finished."""
        return self.image.with_name(self.image.name.removesuffix(".nii.gz") + _RECORD)


@dataclass(frozen=True)
class Outcome:
    """The result of a job.

    Parameters
    ----------
    scan, image
        Names of their files.
    state
        "done", "kept" from an earlier batch, or "failed".
    seconds
        Time for reading, reconstructing and writing the scan; 0 if kept.
    relative_gap
        Largest gap of all slices; None if the job failed, or if no gap was requested.
    lipschitz_bound
        Proven bound; None without a proof.
    warnings
        Warnings about the data, and those that were logged during the job.
    error
        One line; empty unless the job failed.
    folder
        Folder of the image, relative to the batch's output folder; empty if it is not known.
    thumbnail
        A small PNG of the middle slice; empty without one.
    """

    scan: str
    image: str
    state: State
    seconds: float = 0.0
    relative_gap: float | None = None
    lipschitz_bound: float | None = None
    warnings: tuple[str, ...] = ()
    error: str = ""
    folder: str = ""
    thumbnail: bytes = b""


def find_jobs(
    folder: Path,
    output: Path,
    options: JobOptions | Mapping[str, Any],
    *,
    overwrite: bool = False,
    evidence: bool = True,
    key: Path | None = None,
    report: bool = False,
    suffix: Suffix | None = None,
) -> list[Job]:
    """Return a job for every scan in a folder and its subfolders, ordered by name.

    Images go to ``OUTPUT/sub-LABEL/anat/sub-LABEL_rec-firenet_SUFFIX.nii.gz``, as BIDS lays out a
    study, see :func:`firenet_mri.batch.tree.image_paths`.

    Parameters
    ----------
    folder, output
        The folder of the scans, and the folder for the images.
    options
        The options of all jobs: one value, or the options of reading and reconstruction by name.
    overwrite, evidence, key, report
        See :class:`Job`.
    suffix
        BIDS suffix of all images, such as "T1w"; None uses ``MRI``, which is not a BIDS suffix.

    Raises
    ------
    UsageError
        If the folder contains no scan, if output lies inside it, or if an option cannot be used.
    FileError
        If the key cannot be used.
    """
    if key is not None:
        public_digest(key)  # Before any work.
    if not isinstance(options, JobOptions):
        options = JobOptions.from_mapping(options, without=JobOptions.REFUSED)
    check_folder_for_outputs(output, folder)
    scans = find_scans(folder)
    shown = shown_names(scans, options.read)
    images = image_paths(
        [Path(name or scan.relative_to(folder)) for scan, name in zip(scans, shown, strict=True)],
        suffix,
    )
    return [
        Job(scan, output / image, options, overwrite, evidence, key, report, name)
        for scan, image, name in zip(scans, images, shown, strict=True)
    ]


def reconstruct_job(job: Job) -> Outcome:
    """Read, reconstruct and write a scan unless it is finished; an error becomes an outcome."""
    warnings = _Warnings()
    logger = logging.getLogger("firenet_mri")
    logger.addHandler(warnings)
    before = _collects.set(warnings)
    started = time.perf_counter()
    try:
        outcome = _done(job, started)
    except FirenetError as error:
        outcome = failed(job, " ".join(str(error).split()))
    except (OSError, MemoryError, RuntimeError, SystemError, ImportError) as error:
        if memory_ran_out(error):
            outcome = failed(job, f"{shortage()}; in a batch, also use fewer --workers")
        elif isinstance(error, OSError):
            outcome = failed(job, " ".join(str(error).split()) or type(error).__name__)
        else:
            raise
    finally:
        _collects.reset(before)
        logger.removeHandler(warnings)
    # The subject's folder and its image folder, as find_jobs() lays them out.
    folder = "/".join(job.image.parent.parts[-2:])
    outcome = replace(outcome, warnings=(*outcome.warnings, *warnings.lines), folder=folder)
    return _called(outcome, job) if job.label else outcome


def _called(outcome: Outcome, job: Job) -> Outcome:
    """Return the outcome with the scan's label in place of its name in all messages."""
    error, *lines = (
        without_name(text, job.scan, job.label) for text in (outcome.error, *outcome.warnings)
    )
    return replace(outcome, error=error, warnings=tuple(lines))


def _done(job: Job, started: float) -> Outcome:
    """Return the outcome of a job."""
    read = with_files_beside(job.scan, job.options.read)
    asked = _Asked.of(job)
    record = _read_record(job.record)
    is_same = record is not None and record["job"] == asked.job
    if record is not None and is_same and not job.overwrite and _is_whole(job, record):
        return _outcome(job, "kept", record)
    may_replace = job.overwrite or is_same or asked.may_replace(record, job)
    job.image.parent.mkdir(parents=True, exist_ok=True)
    wants_second, page = job.options.reconstruction.jacobian, report_path(job.image)
    output_paths(job.image, overwrite=may_replace, evidence=job.evidence, sensitivity=wants_second)
    if job.report:
        check_outputs([page], overwrite=may_replace)
    begun = {**asked._asdict(), "options": {**job.options.to_dict(), "read": read.to_dict()}}
    _write_record(job.record, begun)
    result = reconstruct_with(read_with(job.scan, read), job.options.reconstruction)
    stale = reports_beside(job.image) if may_replace else []
    files = result.save(
        job.image, overwrite=may_replace, removing=stale, evidence=job.evidence, key=job.key
    )
    if job.report:
        write_report(page, result, overwrite=may_replace)
    small = thumbnail(result.magnitude, result.scan.geometry)
    gaps = result.certificate.relative_gap
    finished = {
        **begun,
        **{name: _digest(getattr(files, name)) for name in _FILES},
        "report": _digest(page if job.report else None),
        "thumbnail": base64.b64encode(small).decode("ascii"),
        "signed_with": None if job.key is None else public_digest(job.key),
        "relative_gap": None if gaps is None else max(gaps),
        "lipschitz_bound": result.certificate.lipschitz_bound,
        "warnings": list(result.warning_lines),
    }
    _write_record(job.record, finished)
    return _outcome(job, "done", finished, seconds=time.perf_counter() - started)


def _outcome(job: Job, state: State, record: Mapping[str, Any], *, seconds: float = 0.0) -> Outcome:
    """Return the outcome that the record of a finished job describes."""
    return Outcome(
        job.shown,
        job.image.name,
        state,
        seconds,
        record["relative_gap"],
        record["lipschitz_bound"],
        tuple(record.get("warnings", ())),
        thumbnail=base64.b64decode(record.get("thumbnail", "")),
    )


def failed(job: Job, error: str) -> Outcome:
    """Return the outcome of a job that failed, with the reason in one line."""
    text = without_name(error, job.scan, job.label) if job.label else error
    return Outcome(job.shown, job.image.name, "failed", error=printable(text))


class _Asked(NamedTuple):
    """Digests that identify a job.

    Parameters
    ----------
    job
        Digest of the scan's bytes, the options that change its image, and the version.
    wish
        Digest of the options alone.
    source
        Digest of the scan's path, or of its label if the name may not be shown.
    """

    job: str
    wish: str
    source: str

    @staticmethod
    def of(job: Job) -> _Asked:
        read = with_files_beside(job.scan, job.options.read)
        key = {**job.options.key(), "read": read.key()}
        identity = digest_of_data([*digests_of_scan(job.scan), key, version("firenet_mri")])
        # A label replaces the path, since somebody could guess a path from its digest.
        source = job.label or os.fsencode(job.scan.absolute()).hex()
        return _Asked(identity, digest_of_data(job.options.key()), digest_of_data(source))

    def may_replace(self, record: Mapping[str, Any] | None, job: Job) -> bool:
        """Return whether the image there came from this scan before it changed, with these options.

        Raises
        ------
        FileError
            If the image belongs to another scan.
        """
        if record is None or "source" not in record:
            return False
        if record["source"] != self.source and job.image.exists():
            raise FileError(
                f"{job.image}: is the image of another scan, from an earlier batch; use "
                "--overwrite to replace it, or write to another folder"
            )
        return bool(record["source"] == self.source and record.get("wish") == self.wish)


def _is_whole(job: Job, record: Mapping[str, Any]) -> bool:
    """Return whether all requested files are there, unchanged."""
    wants_second = job.options.reconstruction.jacobian
    wanted = files_of(job.image, evidence=job.evidence, sensitivity=wants_second)
    # Signed or not: whoever gives a key wants a certificate that is signed with it.
    if job.key is not None and record.get("signed_with") != public_digest(job.key):
        return False
    paths = {name: getattr(wanted, name) for name in _FILES}
    paths["report"] = report_path(job.image) if job.report else None
    return all(_is_same(path, record.get(name)) for name, path in paths.items() if path is not None)


def _digest(path: Path | None) -> str | None:
    return None if path is None else digest_of_file(path)


def _is_same(path: Path, digest: str | None) -> bool:
    return digest is not None and path.is_file() and digest_of_file(path) == digest


def _read_record(path: Path) -> dict[str, Any] | None:
    """Return the record; None if it cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and "job" in content else None


def _write_record(path: Path, content: Mapping[str, object]) -> None:
    with atomic_writes([path], overwrite=True) as (file,):
        file.write_text(json.dumps(content) + "\n", encoding="utf-8")


class _Warnings(logging.Handler):
    """Collects the warnings of one job, from its thread and from the threads that work for it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line, unless it comes from another job of this worker."""
        if _collects.get() is not self:
            return
        self.lines.append(" ".join(record.getMessage().split()))


# The collector of the current job's warnings.
_collects: ContextVar[_Warnings | None] = ContextVar("_collects", default=None)
