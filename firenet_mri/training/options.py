"""How a learned network is trained: its sizes, the wanted constant, the attack, the time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from firenet_mri.calibration.methods import MapMethod
from firenet_mri.errors import UsageError
from firenet_mri.options import Options, documented, indices, option, share

if TYPE_CHECKING:
    from firenet_mri.firenet.learned.network import Architecture


def _positive(value: float) -> str | None:
    return None if 0 < value < math.inf else "it must be positive"


def _unit(value: float) -> str | None:
    return None if 0 <= value <= 1 else "it must lie in [0, 1], such as 4%"


def _at_least_1(value: int) -> str | None:
    return None if value >= 1 else "it must be at least 1"


def _not_negative(value: int) -> str | None:
    return None if value >= 0 else "use 0 or more"


def _odd(value: int) -> str | None:
    return None if value >= 3 and value % 2 else "it must be odd and at least 3"


def _dilations(value: tuple[int, ...]) -> str | None:
    return None if value and min(value) >= 1 else "each must be at least 1, such as 1,2"


@documented
@dataclass(frozen=True, eq=False)
class TrainingOptions(Options):
    """How a learned network is trained."""

    panel = "Network"

    bound: float = option(
        8.0,
        "Lipschitz constant that the network may have at most, at thresholds that are held fixed; "
        "a larger one allows sharper images.",
        check=_positive,
    )
    attack: float = option(
        0.04,
        "Largest size of the perturbations that the network is trained against, relative to the "
        "samples, such as 4%; 0 turns them off.",
        parse=share,
        check=_unit,
    )
    attacked: float = option(
        0.25,
        "Share of the steps that see a perturbation, such as 25%.",
        parse=share,
        check=_unit,
    )
    minutes: float = option(
        120.0,
        "Minutes of training over all starts; validation comes on top.",
        check=_positive,
        panel="Running",
    )
    cases: int = option(
        3000,
        "Number of different training cases, each with its own mask and augmentation.",
        check=_at_least_1,
    )
    learning_rate: float = option(
        2e-3, "Step size of Adam at the beginning; it falls along half a cosine.", check=_positive
    )
    stages: int = option(20, "Data steps, each followed by a shrinkage.", check=_at_least_1)
    singles: int = option(
        16, "Filters of a stage whose responses are shrunk one by one.", check=_not_negative
    )
    groups: int = option(
        2, "Groups of filters whose responses are shrunk by singular values.", check=_not_negative
    )
    group_size: int = option(8, "Filters of a group.", check=_at_least_1)
    kernel: int = option(5, "Width of the filters in pixels, odd.", check=_odd)
    dilations: tuple[int, ...] = option(
        (1, 2),
        "Pixels between neighbouring entries of a filter, in turn from stage to stage.",
        parse=indices,
        check=_dilations,
    )
    soft: bool = option(
        False,
        "Soft thresholds only, so that no layer expands; the constant is that of the data steps.",
    )
    tied: bool = option(
        False,
        "The same weights in all stages; together with soft thresholds a convex regulariser.",
    )
    maps: MapMethod = option(
        "espirit",
        "Sensitivity maps of scans: espirit, jsense or lowres; a single coil needs none.",
        panel="Maps and coils",
    )
    seed: int = option(0, "Seed of everything that is random.", check=_not_negative)
    device: str = option(
        "cpu", "Where to train: cpu or cuda.", panel="Running", changes_image=False
    )

    def _check_together(self) -> None:
        if self.singles + self.groups == 0:
            raise UsageError("singles and groups are 0; a stage needs at least one filter")
        if self.group_size > self.kernel**2:
            raise UsageError(
                f"group_size is {self.group_size}; filters of {self.kernel} x {self.kernel} pixels "
                f"make groups of at most {self.kernel**2}"
            )

    @property
    def architecture(self) -> Architecture:
        """The sizes of the network."""
        from firenet_mri.firenet.learned.network import Architecture

        return Architecture(
            self.stages, self.singles, self.groups, self.group_size, self.kernel, self.dilations
        )
