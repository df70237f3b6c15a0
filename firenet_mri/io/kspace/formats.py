"""Recognises the format of a raw scan by its content, and reads readouts of scanner formats."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

from firenet_mri.errors import FileError, UsageError
from firenet_mri.io.kspace import (
    bart,
    bruker,
    fastmri,
    ge,
    ismrmrd_file,
    ismrmrd_stream,
    mrd2,
    philips,
    siemens,
)
from firenet_mri.io.kspace.echo_planar import without_phase_encoding
from firenet_mri.io.kspace.pulseq import marked, with_sequence
from firenet_mri.io.kspace.pulseq_sequence import read_sequence
from firenet_mri.io.kspace.recognise import (
    HDF5_SIGNATURE,
    NPY_SIGNATURE,
    describe_foreign,
    read_head,
)


class Format(Enum):
    """A format of raw scans; the value is its name in messages."""

    BART = "BART file"
    BRUKER = "Bruker experiment"
    FASTMRI = "fastMRI file"
    GE = "GE P-file"
    ISMRMRD = "ISMRMRD file"
    MRD2 = "MRD 2 stream"
    NUMPY = "NumPy file"
    PHILIPS = "Philips list/data export"
    SIEMENS = "Siemens raw file"
    STREAM = "MRD stream"


_BY_HEAD: tuple[tuple[Format, Callable[[bytes], bool]], ...] = (
    (Format.NUMPY, lambda head: head.startswith(NPY_SIGNATURE)),
    (Format.ISMRMRD, lambda head: head.startswith(HDF5_SIGNATURE)),
    (Format.MRD2, lambda head: head.startswith(mrd2.SIGNATURE)),
    (Format.STREAM, ismrmrd_stream.is_stream),
    (Format.SIEMENS, siemens.is_siemens),
    (Format.GE, ge.is_ge),
)

#: Formats that hold readouts, each with a header.
SCANNERS = (Format.ISMRMRD, Format.STREAM, Format.MRD2, Format.SIEMENS)


def read_readouts(
    path: Path,
    format_: Format,
    group: str | None = None,
    pulseq: Path | None = None,
    *,
    name: str | None = None,
) -> tuple[Any, list[Any]]:
    """Return the header and readouts of a file of :data:`SCANNERS`, in ISMRMRD's form.

    Parameters
    ----------
    path, format_, group
        The file, its format, and the scan to read from it.
    pulseq
        The Pulseq sequence that was played, which completes header and readouts.
    name
        Name of the scan in messages; None is the name of its file.

    Raises
    ------
    UsageError
        If the file does not have the group, or pypulseq is not installed.
    DataError
        If another sequence was played.
    """
    header, acquisitions = _readouts(path, format_, group)
    if pulseq is None:
        return header, acquisitions
    return with_sequence(header, acquisitions, read_sequence(pulseq), name or path.name)


def read_phase_correction(
    path: Path, format_: Format, pulseq: Path | None = None, *, name: str | None = None
) -> list[Any]:
    """Return the readouts of a scan without phase encoding, marked as phase correction.

    Parameters
    ----------
    path, format_
        The file, and its format, which is one of :data:`SCANNERS`.
    pulseq
        The Pulseq sequence of the scan that is corrected.
    name
        Name of the correction scan in messages; None is the name of its file.
    """
    _, acquisitions = _readouts(path, format_, None)
    if pulseq is None:
        return without_phase_encoding(acquisitions)
    return marked(acquisitions, read_sequence(pulseq), name or path.name)


def _readouts(path: Path, format_: Format, group: str | None) -> tuple[Any, list[Any]]:
    if format_ is Format.ISMRMRD:
        return ismrmrd_file.read_acquisitions(path, group)
    if format_ is Format.STREAM:
        return ismrmrd_stream.read_acquisitions(path, group)
    if group is not None:
        raise UsageError(
            f"{path}: a {format_.value} has no groups to choose from; omit --group (group= in "
            "Python)"
        )
    if format_ is Format.MRD2:
        return mrd2.read_acquisitions(path)
    return siemens.read_acquisitions(path)


def groups_of(path: Path) -> list[str]:
    """Return the choices for ``group``: HDF5 groups with scans, or measurements of a stream."""
    format_ = recognise(path)
    if format_ is Format.STREAM:
        return ismrmrd_stream.measurements_of(path)
    return ismrmrd_file.groups_of(path) if format_ is Format.ISMRMRD else []


def recognise(path: Path) -> Format:
    """Return the format of a raw scan.

    Raises
    ------
    FileError
        If the file is missing, empty, or of another format; the message states what it seems to be.
    """
    if bart.find_pair(path) is not None:
        return Format.BART
    if bruker.find_experiment(path) is not None:
        return Format.BRUKER
    if philips.find_pair(path) is not None:
        return Format.PHILIPS
    head = read_head(path)
    for format_, has_its_head in _BY_HEAD:
        if has_its_head(head):
            is_fastmri = format_ is Format.ISMRMRD and fastmri.is_fastmri(path)
            return Format.FASTMRI if is_fastmri else format_
    raise FileError(f"{path}: is {describe_foreign(head, path)}")
