"""The errors that firenet_mri raises on purpose.

    FirenetError
    ├── UsageError      an option or argument cannot be used as given; exit status 2
    └── DataError       a file or an array is not suitable for the task; exit status 1
        ├── FileError           cannot be read or written: missing, truncated, foreign, existing
        ├── ShapeError          axes or sizes do not fit together (also a ValueError)
        └── CalibrationError    sensitivity maps cannot be estimated from this scan

Every message is one sentence: what was found, what is needed, what to do. It may quote input of any
length, so this module shortens long messages in one place.
"""

from __future__ import annotations

import math

#: Longest message or log line, in characters.
LONGEST_MESSAGE = 2000
# The note on how much was left out is shorter than this.
_NOTE = 60


def shortened(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """Return a text of at most ``longest`` characters, with its middle left out if it has more.

    The end is kept, since it states what to do.
    """
    if len(text) <= longest:
        return text
    half = (longest - _NOTE) // 2
    return f"{text[:half]} [... {len(text) - 2 * half} characters left out ...] {text[-half:]}"


class FirenetError(Exception):
    """Base of all errors raised on purpose. ``exit_status`` is what the command line returns."""

    exit_status = 1

    def __init__(self, *arguments: object) -> None:
        kept = (shortened(one) if isinstance(one, str) else one for one in arguments)
        super().__init__(*kept)


class UsageError(FirenetError, ValueError):
    """An option or argument cannot be used as given."""

    exit_status = 2


class DataError(FirenetError):
    """A file or an array is not suitable for the task."""


class FileError(DataError):
    """A file cannot be read or written."""


class ShapeError(DataError, ValueError):
    """Axes or sizes do not fit together."""


class CalibrationError(DataError):
    """Sensitivity maps cannot be estimated from this scan."""


def check_positive(name: str, value: float) -> None:
    """Raise UsageError, naming the number, unless it is positive and finite."""
    if not 0 < value < math.inf:
        raise UsageError(f"{name} is {value}; it must be a positive number")
