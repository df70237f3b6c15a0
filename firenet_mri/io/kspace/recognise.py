"""Identifies a file by its first bytes, and advises on files that are not raw scans."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable
from pathlib import Path

from firenet_mri.errors import FileError
from firenet_mri.io.inputs import check_regular
from firenet_mri.io.names import why_missing

HEAD_BYTES = 4096
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
NPY_SIGNATURE = b"\x93NUMPY"
_GZIP = b"\x1f\x8b"

#: The only list of readable formats, for messages, help and documentation.
READABLE = (
    "ISMRMRD or fastMRI (.h5), MRD or MRD 2 stream (.mrd, .ismrmrd), Siemens (.dat), GE (.7), "
    "Philips (.list with .data), BART (.cfl with .hdr) or NumPy (.npy, coils first) scan, or the "
    "folder of a Bruker experiment"
)
_READABLE = f"give an {READABLE}"
_IMAGE = (
    "an image, not k-space; make a simulated scan of it with firenet simulate or "
    f"firenet_mri.monai.SimulateKspace, or {_READABLE}"
)
# Number of files in a folder that are inspected to find out what it holds.
_LOOKED_INTO = 100
# Elements of group 8 that may begin a DICOM file without preamble, and their greatest length.
_DICOM_FIRST = (0x0001, 0x0005, 0x0008, 0x0012, 0x0013, 0x0014, 0x0016, 0x0018)
_LONGEST_FIRST = 256
_SHORTEST_DICOM = 132
_DICOM_TYPES = (b"UL", b"OB", b"UI", b"CS", b"DA", b"TM", b"LO", b"SH")
_TO_ISMRMRD = "convert it to ISMRMRD"
_AGILENT = (
    "an Agilent (Varian) experiment (fid with procpar), which is not read; convert it to ISMRMRD "
    "(agilent_to_ismrmrd), or save its k-space as .npy"
)
_FOREIGN_SIGNATURES = (
    (b"NRRD", f"an NRRD file: {_IMAGE}"),
    (b"PK\x03\x04", "a zip or .npz archive; save the k-space array alone as .npy, coils first"),
    (b"\x89PNG", f"a PNG picture, {_IMAGE}"),
    (b"\xff\xd8\xff", f"a JPEG picture, {_IMAGE}"),
    (b"MATLAB", "a MATLAB file; save the k-space array as .npy, coils first"),
    (
        b"/annex/objects/",
        "a pointer of git-annex to a file that is not there; fetch it with git annex get",
    ),
    (
        b"version https://git-lfs",
        "a pointer of Git LFS to a file that is not there; fetch it with git lfs pull",
    ),
    (b"%PDF", f"a PDF document; {_READABLE}"),
    (b"\x80\x02", "a Python pickle, which is never loaded; save the array as .npy"),
    (b"\x80\x04", "a Python pickle, which is never loaded; save the array as .npy"),
    (b"\x80\x05", "a Python pickle, which is never loaded; save the array as .npy"),
)


def read_head(path: Path) -> bytes:
    """Return the first bytes of a file.

    Raises
    ------
    FileError
        If it is missing, a folder, a pipe or a device, empty or not readable.
    """
    if path.is_dir():
        images = describe_folder(path) or images_in(path)
        raise FileError(f"{path}: is a folder{images or '; give a scan file in it'}")
    check_regular(path)
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError:
        raise FileError(f"{path}: {why_missing(path)}") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    if not head:
        raise FileError(f"{path}: the file is empty; copy or export the scan again")
    return head


def is_dicom(head: bytes) -> bool:
    """Return whether a file is DICOM: with its preamble, or beginning with its first elements."""
    if head[128:132] == b"DICM":
        return True
    if head[:2] not in (b"\x02\0", b"\x08\0", b"\0\x08") or len(head) < _SHORTEST_DICOM:
        return False
    if head[4:6] in _DICOM_TYPES:
        return True
    # In implicit VR the length follows the tag; the group length is a number of 4 bytes.
    element, length = int.from_bytes(head[2:4], "little"), int.from_bytes(head[4:8], "little")
    if element == 0:
        return length == 4
    return element in _DICOM_FIRST and length % 2 == 0 and 0 < length <= _LONGEST_FIRST


def describe_foreign(head: bytes, path: Path) -> str:
    """Return what a file that is not a readable scan seems to be, and what to do with it."""
    vendors = _describe_vendors(path)
    if vendors:
        return vendors
    if head.startswith(_GZIP):
        inner = _inflated(head)
        if _is_nifti(inner):
            return f"a compressed NIfTI file: {_IMAGE}"
        return "a gzip-compressed file; decompress it first (gunzip)"
    if _is_nifti(head):
        return f"a NIfTI file: {_IMAGE}"
    if is_dicom(head):
        return f"a DICOM file: {_IMAGE}"
    for signature, text in _FOREIGN_SIGNATURES:
        if head.startswith(signature):
            return text
    return _describe_text(head)


def _describe_vendors(path: Path) -> str:
    """Return what a vendor's file is, by name and neighbours, and how to convert it; else ""."""
    suffix, name = path.suffix.lower(), path.name.lower()
    if suffix in (".lab", ".raw", ".sin") and _lie_beside(path, ".lab", ".raw"):
        return (
            "part of Philips raw data (.lab, .raw, .sin), which only Philips' software decodes; "
            f"export the scan as .list/.data, or {_TO_ISMRMRD} (philips_to_ismrmrd)"
        )
    if suffix == ".data":
        return (
            f"the samples of a Philips export without their index; put {path.stem}.list next to it"
        )
    if suffix == ".list":
        return "named as a Philips index but is not one; export the scan again as .list/.data"
    if suffix in (".par", ".rec") and _lie_beside(path, ".par", ".rec"):
        return f"part of a Philips PAR/REC pair, {_IMAGE}"
    if suffix in (".sdat", ".spar"):
        return "Philips spectroscopy (.sdat, .spar), not an imaging scan"
    if name == "2dseq":
        return f"Bruker's own image (2dseq), {_IMAGE}"
    if name in ("fid", "procpar") and path.with_name("procpar").is_file():
        return f"part of {_AGILENT}"
    if name in ("fid", "rawdata.job0", "ser"):
        return (
            "Bruker data without method and acqp; put them next to it, or give the whole folder of "
            "the experiment"
        )
    return ""


