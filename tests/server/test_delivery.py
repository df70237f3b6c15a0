"""Images arrive, or it is said that they did not: buffers that fill, clients that pause, counts."""

from __future__ import annotations

import contextlib
import re
import socket
import sys
import threading
import time

import ismrmrd
import numpy as np
import pytest
from firenet_command import firenet
from mrd_streams import (
    answering,
    header,
    image_message,
    kspace,
    read_to_the_close,
    readouts,
    serving,
)

from firenet_mri.errors import DataError
from firenet_mri.io.kspace.ismrmrd_writer import write_acquisitions
from firenet_mri.io.mrd_messages import ConnectionEnded, Kind, message_bytes, read_message
from firenet_mri.server.client import ask_health, send_scan

START = message_bytes(Kind.CONFIG_FILE, "firenet") + message_bytes(Kind.HEADER, header().toXML())
SMALL = 1 << 14


@pytest.fixture
def scan(tmp_path):
    """Return a file of six slices."""
    lines = [line for i in range(6) for line in readouts(kspace(i), slice=i)]
    path = tmp_path / "scan.h5"
    write_acquisitions(path, header(), lines)
    return path


@pytest.fixture
def instead_of_process(monkeypatch):
    """Return a function that replaces the reconstruction."""

    def replace(work) -> None:
        def process(connection, config, header, **_) -> None:
            work(connection)
            connection.send_close()

        session = sys.modules["firenet_mri.server.session"]
        monkeypatch.setattr(session, "process", process)

    return replace


def picture(number: int, pixels: int) -> ismrmrd.Image:
    image = ismrmrd.Image.from_array(np.full((1, pixels), number, np.float32), transpose=False)
    image.slice = number
    return image


def large_images(connection) -> None:
    """Answer the last readout of each slice with an image that fills the buffers many times."""
    for item in connection:
        if item.is_flag_set(ismrmrd.ACQ_LAST_IN_SLICE):
            connection.send_image(picture(item.idx.slice, 60_000))
            connection.send_logging("INFO", "1 image sent")


def small_buffers(monkeypatch) -> None:
    """Have clients' sockets hold little."""
    create = socket.create_connection

    def small(*arguments, **options):
        connection = create(*arguments, **options)
        for which in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            connection.setsockopt(socket.SOL_SOCKET, which, SMALL)
        return connection

    monkeypatch.setattr(socket, "create_connection", small)


def test_images_that_fill_all_buffers_while_the_scan_is_sent_arrive(
    scan, instead_of_process, monkeypatch
) -> None:
    small_buffers(monkeypatch)
    instead_of_process(large_images)
    with serving(buffer_bytes=SMALL, idle=1.0, ahead_bytes=1000) as server:
        answer = send_scan(scan, port=server.port)
        assert ask_health(port=server.port)["undelivered"] == 0
    assert [image.slice for image in answer.images] == list(range(6))


def test_a_client_that_takes_nothing_gets_no_close_and_its_images_are_not_counted(
    instead_of_process, caplog
) -> None:
    instead_of_process(large_images)
    lines = [line for i in range(6) for line in readouts(kspace(i), slice=i)]
    with serving(buffer_bytes=SMALL, idle=0.3) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
            client.sendall(START)
            for line in lines:
                client.sendall(message_bytes(Kind.ACQUISITION, line))
            time.sleep(1.0)
            with pytest.raises(ConnectionEnded):
                read_to_the_close(client)
        found = ask_health(port=server.port)
    assert found["images"] < 6
    assert found["undelivered"] == 1
    assert "1 of 1 image could not be sent: the client accepted no more data" in caplog.text


def test_a_client_that_takes_an_image_slowly_is_not_idle(instead_of_process) -> None:
    instead_of_process(large_images)
    lines = readouts(kspace())
    data = b"".join(message_bytes(Kind.ACQUISITION, line) for line in lines)
    received = 0
    with (
        serving(buffer_bytes=SMALL, idle=0.3) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as client,
    ):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        client.sendall(START + data + message_bytes(Kind.CLOSE))
        while part := client.recv(30_000):
            received += len(part)
            time.sleep(0.1)
    # An image, a line for the log, and the close.
    assert received > 4 * 60_000


