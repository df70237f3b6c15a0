"""Checks the address on which a server listens, before any work."""

from __future__ import annotations

import socket

from firenet_mri.errors import UsageError

_LARGEST_PORT = 65_535


def check_port(port: int, *, lowest: int = 0) -> None:
    """Raise UsageError unless a port number is between ``lowest`` and 65535."""
    if not lowest <= port <= _LARGEST_PORT:
        raise UsageError(f"port is {port}; give one from {lowest} to {_LARGEST_PORT}")


def family_of(host: str) -> socket.AddressFamily:
    """Return the family of an address; an IPv6 address contains colons."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET
