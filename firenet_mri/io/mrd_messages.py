"""Reads and writes messages of the MRD streaming protocol, in sockets and files, within limits.

Messages are little endian: two bytes for the kind, then a text with its length, or a header of
fixed size and the number of samples that it states. The stated size is checked against the limit
before anything is read, so a header cannot claim memory. Layout: ISMRMRD documentation, "MRD
session protocol".
"""

from __future__ import annotations

import ctypes
import math
import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from firenet_mri.errors import DataError

_CONFIG_BYTES = 1024
# Headers have thousands of bytes; parsing takes many times that memory, and delays all clients.
_LARGEST_TEXT = 1 << 22
# The standard's number for 32-bit integers, which ismrmrd 1.15 takes for 64-bit ones.
_INT = 4


class Kind(IntEnum):
    """Kind of a message."""

    CONFIG_FILE = 1
    CONFIG_TEXT = 2
    HEADER = 3
    CLOSE = 4
    TEXT = 5
    ACQUISITION = 1008
    IMAGE = 1022
    WAVEFORM = 1026
    ARRAY = 1030


_TEXTS = (Kind.CONFIG_TEXT, Kind.HEADER, Kind.TEXT)


class Message(NamedTuple):
    """A message; configurations, headers and texts have text as value, others an object.

    Close messages and arrays have no value; converters keep intermediate results in arrays.
    """

    kind: Kind
    value: Any


class ConnectionEnded(DataError):
    """The other side disconnected, between messages or in the middle of one."""


class NotDelivered(DataError):
    """The result could not be sent, because the connection has ended."""


class ProtocolError(DataError):
    """Bytes that are not a message, or a message larger than allowed."""


def read_message(receive: Callable[[int], bytes], largest: int) -> Message:
    """Return the next message.

    Parameters
    ----------
    receive
        Function that returns the requested number of bytes; fewer mean that the other side
        disconnected.
    largest
        Largest number of bytes of a message.

    Raises
    ------
    ConnectionEnded
        If the other side has disconnected.
    ProtocolError
        If the bytes are not a message, or are one larger than allowed.
    """

    stream = _Stream(receive, largest)
    (number,) = struct.unpack("<H", stream.read(2))
    try:
        kind = Kind(number)
    except ValueError:
        raise ProtocolError(f"a message of the unknown kind {number}") from None
    if kind in _TEXTS:
        stream = _Stream(receive, min(largest, _LARGEST_TEXT))
    return Message(kind, _READERS[kind](stream))


class _Stream:
    """Reads exact numbers of bytes, up to the largest size of a message."""

    def __init__(self, receive: Callable[[int], bytes], largest: int) -> None:
        self._receive = receive
        self._largest = largest

    def check(self, count: int) -> None:
        """Refuse a message of that many bytes before any of them is read."""
        if count > self._largest:
            raise ProtocolError(
                f"a message has a part of {count} bytes, but {self._largest} are allowed; raise "
                "the limit or send smaller ones"
            )

    def read(self, count: int) -> bytes:
        self.check(count)
        data = self._receive(count)
        if len(data) < count:
            raise ConnectionEnded(f"the connection ended after {len(data)} of {count} bytes")
        return data


def _config_file(stream: _Stream) -> str:
    return _decoded(stream.read(_CONFIG_BYTES).split(b"\0")[0])


def _text(stream: _Stream) -> str:
    (length,) = struct.unpack("<I", stream.read(4))
    # Clients include a trailing NUL, which is not part of the text.
    return _decoded(stream.read(length).rstrip(b"\0"))


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise ProtocolError("a text that is not UTF-8") from None


def _acquisition(stream: _Stream) -> Any:
    import ismrmrd

    raw = stream.read(ctypes.sizeof(ismrmrd.AcquisitionHeader))
    head = ismrmrd.AcquisitionHeader.from_buffer_copy(raw)
    points = 4 * head.number_of_samples * head.trajectory_dimensions
    samples = 8 * head.number_of_samples * head.active_channels
    stream.check(points + samples)
    parts = iter((raw, stream.read(points), stream.read(samples)))
    return ismrmrd.Acquisition.deserialize_from(lambda _: next(parts))


