"""Folders of raw scans: which files are scans, which lie beside one, and digests of their bytes.

Conversion and reconstruction of many scans start here; they name their own outputs and summaries,
and decide what to keep from earlier runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from firenet_mri.digests import digest_of_data, digest_of_file
from firenet_mri.errors import FileError, UsageError
from firenet_mri.io.kspace import bart, bruker, philips
from firenet_mri.io.kspace.options import ReadOptions
from firenet_mri.io.kspace.recognise import images_in
from firenet_mri.io.kspace.targets import beside
from firenet_mri.io.names import is_dangling, why_missing
from firenet_mri.io.outputs import check_folder
from firenet_mri.temporary import is_temporary

# Suffixes of files that may be scans; the content then tells the format.
_SUFFIXES = (".h5", ".hdf5", ".mrd", ".ismrmrd", ".dat", ".7", ".list", ".npy", ".cfl")
# Names of files that conversions write beside a scan.
_BESIDE = re.compile(r"(.+)_(noise|trajectory)")


def find_scans(folder: Path) -> list[Path]:
    """Return the raw scans in a folder and its subfolders, in the order of their names.

    These are files with a scan's suffix, and folders of Bruker experiments. Files that belong to a
    scan, such as its noise measurement, are left out.

    Raises
    ------
    UsageError
        If it is not a folder, or holds no scan.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: is not a folder; give the one that holds the scans")
    found = []
    for path in sorted(folder.rglob("*")):
        if is_temporary(path):
            continue
        if path.is_dir():
            if bruker.find_experiment(path) is not None:
                found.append(path)
        elif path.suffix.lower() in _SUFFIXES and not _lies_beside_a_scan(path):
            found.append(path)
    if not found and not os.access(folder, os.R_OK | os.X_OK):
        raise FileError(f"{folder}: Permission denied; check the path")
    if not found:
        images = images_in(folder)
        raise UsageError(
            f"{folder}: is a folder{images}"
            if images
            else f"{folder}: holds no scan; scans are named "
            f"{', '.join('*' + suffix for suffix in _SUFFIXES)}, or are folders of Bruker "
            "experiments"
        )
    return found


def check_folder_for_outputs(output: Path, scans: Path) -> None:
    """Refuse an output folder that lies among the scans, or cannot be created or written to.

    Raises
    ------
    UsageError
        If it lies in the folder of the scans.
    FileError
        As :func:`firenet_mri.io.outputs.check_folder`.
    """
    if output.resolve().is_relative_to(scans.resolve()):
        raise UsageError(f"{output}: is inside the folder of the scans; write to another folder")
    check_folder(output)


def with_files_beside(scan: Path, options: ReadOptions) -> ReadOptions:
    """Return the options with the noise measurement and trajectory that lie beside an array.

    Raises
    ------
    FileError
        If one of them is a dangling link: without it the image would differ.
    """
    if bart.find_pair(scan) is None and scan.suffix != ".npy":
        return options
    found = {"noise_file": beside(scan, "noise"), "trajectory": beside(scan, "trajectory")}
    for path in found.values():
        if is_dangling(path):
            raise FileError(f"{path}: {why_missing(path)}")
    return options.replace(**{name: path for name, path in found.items() if path.is_file()})


def digests_of_scan(scan: Path) -> list[str]:
    """Return the digest of each file of a scan, including a separate header.

    Raises
    ------
    FileError
        If a file cannot be read.
    """
    files = [scan]
    if scan.is_dir():
        files = sorted(path for path in scan.iterdir() if path.is_file())
    elif scan.suffix == ".cfl":
        files.append(scan.with_suffix(".hdr"))
    elif scan.suffix.lower() == ".list":
        others = (scan.with_suffix(suffix) for suffix in (".data", ".DATA"))
        files += [other for other in others if other.is_file() or is_dangling(other)]
    for path in files:
        if is_dangling(path):
            raise FileError(f"{path}: {why_missing(path)}")
    try:
        return [digest_of_file(path) for path in files]
    except OSError as error:
        raise FileError(f"{scan}: cannot be read ({error.strerror})") from None


def name_by_digest(scan: Path) -> str:
    """Return a name for a scan that is derived from its bytes alone.

    Raises
    ------
    FileError
        If a file cannot be read.
    """
    found = bart.find_pair(scan) or philips.find_pair(scan) or scan
    return f"scan-{digest_of_data(digests_of_scan(found))[:16]}"


def shown_names(scans: Sequence[Path], options: ReadOptions) -> list[str]:
    """Return the names of a folder's scans in messages; "" stands for the file's own name.

    A scan that cannot be read is named "scan-unreadable".
    """
    names = []
    for scan in scans:
        try:
            names.append(name_by_digest(scan) if options.name_by_digest else "")
        except FileError:
            names.append("scan-unreadable")
    return names


def without_name(text: str, scan: Path, name: str) -> str:
    """Return a message about a scan with every mention of its file replaced by another name."""
    for known in (str(scan), str(scan.with_suffix("")), scan.name, scan.stem):
        text = re.sub(rf"(?<!\w){re.escape(known)}(?!\w)", name, text)
    return text


def _lies_beside_a_scan(path: Path) -> bool:
    """Return whether a file is the noise measurement or the trajectory of an existing scan."""
    match = _BESIDE.fullmatch(path.stem)
    if match is None:
        return False
    scan = path.with_name(f"{match[1]}{path.suffix}")
    return scan.is_file() or is_dangling(scan)
