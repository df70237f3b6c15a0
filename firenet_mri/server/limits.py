"""A server's limits on its clients, as options; ``firenet serve`` builds its flags from them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from firenet_mri.errors import UsageError
from firenet_mri.options import Options, documented, option
from firenet_mri.plurals import counted

_GIB = 1 << 30
# The largest numbers that system calls accept.
_MOST_SECONDS, _MOST_BYTES, _MOST_CLIENTS = 1e8, 1 << 50, 1 << 50

#: The message to a client when memory ran out.
SHORTAGE = (
    "There was not enough memory to reconstruct the scan; send a smaller scan or fewer slices at "
    "once, or ask the administrator to raise the service's memory limit"
)

# Files and sockets of the service itself and of its process, with a reserve.
_OWN_FILES = 32


def _up_to(most: float) -> Callable[[float], str | None]:
    """Return a check that a limit is positive and at most ``most``."""
    advice = f"use a number above 0, at most {most:g}"
    return lambda value: None if 0 < value <= most else advice


_gib = _up_to(_MOST_BYTES / _GIB)
_bytes = _up_to(_MOST_BYTES)
_seconds = _up_to(_MOST_SECONDS)


@documented
@dataclass(frozen=True, eq=False)
class Limits(Options):
    """A server's limits on its clients."""

    panel = "Limits"
    #: Limits that the command line does not offer, since they bound single reads of a socket.
    REFUSED: ClassVar[tuple[str, ...]] = ("message_bytes", "ahead_bytes")

    clients: int = option(32, "Number of clients served at once.", check=_up_to(_MOST_CLIENTS))
    idle: float = option(
        60.0, "Seconds of silence after which a client is disconnected.", check=_seconds
    )
    scan_gib: float = option(8.0, "Largest scan of one client, in GiB.", check=_gib)
    memory_gib: float = option(
        16.0, "Memory for the scans of all connected clients, in GiB.", check=_gib
    )
    recon_minutes: float = option(
        30.0,
        "Longest time that one reconstruction may take, in minutes.",
        check=_up_to(_MOST_SECONDS / 60),
    )
    recon_gib: float = option(8.0, "Memory that one reconstruction may take, in GiB.", check=_gib)
    stop_seconds: float = option(
        300.0,
        "Time that connected clients have to finish after SIGTERM, in seconds.",
        check=_seconds,
    )
    scan_hours: float = option(
        6.0,
        "Longest time that a client may take to send its scan, in hours.",
        check=_up_to(_MOST_SECONDS / 3600),
    )
    networks: Path | None = option(
        None,
        "Folder of trained networks (.safetensors) that clients may name in the parameter "
        "weights; by default only those that are included.",
    )
    message_bytes: int = option(1 << 28, "Largest part of a message, in bytes.", check=_bytes)
    ahead_bytes: int = option(
        1 << 28,
        "Bytes that a client may send while its earlier data are reconstructed; then it waits.",
        check=_bytes,
    )

    def _check_together(self) -> None:
        if self.networks is not None and not self.networks.is_dir():
            raise UsageError(f"{self.networks}: is not a folder; name one with trained networks")

    @property
    def scan_bytes(self) -> int:
        """Number of bytes that one client may send."""
        return math.ceil(self.scan_gib * _GIB)

    @property
    def held_bytes(self) -> int:
        """Number of bytes that all connected clients may have sent together."""
        return math.ceil(self.memory_gib * _GIB)

    @property
    def recon_bytes(self) -> int:
        """Bytes that the process of the reconstructions may hold, libraries included (Linux)."""
        return math.ceil(self.recon_gib * _GIB)

    @property
    def scan_s(self) -> float:
        """Seconds within which a scan must have arrived, or an image have been sent."""
        return self.scan_hours * 3600

    @property
    def recon_s(self) -> float:
        """Seconds that one reconstruction may take."""
        return self.recon_minutes * 60


def lack_of_files(clients: int) -> str | None:
    """Return a warning if the system lets this process open too few files for its clients.

    Every client needs a socket. Without one it waits or is turned away without a reason.
    """
    try:
        import resource
    except ImportError:
        # Windows does not have such a limit.
        return None
    limit, needed = resource.getrlimit(resource.RLIMIT_NOFILE)[0], clients + _OWN_FILES
    if limit == resource.RLIM_INFINITY or limit >= needed:
        return None
    return (
        f"the limit of open files (ulimit -n) is {limit}, and {counted(clients, 'client')} and the "
        f"service itself need {needed}; raise the limit, or give fewer --clients"
    )