def _image(stream: _Stream) -> Any:
    import ismrmrd

    raw = stream.read(ctypes.sizeof(ismrmrd.ImageHeader))
    head = ismrmrd.ImageHeader.from_buffer_copy(raw)
    length = stream.read(8)
    attributes = stream.read(struct.unpack("<Q", length)[0])
    try:
        dtype = ismrmrd.image.get_dtype_from_data_type(head.data_type)
    except (KeyError, ValueError, TypeError):
        raise ProtocolError(f"an image of the unknown data type {head.data_type}") from None
    x, y, z = head.matrix_size
    is_int = head.data_type == _INT
    itemsize = 4 if is_int else dtype.itemsize
    pixels = stream.read(int(x) * int(y) * int(z) * head.channels * itemsize)
    if is_int:
        head.data_type = ismrmrd.constants.DATATYPE_DOUBLE
        raw, pixels = bytes(head), np.frombuffer(pixels, "<i4").astype("<f8").tobytes()
    parts = iter((raw, length, attributes, pixels))
    try:
        return ismrmrd.Image.deserialize_from(lambda _: next(parts))
    # The XML library raises SyntaxError, ismrmrd raises AssertionError.
    except (ValueError, TypeError, SyntaxError, AssertionError):
        raise ProtocolError("an image whose attributes are not XML") from None


def _array(stream: _Stream) -> None:
    """Skip an array of any type."""
    from ismrmrd.image import get_dtype_from_data_type

    number, _, ndim = struct.unpack("<HHH", stream.read(6))
    sizes = struct.unpack(f"<{ndim}Q", stream.read(8 * ndim))
    try:
        itemsize = get_dtype_from_data_type(number).itemsize
    except TypeError:
        raise ProtocolError(f"an array of the unknown data type {number}") from None
    stream.read(math.prod(sizes) * (4 if number == _INT else itemsize))


def _waveform(stream: _Stream) -> Any:
    import ismrmrd

    raw = stream.read(ctypes.sizeof(ismrmrd.WaveformHeader))
    head = ismrmrd.WaveformHeader.from_buffer_copy(raw)
    parts = iter((raw, stream.read(4 * head.channels * head.number_of_samples)))
    return ismrmrd.Waveform.deserialize_from(lambda _: next(parts))


_READERS: dict[Kind, Callable[[_Stream], Any]] = {
    Kind.CONFIG_FILE: _config_file,
    Kind.CONFIG_TEXT: _text,
    Kind.HEADER: _text,
    Kind.CLOSE: lambda _: None,
    Kind.TEXT: _text,
    Kind.ACQUISITION: _acquisition,
    Kind.IMAGE: _image,
    Kind.WAVEFORM: _waveform,
    Kind.ARRAY: _array,
}


def message_bytes(kind: Kind, value: Any = None) -> bytes:
    """Return a message as transmitted bytes.

    Parameters
    ----------
    kind
        Kind of the message.
    value
        Text for configurations, headers and texts; an ismrmrd object; None for a close message.

    Raises
    ------
    ProtocolError
        If the name of a configuration has more than 1023 bytes.
    """
    head = struct.pack("<H", kind)
    if kind is Kind.CLOSE:
        return head
    if kind is Kind.CONFIG_FILE:
        name = str(value).encode()
        if len(name) >= _CONFIG_BYTES:
            raise ProtocolError(f"a configuration's name of {len(name)} bytes; at most 1023 fit")
        return head + name.ljust(_CONFIG_BYTES, b"\0")
    if kind in _TEXTS:
        # Hosts may need the trailing NUL of a log line. XML parsers refuse it, and hosts that
        # expect one accept XML without it.
        text = str(value).encode() + (b"\0" if kind is Kind.TEXT else b"")
        return head + struct.pack("<I", len(text)) + text
    parts = [head]
    value.serialize_into(lambda data: parts.append(bytes(data)))
    return b"".join(parts)
