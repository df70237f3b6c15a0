"""ISMRMRD / MRD 1.x files: HDF5 with a header in XML and readouts in a group, usually ``/dataset``.

Only what a reconstruction needs is read from the header; patient, study and the rest are removed
before the header is parsed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from firenet_mri.errors import FileError, UsageError
from firenet_mri.io.hdf5 import check_size, open_hdf5, read_records
from firenet_mri.io.kspace.ismrmrd_header import parse_header
from firenet_mri.io.kspace.recognise import describe_hdf5
from firenet_mri.memory import refuse_shortage


def read_acquisitions(path: Path, group: str | None = None) -> tuple[Any, list[Any]]:
    """Return header, without patient and study, and readouts of an ISMRMRD file.

    Parameters
    ----------
    path
        The file.
    group
        The HDF5 group to read; None reads the only one that holds a scan.

    Raises
    ------
    FileError
        If the file is truncated or damaged, or has no group with both header and readouts.
    UsageError
        If several groups hold scans and none was chosen, or the chosen one does not exist.
    """
    from ismrmrd.file import Acquisitions

    try:
        with open_hdf5(path) as file:
            name = _chosen_group(path, file, group)
            check_size(file[f"{name}/xml"], path)
            header = parse_header(bytes(file[f"{name}/xml"][0]), str(path))
            records = read_records(file[f"{name}/data"], path)
            acquisitions = [Acquisitions.from_numpy(record) for record in records]
    except (UsageError, FileError):
        raise
    # Damaged files raise exceptions of many kinds.
    except Exception as error:
        refuse_shortage(path, error)
        raise FileError(
            f"{path}: the ISMRMRD file is truncated or damaged; copy or export the scan again"
        ) from None
    return header, acquisitions


def groups_of(path: Path) -> list[str]:
    """Return the groups of an HDF5 file that hold scans; none if it cannot be opened."""
    try:
        with open_hdf5(path) as file:
            return _groups(file)
    except (FileError, OSError, RuntimeError, KeyError):
        return []


def _groups(file: Any) -> list[str]:
    return [name for name in sorted(file) if _holds_scan(file[name])]


def _chosen_group(path: Path, file: Any, wanted: str | None) -> str:
    """Return the group that holds the raw data to read; refuse HDF5 files that hold none."""
    groups = _groups(file)
    if wanted is not None:
        name = wanted.strip("/")
        if name not in groups:
            raise UsageError(
                f"{path}: group {wanted} was requested, but scans are in "
                f"{_listed(groups) or 'none'}"
            )
        return name
    if len(groups) > 1:
        raise UsageError(
            f"{path}: scans are in the groups {_listed(groups)}; choose one with --group (group= "
            "in Python)"
        )
    if groups:
        return groups[0]
    vendors = describe_hdf5(path, file)
    if vendors:
        raise FileError(f"{path}: is {vendors}")
    if any(_holds_images(group) for group in file.values()):
        raise FileError(
            f"{path}: holds MRD images, not k-space; firenet convert writes them as NIfTI, DICOM "
            "or BIDS"
        )
    members = sorted(file["dataset"]) if hasattr(file.get("dataset"), "keys") else []
    if members:
        found = f"/dataset holds only {', '.join(members)}"
    else:
        found = f"it holds {_listed(sorted(file)) or 'nothing'}"
    raise FileError(f"{path}: no ISMRMRD raw data (xml and data in the group /dataset); {found}")


def _holds_scan(group: Any) -> bool:
    """Return whether a group has a header and readouts; images have a header each."""
    members = set(group) if hasattr(group, "keys") else set()
    return {"xml", "data"} <= members and "header" not in members


def _holds_images(group: Any) -> bool:
    """Return whether a group, or one of its members, is a group of images."""
    members = set(group) if hasattr(group, "keys") else set()
    return {"header", "data"} <= members or any(
        hasattr(group[name], "keys") and {"header", "data"} <= set(group[name]) for name in members
    )


def _listed(names: list[str]) -> str:
    return ", ".join(f"/{name}" for name in names)
