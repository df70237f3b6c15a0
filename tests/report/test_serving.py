"""The server answers this machine's browsers, by its own name, with what it was given."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time

import pytest

from firenet_mri.errors import UsageError
from firenet_mri.report.serving import PageServer, Served

PAGES = {"/": Served.page("<p>first</p>"), "/data": Served("application/gzip", b"\0\1", "sandbox")}
PAGES["/large"] = Served("application/gzip", bytes(20_000_000))


@pytest.fixture(scope="module")
def server():
    with PageServer() as server:
        thread = threading.Thread(target=server.serve, args=(PAGES,))
        thread.start()
        yield server
        server.stop()
        thread.join()


def ask(server, path="/", method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    hosts = headers.pop("host", f"127.0.0.1:{server.port}")
    for host in [hosts] if isinstance(hosts, str) else hosts:
        connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def test_it_answers_with_what_it_was_given(server) -> None:
    answer, body = ask(server)
    assert (answer.status, body) == (200, b"<p>first</p>")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    answer, body = ask(server, "/data?x=1")
    assert (answer.status, body) == (200, b"\0\1")
    assert answer.headers["Content-Security-Policy"] == "sandbox"
    answer, body = ask(server, method="HEAD")
    assert (answer.status, body) == (200, b"")


@pytest.mark.parametrize("host", ["evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "", ()])
def test_another_name_is_refused(server, host) -> None:
    named = host.format(port=server.port) if isinstance(host, str) else host
    answer, body = ask(server, host=named)
    assert answer.status == 421
    assert b"first" not in body


def test_two_names_are_refused_and_localhost_is_one(server) -> None:
    own = f"127.0.0.1:{server.port}"
    assert ask(server, host=[own, "evil.example"])[0].status == 421
    assert ask(server, host=f"localhost:{server.port}")[0].status == 200


@pytest.mark.parametrize("path", ["/../etc/passwd", "/index.html", "/%2e%2e/", "/data/"])
def test_other_paths_do_not_exist(server, path) -> None:
    assert ask(server, path)[0].status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_do_not_exist(server, method) -> None:
    assert ask(server, method=method)[0].status == 501


def test_a_browser_that_goes_away_leaves_no_word(server, capfd) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as browser:
        # Closed with a reset, in the middle of the answer.
        browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        browser.sendall(f"GET /large HTTP/1.0\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode())
        browser.recv(10)
    time.sleep(0.1)
    assert ask(server)[0].status == 200
    assert capfd.readouterr().err == ""


def test_it_listens_on_the_loopback_interface_only(server) -> None:
    assert server._server.server_address[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_told_in_one_line() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {taken} is taken; choose another"):
            PageServer(taken)
    with pytest.raises(UsageError, match="port is 70000"):
        PageServer(70000)
