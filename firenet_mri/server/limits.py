"""What clients may take of a server."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from firenet_mri.errors import UsageError
from firenet_mri.plurals import counted
from firenet_mri.server.address import check_limit

#: What a client is told when memory ran out.
SHORTAGE = (
    "There was not enough memory to reconstruct the scan; send a smaller scan or fewer slices at "
    "once, or have the limit of the service's memory raised"
)

# Files and sockets of the service itself and its process, and some to spare.
_OWN_FILES = 32


@dataclass(frozen=True)
class Limits:
    """What clients may take.

    Parameters
    ----------
    message_bytes
        Of one part of a message.
    scan_bytes
        Of all that a client sends.
    held_bytes
        Of all that the connected clients have sent; a client that sends more is refused.
    ahead_bytes
        Of what a client has sent while its earlier data are reconstructed; it has to wait then.
    clients
        Connected at once; further ones are told to come back, and closed.
    idle_s
        Seconds without a byte, in either direction, after which a client is disconnected.
    scan_s
        Seconds that a client may take to send its scan, or to take an image, however slowly the
        bytes come or go.
    recon_s
        Seconds that one reconstruction may take.
    recon_bytes
        Memory that its process may hold, libraries included; Linux only.
    stop_s
        Seconds that clients have to finish when the server is told to stop.
    networks
        Folder of trained networks that clients may name; None is those that are included alone.

    Raises
    ------
    UsageError
        If one is not positive, or beyond what can be counted, or the folder does not exist.
    """

    message_bytes: int = 1 << 28
    scan_bytes: int = 1 << 33
    held_bytes: int = 1 << 34
    ahead_bytes: int = 1 << 28
    clients: int = 32
    idle_s: float = 60.0
    scan_s: float = 6 * 3600.0
    recon_s: float = 1800.0
    recon_bytes: int = 1 << 33
    stop_s: float = 300.0
    networks: Path | None = None

    def __post_init__(self) -> None:
        if self.networks is not None and not self.networks.is_dir():
            raise UsageError(f"{self.networks}: is not a folder; name one with trained networks")
        for field in fields(self):
            if field.name == "networks":
                continue
            check_limit(field.name, getattr(self, field.name))


def lack_of_files(clients: int) -> str | None:
    """Return what to say if the system lets this process open too few files for its clients.

    Every client takes a socket; without one it waits, or is turned away, and nothing says why.
    """
    try:
        import resource
    except ImportError:
        # Windows has no such limit.
        return None
    limit, needed = resource.getrlimit(resource.RLIMIT_NOFILE)[0], clients + _OWN_FILES
    if limit == resource.RLIM_INFINITY or limit >= needed:
        return None
    return (
        f"the limit of open files (ulimit -n) is {limit}, and {counted(clients, 'client')} and the "
        f"service itself need {needed}; raise the limit, or give fewer --clients"
    )
