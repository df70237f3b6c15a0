"""Where a server listens and what it may take, checked before any work."""

from __future__ import annotations

import math
import socket

from firenet_mri.errors import UsageError

_LARGEST_PORT = 65_535
# Seconds, bytes or clients that a system's calls still count.
_LARGEST_LIMIT = 1 << 50
_LARGEST_SECONDS = 1e8


def check_port(port: int, *, lowest: int = 0) -> None:
    """Raise UsageError unless a port is one, from ``lowest`` to 65535."""
    if not lowest <= port <= _LARGEST_PORT:
        raise UsageError(f"port is {port}; give one from {lowest} to {_LARGEST_PORT}")


def check_limit(name: str, value: float) -> None:
    """Raise UsageError unless a limit is a positive number that can be counted."""
    largest = _LARGEST_SECONDS if name.endswith("_s") else _LARGEST_LIMIT
    if not math.isfinite(value) or not 0 < value <= largest:
        raise UsageError(f"{name} is {value:g}; use a number above 0, at most {largest:g}")


def family_of(host: str) -> socket.AddressFamily:
    """Return the family of an address: that of IPv6 has colons."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET
