"""A line of an image over time, which goes to the right, as in ultrasound's M-mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firenet_mri.io.image.display import Display

# With less there is nothing to see in it.
FEWEST_FRAMES = 4


@dataclass(frozen=True)
class LineOverTime:
    """A column of an image as it is shown, in several frames.

    Parameters
    ----------
    column
        Which column, from the left.
    frames
        Which slices of the display are the frames, in the order of time.
    """

    column: int
    frames: tuple[int, ...]

    def of(self, display: Display) -> NDArray[np.floating]:
        """Return the line of an image over time, (row, frame)."""
        strip: NDArray[np.floating] = display.slices[list(self.frames), :, self.column].T
        return strip


def liveliest_line(display: Display, frames: Sequence[int]) -> LineOverTime:
    """Return the column in which most changes over time: the largest sum of standard deviations.

    Parameters
    ----------
    display
        The images.
    frames
        Which of its slices follow one another in time.
    """
    changes = display.slices[list(frames)].std(axis=0).sum(axis=0)
    return LineOverTime(int(np.argmax(changes)), tuple(frames))
