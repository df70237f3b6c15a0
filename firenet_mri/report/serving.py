"""Serves a report's pages on the loopback interface, only to browsers on this machine.

If a page of another site makes the browser request these pages under the site's own name (DNS
rebinding), the server refuses the request because of its Host header. Only the methods GET and HEAD
and the given paths exist.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from firenet_mri.errors import UsageError

HOST = "127.0.0.1"

# Seconds of silence after which a browser is disconnected.
_PATIENCE_S = 30
_LARGEST_PORT = 65535


@dataclass(frozen=True)
class Served:
    """The response for a path.

    Parameters
    ----------
    kind
        Media type, such as "text/html; charset=utf-8".
    body
        Content in bytes.
    policy
        Content-Security-Policy in addition to the page's own; by default nothing may be loaded.
    """

    kind: str
    body: bytes
    policy: str = "frame-ancestors 'none'"

    @classmethod
    def page(cls, text: str) -> Served:
        """Return the response for an HTML page, which contains its own policy."""
        return cls("text/html; charset=utf-8", text.encode("utf-8"))


class PageServer:
    """A server on the loopback interface; its port is known as soon as it is created.

    Parameters
    ----------
    port
        Port on which it listens; 0 chooses any free port.

    Raises
    ------
    UsageError
        If the port is taken or cannot be used.
    """

    def __init__(self, port: int = 0) -> None:
        if not 0 <= port <= _LARGEST_PORT:
            raise UsageError(
                f"port is {port}; give one from 1 to {_LARGEST_PORT}, or 0 for a free one"
            )
        self._pages: dict[str, Served] = {}
        try:
            self._server = _Listener((HOST, port), _handler_of(self._pages))
        except OSError as error:
            is_taken = error.errno == errno.EADDRINUSE
            reason = "is taken" if is_taken else f"cannot be used ({error.strerror})"
            raise UsageError(
                f"port {port} {reason}; choose another with --port, or omit it"
            ) from None

    def __enter__(self) -> PageServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()

    @property
    def port(self) -> int:
        """Port on which it listens."""
        return self._server.server_port

    @property
    def url(self) -> str:
        """Address of the first page."""
        return f"http://{HOST}:{self.port}/"

    def serve(self, pages: Mapping[str, Served]) -> None:
        """Serve pages by their path until :meth:`stop` is called or Control-C is pressed."""
        self._pages.update(pages)
        self._server.serve_forever(poll_interval=0.1)

    def stop(self) -> None:
        """Make :meth:`serve` return; call this from another thread."""
        self._server.shutdown()


class _Listener(ThreadingHTTPServer):
    """The standard library's server, with an exclusive port and without tracebacks."""

    # On systems other than Unix another program could take over the port.
    allow_reuse_address = os.name == "posix"
    allow_reuse_port = False
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing if a browser disconnects."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def _handler_of(pages: Mapping[str, Served]) -> type[BaseHTTPRequestHandler]:
    """Return the class that answers requests."""

    class Handler(BaseHTTPRequestHandler):
        timeout = _PATIENCE_S
        server_version, sys_version = "firenet", ""

        def do_GET(self) -> None:
            """Send a page."""
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            """Send the headers of a page."""
            self._answer(with_body=False)

        def _answer(self, *, with_body: bool) -> None:
            port = self.connection.getsockname()[1]
            hosts = self.headers.get_all("Host", [])
            if hosts not in ([f"{HOST}:{port}"], [f"localhost:{port}"]):
                self.send_error(
                    HTTPStatus.MISDIRECTED_REQUEST, "Request this page by its own address"
                )
                return
            found = pages.get(self.path.partition("?")[0])
            if found is None:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            self.send_response(HTTPStatus.OK)
            for name, value in _headers(found).items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(found.body)

        def log_message(self, *_: Any) -> None:
            """Print nothing on the terminal."""

    return Handler


def _headers(found: Served) -> dict[str, str]:
    return {
        "Content-Type": found.kind,
        "Content-Length": str(len(found.body)),
        "Content-Security-Policy": found.policy,
        "Cache-Control": "no-store",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
