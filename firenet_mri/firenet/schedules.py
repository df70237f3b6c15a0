"""Step sizes of the network, fixed before any data are seen.

All schedules give step sizes for data of unit norm; the network scales them by eps_0 of each item,

    tau = eps_0 * tau_k,    sigma = sigma_k / eps_0,    eps_0 = ||y|| unless it is given,

so that the map from data to image is positively homogeneous. A schedule is a list of blocks; a
block starts from zero duals or keeps those of the block before, and passes on either its ergodic
average or its last iterate.

Paper [1], in its rescaled form: psi_0 = 0, and for k = 1..n

    eps_k = nu (delta + eps_{k-1}),   al_k = 2 L / (p eps_k),
    psi_k = (1/al_k) average over p steps of the iteration on (al_k y, start al_k psi_{k-1}, v = 0),

which is the iteration on y itself with tau_k = tau / al_k and sigma_k = sigma al_k.

WARPd [2]: the same decrease of the primal step from restart to restart, with the dual kept.

[1] Colbrook, Antun, Hansen, PNAS 119(12) e2107151119, 2022, and its published code.
[2] Colbrook, SIAM J. Imaging Sci. 15(3), 2022, and its published code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from firenet_mri.errors import UsageError, check_positive
from firenet_mri.firenet.levels import (
    LevelStructure,
    RecoveryConstants,
    sharpness,
    smallest_inner,
    smallest_restarts,
)
from firenet_mri.firenet.monotonicity import UnrolledIteration
from firenet_mri.firenet.promise import TheoremPromise
from firenet_mri.firenet.solver import GeometricSteps
from firenet_mri.firenet.solver import Schedule as Schedule
from firenet_mri.firenet.unrolled import FixedSchedule
from firenet_mri.firenet.unrolled import Steps as Steps


@dataclass(frozen=True)
class PaperSchedule(FixedSchedule):
    """The published schedule: dual reset and ergodic average at every restart.

    Parameters
    ----------
    restarts, inner
        n restarts of p inner iterations.
    tau, sigma
        Step sizes before rescaling; None is 1/norm.
    norm
        L, at least the operator's norm; None is its proven bound.
    eps0
        Bound of the first objective gap; None is ||y|| of each item.
    delta
        Accuracy floor of the schedule in units of eps_0.
    nu
        Factor by which the objective gap falls at each restart, in (0, 1).
    promise
        What p and n were computed for, which the certificate then states; None states nothing.

    Notes
    -----
    Differs from [1] in: ``delta`` is relative to eps_0, where the published code has an absolute
    1e-9; so the network keeps its behaviour when the data are scaled, as the certificate needs. The
    code's value is ``delta = 1e-9 / eps_0``.
    """

    restarts: int = 5
    inner: int = 5
    tau: float | None = None
    sigma: float | None = None
    norm: float | None = None
    eps0: float | None = None
    delta: float = 1e-9
    nu: float = math.exp(-1)
    promise: TheoremPromise | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _check_count("restarts", self.restarts)
        _check_count("inner", self.inner)
        for name in ("tau", "sigma", "norm", "eps0"):
            value = getattr(self, name)
            if value is not None:
                check_positive(name, value)
        _check_decrease(self.nu, self.delta)

    @classmethod
    def from_theorem(
        cls,
        levels: LevelStructure,
        recovery: RecoveryConstants,
        *,
        lam: float,
        norm: float,
        eps0: float,
        accuracy: float,
        delta: float = 0.0,
        nu: float = math.exp(-1),
    ) -> PaperSchedule:
        """Return the schedule for which Theorem 3 promises an accuracy.

        p = ceil(2 chi L / nu), and n such that chi times the objective gap after n restarts is at
        most the accuracy; then :func:`firenet_mri.firenet.levels.error_bound` bounds the error.

        Parameters
        ----------
        levels, recovery
            Level structure and constants, see :mod:`firenet_mri.firenet.levels`.
        lam
            Weight of the sparsity, at most ``admissible_lam(levels, recovery)``.
        norm
            L, at least the operator's norm.
        eps0
            At least ||y||, in units of the data.
        accuracy
            Wanted distance, in units of the image.
        delta
            At least c(x, y), see :func:`firenet_mri.firenet.levels.data_error`; in units of the
            data.
        nu
            Factor by which the objective gap falls at each restart; exp(-1) needs fewest layers.

        Raises
        ------
        UsageError
            If a number lies outside the theorem's range, which the message states.

        Examples
        --------
        >>> from firenet_mri.firenet.levels import (
        ...     LevelStructure, NullSpaceConstants, admissible_lam, recovery_constants
        ... )
        >>> levels = LevelStructure.balanced((2, 8), (4, 12))
        >>> recovery = recovery_constants(levels, NullSpaceConstants(0.5, 1.414))
        >>> lam = admissible_lam(levels, recovery)
        >>> schedule = PaperSchedule.from_theorem(
        ...     levels, recovery, lam=lam, norm=1.0, eps0=1.0, accuracy=1e-3
        ... )
        >>> schedule.inner, schedule.restarts
        (56, 10)
        """
        chi = sharpness(levels, recovery, lam)
        restarts = smallest_restarts(chi, eps0, accuracy, delta=delta, nu=nu)
        return cls(
            restarts=max(restarts, 1),
            inner=smallest_inner(chi, norm, nu=nu),
            norm=norm,
            eps0=eps0,
            delta=delta / eps0,
            nu=nu,
        )

    @classmethod
    def for_promise(cls, promise: TheoremPromise) -> PaperSchedule:
        """Return the schedule with the promise's p, n and delta, for data of any norm."""
        return cls(promise.restarts, promise.inner, delta=promise.delta, promise=promise)

    @property
    def depths(self) -> tuple[int, ...]:
        """Layers of each block: p, n times."""
        return (self.inner,) * self.restarts

    @property
    def returns_average(self) -> bool:
        """True: a restart begins at the ergodic average."""
        return True

    @property
    def keeps_dual(self) -> bool:
        """False: a restart begins with zero duals."""
        return False

    @property
    def data_consistency(self) -> float:
        """0: there is no last step."""
        return 0.0

    @property
    def geometric(self) -> None:
        """None: the steps change at restarts."""

    def blocks(self, norm_bound: float) -> tuple[tuple[Steps, ...], ...]:
        """Return tau_k = tau p eps_k / (2 L) and sigma_k = 2 sigma L / (p eps_k) for eps_0 = 1."""
        norm = self.norm or norm_bound
        tau, sigma = self._base_steps(norm_bound)
        eps = 1.0
        blocks = []
        for _ in range(self.restarts):
            eps = self.nu * (self.delta + eps)
            al = 2 * norm / (self.inner * eps)
            blocks.append((Steps(tau / al, sigma * al),) * self.inner)
        return tuple(blocks)

    @property
    def iteration(self) -> UnrolledIteration:
        """n restarts of p iterations; their steps cancel out."""
        return UnrolledIteration.restarted(self.restarts, self.inner)

    def step_length(self, norm_bound: float) -> float | None:
        """Return sqrt(tau sigma), None if tau sigma L^2 > 1."""
        tau, sigma = self._base_steps(norm_bound)
        return None if _are_too_long(tau, sigma, norm_bound) else math.sqrt(tau * sigma)

    def _base_steps(self, norm_bound: float) -> tuple[float, float]:
        """Return tau and sigma before rescaling, refused where tau sigma L^2 > 1."""
        norm = self.norm or norm_bound
        tau, sigma = self.tau or 1 / norm, self.sigma or 1 / norm
        known = min(norm, norm_bound)
        if _are_too_long(tau, sigma, known):
            raise UsageError(
                f"tau * sigma * ||A||^2 is {tau * sigma * known**2:.4g} with tau = {tau:.4g}, "
                f"sigma = {sigma:.4g} and ||A|| <= {known:.4g}; the iteration needs at most 1, so "
                f"choose tau * sigma <= {1 / known**2:.4g}"
            )
        return tau, sigma