def test_a_client_that_reads_only_when_all_is_sent_is_not_idle_while_it_sends(
    instead_of_process,
) -> None:
    instead_of_process(large_images)
    first, second = (readouts(kspace(i), slice=i) for i in range(2))
    with (
        serving(buffer_bytes=SMALL, idle=0.9) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as client,
    ):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        client.sendall(START)
        for line in (*first, *second):
            client.sendall(message_bytes(Kind.ACQUISITION, line))
            time.sleep(0 if line in first else 0.1)
        client.sendall(message_bytes(Kind.CLOSE))
        read_to_the_close(client)


def waits(begun: threading.Event, done: threading.Event, taken: list):
    """Return work that takes one readout, works until it may go on, and takes the others."""

    def work(connection) -> None:
        items = iter(connection)
        taken.append(next(items))
        begun.set()
        done.wait(20)
        taken.extend(items)

    return work


def test_receiving_goes_on_while_a_reconstruction_runs(instead_of_process) -> None:
    begun, done, taken = threading.Event(), threading.Event(), []
    instead_of_process(waits(begun, done, taken))
    lines = [line for i in range(30) for line in readouts(kspace(i), slice=i)]
    data = b"".join(message_bytes(Kind.ACQUISITION, line) for line in lines)
    with (
        serving(buffer_bytes=SMALL) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as client,
    ):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        client.sendall(START)
        # Half a megabyte, which no buffer holds.
        client.sendall(data + message_bytes(Kind.CLOSE))
        assert begun.is_set()
        assert len(taken) == 1
        done.set()
        assert client.recv(2) == message_bytes(Kind.CLOSE)
    assert [line.idx.slice for line in taken] == [line.idx.slice for line in lines]


def sent_until_it_waits(client: socket.socket, data: bytes) -> int:
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < len(data):
            sent += client.send(data[sent : sent + 1000])
    return sent


def test_a_client_waits_where_what_it_sent_ahead_fills_its_share_and_nothing_is_lost(
    instead_of_process,
) -> None:
    begun, done, taken = threading.Event(), threading.Event(), []
    instead_of_process(waits(begun, done, taken))
    lines = [line for i in range(30) for line in readouts(kspace(i), slice=i)]
    data = b"".join(message_bytes(Kind.ACQUISITION, line) for line in lines)
    with (
        serving(buffer_bytes=SMALL, ahead_bytes=50_000, idle=0.5) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=1) as client,
    ):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        client.sendall(START)
        sent = sent_until_it_waits(client, data)
        assert 50_000 < sent < len(data) / 2
        done.set()
        client.settimeout(10)
        client.sendall(data[sent:] + message_bytes(Kind.CLOSE))
        assert client.recv(2) == message_bytes(Kind.CLOSE)
    assert len(taken) == len(lines)


def test_a_client_that_waits_for_an_answer_is_not_idle(instead_of_process) -> None:
    def work(connection) -> None:
        for _ in connection:
            time.sleep(0.8)
            connection.send_image(picture(0, 4))

    instead_of_process(work)
    line = message_bytes(Kind.ACQUISITION, readouts(kspace())[0])
    with (
        serving(idle=0.3) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as client,
    ):
        client.sendall(START)
        with client.makefile("rb") as file:
            for _ in range(2):
                client.sendall(line)
                assert read_message(file.read, 1 << 20).kind is Kind.IMAGE
            client.sendall(message_bytes(Kind.CLOSE))
            assert read_message(file.read, 1 << 20).kind is Kind.CLOSE


def test_a_thread_that_cannot_start_costs_one_client_and_not_the_service(
    instead_of_process, monkeypatch, caplog
) -> None:
    instead_of_process(large_images)
    start, refused = threading.Thread.start, [*3 * ["_handle"], "_read_all"]

    def failing(thread) -> None:
        name = getattr(getattr(thread, "_target", None), "__name__", "")
        if name in refused:
            refused.remove(name)
            raise RuntimeError("can't start new thread")
        start(thread)

    line = message_bytes(Kind.ACQUISITION, readouts(kspace())[0])
    kinds = []
    # Three that got no thread must not be counted as connected.
    with serving(clients=3) as server:
        monkeypatch.setattr(threading.Thread, "start", failing)
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
                client.sendall(START + line + message_bytes(Kind.CLOSE))
                with client.makefile("rb") as file:
                    kinds.append([])
                    while not kinds[-1] or kinds[-1][-1] is not Kind.CLOSE:
                        kinds[-1].append(read_message(file.read, 1 << 20).kind)
        assert ask_health(port=server.port)["turned_away"] == 4
    assert kinds == [*3 * [[Kind.CLOSE]], [Kind.TEXT, Kind.CLOSE], [Kind.CLOSE]]
    assert "turned away: can't start new thread" in caplog.text


