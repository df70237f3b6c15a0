"""How a learned network is trained: its sizes, the wanted constant, the attack, the time."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from firenet_mri.calibration.methods import MapMethod
from firenet_mri.errors import UsageError
from firenet_mri.firenet.learned.formats import Shipped
from firenet_mri.options import Options, documented, indices, option, share

if TYPE_CHECKING:
    from firenet_mri.firenet.learned.frame import FrameLayout
    from firenet_mri.firenet.learned.network import Architecture

FamilyName = Literal["layers", "frame"]

# The sizes of layers.
_SIZES = ("stages", "singles", "groups", "group_size", "kernel", "dilations")
# What belongs to one family only.
_OWN: dict[FamilyName, tuple[str, ...]] = {
    "layers": ("bound", "start", "soft", "tied", *_SIZES),
    "frame": ("copies", "distances"),
}

# Images need room for a calibration region.
_SMALLEST = 32


@dataclass(frozen=True)
class Simulation:
    """What simulated scans are like.

    Parameters
    ----------
    sizes
        Pixels along an axis, one of which is chosen for each case.
    noise
        Least and largest standard deviation of the noise of a sample, relative to the brightest
        pixel; logarithms are drawn evenly between.
    """

    sizes: tuple[int, ...] = (96, 128, 128, 128, 160)
    noise: tuple[float, float] = (10**-3.2, 10**-1.7)


#: Simulated scans by default.
USUAL = Simulation()


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


def _image_sizes(value: tuple[int, ...]) -> str | None:
    usable = value and min(value) >= _SMALLEST and not any(size % 2 for size in value)
    return None if usable else f"give even numbers of at least {_SMALLEST}, such as 96,128"


def _dilations(value: tuple[int, ...]) -> str | None:
    return None if value and min(value) >= 1 else "each must be at least 1, such as 1,2"


@documented
@dataclass(frozen=True, eq=False)
class TrainingOptions(Options):
    """How a learned network is trained."""

    panel = "Network"

    family: FamilyName = option(
        "layers",
        "Kind of network: layers learns data steps and shrinkages with a proven constant; "
        "frame learns the Parseval frame and the weights of the preset accurate, which "
        "keeps its constant and its duality gap.",
    )
    bound: float = option(
        8.0,
        "Largest Lipschitz constant that the network may have, with the thresholds held "
        "fixed; a larger one allows sharper images.",
        check=_positive,
    )
    attack: float = option(
        0.04,
        "Largest size of the perturbations that the network is trained against, relative "
        "to the samples, such as 4%; 0 switches them off.",
        parse=share,
        check=_unit,
    )
    attacked: float = option(
        0.25,
        "Share of the steps that include a perturbation, such as 25%.",
        parse=share,
        check=_unit,
    )
    minutes: float = option(
        120.0,
        "Minutes of training, summed over all runs of the command; validation is extra.",
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
        16,
        "Number of filters per stage whose responses are shrunk one by one.",
        check=_not_negative,
    )
    groups: int = option(
        2,
        "Number of groups of filters whose responses are shrunk by their singular values.",
        check=_not_negative,
    )
    group_size: int = option(8, "Number of filters per group.", check=_at_least_1)
    kernel: int = option(5, "Width of the filters in pixels, odd.", check=_odd)
    dilations: tuple[int, ...] = option(
        (1, 2),
        "Pixels between neighbouring entries of a filter, in turn from stage to stage.",
        parse=indices,
        check=_dilations,
    )
    copies: int = option(
        2,
        "Number of copies of the detail bands of the preset's frame, 1 to 8; only for a frame.",
        check=_at_least_1,
    )
    distances: tuple[int, ...] = option(
        (0, 1, 2),
        "Pixels by which bands are shifted before they are mixed, one for each stage; "
        "only for a frame.",
        parse=indices,
    )
    start: Path | Shipped | None = option(
        None,
        "Trained layers to start from, with their sizes: learned or learned-stable, which "
        "are included in the package, or a file that firenet train wrote.",
    )
    soft: bool = option(
        False,
        "Use only soft thresholds, so that no layer expands; the constant is that of the "
        "data steps.",
    )
    tied: bool = option(
        False,
        "Use the same weights in all stages; together with soft thresholds this is a "
        "convex regulariser.",
    )
    sizes: tuple[int, ...] = option(
        USUAL.sizes,
        "Pixels along an axis of the scans that are simulated from images, such as "
        "96,128,256; a size that is named twice is used twice as often.",
        parse=indices,
        check=_image_sizes,
        panel="Simulated scans",
    )
    least_noise: float = option(
        USUAL.noise[0],
        "Least standard deviation of the noise of a simulated sample, relative to the brightest "
        "pixel, such as 0.1%.",
        parse=share,
        check=_unit,
        panel="Simulated scans",
    )
    most_noise: float = option(
        USUAL.noise[1],
        "Largest standard deviation of this noise, such as 5%.",
        parse=share,
        check=_unit,
        panel="Simulated scans",
    )
    maps: MapMethod = option(
        "espirit",
        "Sensitivity maps for scans: espirit, jsense or lowres; a single coil needs none.",
        panel="Maps and coils",
    )
    seed: int = option(0, "Seed of all random numbers.", check=_not_negative)
    device: str = option(
        "cpu", "Device for the training: cpu or cuda.", panel="Running", changes_image=False
    )

    def _check_together(self) -> None:
        usual = {field.name: field.default for field in fields(self)}
        for family, names in _OWN.items():
            given = [name for name in names if getattr(self, name) != usual[name]]
            if given and family != self.family:
                raise UsageError(
                    f"{', '.join(given)}: belongs to the family {family}, and {self.family} was "
                    "asked for; leave one out"
                )
        sizes = [name for name in (*_SIZES, "tied") if getattr(self, name) != usual[name]]
        if self.start is not None and sizes:
            raise UsageError(
                f"{', '.join(sizes)}: a network that starts from trained layers has their "
                "sizes; leave one out"
            )
        if not 0 < self.least_noise <= self.most_noise:
            raise UsageError(
                f"least_noise is {self.least_noise:g} and most_noise {self.most_noise:g}; both "
                "must be positive, and the first not the larger one"
            )
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

    @property
    def simulation(self) -> Simulation:
        """What simulated scans are like."""
        return Simulation(self.sizes, (self.least_noise, self.most_noise))

    @property
    def layout(self) -> FrameLayout:
        """What is learned of a frame.

        Raises
        ------
        UsageError
            If a number lies outside its range.
        """
        from firenet_mri.firenet.learned.frame import FrameLayout

        return FrameLayout(self.copies, self.distances)
