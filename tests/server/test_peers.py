"""Programs of others as client and as server: the ismrmrd package, and Gadgetron for Python."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

import ismrmrd
import numpy as np
import pytest
from ismrmrd.serialization import ConfigText, ProtocolDeserializer, ProtocolSerializer
from mrd_streams import FAST, answering, header, image_message, kspace, readouts, serving

from firenet_mri import read, reconstruct
from firenet_mri.io.kspace.ismrmrd_writer import write_acquisitions
from firenet_mri.server.client import send_scan


@pytest.fixture
def scan(tmp_path):
    path = tmp_path / "scan.h5"
    write_acquisitions(path, header(), readouts(kspace()))
    return path


def assert_is_recon(image: Any, scan: Any) -> None:
    """The image is the very one of the file, bit for bit."""
    expected = reconstruct(read(scan), **FAST).magnitude.numpy()
    np.testing.assert_array_equal(np.squeeze(image.data), np.squeeze(expected))


def test_the_ismrmrd_package_as_client_gets_the_image_bit_for_bit(scan) -> None:
    with (
        serving() as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=120) as connection,
        connection.makefile("rwb") as file,
    ):
        with ProtocolSerializer(file) as sending:
            sending.serialize(ConfigText("<configuration/>"))
            sending.serialize(header())
            sending.serialize(json.dumps({"parameters": FAST}))
            for line in readouts(kspace()):
                sending.serialize(line)
        found = list(ProtocolDeserializer(file).deserialize())
    (image,) = (item for item in found if isinstance(item, ismrmrd.Image))
    assert_is_recon(image, scan)
    assert "INFO     1 image sent\0" in found


def test_the_ismrmrd_package_as_server_is_served(scan) -> None:
    taken: list[Any] = []

    def answer(connection: socket.socket) -> None:
        with connection.makefile("rwb") as file:
            taken.extend(ProtocolDeserializer(file).deserialize())
            with ProtocolSerializer(file) as sending:
                sending.serialize(ismrmrd.Image.from_array(np.ones((4, 4), np.float32)))

    with answering(answer) as port:
        (image,) = send_scan(scan, port=port, config="<configuration/>").images
    assert image.data.shape[-2:] == (4, 4)
    assert isinstance(taken[0], ConfigText)
    sent = [line.data for line in taken if isinstance(line, ismrmrd.Acquisition)]
    np.testing.assert_array_equal(sent, [line.data for line in readouts(kspace())])


@pytest.fixture
def gadgetron() -> Any:
    """Return the module of Gadgetron's package for Python that speaks over sockets."""
    return pytest.importorskip("gadgetron.external.connection")


def test_gadgetrons_package_as_client_gets_the_image_bit_for_bit(scan, gadgetron) -> None:
    from gadgetron.external import constants, readers, writers

    with (
        serving() as server,
        contextlib.closing(socket.create_connection(("127.0.0.1", server.port))) as connection,
    ):
        wrapped = gadgetron.Connection.SocketWrapper(connection)
        parameters = json.dumps({"parameters": FAST})
        for kind, text in ((2, "<configuration/>"), (3, header().toXML()), (5, parameters)):
            wrapped.write(struct.pack("<H", kind))
            writers.write_byte_string(wrapped, text.encode(), constants.uint32)
        for line in readouts(kspace()):
            writers.write_acquisition(wrapped, line)
        wrapped.write(constants.GadgetMessageIdentifier.pack(constants.GADGET_MESSAGE_CLOSE))
        receiving = without_greeting(gadgetron, wrapped)
        receiving.add_reader(constants.GADGET_MESSAGE_TEXT, readers.read_byte_string)
        found = list(receiving)
    (image,) = (item for item in found if isinstance(item, ismrmrd.Image))
    assert_is_recon(image, scan)


def without_greeting(gadgetron: Any, wrapped: Any) -> Any:
    """Return a connection that does not wait for a configuration, as their servers do."""

    class Receiving(gadgetron.Connection):  # type: ignore[misc]
        def __init__(self) -> None:
            self.socket, self.filters = wrapped, []
            self.readers = gadgetron.Connection._default_readers()

    return Receiving()


def test_gadgetrons_package_as_server_is_served(scan, gadgetron) -> None:
    counted: list[int] = []

    def answer(connection: socket.socket) -> None:
        with gadgetron.Connection(connection) as theirs:
            counted.append(sum(1 for _ in lines_of(theirs)))
            theirs.socket.write(image_message())

    with answering(answer) as port:
        assert len(send_scan(scan, port=port, config="<configuration/>").images) == 1
    assert counted == [len(readouts(kspace()))]


def lines_of(connection: Any) -> Iterator[Any]:
    return (item for item in connection if isinstance(item, ismrmrd.Acquisition))