@dataclass(frozen=True)
class NetworkSchedule(FixedSchedule):
    """Geometrically decreasing primal steps, dual kept, last iterate.

    tau_k = tau decay^k and sigma_k = 1 / (L^2 tau_k) for k = 0..layers-1, with L the proven bound
    of the operator's norm.

    Parameters
    ----------
    layers
        Number of layers.
    tau
        First primal step for data of unit norm. The Lipschitz bound does not depend on it. The
        default suits a lam at the noise level; far below that the image moves further, and 3 with
        ``data_consistency=1`` suits better.
    decay
        Factor between neighbouring primal steps, in (0, 1].
    data_consistency
        Length a of a last step x - (a / ||A||^2) A^H (A x - y), in [0, 1]; 0 leaves it out.
    eps0
        Scale of the steps; None is ||y|| of each item.
    """

    layers: int = 30
    tau: float = 1.0
    decay: float = 0.9
    data_consistency: float = 0.0
    eps0: float | None = None

    def __post_init__(self) -> None:
        _check_count("layers", self.layers)
        check_positive("tau", self.tau)
        if self.eps0 is not None:
            check_positive("eps0", self.eps0)
        if not 0 < self.decay <= 1:
            raise UsageError(f"decay is {self.decay}; it must lie in (0, 1]")
        if not 0 <= self.data_consistency <= 1:
            raise UsageError(f"data_consistency is {self.data_consistency}; it must lie in [0, 1]")

    @property
    def depths(self) -> tuple[int, ...]:
        """Layers of each block: one block."""
        return (self.layers,)

    @property
    def returns_average(self) -> bool:
        """False: the network returns its last iterate."""
        return False

    @property
    def keeps_dual(self) -> bool:
        """True; there is one block only."""
        return True

    @property
    def geometric(self) -> GeometricSteps:
        """The steps as numbers, from which training can start."""
        return GeometricSteps(self.layers, self.tau, self.decay, self.data_consistency)

    def blocks(self, norm_bound: float) -> tuple[tuple[Steps, ...], ...]:
        """Return the steps of the one block."""
        taus = [self.tau * self.decay**k for k in range(self.layers)]
        return (_opposite_steps(taus, norm_bound),)

    @property
    def iteration(self) -> UnrolledIteration:
        """One block with geometric steps."""
        # The decimal number that was meant, 9/10 for 0.9, is the one in the table.
        return UnrolledIteration.geometric(Fraction(str(self.decay)), self.layers)

    def step_length(self, norm_bound: float) -> float:
        """Return 1 / L."""
        return 1 / norm_bound


