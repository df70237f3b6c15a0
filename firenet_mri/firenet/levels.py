"""Sparsity in levels: what Theorem 3 of the paper promises, from constants that are given.

The N coefficients fall into levels l = 1..r; s_l of the sizes_l coefficients of level l are large,
and w is constant on levels. With sigma_{s,M}(x)_w = min ||x - z||_{1,w} over z with at most s_l
entries per level,

    xi = sum_l w_l^2 s_l,    zeta = min_l w_l^2 s_l,    kappa = xi / zeta.

w_l = sqrt(s / s_l), s = sum_l s_l, makes kappa = r, the least possible [1, (1.15)].

A has the robust null space property in levels with (rho, gamma) if for all x and every set D of s_l
entries per level

    ||x_D|| <= rho ||x_{D^c}||_{1,w} / sqrt(xi) + gamma ||A x||.

Then, for all x and z, with d = z - x, T = ||z||_{1,w} - ||x||_{1,w} + 2 sigma_{s,M}(x)_w and
k = kappa^{1/4},

    ||d|| <= (c1 / sqrt(xi)) T + c2 ||A d||,
    c1 = (rho + (1+rho) k/2) (1+rho)/(1-rho),
    c2 = ((1+rho)/(1-rho) + (3+rho)/(1-rho) k/2) gamma,

and where A is known up to an error e in the spectral norm only,

    e <= min( (1-rho) / (gamma (k + (1+rho)(1+k/2))), 1 / (gamma (2+k)) ),

the constants of Theorem 3, which are c1 and c2 at ((1+rho)/2, 2 gamma):

    C1 = ((1+rho)/2 + (3+rho) k/4) (3+rho)/(1-rho),
    C2 = 2 ((3+rho)/(1-rho) + (7+rho)/(1-rho) k/2) gamma.

For lam <= C1 / (C2 sqrt(xi)) and chi = C1 / (lam sqrt(xi)) the objective F of the square-root LASSO
is sharp: ||z - x|| <= chi (c(x, y) + F(z) - F(x)), c(x, y) = 2 lam sigma_{s,M}(x)_w
+ (1 + C2/chi) ||A x - y||. Restarts with p >= 2 chi L / nu inner iterations then give

    ||psi_n - x|| <= (2 C1/sqrt(xi)) sigma_{s,M}(x)_w + (chi + C2) ||A x - y||
                     + chi (nu^n eps_0 + delta nu (1 - nu^n)/(1 - nu)).

Proofs in docs/theory.md. (rho, gamma) of a given A cannot be checked in practice: NP-hard.

[1] Colbrook, Antun, Hansen, PNAS 119(12) e2107151119, 2022, and its published code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from firenet_mri.errors import UsageError, check_positive
from firenet_mri.operators.base import records_graph
from firenet_mri.operators.wavelets import OrthogonalWavelet
from firenet_mri.plurals import counted
from firenet_mri.rounding import above, below

#: Local sparsities of the paper's 256 x 256 phantom in 7 Haar levels at threshold 0.5. 324 of its
#: finest coefficients, 108 and 18 one and two levels up, equal 0.5 up to rounding; these counts
#: hold part of them.
PAPER_SPARSITIES = (15, 44, 82, 141, 232, 358, 440)

_NU = math.exp(-1)


@dataclass(frozen=True)
class LevelStructure:
    """Local sparsities, sizes and weights of the levels, the coarsest first.

    Parameters
    ----------
    sparsities
        s_l, at least 1 and at most the size of the level.
    sizes
        Coefficients of each level, M_l - M_{l-1}.
    weights
        w_l, positive.

    Raises
    ------
    UsageError
        If there is not one of each per level, or one lies outside its range.

    Examples
    --------
    >>> levels = LevelStructure.balanced((2, 8), (4, 12))
    >>> round(levels.xi), round(levels.zeta), round(levels.kappa)
    (20, 10, 2)
    """

    sparsities: tuple[int, ...]
    sizes: tuple[int, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        check_sparsities(self.sparsities, self.sizes)
        if len(self.weights) != len(self.sizes):
            raise UsageError(
                f"{counted(len(self.weights), 'weight')} given for "
                f"{counted(len(self.sizes), 'level')}; give one per level"
            )
        if not all(0 < weight < math.inf for weight in self.weights):
            raise UsageError(f"Weights {self.weights} given; all must be positive numbers")

    @classmethod
    def balanced(cls, sparsities: Sequence[int], sizes: Sequence[int]) -> LevelStructure:
        """Return the structure with w_l = sqrt(s / s_l), for which kappa is the number of levels.

        Raises
        ------
        UsageError
            If the sparsities do not fit the sizes.
        """
        check_sparsities(sparsities, sizes)
        return cls(tuple(sparsities), tuple(sizes), _balanced_weights(sparsities))

    @property
    def xi(self) -> float:
        """sum_l w_l^2 s_l."""
        return math.fsum(self._products)

    @property
    def zeta(self) -> float:
        """min_l w_l^2 s_l."""
        return min(self._products)

    @property
    def kappa(self) -> float:
        """xi / zeta, at least the number of levels."""
        return self.xi / self.zeta

    @property
    def _products(self) -> tuple[float, ...]:
        return tuple(w * w * s for w, s in zip(self.weights, self.sparsities, strict=True))


@dataclass(frozen=True)
class NullSpaceConstants:
    """(rho, gamma) of the robust null space property in levels: assumed, not checked.

    Parameters
    ----------
    rho
        In [0, 1).
    gamma
        Positive; times the norm of A it has no unit.

    Raises
    ------
    UsageError
        If a constant lies outside its range.
    """

    rho: float
    gamma: float

    def __post_init__(self) -> None:
        if not 0 <= self.rho < 1:
            raise UsageError(f"rho is {self.rho}; it must be at least 0 and less than 1")
        check_positive("gamma", self.gamma)

    def largest_perturbation(self, kappa: float) -> float:
        """Return the error e of A, in the spectral norm, that C1 and C2 of Theorem 3 allow.

        The second bound, for gamma, is the smaller one only where rho < 1/9.
        """
        k = kappa**0.25
        for_rho = (1 - self.rho) / (k + (1 + self.rho) * (1 + k / 2))
        return min(for_rho, 1 / (2 + k)) / self.gamma

    def perturbed(self, error: float, kappa: float) -> NullSpaceConstants:
        """Return constants of every B with ||A - B|| <= error.

        rho' = (rho + gamma e k/2) / (1 - gamma e (1 + k/2)), gamma' = gamma / (1 - gamma e (1+k/2))
        with k = kappa^{1/4}. Up to :meth:`largest_perturbation` they are at most (1+rho)/2 and
        2 gamma.

        Raises
        ------
        UsageError
            If the error is so large that nothing holds.
        """
        if not 0 <= error < math.inf:
            raise UsageError(f"error is {error}; it must be a number of at least 0")
        k = kappa**0.25
        rest = 1 - self.gamma * error * (1 + k / 2)
        rho = (self.rho + self.gamma * error * k / 2) / rest if rest > 0 else math.inf
        if rho >= 1:
            limit = below((1 - self.rho) / (self.gamma * (1 + k)))
            raise UsageError(
                f"error is {error}; below {limit} the null space property remains, and up to "
                f"{below(self.largest_perturbation(kappa))} with the constants of Theorem 3"
            )
        return NullSpaceConstants(rho, self.gamma / rest)


@dataclass(frozen=True)
class RecoveryConstants:
    """c1 and c2 of ||d|| <= (c1/sqrt(xi)) T + c2 ||A d||; see :func:`recovery_constants`."""

    c1: float
    c2: float


def recovery_constants(
    levels: LevelStructure, constants: NullSpaceConstants, exact: bool = True
) -> RecoveryConstants:
    """Return c1 and c2 for a known A, or C1 and C2 of Theorem 3 for one known approximately.

    Parameters
    ----------
    levels, constants
        Level structure, and (rho, gamma) of A.
    exact
        True where A is known exactly; False allows an error of
        :meth:`NullSpaceConstants.largest_perturbation`.
    """
    k = levels.kappa**0.25
    rho, gamma = constants.rho, constants.gamma
    if exact:
        c1 = (rho + (1 + rho) * k / 2) * (1 + rho) / (1 - rho)
        c2 = ((1 + rho) / (1 - rho) + (3 + rho) / (1 - rho) * k / 2) * gamma
    else:
        c1 = ((1 + rho) / 2 + (3 + rho) * k / 4) * (3 + rho) / (1 - rho)
        c2 = 2 * ((3 + rho) / (1 - rho) + (7 + rho) / (1 - rho) * k / 2) * gamma
    return RecoveryConstants(c1, c2)


def admissible_lam(levels: LevelStructure, recovery: RecoveryConstants) -> float:
    """Return the largest lam of the theorem, c1 / (c2 sqrt(xi)); there chi is least, c2."""
    return recovery.c1 / (recovery.c2 * math.sqrt(levels.xi))


def sharpness(levels: LevelStructure, recovery: RecoveryConstants, lam: float) -> float:
    """Return chi = c1 / (lam sqrt(xi)), the factor from objective gap to distance.

    Raises
    ------
    UsageError
        If lam is not positive or larger than :func:`admissible_lam`.
    """
    largest = admissible_lam(levels, recovery)
    # One rounding unit of slack, for the largest one itself.
    if not 0 < lam <= largest * (1 + 1e-12):
        raise UsageError(
            f"lam is {lam}; the theorem needs 0 < lam <= C1 / (C2 sqrt(xi)) = {largest:.6g}, give "
            "one in this range"
        )
    return recovery.c1 / (lam * math.sqrt(levels.xi))


def smallest_inner(chi: float, norm: float, *, nu: float = _NU, step: float | None = None) -> int:
    """Return the least number p of inner iterations for which the theorem holds.

    p = ceil(2 chi L / nu) for tau = sigma = 1/L, and ceil(2 chi L / (nu (2 sqrt(L t) - 1))) for
    tau = sigma = t < 1/L.

    Parameters
    ----------
    chi, norm
        Sharpness, and a bound L of the operator's norm.
    nu
        Factor of the objective gap at each restart, in (0, 1).
    step
        t; None is 1/L.

    Raises
    ------
    UsageError
        If the step is not in (1/(4 L), 1/L], nu not in (0, 1), or a number not positive.
    """
    check_positive("chi", chi)
    check_positive("norm", norm)
    _check_nu(nu)
    relative = 1.0 if step is None else step * norm
    if not 0.25 < relative <= 1 + 1e-12:
        raise UsageError(
            f"The step is {step}; the theorem needs 1/(4 L) < tau = sigma <= 1/L, from "
            f"{0.25 / norm:.6g} to {1 / norm:.6g}"
        )
    return _ceil(2 * chi * norm / (nu * (2 * math.sqrt(min(relative, 1.0)) - 1)))


def objective_bound(eps0: float, restarts: int, *, delta: float = 0.0, nu: float = _NU) -> float:
    """Return eps_n = nu^n eps_0 + delta nu (1 - nu^n)/(1 - nu), the bound of F(psi_n) - F(x).

    Raises
    ------
    UsageError
        If a number is negative or nu not in (0, 1).
    """
    _check_nu(nu)
    for name, value in (("eps0", eps0), ("restarts", restarts), ("delta", delta)):
        _check_not_negative(name, value)
    fall: float = nu**restarts
    return fall * eps0 + delta * nu * (1 - fall) / (1 - nu)


def smallest_restarts(
    chi: float, eps0: float, accuracy: float, *, delta: float = 0.0, nu: float = _NU
) -> int:
    """Return the least n for which chi times the objective bound is at most the accuracy.

    Parameters
    ----------
    chi, eps0
        Sharpness, and the bound of the first objective gap, ||y||.
    accuracy
        Wanted distance, in units of the image.
    delta, nu
        Of the schedule.

    Raises
    ------
    UsageError
        If no number of restarts reaches the accuracy, since delta is too large.
    """
    check_positive("chi", chi)
    check_positive("accuracy", accuracy)
    limit = delta * nu / (1 - nu)
    objective_bound(eps0, 0, delta=delta, nu=nu)
    rest = accuracy / chi - limit
    if rest <= 0:
        raise UsageError(
            f"accuracy is {accuracy}; with delta {delta} only more than chi delta nu/(1 - nu) = "
            f"{above(chi * limit)} can be reached, ask for less or lower delta"
        )
    if eps0 <= limit + rest:
        return 0
    return _ceil(math.log((eps0 - limit) / rest) / -math.log(nu))


def data_error(
    levels: LevelStructure,
    recovery: RecoveryConstants,
    lam: float,
    *,
    tail: float,
    misfit: float,
) -> float:
    """Return c(x, y) = 2 lam sigma_{s,M}(x)_w + (1 + c2/chi) ||A x - y||; delta must reach it.

    Parameters
    ----------
    levels, recovery, lam
        As for :func:`sharpness`.
    tail, misfit
        sigma_{s,M}(x)_w as :func:`best_approximation_error` gives it, and ||A x - y||.
    """
    chi = sharpness(levels, recovery, lam)
    return 2 * lam * tail + (1 + recovery.c2 / chi) * misfit


def error_bound(
    levels: LevelStructure,
    recovery: RecoveryConstants,
    lam: float,
    *,
    tail: float,
    misfit: float,
    objective_gap: float,
) -> float:
    """Return (2 c1/sqrt(xi)) sigma + (chi + c2) ||A x - y|| + chi (F(z) - F(x)) >= ||z - x||.

    With :func:`objective_bound` as gap it is the bound of Theorem 3 for z = psi_n; it needs
    p >= :func:`smallest_inner`, delta >= :func:`data_error` and eps_0 >= ||y||.

    Parameters
    ----------
    levels, recovery, lam
        As for :func:`sharpness`.
    tail, misfit
        sigma_{s,M}(x)_w as :func:`best_approximation_error` gives it, and ||A x - y||.
    objective_gap
        F(z) - F(x) or a bound of it.
    """
    chi = sharpness(levels, recovery, lam)
    regular = 2 * recovery.c1 / math.sqrt(levels.xi) * tail
    return regular + (chi + recovery.c2) * misfit + chi * objective_gap


@dataclass(frozen=True)
class TheoremParameters:
    """What the theorem asks of a network, and what it then promises for every image c and data y:

    ||psi_n - c|| <= tail_factor sigma_{s,M}(c)_w + misfit_factor ||A c - y||
                     + delta_factor delta + accuracy ||y||,

    if the schedule's delta is at least c(c, y).

    Parameters
    ----------
    recovery
        c1 and c2.
    largest_lam, lam, chi
        End of the admissible range, the one taken, and the sharpness there.
    inner, restarts
        p and n.
    tail_factor, misfit_factor, delta_factor
        2 c1/sqrt(xi), chi + c2, and chi nu (1 - nu^n)/(1 - nu).
    """

    recovery: RecoveryConstants
    largest_lam: float
    lam: float
    chi: float
    inner: int
    restarts: int
    tail_factor: float
    misfit_factor: float
    delta_factor: float


def theorem_parameters(
    levels: LevelStructure,
    constants: NullSpaceConstants,
    *,
    accuracy: float,
    lam: float | None = None,
    norm: float = 1.0,
    exact: bool = True,
) -> TheoremParameters:
    """Return the parameters that bring the network's own part of the error to accuracy ||y||.

    Parameters
    ----------
    levels, constants, exact
        As for :func:`recovery_constants`.
    accuracy
        chi nu^n at most.
    lam
        None is the largest admissible one, which needs the fewest layers.
    norm
        L, a bound of the operator's norm.

    Raises
    ------
    UsageError
        If lam is not admissible or a number not positive.
    """
    recovery = recovery_constants(levels, constants, exact)
    largest = admissible_lam(levels, recovery)
    lam = largest if lam is None else lam
    chi = sharpness(levels, recovery, lam)
    restarts = smallest_restarts(chi, 1.0, accuracy)
    return TheoremParameters(
        recovery=recovery,
        largest_lam=largest,
        lam=lam,
        chi=chi,
        inner=smallest_inner(chi, norm),
        restarts=restarts,
        tail_factor=2 * recovery.c1 / math.sqrt(levels.xi),
        misfit_factor=chi + recovery.c2,
        delta_factor=chi * objective_bound(0.0, restarts, delta=1.0),
    )


def best_approximation_error(
    coefficients: Tensor, level_index: Tensor, levels: LevelStructure
) -> float:
    """Return sigma_{s,M}(x)_w, the weighted l1 norm of all but the s_l largest of every level.

    Parameters
    ----------
    coefficients
        Coefficients x of one image, real or complex.
    level_index
        int64 of the same shape: 0 for the first level up to r - 1.
    levels
        Level structure.

    Raises
    ------
    UsageError
        If the level sizes are not those of the structure.
    """
    found = count_levels(level_index, len(levels.sizes))
    if found != levels.sizes:
        raise UsageError(
            f"Levels of sizes {found} found, {levels.sizes} stated; they must be the same"
        )
    total = 0.0
    for index, (sparsity, weight) in enumerate(zip(levels.sparsities, levels.weights, strict=True)):
        magnitudes = coefficients[level_index == index].abs().double()
        total += weight * float(magnitudes.sort(descending=True).values[sparsity:].sum())
    return total


def level_index(sparsifier: OrthogonalWavelet) -> Tensor:
    """Return the theory's level of every coefficient: 0 for averages and coarsest details.

    (*spatial) int64, up to the number of wavelet levels less 1.
    """
    return (sparsifier.band_levels - 1).clamp(min=0)


def level_sizes(sparsifier: OrthogonalWavelet) -> tuple[int, ...]:
    """Return how many coefficients each of the theory's levels has."""
    return count_levels(level_index(sparsifier), sparsifier.levels)


