"""The options of a batch: how each scan is read, and how it is reconstructed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from firenet_mri.errors import UsageError
from firenet_mri.io.kspace.options import ReadOptions
from firenet_mri.options import Options, documented, option
from firenet_mri.reconstruction.options import ReconstructionOptions


@documented
@dataclass(frozen=True, eq=False)
class JobOptions(Options):
    """How every scan of a batch is read and reconstructed."""

    #: One file of these cannot serve many scans.
    REFUSED: ClassVar[tuple[str, ...]] = (
        "mask",
        "trajectory",
        "matrix_size",
        "noise_file",
        "maps_file",
        "calibration_file",
    )

    read: ReadOptions = option(ReadOptions(), "See :class:`ReadOptions`.")
    reconstruction: ReconstructionOptions = option(
        ReconstructionOptions(), "See :class:`ReconstructionOptions`."
    )

    def _check_together(self) -> None:
        given = [name for name in self.REFUSED if getattr(self.read, name) is not None]
        if given:
            raise UsageError(
                f"{', '.join(given)}: one file cannot serve the many scans of a batch; leave it out"
            )
        if not isinstance(self.reconstruction.maps, str):
            raise UsageError("maps is an array, which cannot serve many scans; name a method")
