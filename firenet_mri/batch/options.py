"""The options of a batch: how each scan is read and reconstructed, and where jobs run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from firenet_mri.errors import UsageError
from firenet_mri.extras import require
from firenet_mri.io.kspace.options import OF_ONE_SCAN, ReadOptions, check_serves_many
from firenet_mri.options import Options, documented, option
from firenet_mri.reconstruction.options import ReconstructionOptions


@documented
@dataclass(frozen=True, eq=False)
class JobOptions(Options):
    """How every scan of a batch is read and reconstructed."""

    REFUSED: ClassVar[tuple[str, ...]] = OF_ONE_SCAN

    read: ReadOptions = option(ReadOptions(), "See :class:`ReadOptions`.")
    reconstruction: ReconstructionOptions = option(
        ReconstructionOptions(), "See :class:`ReconstructionOptions`."
    )

    def _check_together(self) -> None:
        check_serves_many(self.read)
        if not isinstance(self.reconstruction.maps, str):
            raise UsageError(
                "maps is an array, which cannot be used for several scans; name a method"
            )


def _size(value: str) -> str | None:
    if value == "auto":
        return None
    require("distributed")
    from dask.utils import parse_bytes

    try:
        parse_bytes(value)
    except ValueError:
        return "give a size such as 4GiB, or auto"
    return None


@documented
@dataclass(frozen=True, eq=False)
class ClusterOptions(Options):
    """Where the jobs of a batch run, and how often each is tried."""

    panel = "Running"

    scheduler: str | None = option(
        None, "Dask cluster, such as tcp://host:8786; this machine by default."
    )
    workers: int | None = option(
        None,
        "Processes on this machine; one per core by default.",
        check=lambda value: None if value >= 1 else "give at least 1",
    )
    memory: str = option(
        "auto",
        "Memory limit of a process, such as 4GiB; auto shares the machine's.",
        check=_size,
    )
    retries: int = option(
        2,
        "Number of further attempts per scan after a failure.",
        check=lambda value: None if value >= 0 else "give 0 or more",
    )

    def _check_together(self) -> None:
        if self.scheduler is not None and (self.workers is not None or self.memory != "auto"):
            raise UsageError(
                f"{self.scheduler} has workers of its own; omit --workers and --memory, or omit "
                "--scheduler"
            )
