"""The errors that firenet_mri raises on purpose.

    FirenetError
    ├── UsageError      an option or argument cannot be used as given; exit status 2
    └── DataError       a file or an array is not what the work needs; exit status 1
        ├── FileError           cannot be read or written: missing, truncated, foreign, existing
        ├── ShapeError          axes or sizes do not fit together (also a ValueError)
        └── CalibrationError    sensitivity maps cannot be estimated from this scan

Every message is one sentence: what came, what is needed, what to do.
"""

from __future__ import annotations


class FirenetError(Exception):
    """Base of all errors raised on purpose. ``exit_status`` is what the command line returns."""

    exit_status = 1


class UsageError(FirenetError, ValueError):
    """An option or argument cannot be used as given."""

    exit_status = 2


class DataError(FirenetError):
    """A file or an array is not what the work needs."""


class FileError(DataError):
    """A file cannot be read or written."""


class ShapeError(DataError, ValueError):
    """Axes or sizes do not fit together."""


class CalibrationError(DataError):
    """Sensitivity maps cannot be estimated from this scan."""
