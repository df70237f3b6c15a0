"""The options of ``firenet benchmark stability``: networks, sampling, and what is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from firenet_benchmark.stability.choices import QUESTIONS, Axis, MethodChoice, Question, Takes

if TYPE_CHECKING:
    from firenet_benchmark.stability.acquisition import Acquisition
    from firenet_benchmark.stability.custom_networks import NetworkChoice


@Parameter(name="*")
@dataclass(frozen=True)
class CustomNetworks:
    """Networks of your own that are compared.

    Parameters
    ----------
    network
        Your network, FILE.py:function, the folder of a MONAI Bundle, a .safetensors file that
        firenet train wrote, or a published network with its --weights: monai-varnet, monai-unet,
        fastmri-varnet or modl; repeat the option for several.
    weights
        State dict of each --network, in the same order.
    takes
        Input of your network; once for all, or once for each --network.
    scale
        Largest value of the zero-filled images that your network gets, or none for unscaled data;
        once for all, or once for each --network.
    """

    network: tuple[str, ...] = ()
    weights: tuple[Path, ...] = ()
    takes: tuple[Takes, ...] = ("kspace",)
    scale: tuple[float | Literal["none"], ...] = (1.0,)

    def choices(self) -> list[NetworkChoice]:
        """Return them one by one."""
        from firenet_benchmark.stability.custom_networks import NetworkChoice
        from firenet_mri.errors import UsageError

        count = len(self.network)
        if self.weights and len(self.weights) != count:
            raise UsageError(f"{len(self.weights)} --weights for {count} --network; give pairs")
        for name, given in (("--takes", self.takes), ("--scale", self.scale)):
            if len(given) not in (1, count):
                raise UsageError(f"{len(given)} {name} for {count} --network; give one, or pairs")
        weights = self.weights or (None,) * count
        takes = self.takes if len(self.takes) == count else self.takes * count
        scales = self.scale if len(self.scale) == count else self.scale * count
        return [
            NetworkChoice(name, path, call, None if scale == "none" else scale)
            for name, path, call, scale in zip(self.network, weights, takes, scales, strict=True)
        ]


@Parameter(name="*")
@dataclass(frozen=True)
class Sampling:
    """How simulated scans, and your fully sampled ones, are sampled.

    Parameters
    ----------
    acceleration
        Undersampling factor: grid points per sampled point.
    pattern
        Sampling pattern: whole lines or single points, random and denser in the centre.
    axis
        Axis of k-space (coil, y, x) along which lines are left out.
    calibration
        Width of the fully sampled centre, in samples.
    mask
        Your own mask instead, a .npy array (y, x), (1, x) or (y, 1), 0 where not sampled.
    coils
        Number of coils of the simulated scans.
    size
        Pixels of the simulated images along y and x. Default: 128 128.
    """

    acceleration: float = 4.0
    pattern: Literal["lines", "points"] = "lines"
    axis: Axis = "x"
    calibration: int = 12
    mask: Path | None = None
    coils: int = 6
    size: tuple[int, int] | None = None

    def acquisition(self, shape: tuple[int, int]) -> Acquisition:
        """Return it for images of a shape (y, x)."""
        from firenet_benchmark.stability.acquisition import Acquisition, read_mask
        from firenet_benchmark.stability.data import Protocol

        protocol = Protocol(
            coils=self.coils,
            acceleration=self.acceleration,
            calibration=self.calibration,
            pattern=self.pattern,
        )
        mask = None if self.mask is None else read_mask(self.mask, shape)
        return Acquisition(protocol, self.axis, mask, self.size)


@Parameter(name="*")
@dataclass(frozen=True)
class Chosen:
    """Part of the comparison.

    Parameters
    ----------
    methods
        Methods to compare with your networks; several may follow. Default: all.
    questions
        Questions to ask; several may follow. Default: all; with --smoke all but the hard attacks.
    require
        Limits that your networks must meet, or all methods except zero filling if you give none,
        such as 'worst_1%>=28,lesion_5%>=.9,jacobian<=10'; otherwise the exit status is 1.
    """

    methods: Annotated[tuple[MethodChoice, ...], Parameter(consume_multiple=True)] = ()
    questions: Annotated[tuple[Question, ...], Parameter(consume_multiple=True)] = ()
    require: str | None = None

    def asked(self, usual: Sequence[Question]) -> tuple[Question, ...]:
        """Return the questions in their usual order; the usual ones if none was chosen."""
        return tuple(one for one in QUESTIONS if one in (self.questions or usual))
