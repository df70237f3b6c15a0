"""Options for a conversion: what to read of a scan, what to do with it, and its new format."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from firenet_mri.calibration.methods import Compression
from firenet_mri.errors import UsageError
from firenet_mri.io.kspace.options import ReadOptions
from firenet_mri.io.kspace.targets import AnyTarget
from firenet_mri.options import Options, documented, option
from firenet_mri.reconstruction.options import ReconstructionOptions

# Coils are compressed in the same way as before a reconstruction.
_RECONSTRUCTION = {entry.name: entry for entry in dataclasses.fields(ReconstructionOptions)}


@documented
@dataclass(frozen=True, eq=False)
class ConversionOptions(Options):
    """How to convert a raw scan to another format."""

    panel = "Output"

    #: These do not apply to k-space.
    REFUSED: ClassVar[tuple[str, ...]] = ("maps_file",)
    read: ReadOptions = option(ReadOptions(), "See :class:`ReadOptions`.")
    to: AnyTarget | None = option(
        None,
        "Format to write: mrd (ISMRMRD), fastmri, bart or npy; for MRD images nifti, "
        "dicom or bids. By default it follows from the output's suffix, where .h5 means "
        "mrd.",
    )
    series: str | None = option(
        None,
        "Series of MRD images to write, by its name or its number, counted from 1, if a "
        "file contains several.",
    )
    frame_rate: float | None = option(
        None,
        "Frames per second of a film (.gif or .mp4); by default as fast as the images were taken, "
        "if that is known and can be watched.",
    )
    whiten: bool = option(
        False,
        "Whiten the coils with the scan's noise measurement, so that the noise has "
        "variance 1 in each coil and is uncorrelated between coils.",
    )
    coils: int | float | None = dataclasses.field(
        default=None, metadata={**_RECONSTRUCTION["coils"].metadata, "panel": "Output"}
    )
    compression: Compression = dataclasses.field(
        default="svd", metadata={**_RECONSTRUCTION["compression"].metadata, "panel": "Output"}
    )

    def check_only(self, *meaningful: str, what: str) -> None:
        """Refuse all other options, such as those that apply only to k-space.

        Parameters
        ----------
        meaningful
            Names of options that may be given.
        what
            What is being written, for the message.

        Raises
        ------
        UsageError
            If another option is not at its default.
        """
        plain = ConversionOptions().flat()
        given = [
            name
            for name, value in self.flat().items()
            if name not in meaningful and value != plain[name]
        ]
        if given:
            raise UsageError(f"{', '.join(given)}: does not apply to {what}; omit it")
