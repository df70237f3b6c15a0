"""MRD streams as files: the messages of the streaming protocol of ISMRMRD / MRD 1.x in sequence.

``siemens_to_ismrmrd`` has written them since version 1.3, and clients send them to a reconstruction
server: an optional configuration, then the header, the readouts and a close message. Several
measurements follow each other, each with its header.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from firenet_mri.errors import FileError, UsageError
from firenet_mri.io.kspace.ismrmrd_header import parse_header
from firenet_mri.io.mrd_messages import ConnectionEnded, Kind, Message, ProtocolError, read_message
from firenet_mri.plurals import counted

_log = logging.getLogger(__name__)

_CONFIG_BYTES = 1024
_TEXT_STARTS = (b"<", b"{")
_XML_BLANKS = b"\xef\xbb\xbf \r\n\t"
# Data types of the standard's images.
_DATA_TYPES = range(1, 9)


def is_stream(head: bytes) -> bool:
    """Return whether a file begins like a stream.

    A message's kind is two bytes, which many files contain by chance. Therefore the texts must be
    valid text, and the first image must have a valid header.
    """
    is_first = True
    while len(head) > 6:
        kind, length = struct.unpack_from("<HI", head)
        if kind == Kind.HEADER:
            return head[6:].lstrip(_XML_BLANKS).startswith(b"<")
        if kind == Kind.IMAGE:
            data_type, *sizes = _image_numbers(head)
            return data_type in _DATA_TYPES and min(sizes) > 0
        if kind == Kind.CONFIG_FILE:
            # Anything may follow the NUL.
            name = head[2 : 2 + _CONFIG_BYTES].partition(b"\0")[0]
            if not name.decode("latin-1").isprintable():
                return False
            head = head[2 + _CONFIG_BYTES :]
        elif kind in (Kind.CONFIG_TEXT, Kind.TEXT):
            if not head[6:].lstrip(_XML_BLANKS).startswith(_TEXT_STARTS):
                return False
            if len(head) < 6 + length:
                # The text is longer than the bytes that are inspected.
                return True
            head = head[6 + length :]
        else:
            return not is_first and kind in list(Kind)
        is_first = False
    return False


def _image_numbers(head: bytes) -> tuple[int, ...]:
    """Return data type, matrix and channels of an image message, 0 for missing bytes."""
    if len(head) < 42:
        return 0, 0, 0, 0, 0
    (data_type,) = struct.unpack_from("<H", head, 4)
    x, y, z = struct.unpack_from("<HHH", head, 18)
    (channels,) = struct.unpack_from("<H", head, 36)
    return data_type, x, y, z, channels


class _Measurement(NamedTuple):
    """The text of a header, and the readouts after it."""

    header: str
    acquisitions: list[Any]


def read_acquisitions(path: Path, measurement: str | None = None) -> tuple[Any, list[Any]]:
    """Return header, without patient and study, and readouts of a stream.

    Parameters
    ----------
    path
        The file.
    measurement
        Number of the measurement to read, from 1; None reads the only one.

    Raises
    ------
    FileError
        If the file ends in the middle of a message, holds bytes other than messages, or has no
        readouts.
    UsageError
        If it holds several measurements and none was chosen, or the chosen one does not exist.
    """
    found, images = [], 0
    for message in messages(path):
        if message.kind is Kind.HEADER:
            found.append(_Measurement(message.value, []))
        elif message.kind is Kind.IMAGE:
            images += 1
        elif message.kind is Kind.ACQUISITION:
            if not found:
                raise FileError(
                    f"{path}: readouts precede the header of the MRD stream, so its beginning is "
                    "missing; convert the scan again"
                )
            found[-1].acquisitions.append(message.value)
    scans = [one for one in found if one.acquisitions]
    if not scans:
        raise FileError(f"{path}: the MRD stream holds {_instead(images)}")
    chosen = scans[_chosen(path, len(scans), measurement)]
    return parse_header(chosen.header.encode(), str(path)), chosen.acquisitions


def measurements_of(path: Path) -> list[str]:
    """Return the numbers of a stream's measurements, from 1, if it holds several; else none."""
    scans, is_counted = 0, True
    try:
        for message in messages(path):
            if message.kind is Kind.HEADER:
                is_counted = False
            elif message.kind is Kind.ACQUISITION and not is_counted:
                scans, is_counted = scans + 1, True
    except FileError:
        return []
    return [str(number + 1) for number in range(scans)] if scans > 1 else []


def messages(path: Path) -> Iterator[Message]:
    """Yield the messages of a stream, without the close message.

    Raises
    ------
    FileError
        If the file cannot be read, ends in the middle of a message, or holds bytes other than
        messages.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            is_closed = False
            while file.tell() < size:
                message = _next(file, size)
                is_closed = message.kind is Kind.CLOSE
                if not is_closed:
                    yield message
    except ConnectionEnded:
        raise FileError(
            f"{path}: the MRD stream is truncated in the middle of a message; copy or convert the "
            "scan again"
        ) from None
    except ProtocolError as error:
        raise FileError(
            f"{path}: the MRD stream is damaged ({error}); copy or convert the scan again"
        ) from None
    if not is_closed:
        _log.warning("%s: the MRD stream is not closed; its end may be missing", path.name)


def _next(file: BinaryIO, size: int) -> Message:
    """Return the next message, refusing parts that are larger than the rest of the file."""
    return read_message(file.read, size)


def _instead(images: int) -> str:
    if images:
        return (
            f"{counted(images, 'image')} and no readouts; firenet convert writes images as NIfTI, "
            "DICOM or BIDS"
        )
    return "no readouts; convert the scan again"


def _chosen(path: Path, count: int, wanted: str | None) -> int:
    """Return the index of the measurement to read."""
    numbers = [str(number + 1) for number in range(count)]
    if wanted is None:
        if count > 1:
            raise UsageError(
                f"{path}: the MRD stream holds {count} measurements; choose one with --group 1 to "
                f"{count} (group= in Python)"
            )
        return 0
    if wanted not in numbers:
        raise UsageError(
            f"{path}: group {wanted} was requested, but the MRD stream holds the measurements "
            f"{', '.join(numbers)}"
        )
    return numbers.index(wanted)
