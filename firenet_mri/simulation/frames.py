"""Which lines frames over time measure, when each measures others: interleaved lines."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from firenet_mri.errors import UsageError


def interleaved_lines(frames: int, lines: int, acceleration: int, centre: int = 4) -> Tensor:
    """Return which lines every frame measures, (frame, line) bool.

    Every ``acceleration``-th line, moved from frame to frame by a step near the golden section of
    the acceleration and prime to it, so that as many successive frames fill k-space; and the
    centre.

    Parameters
    ----------
    frames, lines
        Their numbers.
    acceleration
        Lines for one that is measured, without those in the centre; at most ``lines``.
    centre
        Central lines that all frames measure.

    Raises
    ------
    UsageError
        If a number is too small or too large.
    """
    if frames < 1 or not 1 <= acceleration <= lines or not 0 <= centre <= lines:
        raise UsageError(
            f"{frames} frames, every {acceleration}th of {lines} lines and {centre} in the centre "
            f"asked for; give at least one frame, and 1 to {lines} for the others"
        )
    golden = max(1, round(0.382 * acceleration))
    step = next(s for s in range(golden, acceleration + 2) if math.gcd(s, acceleration) == 1)
    mask = torch.zeros(frames, lines, dtype=torch.bool)
    for frame in range(frames):
        mask[frame, (frame * step) % acceleration :: acceleration] = True
    mask[:, lines // 2 - centre // 2 : lines // 2 + (centre + 1) // 2] = True
    return mask
