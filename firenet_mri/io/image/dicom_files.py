"""Shared parts of the readers of DICOM series: images among files, and positions of slices.

A folder may contain other files: those that are skipped (text files, presentation states, copies)
are logged by name. But a file that is named like the slices must be one, and a file that a DICOMDIR
names must exist. Headers are read first, and pixels only of the chosen images.
"""

from __future__ import annotations

import filecmp
import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError, FileError
from firenet_mri.io.image.dicom_door import (
    DAMAGED,
    is_dicom_file,
    quiet,
    read_dataset,
    say_disorder,
)

POSITION_SLACK_MM = 0.05

_log = logging.getLogger(__name__)
_DIRECTORY = "1.2.840.10008.1.3.10"
# MR, enhanced MR, and enhanced MR that was converted from classic MR (DICOM PS3.4, B.5).
_MR_IMAGES = (
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.4.1",
    "1.2.840.10008.5.1.4.1.1.4.4",
)
_FOREIGN = "not DICOM"
# Number of names that a message lists before it counts the rest.
_LISTED = 3


def images_of(path: Path | Sequence[Path], name: str) -> list[tuple[Path, Any]]:
    """Return the MR images among files, each with its header, and log all other files.

    Parameters
    ----------
    path
        A folder, whose subfolders are searched if it contains a DICOMDIR or no DICOM file itself; a
        DICOMDIR; a file; or files.
    name
        Name of the files in messages.

    Raises
    ------
    FileError
        If there is no MR image, a file is damaged, a file that the DICOMDIR names is missing, or a
        file is not DICOM although it was given directly, is named like the images of its folder, or
        is named by the DICOMDIR.
    """
    files, is_searched = _files(path)
    left_out: dict[str, list[str]] = defaultdict(list)
    images: list[tuple[Path, Any]] = []
    known: dict[str, Path] = {}
    foreign: list[Path] = []
    listed: set[str] = set()
    for file in files:
        if is_searched and not is_dicom_file(file):
            foreign.append(file)
            continue
        header = read_dataset(file, with_pixels=False)
        if _is_directory(header):
            listed |= _files_of_directory(header, file)
            continue
        instance, reason = _instance_and_reason(header, file)
        # Bad anonymisers give all files the same identifier; such files are not copies.
        if instance in known and filecmp.cmp(known[instance], file, shallow=False):
            reason = "copy of another file"
        if reason:
            left_out[reason].append(file.name)
            continue
        if instance:
            known[instance] = file
        images.append((file, header))
    _check_foreign(foreign, listed, {file.suffix for file, _ in images})
    if foreign:
        left_out[_FOREIGN] = [file.name for file in foreign]
    said = "; ".join(f"{_listed(found)} ({reason})" for reason, found in left_out.items())
    if set(left_out) <= {_FOREIGN} and not images:
        raise FileError(f"{name}: holds no DICOM file; give a series of MR images")
    if not images:
        raise FileError(
            f"{name}: contains no MR image in DICOM, only {said}; give a series of MR images"
        )
    if said:
        _log.warning("%s: skipped %s", name, said)
    return images


def datasets_of(path: Path | Sequence[Path], name: str) -> Iterator[Any]:
    """Yield the complete headers of the MR images among files; see :func:`images_of`.

    Raises
    ------
    FileError
        As for :func:`images_of`, and if an element of a header is damaged or its identifiers are
        missing.
    """
    for file, header in images_of(path, name):
        try:
            # Elements are decoded on access, and damaged ones raise exceptions of many kinds.
            with quiet():
                say_disorder(header, file)
                _check_whole(header)
        except Exception:
            raise FileError(f"{file}: {DAMAGED}") from None
        yield header


def _check_whole(header: Any) -> None:
    """Raise an error of pydicom if an element is damaged or an identifier is missing."""
    _ = [header.SOPClassUID, header.SOPInstanceUID, *(element.value for element in header)]
    numbers = [*(header.get("ImagePositionPatient") or []), header.get("SliceThickness")]
    _ = [float(value) for value in numbers if value is not None]


