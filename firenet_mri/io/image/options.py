"""Options for reading an image: which of several images to read."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from firenet_mri.options import Options, documented, option


def _named(value: str) -> str | None:
    return None if all(names(value)) else "give one such as 3 or 3,4"


def names(text: str) -> tuple[str, ...]:
    """Return the names in a list such as 3,4."""
    return tuple(part.strip() for part in text.split(","))


def _not_negative(value: int) -> str | None:
    return None if value >= 0 else "numbers are counted from 0"


def _positive(value: float) -> str | None:
    return None if 0 < value < math.inf else "give a positive number of radians"


@documented
@dataclass(frozen=True, eq=False)
class ImageReadOptions(Options):
    """The image to read from a DICOM folder or file that contains several."""

    panel = "Input"

    series: str | None = option(
        None,
        "DICOM series to read, by Series Number or UID, such as 3, or 3,4 for magnitude "
        "and phase in two series; the only one by default.",
        check=_named,
    )
    echo: int | None = option(
        None,
        "Echo of a DICOM series to read, counted from 0 in the order of the echo times; the only "
        "one by default.",
        check=_not_negative,
    )
    repetition: int | None = option(
        None,
        "Image to read, counted from 0 in the order of measurement, if a DICOM series has "
        "several at one position; the only one by default.",
        check=_not_negative,
    )
    phase_scale: float | None = option(
        None,
        "Radians for one unit of the rescaled phase of a DICOM series; the vendor's by default.",
        check=_positive,
    )

    def given(self) -> list[str]:
        """Return the names of the options that are not the default."""
        return [one.name for one in fields(self) if getattr(self, one.name) is not None]