def image_sparsities(
    image: Tensor, sparsifier: OrthogonalWavelet, *, threshold: float = 0.5
) -> tuple[int, ...]:
    """Return the local sparsities of an image in the theory's levels, each at least 1.

    Parameters
    ----------
    image
        (..., *spatial) real or complex. Of several images the largest count of each level is taken,
        which holds for all of them.
    sparsifier
        The wavelet.
    threshold
        Magnitude, relative to the largest pixel, from which a coefficient counts as large. Those
        that equal it up to rounding count, so that the result is the same everywhere.

    Raises
    ------
    UsageError
        If the threshold is not positive, or the image is zero.
    """
    check_positive("threshold", threshold)
    largest = float(image.abs().max())
    if largest == 0:
        raise UsageError("The image is zero; give one from which sparsities can be measured")
    precise = image.to(torch.promote_types(image.dtype, torch.float64)) / largest
    index = level_index(sparsifier)
    items = sparsifier(precise).reshape(-1, *sparsifier.domain_shape)
    counts = [local_sparsities(item, index, threshold * (1 - 1e-9)) for item in items]
    return tuple(max(1, *column) for column in zip(*counts, strict=True))


def local_sparsities(
    coefficients: Tensor, band_levels: Tensor, threshold: float
) -> tuple[int, ...]:
    """Return for levels 0 to the finest how many coefficients exceed a threshold.

    Parameters
    ----------
    coefficients
        Coefficients of one image.
    band_levels
        Level of every coefficient, as a sparsifier's ``band_levels`` gives it; broadcasts.
    threshold
        Magnitude above which a coefficient counts as large.
    """
    levels = band_levels.to(coefficients.device).expand(coefficients.shape)
    large = levels[coefficients.abs() > threshold]
    return count_levels(large, int(band_levels.max()) + 1)