def step_between(
    positions: Sequence[NDArray[np.float64]], alone: NDArray[np.float64], what: str
) -> NDArray[np.float64]:
    """Return the vector from one slice to the next.

    Parameters
    ----------
    positions
        Positions of all slices, LPS mm, ordered along their normal.
    alone
        The step to return for a single slice: its normal times its thickness.
    what
        Kind of slices, for messages.

    Raises
    ------
    DataError
        If two slices have the same position, or slices are not evenly spaced; missing slices are
        named by their position.
    """
    if len(positions) == 1:
        return alone
    steps = np.diff(positions, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    if lengths.min() < 1e-3:
        raise DataError(
            f"several {what} frames have the same position (echoes, times, or series); give the "
            "files of one image"
        )
    if not np.allclose(steps, steps[:1], atol=POSITION_SLACK_MM):
        missing = _missing(positions, steps)
        where = (
            f"{len(missing)} of {len(positions) + len(missing)} are missing, at {_listed(missing)} "
            "(LPS, mm), or other slices were moved"
            if missing
            else "one may be missing"
        )
        raise DataError(
            f"the {what}'s slices are not evenly spaced: {where}; copy or export the series again"
        )
    step: NDArray[np.float64] = (positions[-1] - positions[0]) / (len(positions) - 1)
    return step


def _missing(positions: Sequence[NDArray[np.float64]], steps: NDArray[np.float64]) -> list[str]:
    """Return where slices are missing, if all steps are multiples of the shortest; else none."""
    lengths = np.linalg.norm(steps, axis=1)
    shortest = steps[np.argmin(lengths)]
    times = np.rint(lengths / lengths.min())
    if not np.allclose(steps, times[:, None] * shortest, atol=POSITION_SLACK_MM):
        return []
    found: list[str] = []
    for start, count in zip(positions, times, strict=False):
        places = (start + index * shortest for index in range(1, int(count)))
        found += ["(" + ", ".join(f"{value:.1f}" for value in place) + ")" for place in places]
    return found


def _files(path: Path | Sequence[Path]) -> tuple[list[Path], bool]:
    """Return the files, and whether they were found by searching and may include others."""
    if not isinstance(path, Path):
        return list(path), False
    if path.is_file() and path.name.upper() == "DICOMDIR":
        path = path.parent
    if not path.is_dir():
        return [path], False
    own = _files_among(path.iterdir())
    has_directory = any(file.name.upper() == "DICOMDIR" for file in own)
    if has_directory or not any(is_dicom_file(file) for file in own):
        own = _files_among(path.rglob("*"))
    return own, True


def _files_among(paths: Iterable[Path]) -> list[Path]:
    """Return the files, sorted; a dangling link may be a slice, and is an error."""
    found = sorted(path for path in paths if path.is_file() or path.is_symlink())
    for path in found:
        if not path.exists():
            raise FileError(
                f"{path}: is a link to a file that does not exist; fetch it, or remove it"
            )
    return [path for path in found if path.is_file()]


def _check_foreign(
    foreign: Sequence[Path], listed: Collection[str], suffixes: Collection[str]
) -> None:
    """Refuse files that should be images but are not DICOM.

    Each may have been a slice, and nobody would notice a missing slice at the edge. On a disc the
    DICOMDIR lists the images; elsewhere their names show which files are images. Hidden files
    belong to operating systems.
    """
    for file in foreign:
        if file.as_posix().upper() in listed:
            raise FileError(
                f"{file}: is not a DICOM file, but the DICOMDIR names it; copy it again"
            )
        if not listed and file.suffix in suffixes and not file.name.startswith("."):
            raise FileError(
                f"{file.parent}: {file.name} is named like the DICOM files next to it but is not "
                "one, so it is a damaged slice or does not belong there; copy it again or remove it"
            )


def _is_directory(header: Any) -> bool:
    return str(header.file_meta.get("MediaStorageSOPClassUID", "")) == _DIRECTORY


def _files_of_directory(directory: Any, path: Path) -> set[str]:
    """Return the paths that a DICOMDIR names, in capitals; FileError if some are missing."""
    there = {
        file.relative_to(path.parent).as_posix().upper()
        for file in path.parent.rglob("*")
        if file.is_file()
    }
    try:
        with quiet():
            records = directory.get("DirectoryRecordSequence") or []
            parts = [record.get("ReferencedFileID") for record in records]
            names = [one if isinstance(one, str) else "/".join(one) for one in parts if one]
    except Exception:
        raise FileError(f"{path}: {DAMAGED}") from None
    # Copies of discs may have names in lower case, which the directory never has.
    missing = [name for name in names if name not in there]
    if missing:
        raise FileError(
            f"{path}: names files that are missing: {_listed(missing)}; copy the whole disc, or "
            "give the folder of one series"
        )
    return {f"{path.parent.as_posix().upper()}/{name}" for name in names}


def _instance_and_reason(header: Any, file: Path) -> tuple[str, str]:
    """Return the identifier of a data set, and why it is not an MR image ("" if it is one)."""
    from pydicom.uid import UID

    try:
        with quiet():
            instance = str(header.get("SOPInstanceUID", ""))
            sop_class = str(header.get("SOPClassUID", ""))
            is_colour = int(header.get("SamplesPerPixel") or 1) > 1
            what = UID(sop_class).name if sop_class else "DICOM of unknown class"
    except Exception:
        raise FileError(f"{file}: {DAMAGED}") from None
    if "Rows" not in header:
        return instance, f"{what}, without pixels"
    if sop_class and sop_class not in _MR_IMAGES:
        return instance, f"{what}, not an MR image"
    return instance, "in colour" if is_colour else ""


def _listed(found: Sequence[str]) -> str:
    more = len(found) - _LISTED
    return ", ".join(found[:_LISTED]) + (f" and {more} more" if more > 0 else "")