def _lie_beside(path: Path, *suffixes: str) -> bool:
    """Return whether files of the same name exist with each suffix, in either letter case."""
    names = ((path.with_suffix(one), path.with_suffix(one.upper())) for one in suffixes)
    return all(any(one.is_file() for one in both) for both in names)


def describe_hdf5(path: Path, names: Iterable[str]) -> str:
    """Return what an HDF5 file without ISMRMRD data is, judged by name and groups; else ""."""
    found = {name.lower() for name in names}
    if path.name.lower().startswith("scanarchive") or "downloadmetadata" in found:
        return (
            "a GE ScanArchive, which only GE's Orchestra decodes; convert it to ISMRMRD "
            "(ge_to_ismrmrd), or save a P-file (.7)"
        )
    return ""


def describe_folder(folder: Path) -> str:
    """Return what a folder that is not a readable scan holds, and what to do; else ""."""
    try:
        names = {one.name.lower() for one in folder.iterdir()}
    except OSError:
        return ""
    if {"fid", "procpar"} <= names:
        return f" of {_AGILENT}"
    if {"method", "acqp"} <= names:
        return " of a Bruker experiment without its data (fid or rawdata.job0); copy it whole"
    if any(name.endswith(".lab") for name in names) and any(n.endswith(".raw") for n in names):
        return " of Philips raw data (.lab, .raw, .sin); export the scan as .list/.data"
    return ""


def images_in(folder: Path) -> str:
    """Return the message for a folder whose first files hold a DICOM or NIfTI image; else ""."""
    for file in itertools.islice((one for one in folder.rglob("*") if one.is_file()), _LOOKED_INTO):
        try:
            with file.open("rb") as opened:
                head = opened.read(HEAD_BYTES)
        except OSError:
            continue
        if is_dicom(head):
            return f" of DICOM files: {_IMAGE}"
        if _is_nifti(_inflated(head) if head.startswith(_GZIP) else head):
            return f" of NIfTI files: {_IMAGE}"
    return ""


def _is_nifti(head: bytes) -> bool:
    one = head[344:348] in (b"n+1\0", b"ni1\0")
    two = head[4:8] in (b"n+2\0", b"ni2\0")
    return one or two


def _inflated(head: bytes) -> bytes:
    """Return the decompressed first bytes of a gzip file; b"" if they are damaged."""
    try:
        return zlib.decompressobj(wbits=31).decompress(head, HEAD_BYTES)
    except zlib.error:
        return b""


def _describe_text(head: bytes) -> str:
    printable = bytes(range(32, 127)) + b"\t\r\n"
    if not head.translate(None, printable):
        return f"a text file; {_READABLE}"
    return f"of an unknown format; {_READABLE}"