def level_weights(sparsities: Sequence[int], band_levels: Tensor) -> Tensor:
    """Return the weight sqrt(s / s_l) of every coefficient, float64, of ``band_levels``' shape.

    Parameters
    ----------
    sparsities
        s_l for levels 0 to the finest, as :func:`local_sparsities` gives them; each at least 1.
    band_levels
        Level of every coefficient.

    Raises
    ------
    UsageError
        If there is not one positive sparsity per level.
    """
    # While a graph is recorded, levels are not yet numbers that could be looked at.
    count = len(sparsities) if records_graph() else int(band_levels.max()) + 1
    if len(sparsities) != count or min(sparsities) < 1:
        raise UsageError(
            f"Sparsities {tuple(sparsities)} given; {count} numbers of at least 1 are needed, one "
            "per level"
        )
    return torch.tensor(_balanced_weights(sparsities), dtype=torch.float64)[band_levels]


def check_sparsities(sparsities: Sequence[int], sizes: Sequence[int]) -> None:
    """Raise UsageError unless there is one sparsity per level, from 1 to the level's size."""
    if len(sparsities) != len(sizes) or not sizes:
        raise UsageError(
            f"{counted(len(sparsities), 'sparsity', 'sparsities')} {tuple(sparsities)} given; give "
            f"one for each level, of sizes {tuple(sizes)}"
        )
    for level, (sparsity, size) in enumerate(zip(sparsities, sizes, strict=True), 1):
        if not 1 <= sparsity <= size:
            raise UsageError(
                f"The sparsity of level {level} is {sparsity}; it must lie between 1 and the "
                f"level's size {size}"
            )


def _balanced_weights(sparsities: Sequence[int]) -> tuple[float, ...]:
    total = sum(sparsities)
    return tuple(math.sqrt(total / s) for s in sparsities)


def count_levels(values: Tensor, length: int) -> tuple[int, ...]:
    """Return how often 0..length-1 occur."""
    return tuple(torch.bincount(values.flatten(), minlength=length).tolist())


def _ceil(value: float) -> int:
    """Return the least integer not below the value, one rounding unit of slack for exact ones."""
    return math.ceil(value * (1 - 1e-14))


def _check_not_negative(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise UsageError(f"{name} is {value}; it must be a number of at least 0")


def _check_nu(nu: float) -> None:
    if not 0 < nu < 1:
        raise UsageError(f"nu is {nu}; it must lie between 0 and 1")
