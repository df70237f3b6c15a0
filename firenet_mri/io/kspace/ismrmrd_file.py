"""ISMRMRD / MRD 1.x files: HDF5 with a header in XML and readouts in the group ``/dataset``.

Only what a reconstruction needs is taken from the header; patient, study and the rest are removed
before it is parsed.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path
from typing import Any

from firenet_mri.errors import FileError
from firenet_mri.io.kspace.hdf5 import check_size

_KEPT_HEADER = (
    "version",
    "acquisitionSystemInformation",
    "experimentalConditions",
    "encoding",
    "sequenceParameters",
)


def read_acquisitions(path: Path) -> tuple[Any, list[Any]]:
    """Return header, without patient and study, and readouts of an ISMRMRD file.

    Raises
    ------
    FileError
        If the file is truncated or damaged, or has no group ``/dataset`` with both.
    """
    import h5py
    import ismrmrd

    try:
        with h5py.File(path, "r") as file:
            _check_groups(path, file)
            for name in ("dataset/xml", "dataset/data"):
                check_size(file[name], path)
            xml = bytes(file["dataset/xml"][0])
        header = parse_header(xml, str(path))
        with ismrmrd.File(path, "r") as file:
            acquisitions = file["dataset"].acquisitions[:]
    except (OSError, RuntimeError, KeyError, IndexError, ValueError, TypeError, EOFError):
        raise FileError(
            f"{path}: the ISMRMRD file is truncated or damaged; copy or export the scan again"
        ) from None
    return header, list(acquisitions)


def parse_header(xml: bytes, name: str) -> Any:
    """Return the ``ismrmrdHeader``, without patient, study and the rest.

    Raises
    ------
    FileError
        If it is not XML of the standard.
    """
    import ismrmrd

    try:
        root = ElementTree.fromstring(xml.rstrip(b"\0"))
        by_name: dict[str, list[ElementTree.Element]] = defaultdict(list)
        for child in list(root):
            by_name[child.tag.rpartition("}")[2]].append(child)
            root.remove(child)
        root.extend(child for tag in _KEPT_HEADER for child in by_name[tag])
        return ismrmrd.xsd.CreateFromDocument(ElementTree.tostring(root))
    # The XML library's own messages may quote what stands in the header.
    except Exception:
        raise FileError(
            f"{name}: its ISMRMRD header is not valid XML of that standard; export the scan again"
        ) from None


def _check_groups(path: Path, file: Any) -> None:
    """Refuse HDF5 files that hold no ISMRMRD raw data in /dataset."""
    names = sorted(file)
    group = file.get("dataset")
    members = sorted(group) if hasattr(group, "keys") else []
    if "xml" in members and "data" in members and "header" not in members:
        return
    if members:
        found = f"/dataset holds only {', '.join(members)}"
    else:
        found = "it holds " + (", ".join(f"/{name}" for name in names) or "nothing")
    raise FileError(f"{path}: no ISMRMRD raw data (xml and data in the group /dataset); {found}")
