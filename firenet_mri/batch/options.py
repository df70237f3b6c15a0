"""The options of a batch: how each scan is read, and how it is reconstructed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from firenet_mri.errors import UsageError
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
            raise UsageError("maps is an array, which cannot serve many scans; name a method")
