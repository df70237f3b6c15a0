"""Interleaved lines: the lines that each frame measures if frames over time measure others."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from firenet_mri.errors import UsageError


def interleaved_lines(frames: int, lines: int, acceleration: int, centre: int = 4) -> Tensor:
    """Return which lines every frame measures, (frame, line) bool.

    A frame measures every ``acceleration``-th line and the centre. From frame to frame the lines
    are shifted by a step near the golden section of the acceleration and coprime to it, so that
    ``acceleration`` successive frames fill k-space.

    Parameters
    ----------
    frames, lines
        Number of frames, and number of lines.
    acceleration
        Lines per measured line, not counting those in the centre; at most ``lines``.
    centre
        Central lines that all frames measure.

    Raises
    ------
    UsageError
        If a number is too small or too large.
    """
    if frames < 1 or not 1 <= acceleration <= lines or not 0 <= centre <= lines:
        raise UsageError(
            f"{frames} frames, every {acceleration}th of {lines} lines and {centre} central lines "
            f"requested; give at least one frame, and 1 to {lines} for the others"
        )
    golden = max(1, round(0.382 * acceleration))
    step = next(s for s in range(golden, acceleration + 2) if math.gcd(s, acceleration) == 1)
    mask = torch.zeros(frames, lines, dtype=torch.bool)
    for frame in range(frames):
        mask[frame, (frame * step) % acceleration :: acceleration] = True
    mask[:, lines // 2 - centre // 2 : lines // 2 + (centre + 1) // 2] = True
    return mask
