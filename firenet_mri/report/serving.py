"""Serves a report's pages on the loopback interface, to this machine's browsers alone.

A page of another site that makes a browser ask for these pages under a name of its own (DNS
rebinding) is refused by its Host header; other methods than GET and HEAD do not exist, and no path
but those that were given.
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

# Seconds after which a browser that is silent is left.
_PATIENCE_S = 30
_LARGEST_PORT = 65535


@dataclass(frozen=True)
class Served:
    """What a path shows.

    Parameters
    ----------
    kind
        Its media type, such as "text/html; charset=utf-8".
    body
        Its bytes.
    policy
        Content-Security-Policy besides that of the page itself; nothing may be loaded by default.
    """

    kind: str
    body: bytes
    policy: str = "frame-ancestors 'none'"

    @classmethod
    def page(cls, text: str) -> Served:
        """Return an HTML page, which has a policy of its own."""
        return cls("text/html; charset=utf-8", text.encode("utf-8"))


class PageServer:
    """A server on the loopback interface; it has its port as soon as it is made.

    Parameters
    ----------
    port
        Where it listens; 0 is any that is free.

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
                f"port {port} {reason}; choose another with --port, or leave it out"
            ) from None

    def __enter__(self) -> PageServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.server_port

    @property
    def url(self) -> str:
        """Address of the first page."""
        return f"http://{HOST}:{self.port}/"

    def serve(self, pages: Mapping[str, Served]) -> None:
        """Answer with pages by their path until :meth:`stop`, or until Control-C is pressed."""
        self._pages.update(pages)
        self._server.serve_forever(poll_interval=0.1)

    def stop(self) -> None:
        """Have :meth:`serve` return, from another thread."""
        self._server.shutdown()


class _Listener(ThreadingHTTPServer):
    """The server of the standard library, with a port of its own and without tracebacks."""

    # On other systems than Unix another program could take the port over.
    allow_reuse_address = os.name == "posix"
    allow_reuse_port = False
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that went away."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def _handler_of(pages: Mapping[str, Served]) -> type[BaseHTTPRequestHandler]:
    """Return the class that answers a request."""

    class Handler(BaseHTTPRequestHandler):
        timeout = _PATIENCE_S
        server_version, sys_version = "firenet", ""

        def do_GET(self) -> None:
            """Answer with a page."""
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            """Answer with what a page's headers are."""
            self._answer(with_body=False)

        def _answer(self, *, with_body: bool) -> None:
            port = self.connection.getsockname()[1]
            hosts = self.headers.get_all("Host", [])
            if hosts not in ([f"{HOST}:{port}"], [f"localhost:{port}"]):
                self.send_error(HTTPStatus.MISDIRECTED_REQUEST, "Ask for it by its own address")
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
            """Say nothing on the terminal."""

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
