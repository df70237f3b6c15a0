"""What a batch is made of: one job per scan, which knows its outputs when it sees them again.

Beside every image lies ``NAME.done.json`` with the options, the digest of these and of the scan's
bytes, and those of the image, its certificate and the evidence. It is written before the work,
without the files' digests, and again after it: a job whose worker was killed begins anew over what
it left, a finished one is not done twice, and an image that no batch has written is not replaced.
"""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from firenet_mri.batch.options import JobOptions
from firenet_mri.batch.tree import Suffix, image_paths
from firenet_mri.digests import digest_of_data, digest_of_file
from firenet_mri.errors import FirenetError
from firenet_mri.io.evidence import evidence_path
from firenet_mri.io.image.suffixes import image_stem
from firenet_mri.io.kspace.folders import (
    check_folder_for_outputs,
    digests_of_scan,
    find_scans,
    with_files_beside,
)
from firenet_mri.io.kspace.reading import read_with
from firenet_mri.io.outputs import atomic_writes, check_outputs
from firenet_mri.io.signatures import public_digest
from firenet_mri.reconstruction import output_paths
from firenet_mri.reconstruction.run import reconstruct_with
from firenet_mri.report import remove_report, report_path, write_report
from firenet_mri.report.layers import thumbnail

State = Literal["done", "kept", "failed"]

_RECORD = ".done.json"


@dataclass(frozen=True)
class Job:
    """A scan, where its image goes, and the options.

    Parameters
    ----------
    scan, image, options
        What is reconstructed, where to, and how.
    overwrite
        Do it again if it is finished.
    evidence
        Write what others need to check the certificate.
    key
        Private Ed25519 key, a PEM file, with which the certificate is signed.
    report
        Write a page beside the image that explains it, see :mod:`firenet_mri.report`.
    """

    scan: Path
    image: Path
    options: JobOptions
    overwrite: bool = False
    evidence: bool = True
    key: Path | None = None
    report: bool = False

    @property
    def record(self) -> Path:
        """The file that says what is finished."""
        return self.image.with_name(self.image.name.removesuffix(".nii.gz") + _RECORD)


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Parameters
    ----------
    scan, image
        Names of their files.
    state
        "done", "kept" from a batch before, or "failed".
    seconds
        Of reading, reconstruction and writing; 0 if kept.
    relative_gap
        Largest of all slices; None if failed, or if no gap was asked for.
    lipschitz_bound
        Proven; None if there is none.
    warnings
        What is odd about the data, and what was logged on the way.
    error
        One line, empty unless failed.
    folder
        Where the image lies, relative to where the batch wrote; empty if it is not known.
    thumbnail
        A small PNG of the middle slice; empty if there is none.
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
    """Return a job for every scan in a folder and those below it, in the order of their names.

    Images go to ``OUTPUT/sub-LABEL/anat/sub-LABEL_rec-firenet_SUFFIX.nii.gz``, as BIDS lays out a
    study, see :func:`firenet_mri.batch.tree.image_paths`.

    Parameters
    ----------
    folder, output
        Where the scans are, and where the images go.
    options
        Of all jobs: one value, or the options of reading and reconstruction by name.
    overwrite, evidence, key, report
        See :class:`Job`.
    suffix
        BIDS's suffix of all images, such as "T1w"; None calls them ``MRI``, which BIDS has not.

    Raises
    ------
    UsageError
        If the folder holds no scan, output lies in it, or an option cannot be used.
    FileError
        If the key cannot be used.
    """
    if key is not None:
        public_digest(key)  # Before any work.
    if not isinstance(options, JobOptions):
        options = JobOptions.from_mapping(options, without=JobOptions.REFUSED)
    check_folder_for_outputs(output, folder)
    scans = find_scans(folder)
    images = image_paths([scan.relative_to(folder) for scan in scans], suffix)
    return [
        Job(scan, output / image, options, overwrite, evidence, key, report)
        for scan, image in zip(scans, images, strict=True)
    ]