@dataclass(frozen=True)
class WARPdSchedule(FixedSchedule):
    """Restarts as in WARPd: the primal step shrinks at each restart, the dual is kept.

    tau_k = tau om_k / L and sigma_k = 1 / (tau om_k L) during restart k, with om_0 = 1 and
    om_k = nu (delta + om_{k-1}).

    Parameters
    ----------
    restarts, inner
        n restarts of p inner iterations.
    tau
        First primal step for data of unit norm and an operator of norm 1; C1 C2 in [2].
    delta
        Accuracy floor of the schedule, in units of eps_0.
    nu
        Factor between the steps of neighbouring restarts, in (0, 1).
    eps0
        Scale of the steps; None is ||y|| of each item.

    Notes
    -----
    Differs from [2] in: a restart passes on its last iterate, so that the whole network is one
    sequence of decreasing steps, for which a Lipschitz bound is proven.
    """

    restarts: int = 5
    inner: int = 5
    tau: float = 1.0
    delta: float = 1e-9
    nu: float = math.exp(-1)
    eps0: float | None = None

    def __post_init__(self) -> None:
        _check_count("restarts", self.restarts)
        _check_count("inner", self.inner)
        check_positive("tau", self.tau)
        if self.eps0 is not None:
            check_positive("eps0", self.eps0)
        _check_decrease(self.nu, self.delta)

    @property
    def depths(self) -> tuple[int, ...]:
        """Layers of each block: p, n times."""
        return (self.inner,) * self.restarts

    @property
    def returns_average(self) -> bool:
        """False: a restart passes on its last iterate."""
        return False

    @property
    def keeps_dual(self) -> bool:
        """True."""
        return True

    @property
    def data_consistency(self) -> float:
        """0: there is no last step."""
        return 0.0

    @property
    def geometric(self) -> None:
        """None: the steps change at restarts."""

    def blocks(self, norm_bound: float) -> tuple[tuple[Steps, ...], ...]:
        """Return the steps of every restart."""
        return tuple(
            _opposite_steps([tau / norm_bound] * self.inner, norm_bound) for tau in self._scales()
        )

    @property
    def iteration(self) -> UnrolledIteration:
        """One sequence of steps, since dual and last iterate are kept."""
        steps = tuple((Fraction(tau),) * self.inner for tau in self._scales())
        return UnrolledIteration(steps, False, True)

    def step_length(self, norm_bound: float) -> float:
        """Return 1 / L."""
        return 1 / norm_bound

    def _scales(self) -> tuple[float, ...]:
        scales = [1.0]
        for _ in range(self.restarts - 1):
            scales.append(self.nu * (self.delta + scales[-1]))
        return tuple(self.tau * scale for scale in scales)


def _opposite_steps(taus: Sequence[float], norm_bound: float) -> tuple[Steps, ...]:
    """Return steps with tau sigma L^2 = 1."""
    return tuple(Steps(tau, 1 / (norm_bound**2 * tau)) for tau in taus)


def _are_too_long(tau: float, sigma: float, norm: float) -> bool:
    # Some rounding units of slack: tau = sigma = 1/L gives a product of 1 up to rounding.
    return tau * sigma * norm**2 > 1 + 1e-12


def _check_count(name: str, value: int) -> None:
    if value < 1:
        raise UsageError(f"{name} is {value}; it must be a whole number of at least 1")


def _check_decrease(nu: float, delta: float) -> None:
    if not 0 < nu < 1:
        raise UsageError(f"nu is {nu}; it must lie between 0 and 1")
    if not 0 <= delta < math.inf:
        raise UsageError(f"delta is {delta}; it must be a number of at least 0")
