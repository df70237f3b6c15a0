"""Tells what a file is from its first bytes, and what to do with a file that is no raw scan."""

from __future__ import annotations

import itertools
import zlib
from pathlib import Path

from firenet_mri.errors import FileError

HEAD_BYTES = 4096
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
NPY_SIGNATURE = b"\x93NUMPY"
_GZIP = b"\x1f\x8b"

_READABLE = (
    "give an ISMRMRD or fastMRI (.h5), Siemens (.dat), GE (.7), BART (.cfl with .hdr) or NumPy "
    "(.npy) scan"
)
_IMAGE = (
    "an image, not k-space; make a simulated scan of it with firenet simulate or "
    f"firenet_mri.monai.SimulateKspace, or {_READABLE}"
)
# Files of a folder that are looked into, to say what it holds.
_LOOKED_INTO = 100
_FOREIGN_SIGNATURES = (
    (b"PK\x03\x04", "a zip or .npz archive; save the k-space array alone as .npy, coils first"),
    (b"\x89PNG", f"a PNG picture, {_IMAGE}"),
    (b"\xff\xd8\xff", f"a JPEG picture, {_IMAGE}"),
    (b"MATLAB", "a MATLAB file; save the k-space array as .npy, coils first"),
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
        If it is missing, a folder, empty or not readable.
    """
    if path.is_dir():
        images = images_in(path)
        raise FileError(f"{path}: is a folder{images or '; give a scan file in it'}")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError:
        raise FileError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    if not head:
        raise FileError(f"{path}: the file is empty; copy or export the scan again")
    return head


def describe_foreign(head: bytes) -> str:
    """Return what a file that is no readable scan seems to be and what to do instead."""
    if head.startswith(_GZIP):
        inner = _inflated(head)
        if _is_nifti(inner):
            return f"a compressed NIfTI file: {_IMAGE}"
        return "a gzip-compressed file; decompress it first (gunzip)"
    if _is_nifti(head):
        return f"a NIfTI file: {_IMAGE}"
    if head[128:132] == b"DICM":
        return f"a DICOM file: {_IMAGE}"
    for signature, text in _FOREIGN_SIGNATURES:
        if head.startswith(signature):
            return text
    return _describe_text(head)


def images_in(folder: Path) -> str:
    """Return what to say of a folder whose first files hold a DICOM or NIfTI image; else ""."""
    for file in itertools.islice((one for one in folder.rglob("*") if one.is_file()), _LOOKED_INTO):
        try:
            with file.open("rb") as opened:
                head = opened.read(HEAD_BYTES)
        except OSError:
            continue
        if head[128:132] == b"DICM":
            return f" of DICOM files: {_IMAGE}"
        if _is_nifti(_inflated(head) if head.startswith(_GZIP) else head):
            return f" of NIfTI files: {_IMAGE}"
    return ""


def _is_nifti(head: bytes) -> bool:
    one = head[344:348] in (b"n+1\0", b"ni1\0")
    two = head[4:8] in (b"n+2\0", b"ni2\0")
    return one or two


def _inflated(head: bytes) -> bytes:
    """Return what the first bytes of a gzip file unpack to, b"" if they are damaged."""
    try:
        return zlib.decompressobj(wbits=31).decompress(head, HEAD_BYTES)
    except zlib.error:
        return b""


def _describe_text(head: bytes) -> str:
    printable = bytes(range(32, 127)) + b"\t\r\n"
    if not head.translate(None, printable):
        return f"a text file; {_READABLE}"
    return f"of an unknown format; {_READABLE}"
