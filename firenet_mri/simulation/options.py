"""The options of a simulated scan, for the command line, Python and MONAI alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from firenet_mri.options import Options, documented, option

if TYPE_CHECKING:
    from torch import Tensor

Pattern = Literal["lines", "points", "interleaved", "radial"]


#: Largest number of frames of one image, here and in a pattern.
MOST_FRAMES = 10_000


def _between(least: float, most: float) -> Callable[[float], str | None]:
    def check(value: float) -> str | None:
        if least <= value <= most:
            return None
        return f"give a number from {least:g} to {most:g}"

    return check


def _at_least(least: int) -> Callable[[float], str | None]:
    def check(value: float) -> str | None:
        if least <= value < math.inf:
            return None
        return f"give a number of at least {least}"

    return check


@documented
@dataclass(frozen=True, eq=False)
class SimulationOptions(Options):
    """The coils, the sampling and the noise of a simulated scan."""

    coils: int = option(8, "Number of coils of the simulated birdcage.", check=_between(1, 1024))
    acceleration: float = option(
        4.0, "Undersampling factor: grid points per sampled point.", check=_at_least(1)
    )
    calibration: int = option(
        24, "Width of the fully sampled centre, in samples.", check=_at_least(0)
    )
    pattern: Pattern = option(
        "lines",
        "Sampling pattern: lines are whole readouts whose density falls from the centre "
        "to the edge; points have that density along both axes; interleaved are equally spaced "
        "lines, shifted from frame to frame, and the centre in all frames; radial are spokes by "
        "the golden angle. In a volume whole readouts are sampled.",
    )
    frames: int | None = option(
        None,
        "Number of frames of one image, each with other samples; a series, with time as its "
        "fourth axis, has its own.",
        check=_between(2, MOST_FRAMES),
    )
    mask: Path | Tensor | None = option(
        None,
        "Sampling mask instead of pattern, acceleration and calibration, a .npy or .cfl "
        "file or an array that broadcasts to (y, x), (z, y, x) or with frames first; "
        "nonzero means sampled.",
    )
    snr: float = option(
        40.0, "Mean signal divided by the noise's standard deviation.", check=_between(1e-6, 1e12)
    )
    phase: float = option(
        0.0,
        "Largest value, in radians, of a smooth random phase that is added to the image, "
        "in addition to that of a complex image.",
        check=_between(0, 1000),
    )
    volume: bool = option(
        False, "Encode the slices as one volume instead of one by one.", flag="3d"
    )
    seed: int = option(0, "Seed of the pattern, the phase and the noise.", check=_at_least(0))