def images_of(numbers, *log: str, close: bool = True):
    """Return an answer: images of these slices, lines of the log, and a close."""

    def answer(connection: socket.socket) -> None:
        read_to_the_close(connection)
        for number in numbers:
            connection.sendall(image_message(slice_=number))
        for line in log:
            connection.sendall(message_bytes(Kind.TEXT, line))
        if close:
            connection.sendall(message_bytes(Kind.CLOSE))

    return answer


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (images_of([0, 1, 3, 4]), r"sent 4 of 6 images \(missing: slice 2, slice 5\)"),
        (images_of([0, 1, 2, 3, 3, 3]), r"sent 4 of 6 images \(missing: slice 4, slice 5\)"),
        (images_of(range(6), "INFO     7 images sent"), "7 images, of which 6 arrived"),
        (images_of(range(6), "ERROR    no memory"), "an error after 6 images: no memory"),
        (
            images_of(range(6), close=False),
            "disconnected before it was done, after 144 of 144 readouts",
        ),
    ],
)
def test_an_answer_that_lacks_something_fails_by_number_and_writes_nothing(
    scan, tmp_path, answer, match
) -> None:
    with answering(answer) as port, pytest.raises(DataError, match=match):
        send_scan(scan, port=port)
    output = tmp_path / "images.h5"
    with answering(answer) as port:
        found = firenet("send", scan, "-o", output, "--port", port)
    assert found.status != 0
    assert re.search(match, found.err)
    assert not output.exists()


def test_how_many_images_another_server_sends_can_be_said(scan) -> None:
    with answering(images_of([0, 0])) as port:
        assert len(send_scan(scan, port=port, expected=2).images) == 2
    with answering(images_of([])) as port:
        assert not send_scan(scan, port=port, expected=0).images
    with answering(images_of([0])) as port, pytest.raises(DataError, match="1 image instead of 2"):
        send_scan(scan, port=port, expected=2)


def test_partitions_of_a_volume_are_counted_in_one_image_or_in_several(tmp_path) -> None:
    head = header()
    for space in (head.encoding[0].encodedSpace, head.encoding[0].reconSpace):
        space.matrixSize.z = 3
    path = tmp_path / "volume.h5"
    lines = [line for z in range(3) for line in readouts(kspace(), kspace_encode_step_2=z)]
    write_acquisitions(path, head, lines)

    def whole(connection: socket.socket) -> None:
        read_to_the_close(connection)
        connection.sendall(image_message((3, 4, 4)) + message_bytes(Kind.CLOSE))

    for answer in (whole, images_of(range(3))):
        with answering(answer) as port:
            assert send_scan(path, port=port).images
    with answering(images_of(range(2))) as port, pytest.raises(DataError, match="2 of 3 images"):
        send_scan(path, port=port)


def test_padding_and_partitions_that_only_the_header_has_are_not_waited_for(tmp_path) -> None:
    head = header()
    for space in (head.encoding[0].encodedSpace, head.encoding[0].reconSpace):
        space.matrixSize.z = 2
    path = tmp_path / "scan.h5"
    write_acquisitions(path, head, readouts(kspace()) + readouts(0 * kspace(), slice=1))
    with answering(images_of([0])) as port:
        assert len(send_scan(path, port=port).images) == 1


def test_a_server_that_refuses_early_is_quoted(scan) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.sendall(message_bytes(Kind.TEXT, "ERROR    not today"))
        connection.sendall(message_bytes(Kind.CLOSE))
        with contextlib.suppress(OSError, ConnectionEnded):
            read_to_the_close(connection)

    with answering(refuse) as port, pytest.raises(DataError, match="not today"):
        send_scan(scan, port=port)
