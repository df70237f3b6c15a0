"""A line of an image over time, with time to the right, as in ultrasound's M-mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firenet_mri.io.image.display import Display

# With fewer frames there is nothing to see.
FEWEST_FRAMES = 4


@dataclass(frozen=True)
class LineOverTime:
    """A column of a displayed image in several frames.

    Parameters
    ----------
    column
        Index of the column, from the left.
    frames
        Indices of the display's slices that are the frames, in the order of time.
    """

    column: int
    frames: tuple[int, ...]

    def of(self, display: Display) -> NDArray[np.floating]:
        """Return the line of an image over time, (row, frame)."""
        strip: NDArray[np.floating] = display.slices[list(self.frames), :, self.column].T
        return strip


def liveliest_line(display: Display, frames: Sequence[int]) -> LineOverTime:
    """Return the column that changes most over time, by the sum of its standard deviations.

    Parameters
    ----------
    display
        The images.
    frames
        Indices of its slices that are consecutive in time.
    """
    changes = display.slices[list(frames)].std(axis=0).sum(axis=0)
    return LineOverTime(int(np.argmax(changes)), tuple(frames))
