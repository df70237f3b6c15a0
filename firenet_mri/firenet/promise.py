"""What the theorem promises of a network whose p and n were computed from assumed constants.

Let A have the robust null space property in levels with (rho, gamma), c1 and c2 be the constants
that follow (:mod:`firenet_mri.firenet.levels`), and chi = c1 / (lam sqrt(xi)). For data y take

    delta = a (1 - nu) / (2 chi),   p >= 2 chi L / nu,   n with chi nu^n <= a / 2.

Then, with c(x, y) = 2 lam sigma_{s,M}(x)_w + (1 + c2/chi) ||A x - y||, every image x with
c(x, y) <= delta ||y|| has

    F(psi_n) - F(x) <= eps_n ||y||,   ||psi_n - x|| <= a ||y||,

since sharpness bounds the distance by chi (delta + eps_n) ||y||, and
delta + eps_n <= delta / (1 - nu) + nu^n (docs/theory.md, section 4). Nobody has checked
(rho, gamma) for the scan, and an image with so small a c(x, y) need not exist: delta is far below
the noise of a scan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from firenet_mri.errors import UsageError, check_positive
from firenet_mri.firenet.levels import (
    LevelStructure,
    NullSpaceConstants,
    RecoveryConstants,
    admissible_lam,
    objective_bound,
    recovery_constants,
    sharpness,
    smallest_inner,
    smallest_restarts,
)
from firenet_mri.rounding import above, below

#: What random sampling has with high probability by [1], as quoted second-hand, if it has enough
#: samples; for an operator of norm 1. [1] Colbrook, Antun, Hansen, PNAS 119(12), 2022.
USUAL_CONSTANTS = NullSpaceConstants(rho=0.5, gamma=math.sqrt(2))

#: Layers n p beyond which a network is refused.
MOST_LAYERS = 5000

_NU = math.exp(-1)

# Unit-norm coil maps have a norm that exceeds 1 by rounding.
_NORM = 1.0001


@dataclass(frozen=True)
class TheoremPromise:
    """The theorem's parameters for an accuracy, and the constants that it assumes.

    Parameters
    ----------
    accuracy
        a, the distance in units of ||y||.
    levels, constants
        The level structure, and (rho, gamma), which are assumed.
    lam
        Weight of the sparsity; None is the largest admissible one.

    Raises
    ------
    UsageError
        If lam is not admissible, or the network would have more than ``MOST_LAYERS`` layers.

    Examples
    --------
    >>> promise = TheoremPromise(0.01, LevelStructure.balanced((2, 8), (4, 12)))
    >>> promise.inner, promise.restarts
    (56, 8)
    """

    accuracy: float
    levels: LevelStructure
    constants: NullSpaceConstants = USUAL_CONSTANTS
    lam: float | None = None

    def __post_init__(self) -> None:
        check_positive("accuracy", self.accuracy)
        layers = self.inner * self.restarts
        if layers > MOST_LAYERS:
            raise UsageError(
                f"An accuracy of {self.accuracy:g} with lam = {self.weight:.4g} needs p = "
                f"{self.inner} inner iterations and n = {self.restarts} restarts, n p = {layers} "
                f"layers, more than {MOST_LAYERS}; ask for less accuracy, or give a lam nearer to "
                f"the largest admissible one, {admissible_lam(self.levels, self.recovery):.4g}"
            )

    @property
    def recovery(self) -> RecoveryConstants:
        """c1 and c2, for the operator that the network has."""
        return recovery_constants(self.levels, self.constants)

    @property
    def weight(self) -> float:
        """lam, the one given or the largest admissible one."""
        return admissible_lam(self.levels, self.recovery) if self.lam is None else self.lam

    @property
    def chi(self) -> float:
        """Sharpness, from objective gap to distance."""
        return sharpness(self.levels, self.recovery, self.weight)

    @property
    def delta(self) -> float:
        """The largest c(x, y) for which something is promised, in units of ||y||."""
        return self.accuracy * (1 - _NU) / (2 * self.chi)

    @property
    def inner(self) -> int:
        """p, for an operator of norm 1 and a little more."""
        return smallest_inner(self.chi, _NORM, nu=_NU)

    @property
    def restarts(self) -> int:
        """n, at least 1."""
        return max(1, smallest_restarts(self.chi, 1.0, self.accuracy / 2, nu=_NU))

    @property
    def objective_gap(self) -> float:
        """eps_n in units of ||y||."""
        return objective_bound(1.0, self.restarts, delta=self.delta, nu=_NU)

    @property
    def largest_norm(self) -> float:
        """The largest L with p >= 2 chi L / nu."""
        return self.inner * _NU / (2 * self.chi)

    def assumption(self) -> str:
        """Return what is assumed of the encoding, in words."""
        return (
            "the encoding has the robust null space property in levels with rho = "
            f"{below(self.constants.rho)}, gamma = {below(self.constants.gamma, 4)} and local "
            f"sparsities {_listed(self.levels.sparsities)} of {_listed(self.levels.sizes)} "
            "coefficients"
        )

    def statement(self) -> str:
        """Return what follows from the assumption, in words."""
        misfit = 1 + self.recovery.c2 / self.chi
        return (
            f"Assumed, not checked: {self.assumption()}. It then follows that every image c with "
            f"{above(2 * self.weight)} sigma(c) + {above(misfit)} ||A c - y|| <= "
            f"{below(self.delta)} ||y|| lies within {above(self.accuracy)} ||y|| of the network's "
            f"image, whose objective is at most {above(self.objective_gap)} ||y|| above that of c. "
            "sigma(c) is the weighted l1 norm of c without its largest coefficients, as many in "
            "each level as the sparsities say. From these constants: "
            f"lam = {self.weight:.4g}, chi = {self.chi:.4g}, p = {self.inner}, n = {self.restarts}."
        )


def _listed(numbers: Sequence[int]) -> str:
    return "(" + ", ".join(map(str, numbers)) + ")"
