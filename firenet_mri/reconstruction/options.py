"""The options of a reconstruction: network, maps, coils, and what to certify."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from firenet_mri.calibration.methods import Background, Compression, MapMethod
from firenet_mri.errors import UsageError
from firenet_mri.firenet.learned.formats import FRAME, format_of
from firenet_mri.firenet.options import NetworkOptions
from firenet_mri.options import Options, documented, option
from firenet_mri.plurals import counted

if TYPE_CHECKING:
    from torch import Tensor


def _coils_from(text: str) -> int | float:
    digits = text.removesuffix("%")
    try:
        return float(digits) / 100 if text.endswith("%") else int(digits)
    except ValueError:
        raise ValueError(
            "it is not a number of coils; give one such as 8, or a share such as 99%"
        ) from None


def _coils(value: int | float) -> str | None:
    if isinstance(value, float):
        return None if 0 < value <= 1 else "a share of the energy lies in (0, 1]"
    return None if value >= 1 else "it must be at least 1"


def _unit(value: float) -> str | None:
    return None if 0 <= value <= 1 else "it must lie in [0, 1]"


def _not_negative(value: int) -> str | None:
    return None if value >= 0 else "use 0 or more"


def _axis(value: str) -> str | None:
    return None if value.isidentifier() else "it is not the name of an axis, such as repetition"


def _at_least_1(value: int) -> str | None:
    return None if value >= 1 else "it must be at least 1"


@documented
@dataclass(frozen=True, eq=False)
class ReconstructionOptions(Options):
    """How a scan becomes an image, and what its certificate must contain."""

    panel = "Maps and coils"

    network: NetworkOptions = option(NetworkOptions(), "See :class:`NetworkOptions`.")
    maps: MapMethod | Tensor = option(
        "espirit",
        "Sensitivity maps: espirit, jsense, lowres, or none for a single coil; from Python also "
        "the maps themselves, (..., coil, *spatial) complex, which are normalised.",
    )
    map_sets: int = option(
        1,
        "Sets of sensitivity maps; 2 for a field of view smaller than the object.",
        check=_at_least_1,
    )
    background: Background = option(
        "crop",
        "Background outside the object that espirit finds: crop sets maps and image to 0 "
        "there; keep lets the maps continue, so that the image shows the remaining noise.",
    )
    coils: int | float | None = option(
        None,
        "Compress the coils to a number such as 8, or to as many as contain a share of "
        "the energy such as 99%; all are kept by default.",
        parse=_coils_from,
        check=_coils,
    )
    compression: Compression = option(
        "svd", "Method of coil compression: svd, or geometric, pixel by pixel along the readout."
    )
    by_readout: bool = option(
        False,
        "Split a volume into planes perpendicular to its readout, which need less memory "
        "and can be resumed one by one.",
    )
    joint: str | None = option(
        None,
        "Reconstruct related images as one problem; name of their axis, such as repetition, "
        "phase, contrast or slice. Every image keeps its own samples; features that neighbours "
        "share are penalised once.",
        check=_axis,
    )
    phase_constraint: float | None = option(
        None,
        "Take the image's phase from the centre of k-space; weight of the imaginary component, 0 "
        "to 1, such as 0.3. For images of smooth phase; without a proven Lipschitz bound.",
        check=_unit,
    )
    reweighting: int = option(
        0,
        "Number of further passes, in addition to the preset's, with weights from the "
        "image of the previous pass; without a proven Lipschitz bound.",
        check=_not_negative,
    )
    no_gap: bool = option(
        False,
        "Omit the duality gap, which takes one to five times the network's time.",
        panel="Certificate",
    )
    jacobian: bool = option(
        False,
        "Bound from both sides how strongly small changes of these data are amplified, "
        "and show where; takes about 100 times the network's time.",
        panel="Certificate",
    )
    recovery: bool = option(
        False,
        "Verify how far the optimum and the true image can be from the image; takes minutes.",
        panel="Certificate",
    )
    device: str = option(
        "cpu",
        "Device on which the network runs: cpu or cuda.",
        panel="Running",
        changes_image=False,
    )

    @property
    def passes(self) -> int:
        """Number of runs of the network; each run after the first has weights from the image."""
        return self.network.passes + self.reweighting

    @property
    def takes_reference_phase(self) -> bool:
        """Whether estimated maps get the phase of the image at low resolution."""
        return self.map_sets == 1 and self.phase_constraint is None

    def _check_together(self) -> None:
        given = not isinstance(self.maps, str)
        refused = {
            "coils": self.coils is not None and "for the original coils",
            "map_sets": self.map_sets > 1 and "a single set",
            "by_readout": self.by_readout and "for a whole volume",
        }
        for name, what in refused.items():
            if given and what:
                raise UsageError(f"Given maps are {what}; omit {name}")
        if self.joint is not None:
            self._check_joint()
        if self.network.weights is not None:
            self._check_weights()
        if self.map_sets > 1 and self.network.preset == "paper":
            raise UsageError(
                f"{self.map_sets} map sets need a preset other than paper; use another preset"
            )
        if self.reweighting and self.network.preset == "coherent":
            raise UsageError(
                f"{counted(self.reweighting, 'further pass', 'further passes')} and the preset "
                "coherent were requested; reweighting sets the weight of every coefficient, but "
                "phase-coherent sparsity weights them together, so omit one of the two"
            )
        if self.phase_constraint is None:
            return
        if self.map_sets > 1 or self.recovery:
            raise UsageError(
                "A phase constraint works with a single map set and without the verification of "
                "recovery; omit one of them"
            )

    def _check_joint(self) -> None:
        """Refuse options for single images."""
        refused = {
            "map_sets": self.map_sets > 1,
            "phase_constraint": self.phase_constraint is not None,
            "jacobian": self.jacobian,
            "recovery": self.recovery,
        }
        for name, is_given in refused.items():
            if is_given:
                raise UsageError(
                    f"{name} and joint were requested; {name} is for single images, so omit one"
                )

        names = (self.network.sparsifier or "").split("+")
        together = [n for n in names if n.startswith(("across-low-rank", "across-groups"))]
        if together and self.passes > 1:
            raise UsageError(
                f"{together[0]} and several passes (the preset sharp, or reweighting) were "
                "requested; passes set the weight of every coefficient, but this sparsifier "
                "weights them together, so omit one of the two"
            )

    def _check_weights(self) -> None:
        """Refuse options that need an objective if the weights' network has none."""
        reasons = {
            "phase_constraint": (self.phase_constraint is not None, "was not trained with one"),
            "reweighting": (self.reweighting > 0, "has no sparsity weights"),
            "recovery": (self.recovery, "minimises nothing that could recover an image"),
        }
        weights = self.network.weights
        for name, (is_given, reason) in reasons.items():
            if is_given and weights is not None and format_of(weights) != FRAME:
                raise UsageError(
                    f"{name}: the trained network of weights (--network) {reason}; omit {name}"
                )
