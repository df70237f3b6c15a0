"""``firenet design --frames``: sampling of frames, and its consequences for reconstruction."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from firenet_mri.errors import UsageError
from firenet_mri.plurals import counted

if TYPE_CHECKING:
    from torch import Tensor

_PROVEN = (
    "For a joint reconstruction (--joint) the certificate states, proven for every pattern, how "
    "far the image is from the optimum, and by how much a change of the data can be amplified. It "
    "is not proven that these samples determine the frames: the theorem behind the patterns for "
    "one image says nothing about what neighbouring frames have in common. docs/joint.md reports "
    "what simulated hearts gained."
)


def frames_of_lines(
    frames: int, shape: tuple[int, ...], rate: float, calibration: int
) -> tuple[Tensor, list[str]]:
    """Return the mask (frame, y, x) bool of interleaved lines, and its description.

    Raises
    ------
    UsageError
        If a number cannot be used.
    """
    from firenet_mri.calibration.region import calibration_region
    from firenet_mri.simulation.frames import interleaved_lines

    size, columns = shape
    every = _every(rate, size)
    if not 0 <= calibration <= size:
        raise UsageError(
            f"A centre of {counted(calibration, 'line')} asked for; give 0 to {size} "
            "(--calibration)"
        )
    lines = interleaved_lines(frames, size, every, calibration)
    counts = lines.sum(1)
    fewest, most = int(counts.min()), int(counts.max())
    together = lines.any(0)
    mask = lines[:, :, None].expand(frames, size, columns).clone()
    centre = calibration_region(mask.any(0), 2)[0]
    filled = _frames_until_full(lines)
    union = f"{int(together.sum())} of {size} lines"
    if filled is not None:
        union += f"; any {filled} successive frames fill k-space"
    said = [
        f"Each frame: {_range(fewest, most)} of {size} lines, an acceleration of "
        f"{_range(round(size / most, 1), round(size / fewest, 1))}; lines {every} apart, shifted "
        f"from frame to frame, and {calibration} in the centre.",
        f"All {frames} frames together: {union}. {_maps(centre)}",
        _PROVEN,
    ]
    return mask, said


def frames_of_spokes(
    frames: int, shape: tuple[int, ...], rate: float, calibration: int
) -> tuple[Tensor, list[str]]:
    """Return the trajectory (frame, 1, spoke, sample, 2) of spokes, and its description.

    Raises
    ------
    UsageError
        If a number cannot be used.
    """
    from firenet_mri.operators.trajectories import golden_angle_frames

    if calibration:
        raise UsageError("All spokes pass through the centre; omit --calibration")
    size = max(shape)
    spokes = max(1, round(size / _every(rate, size)))
    needed = math.ceil(math.pi / 2 * size)
    points = golden_angle_frames(frames, spokes, 2 * size, (shape[0], shape[1]))
    said = [
        f"Each frame: {counted(spokes, 'spoke')} of {2 * size} samples; {needed} would sample "
        f"k-space fully, so this is an acceleration of {needed / spokes:.1f}. The golden angle "
        "continues from frame to frame.",
        f"All {frames} frames together: {frames * spokes} spokes. "
        f"{_maps(min(size, int(2 * frames * spokes / math.pi)))}",
        _PROVEN,
    ]
    return points[:, None], said


def usage(output: Path, *, along: bool) -> str:
    """Return the command that uses a pattern."""
    if along:
        return f"firenet recon SCAN.npy --trajectory {output} --joint repetition"
    return f"firenet simulate IMAGE --mask {output}, firenet recon SCAN --joint repetition"


def _every(rate: float, size: int) -> int:
    """Return the undersampling factor: every how many lines or spokes one is measured."""
    if not 0 < rate <= 1 or 1 / rate >= size + 0.5:
        raise UsageError(
            f"A rate of {rate:g} asked for; for {size} lines or spokes give a fraction from "
            f"{1 / size:.3g} to 1"
        )
    return round(1 / rate)


def _range(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _maps(centre: int) -> str:
    """Return a sentence that says whether the mean over the frames suffices for maps."""
    from firenet_mri.calibration.sensitivity import SMALLEST_WIDTH

    need = SMALLEST_WIDTH["espirit"]
    if centre >= need:
        return (
            f"Their mean has a fully sampled centre {centre} wide, from which the sensitivity maps "
            f"are estimated ({need} are needed)."
        )
    return (
        f"Their mean has a fully sampled centre {centre} wide, and sensitivity maps need {need}: "
        "use more frames or a wider centre, or give maps."
    )


def _frames_until_full(lines: Tensor) -> int | None:
    """Return how many successive frames always fill k-space; None if not even all of them do."""
    frames = len(lines)
    for count in range(1, frames + 1):
        windows = range(frames - count + 1)
        if all(bool(lines[start : start + count].any(0).all()) for start in windows):
            return count
    return None
