"""Where a server listens and what it may take is checked before any work; clients hear why not."""

from __future__ import annotations

import socket
import threading

import ismrmrd
import numpy as np
import pytest
from firenet_command import firenet

from firenet_mri.errors import UsageError
from firenet_mri.server import process
from firenet_mri.server.client import ask_health
from firenet_mri.server.service import Server
from tests.server.test_service import FakeConnection, header_text


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--clients", "-1", "clients is -1"),
        ("--clients", "0", "clients is 0"),
        ("--port", "99999", "port is 99999; give one from 0 to 65535"),
        ("--port", "-1", "port is -1"),
        ("--scan-gib", "nan", "scan_gib is nan"),
        ("--memory-gib", "-2", "memory_gib is -2"),
    ],
)
def test_limits_that_are_none_are_refused_before_any_work(flag, value, said) -> None:
    result = firenet("serve", flag, value)
    assert result.status == 2
    assert said in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize("port", ["0", "99999", "-5"])
def test_a_scan_is_not_read_for_a_port_that_is_none(port, tmp_path) -> None:
    result = firenet("send", tmp_path / "none.h5", "--port", port, "-o", tmp_path / "out.h5")
    assert result.status == 2
    assert f"port is {port}; give one from 1 to 65535" in result.err


def test_python_checks_ports_too() -> None:
    with pytest.raises(UsageError, match="port is 70000"):
        Server(port=70_000)


def test_the_loopback_address_of_ipv6_is_listened_at() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    server = Server("::1", 0)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        assert ask_health(host="::1", port=server.port)["status"] == "ok"
    finally:
        server.stop()
        thread.join(timeout=30)


HEADER = header_text()
SPOILT = {
    "empty": "",
    "no XML": "Zweistein",
    "another document": "<a/>",
    "no encoding": HEADER[: HEADER.index("<encoding>")] + "</ismrmrdHeader>",
    "no number": HEADER.replace("<x>", "<x>Zweistein", 1),
    "no limits": HEADER.replace("encodingLimits", "Zweistein"),
    "no matrix": HEADER.replace("matrixSize", "Zweistein"),
    "a matrix of nothing": HEADER.replace("<x>216</x>", "<x>0</x>"),
    "a negative matrix": HEADER.replace("<x>216</x>", "<x>-216</x>"),
    "a matrix without end": HEADER.replace("<x>216</x>", f"<x>{10**30}</x>"),
    "radial": HEADER.replace("cartesian", "radial"),
    "epi": HEADER.replace("cartesian", "epi"),
    "entities": '<!DOCTYPE a [<!ENTITY b "Zweistein">]>' + HEADER.replace("cartesian", "&b;"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_client_hears_why_its_header_is_refused(kind) -> None:
    readout = ismrmrd.Acquisition.from_array(np.ones((8, 400), np.complex64))
    connection = FakeConnection([readout])
    process(connection, "firenet", SPOILT[kind])
    assert connection.closes == 1
    errors = [text for level, text in connection.log if level == "ERROR"]
    assert len(errors) == 1
    assert len(errors[0]) > 20
    assert "Zweistein" not in errors[0]


def test_a_client_hears_of_a_fault_that_nobody_foresaw() -> None:
    def failing():
        raise RuntimeError("Zweistein")
        yield

    connection = FakeConnection(failing())
    with pytest.raises(RuntimeError):
        process(connection, "firenet", HEADER)
    assert connection.log == [
        ("ERROR", "The scan could not be reconstructed (RuntimeError); see the header")
    ]
    assert connection.closes == 1
