"""The options of the network: a preset, and what differs from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from firenet_mri.errors import UsageError
from firenet_mri.firenet.learned.formats import FRAME, Shipped, format_of
from firenet_mri.options import Options, documented, option, share

Preset = Literal["accurate", "sharp", "stable", "paper", "adaptive", "coherent"]

LARGEST_BUDGET = 0.2

# Other presets have a frame, weights or passes of their own, which were chosen together.
_FRAME_PRESETS = ("accurate", "stable")

# Beyond these a threshold is no normal number in single precision.
_LAM_RANGE = (1e-30, 1e30)

# What means nothing for a trained network.
_OF_PRESETS = (
    *("preset", "lam", "sparsifier", "levels", "layers"),
    *("relative_gap", "budget", "accuracy"),
)


def _at_least_1(value: int | None) -> str | None:
    return None if value is None or value >= 1 else "it must be at least 1"


def _lam(value: float | str) -> str | None:
    least, most = _LAM_RANGE
    if isinstance(value, str) or least <= value <= most:
        return None
    return f"it must be a positive number, from {least:g} to {most:g}, or auto"


def _gap(value: float) -> str | None:
    return None if 0 < value < 1 else "it must lie between 0 and 1"


def _accuracy(value: float) -> str | None:
    return None if 0 < value < 1 else "it must lie between 0 and 1"


def _budget(value: float) -> str | None:
    if 0 < value <= LARGEST_BUDGET:
        return None
    return f"give a relative size in (0, {LARGEST_BUDGET}]"


@documented
@dataclass(frozen=True, eq=False)
class NetworkOptions(Options):
    """The network: a preset, and what differs from it."""

    panel = "Network"

    preset: Preset = option(
        "accurate",
        "Network: accurate (the default); sharp, with a second pass for more detail and "
        "without a Lipschitz constant; stable, with a smaller Lipschitz constant and less "
        "fine detail; adaptive, which stops at a certified gap; coherent, for images "
        "whose phase is known to be smooth; or paper, the published network.",
    )
    lam: float | Literal["auto"] = option(
        "auto",
        "Weight of the sparsity, positive and without a unit; auto derives it from the "
        "numbers of coils and pixels.",
        check=_lam,
    )
    sparsifier: str | None = option(
        None,
        "Sparsifying transform: an orthogonal wavelet such as haar, db4 or sym4, "
        "undecimated-haar, tv, dual-tree, or a sum such as tv+undecimated-haar; with joint also "
        "across-tv, across-haar, across-fourier, across-low-rank and across-groups. The preset's "
        "by default.",
    )
    levels: int | None = option(
        None, "Wavelet levels; the sparsifier's own choice by default.", check=_at_least_1
    )
    layers: int | None = option(
        None,
        "Number of layers per pass, or the largest number for the adaptive preset; the "
        "preset's by default (50, 50, 15, 25, and 2000 for adaptive).",
        check=_at_least_1,
    )
    relative_gap: float | None = option(
        None,
        "Certified relative gap at which the adaptive preset stops; 0.001 by default.",
        check=_gap,
    )
    budget: float | None = option(
        None,
        "Relative size of the perturbations that the image should withstand best, such as "
        "2%, up to 20%; it determines lam. Measured, not proven.",
        parse=share,
        check=_budget,
    )

    accuracy: float | None = option(
        None,
        "Accuracy, relative to the norm of the data, from which the paper's theorem "
        "derives the layers and lam of the paper preset, with constants that are assumed "
        "and not checked.",
        parse=share,
        check=_accuracy,
    )

    weights: Path | Shipped | None = option(
        None,
        "Trained network instead of a preset: learned or learned-stable, which are "
        "included in the package, or a .safetensors file that firenet train wrote. "
        "Learned layers have no duality gap and accept none of these options; a learned "
        "frame has a gap, and accepts lam, layers, budget and the preset stable.",
        flag="network",
    )

    @property
    def passes(self) -> int:
        """How often the network is run; all passes but the first use weights from the image."""
        return 2 if self.preset == "sharp" else 1

    def _check_together(self) -> None:
        if self.weights is not None:
            self._check_weights()
        if self.accuracy is not None and (self.preset != "paper" or self.layers is not None):
            raise UsageError(
                f"An accuracy of {self.accuracy} was asked for, with preset {self.preset} and "
                f"layers {self.layers}; it sets the layers of the paper preset, so choose that one "
                "and give no layers"
            )
        if self.relative_gap is not None and self.preset != "adaptive":
            raise UsageError(
                f"A relative gap of {self.relative_gap} was asked for; only the adaptive preset "
                "stops on one"
            )
        if self.budget is not None and (self.lam != "auto" or self.preset == "paper"):
            raise UsageError(
                f"A budget of {self.budget} and lam {self.lam} or the paper preset were asked for; "
                "a budget chooses the automatic lam of the other presets"
            )

    def _check_weights(self) -> None:
        """Refuse what means nothing for a trained network."""
        assert self.weights is not None
        given = self._differs(_OF_PRESETS)
        # Without others nothing needs to be known about the file.
        if given and format_of(self.weights) == FRAME:
            check_beside_frame(self)
        elif given:
            raise UsageError(
                f"{', '.join(given)}: belongs to a preset, and weights (--network) of a trained "
                "network were given; leave one out"
            )

    def _differs(self, names: Sequence[str]) -> list[str]:
        """Return those of the options that are not the usual ones."""
        usual = type(self)()
        return [name for name in names if getattr(self, name) != getattr(usual, name)]


def check_beside_frame(options: NetworkOptions) -> None:
    """Refuse what a learned frame replaces; lam, layers and budget are those of its preset.

    Whatever these are, gap and constants are proven: the frame is one more sparsifier.

    Raises
    ------
    UsageError
        If there is a sparsifier or levels, or a preset that was not made for a learned frame.
    """
    for name in ("sparsifier", "levels"):
        if getattr(options, name) is not None:
            raise UsageError(
                f"{name}: a learned frame (--network) replaces the sparsifier; leave {name} out"
            )
    if options.preset not in _FRAME_PRESETS:
        raise UsageError(
            f"preset: a learned frame (--network) works with {' and '.join(_FRAME_PRESETS)}, not "
            f"{options.preset}"
        )
