"""What goes wrong in a reconstruction costs one scan: the process is ended, the next client served.

Most tests have a process that stands in for the real one, which takes seconds to load torch.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from mrd_streams import header, kspace, readouts, serving

from firenet_mri.errors import DataError, UsageError
from firenet_mri.io.kspace.ismrmrd import Extent
from firenet_mri.io.mrd_messages import Kind, NotDelivered, message_bytes, read_message
from firenet_mri.server import reconstructor as module
from firenet_mri.server import service
from firenet_mri.server.health import Health
from firenet_mri.server.limits import Limits
from firenet_mri.server.needs import needed_bytes
from firenet_mri.server.options import StreamOptions
from firenet_mri.server.reconstructor import Elsewhere, Reconstructor
from firenet_mri.server.saving import Saving
from firenet_mri.server.worker import Work, Worker

STAND_IN = """
import json, os, signal, socket, struct, time
service, data = socket.socket(fileno=0), b""
def say(**said):
    text = json.dumps(said).encode() + bytes(1)
    service.sendall(struct.pack("<HI", 5, len(text)) + text)
say(ready=None)
while part := service.recv(1 << 16):
    data += part
    if data.endswith(bytes([4, 0])):
        data = b""
        {}
"""
SERVES = "say(made=['served'])"
MADE: list[Reconstructor] = []
HANGS = "time.sleep(1000)"


@pytest.fixture(autouse=True)
def closed() -> Iterator[list[Reconstructor]]:
    """Close what the test has made."""
    yield MADE
    while MADE:
        MADE.pop().close()


def made_with(new_worker: Callable[[], Worker], **limits: float) -> Reconstructor:
    MADE.append(Reconstructor(Limits(**limits), new_worker))
    return MADE[-1]


def made_of(*works: str, **limits: float) -> Reconstructor:
    """Return a reconstructor whose processes do these things one after the other, then serve."""
    commands = itertools.chain(works, itertools.repeat(SERVES))
    return made_with(lambda: Worker(STAND_IN.format(next(commands))), **limits)


def work(**options: object) -> Work:
    return Work(header(), readouts(kspace())[:2], StreamOptions.of({"parameters": options}))


def assert_serves(reconstructor: Reconstructor) -> None:
    assert reconstructor.make(work()).warning_lines == ["served"]


def test_a_reconstruction_beyond_its_deadline_is_ended_and_the_next_one_served() -> None:
    reconstructor = made_of(HANGS, recon_minutes=0.3 / 60)
    started = time.monotonic()
    with pytest.raises(DataError, match=r"took more than 0\.3 s and was ended; ask for fewer"):
        reconstructor.make(work())
    assert time.monotonic() - started < 5
    assert reconstructor.ended == 1
    assert_serves(reconstructor)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_reconstruction_beyond_its_memory_is_ended_and_the_next_one_served() -> None:
    grows = "kept = os.urandom(1 << 20) * 90; time.sleep(1000)"
    reconstructor = made_of(grows, recon_gib=80 / 1024)
    with pytest.raises(DataError, match=r"took 0\.1 GiB of memory, where 0\.0781 are allowed"):
        reconstructor.make(work())
    assert_serves(reconstructor)


@pytest.mark.parametrize(
    ("death", "how"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "by SIGKILL, as the system does when memory runs"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "by SIGSEGV; send"),
        ("os._exit(3)", "with status 3"),
        ("service.sendall(struct.pack('<HI', 5, 100)); os._exit(0)", "by itself"),
    ],
)
def test_a_process_that_dies_is_a_reason_for_its_client_and_replaced(death, how) -> None:
    reconstructor = made_of(death)
    with pytest.raises(DataError, match=f"The process of the reconstruction was ended {how}"):
        reconstructor.make(work())
    assert_serves(reconstructor)


def test_a_process_that_died_when_it_had_nothing_to_do_costs_nobody_a_scan() -> None:
    reconstructor = made_of(f"{SERVES}; os._exit(1)")
    reconstructor.make(work())
    assert reconstructor._worker is not None
    reconstructor._worker._process.wait(10)
    assert_serves(reconstructor)
    assert reconstructor.ended == 0


def test_an_error_in_the_process_is_told_and_the_process_stays() -> None:
    first = made_of("say(error='no such luck')")
    with pytest.raises(DataError, match="no such luck"):
        first.make(work())
    assert first.ended == 0


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't allocate memory: 8 bytes")])
def test_a_lack_of_memory_is_told_with_what_to_do(monkeypatch, error) -> None:
    from firenet_mri.server import images, worker

    def lacks(*_: object, **__: object) -> None:
        raise error

    said: list[tuple[str, object]] = []
    monkeypatch.setattr(images, "make_images", lacks)
    # Whoever lacks memory cannot read source files, which is what this does.
    monkeypatch.setattr("traceback.extract_tb", lacks)
    first = work()
    told = {"parameters": {}, "name": "a", "most_bytes": 1, "folder": None}
    worker._do(told, first.header.toXML(), [], lambda *words: said.append(words))
    assert [what for what, _ in said] == ["error"]
    assert "not enough memory" in str(said[0][1])


def test_an_error_that_ends_the_process_is_a_line_of_the_log_without_its_words(
    caplog, capfd
) -> None:
    code = (
        "import sys, types, firenet_mri.server.worker as module\n"
        "sys.modules['firenet_mri.server.images'] = types.ModuleType('without torch')\n"
        "def fails(*_): raise ValueError('a patient')\n"
        "module._next_work = fails\nmodule.main()"
    )
    reconstructor = made_with(lambda: Worker(code))
    with caplog.at_level(logging.INFO), pytest.raises(DataError, match="ended with status 1"):
        reconstructor.make(work())
    assert any(line.startswith("ValueError in ") for line in caplog.messages)
    assert capfd.readouterr().err == ""


def test_what_the_process_logs_is_in_the_log_of_the_service(caplog) -> None:
    reconstructor = made_of(f"say(log=[30, 'firenet_mri.io', 'a % sign']); {SERVES}")
    with caplog.at_level(logging.INFO):
        assert_serves(reconstructor)
    assert ("firenet_mri.io", 30, "a % sign") in caplog.record_tuples


def test_work_of_a_client_who_has_left_is_ended(monkeypatch) -> None:
    monkeypatch.setattr(module, "_LEFT_S", 0.2)
    reconstructor = made_of(HANGS)
    with pytest.raises(NotDelivered, match="left before its images were made"):
        reconstructor.make(work(), lambda: True)
    assert_serves(reconstructor)


def test_work_that_is_soon_done_is_not_ended_though_its_client_has_left() -> None:
    """Another process takes seconds to start."""
    reconstructor = made_of(f"time.sleep(0.3); {SERVES}")
    assert reconstructor.make(work(), lambda: True).warning_lines == ["served"]
    assert reconstructor.ended == 0


def test_who_leaves_while_he_waits_for_his_turn_takes_none() -> None:
    reconstructor = made_of(f"time.sleep(1); {SERVES}")
    first = threading.Thread(target=reconstructor.make, args=(work(),))
    first.start()
    while reconstructor.running_s is None:
        time.sleep(0.01)
    started = time.monotonic()
    with pytest.raises(NotDelivered):
        reconstructor.make(work(), lambda: reconstructor.waiting > 0)
    assert time.monotonic() - started < 0.8
    first.join()
    assert reconstructor.ended == 0
    assert_serves(reconstructor)


def test_turns_come_in_the_order_of_asking() -> None:
    turns, order = module._Turns(), []

    def take(number: int) -> None:
        with turns.turn(lambda: None):
            order.append(number)

    threads = [threading.Thread(target=take, args=(i,)) for i in range(5)]
    with turns.turn(lambda: None):
        for i, thread in enumerate(threads):
            thread.start()
            while len(turns) < i + 2:
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert order == list(range(5))


def test_a_process_that_cannot_be_started_is_said_and_tried_again() -> None:
    failures = iter([OSError(11, "Resource temporarily unavailable")])

    def start() -> Worker:
        for error in failures:
            raise error
        return Worker(STAND_IN.format(SERVES))

    reconstructor = made_with(start)
    with pytest.raises(DataError, match="no process for the reconstruction could be started"):
        reconstructor.make(work())
    assert_serves(reconstructor)
    dead = made_with(lambda: Worker("raise SystemExit(7)"))
    with pytest.raises(DataError, match=r"did not start \(with status 7\)"):
        dead.make(work())


def test_lines_on_files_find_their_work_or_say_that_they_are_lost(tmp_path) -> None:
    saves = f"{SERVES}; time.sleep(0.1); say(saved=[str(count), 'INFO', 'saved'])"
    stand_in = "count = -1\n" + STAND_IN.format(f"count += 1; {saves}")
    reconstructor = made_with(lambda: Worker(stand_in))
    for _ in range(2):
        reconstructor.make(work())
    assert reconstructor.saved("1") == ("INFO", "saved")
    assert reconstructor.saved("0") == ("INFO", "saved")
    maker = Elsewhere(made_of(f"{SERVES}; os._exit(0)"), Limits(), Saving(tmp_path), lambda: False)
    maker.make(header(), readouts(kspace())[:1], StreamOptions())
    level, text = maker.saved() or ("", "")
    assert level == "WARNING"
    assert "perhaps not saved; its process was ended" in text


START = message_bytes(Kind.CONFIG_FILE, "firenet") + message_bytes(Kind.HEADER, header().toXML())
SCAN = b"".join(message_bytes(Kind.ACQUISITION, line) for line in readouts(kspace()))
CLOSE = message_bytes(Kind.CLOSE)


@contextmanager
def serving_with(reconstructor: Reconstructor, monkeypatch, **limits) -> Iterator[service.Server]:
    monkeypatch.setattr(service, "Reconstructor", lambda _: reconstructor)
    with serving(own=True, **limits) as server:
        yield server


def connected(server: service.Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=120)


def texts(connection: socket.socket) -> list[str]:
    """Return what is said up to the close."""
    with connection.makefile("rb") as file:
        said = iter(lambda: read_message(file.read, 1 << 20), (Kind.CLOSE, None))
        return [one.value if one.kind is Kind.TEXT else one.kind.name.lower() for one in said]


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_client_that_goes_while_its_images_are_made_ends_their_making(monkeypatch) -> None:
    monkeypatch.setattr(module, "_LEFT_S", 0.2)
    reconstructor = made_of(HANGS)
    with serving_with(reconstructor, monkeypatch) as server:
        with connected(server) as leaving:
            leaving.sendall(START + SCAN + CLOSE)
            until(lambda: reconstructor.running_s is not None)
        until(lambda: reconstructor.ended == 1)
        with connected(server) as next_one:
            next_one.sendall(START + SCAN + CLOSE)
            assert texts(next_one) == ["INFO     0 images sent", "WARNING  served"]


def test_a_client_that_only_sends_no_more_gets_its_images(monkeypatch) -> None:
    monkeypatch.setattr(module, "_LEFT_S", 0.2)
    reconstructor = made_of(f"time.sleep(0.8); {SERVES}")
    with serving_with(reconstructor, monkeypatch) as server, connected(server) as client:
        client.sendall(START + SCAN + CLOSE)
        client.shutdown(socket.SHUT_WR)
        assert texts(client)[:2] == ["INFO     the images are being made", "INFO     0 images sent"]
    assert reconstructor.ended == 0


STOPPED = "ERROR    the server is being stopped; send the scan again later"


def test_a_server_ends_within_its_time_though_a_reconstruction_is_stuck(monkeypatch) -> None:
    reconstructor = made_of(HANGS, HANGS)
    with (
        serving_with(reconstructor, monkeypatch, stop_seconds=0.5) as server,
        connected(server) as stuck,
        connected(server) as silent,
    ):
        silent.sendall(START)
        stuck.sendall(START + SCAN + CLOSE)
        until(lambda: reconstructor.running_s is not None)
        started = time.monotonic()
        server.stop()
        for client in (stuck, silent):
            assert texts(client) == [STOPPED]
        until(lambda: not server._threads)
        assert time.monotonic() - started < 8


def test_health_shows_a_reconstruction_that_is_stuck() -> None:
    class Working:
        running_s, waiting, ended = 12.0, 3, 1

    found = Health(Working(), deadline_s=10).report()
    assert (found["status"], found["reconstructing_s"], found["waiting"]) == ("ok", 12.0, 3)
    Working.running_s = 21.0
    found = Health(Working(), deadline_s=10).report()
    assert (found["status"], found["deadline_s"], found["ended"]) == ("stuck", 10, 1)


def test_what_nobody_would_ask_for_is_refused_before_any_work() -> None:
    for name, most in (("layers", 1000), ("levels", 16), ("reweighting", 10), ("map_sets", 8)):
        StreamOptions.of({"parameters": {name: most}})
        with pytest.raises(
            UsageError, match=f"{name} is 1000000000; a server makes at most {most}"
        ):
            StreamOptions.of({"parameters": {name: 10**9}})


def test_memory_is_estimated_from_sizes_alone() -> None:
    """Measured: 320 MiB of one slice of 512 x 512 with 8 coils, 201 MiB with one."""
    one = Extent(1, 1, 8, (1, 512, 512), (1, 512, 512))
    assert 0.8 < needed_bytes(one, cores=2) / (320 << 20) < 1.25
    assert 0.8 < needed_bytes(one._replace(coils=1), cores=2) / (201 << 20) < 1.25
    assert needed_bytes(one._replace(slices=100), 2) > 100 * 8 * 8 * 512**2
    assert needed_bytes(one._replace(encoded=(1, 512, 10**6)), 2) > 8 * 8 * 512 * 10**6


def trickle(connection: socket.socket, data: bytes) -> float:
    """Send byte by byte until the other side has enough; return the seconds."""
    started = time.monotonic()
    connection.settimeout(0.02)
    for i in range(len(data)):
        try:
            connection.send(data[i : i + 1])
            if connection.recv(1, socket.MSG_PEEK) is not None:
                break
        except TimeoutError:
            continue
        except OSError:
            break
    connection.settimeout(20)
    return time.monotonic() - started


@pytest.mark.parametrize("before", [b"", START, START + SCAN])
def test_who_trickles_a_message_is_refused_within_the_time_of_silence(before, monkeypatch) -> None:
    data = START if not before else SCAN
    with serving_with(made_of(), monkeypatch, idle=0.5) as server:
        with connected(server) as client:
            client.sendall(before)
            assert trickle(client, data) < 4
            assert "bytes came too slowly" in texts(client)[-1]
        until(lambda: not server._threads)


def test_who_goes_on_trickling_after_a_refusal_keeps_no_place(monkeypatch) -> None:
    magic = message_bytes(Kind.TEXT, '{"parameters": {"preset": "magic"}}')
    with serving_with(made_of(), monkeypatch, idle=0.5) as server, connected(server) as client:
        client.sendall(START + magic + SCAN[:1000])
        assert "magic" in texts(client)[0]
        started = time.monotonic()
        while server._threads:
            with suppress(OSError):
                client.send(b"\0")
            time.sleep(0.02)
            assert time.monotonic() - started < 3


def test_small_messages_are_counted_with_what_python_holds_of_them(monkeypatch) -> None:
    empty = 200 * message_bytes(Kind.TEXT, "")
    with (
        serving_with(made_of(), monkeypatch, scan_gib=100_000 / 2**30) as server,
        connected(server) as client,
    ):
        client.sendall(START + SCAN + empty)
        assert "more than 100000 bytes" in texts(client)[-1]


def test_the_service_itself_loads_no_torch() -> None:
    code = "import sys, firenet_mri.server.service; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the process is found through /proc")
def test_the_real_process_is_replaced_when_it_is_killed_and_when_it_is_stuck() -> None:
    def process() -> int:
        worker = server._reconstructor._worker
        assert worker is not None
        return worker._process.pid

    with serving(own=True, recon_minutes=20 / 60) as server, connected(server) as first:
        first.sendall(START + options(layers=1000, reweighting=10) + SCAN + CLOSE)
        until(lambda: server._reconstructor.running_s is not None, 120)
        os.kill(process(), signal.SIGKILL)
        assert "was ended by SIGKILL" in texts(first)[0]
        for stop in (False, True):
            with connected(server) as second:
                second.sendall(START + options(layers=2) + SCAN)
                if stop:
                    os.kill(process(), signal.SIGSTOP)
                second.sendall(CLOSE)
                said = texts(second)
            assert ("was ended; ask for fewer" in said[0]) if stop else (said[0] == "image")


def options(**chosen: object) -> bytes:
    wanted = {"sparsifier": "undecimated-haar", "maps": "lowres", "no_gap": True, **chosen}
    return message_bytes(Kind.TEXT, json.dumps({"parameters": wanted}))
