"""What reading a damaged file comes to."""

from __future__ import annotations

from pathlib import Path

from firenet_mri import read
from firenet_mri.errors import FirenetError
from firenet_mri.scan import RawScan


def outcome_of(path: Path) -> RawScan | FirenetError:
    """Return the scan, or the named error; any other error is raised."""
    try:
        return read(path)
    except FirenetError as error:
        return error
