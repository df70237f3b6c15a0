"""The server gives the images of ``firenet recon``, survives its clients, and always closes."""

from __future__ import annotations

import contextlib
import gc
import json
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import ismrmrd
import numpy as np
import pytest
from ismrmrd.serialization import ProtocolSerializer
from mrd_scans import make_header
from mrd_streams import FakeConnection, serving
from real_scans import twix

from firenet_mri import read, reconstruct
from firenet_mri.errors import DataError, FileError, UsageError
from firenet_mri.io.kspace.ismrmrd_file import read_acquisitions
from firenet_mri.io.kspace.ismrmrd_writer import write_acquisitions
from firenet_mri.io.mrd_messages import Kind, message_bytes, read_message
from firenet_mri.server import process, session
from firenet_mri.server.answer import IncompleteAnswerError
from firenet_mri.server.client import ask_health, send_scan
from firenet_mri.server.reconstructor import Reconstructor
from firenet_mri.server.service import Health, Limits, Server, Session

SAMPLE = Path(__file__).parents[2] / "sample_data/brain_8coil.h5"
FAST = {"layers": 2, "sparsifier": "haar", "maps": "lowres"}


def test_the_image_is_that_of_the_file_and_lies_there() -> None:
    with serving() as server:
        answer = send_scan(SAMPLE, port=server.port, parameters=FAST)
    expected = reconstruct(read(SAMPLE), **FAST)
    (image,) = answer.images
    np.testing.assert_allclose(
        np.squeeze(image.data), expected.magnitude[0], atol=1e-4 * float(expected.magnitude.max())
    )
    geometry = expected.scan.geometry
    assert tuple(image.field_of_view) == pytest.approx((216, 180, 5))
    np.testing.assert_allclose(image.position[:], geometry.positions_mm[0], atol=1e-4)
    np.testing.assert_allclose(image.read_dir[:], geometry.read_direction, atol=1e-6)
    assert image.meta["ImageProcessingHistory"] == ["FIRENET", "simulated"]
    assert image.meta["Keep_image_geometry"] == "1"
    assert "proven" in image.meta["ImageComments"]
    first, *others = answer.log
    assert first == "INFO     1 image sent"
    # Two layers leave more of the data than noise, and that is said.
    assert [line[:28] for line in others] == ["WARNING  Warning: The image d"[:28]]
    assert "does not explain the data" in image.meta["ImageComments"]


def test_int16_and_complex_are_sent_as_asked() -> None:
    with serving() as server:
        whole = send_scan(SAMPLE, port=server.port, parameters={**FAST, "dtype": "int16"})
        both = send_scan(SAMPLE, port=server.port, parameters={**FAST, "output": "complex"})
    (numbers,), (values,) = whole.images, both.images
    assert numbers.data.dtype == np.int16
    assert numbers.data.max() == 4095
    assert values.data.dtype == np.complex64
    slope = float(numbers.meta["RescaleSlope"])
    np.testing.assert_allclose(numbers.data * slope, np.abs(values.data), atol=0.51 * slope)


def test_a_siemens_scan_is_sent(tmp_path) -> None:
    with serving() as server:
        answer = send_scan(twix("gre.dat"), port=server.port, parameters=FAST)
    expected = reconstruct(read(twix("gre.dat")), **FAST).magnitude[0]
    np.testing.assert_allclose(
        np.squeeze(answer.images[0].data), expected, atol=1e-4 * float(expected.max())
    )


def test_what_is_wrong_is_logged_and_the_connection_closed() -> None:
    with serving() as server:
        with pytest.raises(IncompleteAnswerError, match=r"an error after 0 images.*magic") as found:
            send_scan(SAMPLE, port=server.port, parameters={"preset": "magic"})
        assert found.value.answer.log[0].startswith("ERROR")
        with pytest.raises(IncompleteAnswerError, match="layers is 'many'"):
            send_scan(SAMPLE, port=server.port, parameters={"layers": "many"})


def idle() -> Reconstructor:
    return Reconstructor(Limits())