def reconstruct_job(job: Job) -> Outcome:
    """Read, reconstruct and write a scan, unless that is done; whatever is wrong is an outcome."""
    warnings = _Warnings()
    logger = logging.getLogger("firenet_mri")
    logger.addHandler(warnings)
    started = time.perf_counter()
    try:
        outcome = _done(job, started)
    except (FirenetError, OSError, MemoryError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        outcome = Outcome(job.scan.name, job.image.name, "failed", error=text)
    finally:
        logger.removeHandler(warnings)
    # The folder of the subject, and that of its images, as find_jobs() lays them out.
    folder = "/".join(job.image.parent.parts[-2:])
    return replace(outcome, warnings=(*outcome.warnings, *warnings.lines), folder=folder)


def _done(job: Job, started: float) -> Outcome:
    """Return the outcome of a job."""
    read = with_files_beside(job.scan, job.options.read)
    identity = _identity(job)
    record = _read_record(job.record)
    if record is not None and record["job"] == identity and not job.overwrite:
        if _is_whole(job, record):
            return Outcome(
                job.scan.name,
                job.image.name,
                "kept",
                relative_gap=record["relative_gap"],
                lipschitz_bound=record["lipschitz_bound"],
                warnings=tuple(record.get("warnings", ())),
                thumbnail=base64.b64decode(record.get("thumbnail", "")),
            )
        is_ours = True
    else:
        is_ours = job.overwrite
    job.image.parent.mkdir(parents=True, exist_ok=True)
    wants_second = job.options.reconstruction.jacobian
    page = report_path(job.image)
    if job.report:
        check_outputs([page], overwrite=is_ours)
    output_paths(job.image, overwrite=is_ours, evidence=job.evidence, sensitivity=wants_second)
    wanted = {"job": identity, "options": {**job.options.to_dict(), "read": read.to_dict()}}
    _write_record(job.record, wanted)
    scan = read_with(job.scan, read)
    result = reconstruct_with(scan, job.options.reconstruction)
    files = result.save(job.image, overwrite=is_ours, evidence=job.evidence, key=job.key)
    if is_ours:
        remove_report(job.image)
    if job.report:
        write_report(page, result, overwrite=is_ours)
    small = thumbnail(result.magnitude, result.scan.geometry)
    gaps = result.certificate.relative_gap
    gap = None if gaps is None else max(gaps)
    bound = result.certificate.lipschitz_bound
    _write_record(
        job.record,
        {
            **wanted,
            "image": digest_of_file(files.image),
            "certificate": digest_of_file(files.certificate),
            "evidence": None if files.evidence is None else digest_of_file(files.evidence),
            "report": digest_of_file(page) if job.report else None,
            "thumbnail": base64.b64encode(small).decode("ascii"),
            "signed_with": None if job.key is None else public_digest(job.key),
            "relative_gap": gap,
            "lipschitz_bound": bound,
            "warnings": list(result.warning_lines),
        },
    )
    seconds = time.perf_counter() - started
    return Outcome(
        job.scan.name,
        job.image.name,
        "done",
        seconds,
        gap,
        bound,
        result.warning_lines,
        thumbnail=small,
    )


def _identity(job: Job) -> str:
    """Return a digest of the scan's bytes, the options that change its image, and the version."""
    read = with_files_beside(job.scan, job.options.read)
    key = {**job.options.key(), "read": read.key()}
    return digest_of_data([*digests_of_scan(job.scan), key, version("firenet_mri")])


def _is_whole(job: Job, record: Mapping[str, Any]) -> bool:
    """Return whether everything that is wanted is there as it was written."""
    stem = image_stem(job.image)
    certificate = job.image.with_name(f"{stem}.json")
    wanted = {"image": job.image, "certificate": certificate}
    if job.evidence:
        wanted["evidence"] = evidence_path(job.image, stem)
    if job.report:
        wanted["report"] = report_path(job.image)
    # Signed or not: who asks for a key wants it by this one.
    if job.key is not None and record.get("signed_with") != public_digest(job.key):
        return False
    return all(_is_same(path, record.get(name)) for name, path in wanted.items())


def _is_same(path: Path, digest: str | None) -> bool:
    return digest is not None and path.is_file() and digest_of_file(path) == digest


def _read_record(path: Path) -> dict[str, Any] | None:
    """Return the record; None if there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and "job" in content else None


def _write_record(path: Path, content: Mapping[str, object]) -> None:
    with atomic_writes([path], overwrite=True) as (file,):
        file.write_text(json.dumps(content) + "\n", encoding="utf-8")


class _Warnings(logging.Handler):
    """Collects the warnings of a job."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(" ".join(record.getMessage().split()))
