"""Messages are those of the ismrmrd package's serializer; bytes that are none are refused."""

from __future__ import annotations

import io
import struct

import ismrmrd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ismrmrd.serialization import ConfigFile, ProtocolSerializer

from firenet_mri.io.mrd_messages import (
    ConnectionEnded,
    Kind,
    ProtocolError,
    message_bytes,
    read_message,
)

LIMIT = 1 << 20


def acquisition(samples: int = 6, coils: int = 3) -> ismrmrd.Acquisition:
    generator = np.random.default_rng(0)
    data = generator.normal(size=(coils, samples, 2)).view(complex)[..., 0].astype(np.complex64)
    made = ismrmrd.Acquisition.from_array(data, generator.random((samples, 2), np.float32))
    made.position[:] = 1, 2, 3
    made.idx.repetition = 5
    return made


def image() -> ismrmrd.Image:
    made = ismrmrd.Image.from_array(np.arange(12, dtype=np.float32).reshape(3, 4), transpose=False)
    made.meta = {"DataRole": "Image"}
    return made


def waveform() -> ismrmrd.Waveform:
    return ismrmrd.Waveform.from_array(np.arange(8, dtype=np.uint32).reshape(2, 4))


OBJECTS = {
    Kind.ACQUISITION: acquisition(),
    Kind.IMAGE: image(),
    Kind.WAVEFORM: waveform(),
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_objects_have_the_bytes_of_ismrmrds_serializer(kind) -> None:
    stream = io.BytesIO()
    serializer = ProtocolSerializer(stream)
    serializer.serialize(OBJECTS[kind])
    assert message_bytes(kind, OBJECTS[kind]) == stream.getvalue()
    found = read_message(io.BytesIO(stream.getvalue()).read, LIMIT)
    assert found.kind is kind
    np.testing.assert_array_equal(found.value.data, OBJECTS[kind].data)


def test_configuration_and_close_are_ismrmrds() -> None:
    stream = io.BytesIO()
    serializer = ProtocolSerializer(stream)
    serializer.serialize(ConfigFile("firenet.xml"))
    serializer.close()
    ours = message_bytes(Kind.CONFIG_FILE, "firenet.xml") + message_bytes(Kind.CLOSE)
    assert ours == stream.getvalue()


@pytest.mark.parametrize("end", [b"", b"\0"])
def test_texts_are_read_with_and_without_their_nul(end) -> None:
    text = b'{"parameters": {"preset": "stable"}}' + end
    data = struct.pack("<HI", Kind.TEXT, len(text)) + text
    assert read_message(io.BytesIO(data).read, LIMIT).value == text.rstrip(b"\0").decode()
    # Lines of a log are sent with it, for hosts in C; XML without, which parsers want to end there.
    assert message_bytes(Kind.TEXT, "line") == struct.pack("<HI", Kind.TEXT, 5) + b"line\0"
    assert message_bytes(Kind.HEADER, "<x/>") == struct.pack("<HI", Kind.HEADER, 4) + b"<x/>"


def test_texts_that_take_long_to_parse_are_refused_before_they_are_read() -> None:
    data = struct.pack("<HI", Kind.HEADER, (1 << 22) + 1)
    with pytest.raises(ProtocolError, match="a part of 4194305 bytes, but 4194304 are allowed"):
        read_message(io.BytesIO(data).read, 1 << 30)


@settings(max_examples=200)
@given(data=st.binary(max_size=600))
def test_random_bytes_are_a_message_or_refused(data) -> None:
    outcome_of(data)


@settings(max_examples=200)
@given(
    kind=st.sampled_from(list(OBJECTS)),
    cut=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
)
def test_cut_and_changed_messages_are_read_or_refused(kind, cut, changes) -> None:
    data = bytearray(message_bytes(kind, OBJECTS[kind]))
    for where, value in changes:
        data[min(int(where * len(data)), len(data) - 1)] = value
    outcome_of(bytes(data[: int(cut * len(data))]))


def outcome_of(data: bytes) -> object:
    """Read a message with little memory allowed; any other error is raised."""
    try:
        return read_message(io.BytesIO(data).read, LIMIT)
    except (ConnectionEnded, ProtocolError) as error:
        return error


def test_a_header_that_asks_for_gigabytes_is_refused_before_they_are_taken() -> None:
    made = acquisition()
    data = bytearray(message_bytes(Kind.ACQUISITION, made))
    head = ismrmrd.AcquisitionHeader.from_buffer_copy(bytes(data[2:342]))
    head.number_of_samples, head.active_channels = 65_535, 65_535
    data[2:342] = bytes(head)
    with pytest.raises(ProtocolError, match=r"3435\d{7} bytes, but 1048576 are allowed"):
        read_message(io.BytesIO(bytes(data)).read, LIMIT)


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"", ConnectionEnded, "0 of 2 bytes"),
        (struct.pack("<H", 77), ProtocolError, "unknown kind 77"),
        (struct.pack("<HI", Kind.TEXT, 2) + b"\xff\xfe", ProtocolError, "not UTF-8"),
        (struct.pack("<HI", Kind.TEXT, 1 << 30), ProtocolError, "allowed"),
    ],
)
def test_what_is_no_message_is_named(data, error, words) -> None:
    with pytest.raises(error, match=words):
        read_message(io.BytesIO(data).read, LIMIT)


def test_a_configurations_name_has_its_limit() -> None:
    with pytest.raises(ProtocolError, match="1024 bytes; at most 1023"):
        message_bytes(Kind.CONFIG_FILE, "x" * 1024)


@pytest.mark.parametrize("text", [b"<a", b"<a></b>", b"<other/>", b"\xff", b"no XML"])
def test_attributes_that_are_no_xml_are_refused(text) -> None:
    head = image().getHead()
    data = struct.pack("<H", Kind.IMAGE) + bytes(head) + struct.pack("<Q", len(text)) + text
    data += bytes(4 * 12)
    with pytest.raises(ProtocolError, match="attributes are not XML"):
        read_message(io.BytesIO(data).read, LIMIT)


def test_an_array_is_read_past() -> None:
    stream = io.BytesIO()
    serializer = ProtocolSerializer(stream)
    serializer.serialize(np.ones((3, 2), np.complex64))
    serializer.serialize("next")
    stream.seek(0)
    assert read_message(stream.read, LIMIT) == (Kind.ARRAY, None)
    assert read_message(stream.read, LIMIT) == (Kind.TEXT, "next")
    with pytest.raises(ProtocolError, match="array of the unknown data type 9"):
        read_message(io.BytesIO(struct.pack("<HHHHQ", Kind.ARRAY, 9, 0, 1, 1)).read, LIMIT)
    with pytest.raises(ProtocolError, match="are allowed"):
        read_message(io.BytesIO(struct.pack("<HHHHQ", Kind.ARRAY, 5, 0, 1, 1 << 40)).read, LIMIT)