@pytest.mark.slow
def test_arrays_between_the_readouts_do_not_matter(monkeypatch) -> None:
    found: list[object] = []
    monkeypatch.setattr(session, "process", lambda stream, *_, **__: found.extend(stream))
    readout = ismrmrd.Acquisition.from_array(np.ones((2, 4), np.complex64))
    client, host = socket.socketpair()
    with client, host:
        with client.makefile("wb") as file, ProtocolSerializer(file) as serializer:
            serializer.serialize(make_header((4, 4, 1)))
            for item in (np.ones(3, np.float32), readout, np.ones((2, 2), np.complex64), readout):
                serializer.serialize(item)
        made = Session(host, Limits(), idle(), session.Held(1 << 20), Health(idle(), 1.0))
        made.run()
        made.release()
    assert [type(one) for one in found] == [ismrmrd.Acquisition] * 2


def connected(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def received(connection: socket.socket) -> list[Kind]:
    """Return the kinds of messages up to the close."""
    kinds = []
    with connection.makefile("rb") as file:
        while not kinds or kinds[-1] is not Kind.CLOSE:
            kinds.append(read_message(file.read, 1 << 24).kind)
    return kinds


def header_text() -> str:
    header, _ = read_acquisitions(SAMPLE)
    return header.toXML()


def test_clients_that_misbehave_are_left_and_others_served() -> None:
    line = message_bytes(Kind.ACQUISITION, read_acquisitions(SAMPLE)[1][0])
    start = message_bytes(Kind.CONFIG_FILE, "firenet") + message_bytes(Kind.HEADER, header_text())
    refused = {
        "garbage": b"\x99\x99" * 400,
        "data before the header": line,
        "no JSON": start + message_bytes(Kind.TEXT, "not JSON"),
        "no header": message_bytes(Kind.HEADER, "no XML") + line + message_bytes(Kind.CLOSE),
        "no data": start + message_bytes(Kind.CLOSE),
        "noise alone": start + line + message_bytes(Kind.CLOSE),
        "garbage after data": start + line + b"\x99\x99",
        "too large": start + struct.pack("<HI", Kind.TEXT, 1 << 31),
    }
    with serving(idle=1.0) as server:
        for name, data in refused.items():
            with connected(server) as connection:
                connection.sendall(data)
                kinds = received(connection)
            assert kinds == [Kind.TEXT, Kind.CLOSE], name
        for data in (b"", start, start + line[:100], start + line):
            # They go away in the middle, or say nothing more.
            connected(server).close()
            with connected(server) as connection:
                connection.sendall(data)
        with connected(server) as silent:
            silent.sendall(start)
            assert received_until_end(silent) in ([], [Kind.CLOSE], [Kind.TEXT, Kind.CLOSE])
        answer = send_scan(SAMPLE, port=server.port, parameters=FAST)
        assert len(answer.images) == 1


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_sockets_of_clients_that_were_refused_are_closed() -> None:
    gc.disable()
    try:
        before = len(list(Path("/proc/self/fd").iterdir()))
        with serving() as server:
            for _ in range(5):
                with connected(server) as connection:
                    # Much that is never read: the reason must arrive all the same.
                    connection.sendall(b"\x99\x99" * 400_000)
                    assert received(connection) == [Kind.TEXT, Kind.CLOSE]
        assert len(list(Path("/proc/self/fd").iterdir())) == before
    finally:
        gc.enable()


def received_until_end(connection: socket.socket) -> list[Kind]:
    kinds = []
    with connection.makefile("rb") as file:
        while file.peek(1):
            kinds.append(read_message(file.read, 1 << 24).kind)
    return kinds


def test_more_bytes_than_allowed_are_refused() -> None:
    line = message_bytes(Kind.ACQUISITION, read_acquisitions(SAMPLE)[1][0])
    with serving(scan_gib=2**-14) as server, connected(server) as connection:
        connection.sendall(message_bytes(Kind.HEADER, header_text()) + line)
        assert received(connection) == [Kind.TEXT, Kind.CLOSE]


def test_more_bytes_of_all_clients_than_allowed_are_refused_until_one_ends() -> None:
    line = message_bytes(Kind.ACQUISITION, read_acquisitions(SAMPLE)[1][0])
    start = message_bytes(Kind.HEADER, header_text())
    with serving(memory_gib=(len(start) + 3 * len(line)) / 2**30) as server:
        with connected(server) as first:
            first.sendall(start + 2 * line)
            time.sleep(0.5)
            with connected(server) as second:
                second.sendall(start + line)
                assert received(second) == [Kind.TEXT, Kind.CLOSE]
        deadline = time.monotonic() + 10
        answers = [[Kind.TEXT, Kind.CLOSE]]
        while len(answers[-1]) and time.monotonic() < deadline:
            with connected(server) as third:
                third.sendall(start + line)
                third.settimeout(0.5)
                try:
                    answers.append(received(third))
                except TimeoutError:
                    answers.append([])
        # Nobody refuses it now; it waits for its next line.
        assert answers[-1] == []


def test_a_client_that_trickles_meets_its_deadline() -> None:
    with serving(scan_hours=1 / 3600) as server, connected(server) as connection:
        started = time.monotonic()
        with contextlib.suppress(OSError):
            for byte in message_bytes(Kind.HEADER, header_text()):
                connection.sendall(bytes([byte]))
                time.sleep(0.05)
                if time.monotonic() - started > 1.5:
                    break
        assert received(connection) == [Kind.TEXT, Kind.CLOSE]
        assert time.monotonic() - started < 5


def test_clients_beyond_the_limit_are_turned_away_and_come_back() -> None:
    with serving(clients=2) as server:
        first, second = connected(server), connected(server)
        time.sleep(0.5)
        with connected(server) as third:
            assert received(third) == [Kind.CLOSE]
        first.close()
        second.close()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            answer = send_scan(SAMPLE, port=server.port, parameters=FAST, expected=0)
            if answer.images:
                break
        assert len(answer.images) == 1


def test_a_connection_that_cannot_be_taken_does_not_end_the_service(monkeypatch) -> None:
    accept, failures = socket.socket.accept, iter([OSError(24, "Too many open files")])

    def failing(listening):
        for error in failures:
            raise error
        return accept(listening)

    monkeypatch.setattr(socket.socket, "accept", failing)
    with serving() as server:
        assert len(send_scan(SAMPLE, port=server.port, parameters=FAST).images) == 1
    assert next(failures, None) is None


@pytest.mark.slow
def test_many_clients_at_once_get_their_own_images(tmp_path) -> None:
    header, lines = read_acquisitions(SAMPLE)
    answers = {}

    def ask(factor: int) -> None:
        scaled = []
        for line in lines:
            copy = ismrmrd.Acquisition(bytes(line.getHead()))
            is_noise = line.is_flag_set(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
            copy.data[:] = line.data * (1 if is_noise else factor)
            scaled.append(copy)
        path = tmp_path / f"{factor}.h5"
        with lock:
            write_acquisitions(path, header, scaled)
        answers[factor] = send_scan(path, port=server.port, parameters=FAST)

    lock = threading.Lock()
    with serving() as server:
        # HDF5 files are written one by one, the rest goes on at once.
        threads = [threading.Thread(target=ask, args=(factor,)) for factor in range(1, 33)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answers) == 32
    one = np.squeeze(answers[1].images[0].data)
    for factor, answer in answers.items():
        found = np.squeeze(answer.images[0].data)
        np.testing.assert_allclose(found, factor * one, atol=1e-3 * factor * one.max())


def test_another_server_calls_process_by_name() -> None:
    header, lines = read_acquisitions(SAMPLE)
    connection = FakeConnection(lines)
    process(connection, {"parameters": FAST}, header)
    assert len(connection.sent) == 1
    assert connection.closes == 1
    broken = FakeConnection([])
    process(broken, "firenet_mri.server", header)
    assert broken.closes == 1
    assert broken.log[0][0] == "ERROR"


def test_other_addresses_need_leave() -> None:
    with pytest.raises(UsageError, match="can be reached by other machines"):
        Server("0.0.0.0", 0)
    with serving() as server, pytest.raises(UsageError, match="cannot listen on") as told:
        Server(port=server.port)
    assert "(Address already in use); choose another address or port" in str(told.value)


def test_what_cannot_be_sent_or_reached_is_named(tmp_path) -> None:
    np.save(tmp_path / "scan.npy", np.ones((2, 8, 8), np.complex64))
    with pytest.raises(FileError, match="is a NumPy file"):
        send_scan(tmp_path / "scan.npy")
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(DataError, match="cannot be reached"):
        send_scan(SAMPLE, port=port, timeout_s=2)


def test_health_is_answered_and_counts() -> None:
    with serving() as server:
        assert ask_health(port=server.port)["images"] == 0
        send_scan(SAMPLE, port=server.port, parameters=FAST)
        with connected(server) as connection:
            connection.sendall(b"\x99\x99")
            received(connection)
        found = ask_health(port=server.port)
        assert (found["status"], found["images"], found["refused"]) == ("ok", 1, 1)
        assert 0 <= found["since_last_image_s"] <= found["uptime_s"]
        port = server.port
    with pytest.raises(DataError, match=r"cannot be reached \(Connection refused\); start it"):
        ask_health(port=port)


def test_a_health_probe_says_who_did_not_answer_and_how() -> None:
    with serving(clients=1) as server, connected(server):
        while not server.health.report()["clients"]:
            time.sleep(0.01)
        with pytest.raises(DataError, match="has reached its limit of clients"):
            ask_health(port=server.port)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(DataError, match=r"no health answer within 0\.1 s"):
            ask_health(port=port, timeout_s=0.1)


def test_a_server_that_is_interrupted_listens_no_longer(monkeypatch) -> None:
    server = Server(port=0, reconstructor=Reconstructor(Limits()))
    threads = threading.active_count()

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(time, "sleep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            server.serve()
    until = time.monotonic() + 5
    while threading.active_count() > threads and time.monotonic() < until:
        time.sleep(0.01)
    assert threading.active_count() == threads


def test_a_scan_is_sent_by_a_path_that_is_a_text() -> None:
    with pytest.raises(DataError, match="cannot be reached"):
        send_scan(str(SAMPLE), port=1)


def test_the_command_serves_logs_json_and_ends_on_sigterm(tmp_path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = str(unused.getsockname()[1])
    firenet = [sys.executable, "-m", "firenet_mri"]
    served = subprocess.Popen(
        [*firenet, "serve", "--port", port, "--log-json"], stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 60
        asked = None
        while time.monotonic() < deadline:
            asked = subprocess.run(
                [*firenet, "serve", "--health", "--port", port],
                capture_output=True,
                text=True,
                check=False,
            )
            if asked.returncode == 0:
                break
        assert asked is not None
        assert json.loads(asked.stdout)["status"] == "ok"
        (tmp_path / "named.h5").write_bytes(SAMPLE.read_bytes())
        send_scan(SAMPLE, port=int(port), parameters=FAST)
        served.send_signal(signal.SIGTERM)
        _, log = served.communicate(timeout=30)
    finally:
        served.kill()
    assert served.returncode == 0
    lines = [json.loads(line) for line in log.splitlines()]
    assert {"time", "level", "logger", "message"} == set(lines[0])
    assert lines[-1]["message"] == "stopped; all clients were served"


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.slow
def test_memory_stays_flat_over_many_scans() -> None:
    """What both processes hold does not grow with 100 scans and 50 broken clients."""

    def resident_mib() -> float:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        worker = server._reconstructor._worker
        assert worker is not None
        return (pages * 4096 + worker.resident_bytes) / 2**20

    with serving() as server:
        for _ in range(10):
            send_scan(SAMPLE, port=server.port, parameters=FAST)
        before = resident_mib()
        for i in range(100):
            send_scan(SAMPLE, port=server.port, parameters=FAST)
            if i % 2:
                with connected(server) as connection:
                    connection.sendall(message_bytes(Kind.HEADER, header_text())[: 40 * i])
        after = resident_mib()
        found = ask_health(port=server.port)
    assert found["images"] == 110
    # A scan has 8 MB; had one in ten been kept, it would be twice this.
    assert after - before < 40
