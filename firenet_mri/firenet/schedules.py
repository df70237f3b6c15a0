"""Step sizes of the network, fixed before any data are seen.

All schedules give step sizes for data of unit norm; the network scales them by eps_0 of each item,

    tau = eps_0 * tau_k,    sigma = sigma_k / eps_0,    eps_0 = ||y|| unless it is given,

so that the map from data to image is positively homogeneous. A schedule is a list of blocks; the
dual starts at zero in every block, and a block hands on either its ergodic average or its last
iterate.

Paper [1], in its rescaled form: psi_0 = 0, and for k = 1..n

    eps_k = nu (delta + eps_{k-1}),   al_k = 2 L / (p eps_k),
    psi_k = (1/al_k) average over p steps of the iteration on (al_k y, start al_k psi_{k-1}, v = 0),

which is the iteration on y itself with tau_k = tau / al_k and sigma_k = sigma al_k.

[1] Colbrook, Antun, Hansen, PNAS 119(12) e2107151119, 2022, and its published code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from firenet_mri.errors import UsageError


class Steps(NamedTuple):
    """Step sizes of one layer for data of unit norm."""

    tau: float
    sigma: float


class Schedule(Protocol):
    """What a network needs to know: how many layers, which steps, what each block returns."""

    @property
    def depths(self) -> tuple[int, ...]:
        """Layers of each block."""

    @property
    def returns_average(self) -> bool:
        """True: a block returns its ergodic average; False: its last iterate."""

    @property
    def eps0(self) -> float | None:
        """The scale of the steps; None is ||y|| of each item."""

    def blocks(self, norm_bound: float) -> tuple[tuple[Steps, ...], ...]:
        """Return the steps of every block for an operator of norm at most ``norm_bound``."""

    def lipschitz_bound(self, norm_bound: float) -> float | None:
        """Return a proven bound of the Lipschitz constant at fixed eps_0, None if there is none."""


@dataclass(frozen=True)
class PaperSchedule:
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

    def __post_init__(self) -> None:
        _check_count("restarts", self.restarts)
        _check_count("inner", self.inner)
        for name in ("tau", "sigma", "norm", "eps0"):
            value = getattr(self, name)
            if value is not None:
                _check_positive(name, value)
        if not 0 < self.nu < 1:
            raise UsageError(f"nu is {self.nu}; it must lie between 0 and 1")
        if not 0 <= self.delta < math.inf:
            raise UsageError(f"delta is {self.delta}; it must be a number of at least 0")

    @property
    def depths(self) -> tuple[int, ...]:
        """Layers of each block: p, n times."""
        return (self.inner,) * self.restarts

    @property
    def returns_average(self) -> bool:
        """True: a restart begins at the ergodic average."""
        return True

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

    def lipschitz_bound(self, norm_bound: float) -> float | None:
        """Return n (p-1)/2 sqrt(tau sigma) if tau sigma ||K||^2 <= 1, else None.

        Proof for the synthesis form in docs/theory.md, section 3.3; it uses of the operator only
        its norm and holds with K = (A, W) for the analysis form, where data enter v alone.
        """
        tau, sigma = self._base_steps(norm_bound)
        # One rounding unit of slack: tau = sigma = 1/L gives a product of 1 up to rounding.
        if tau * sigma * norm_bound**2 > 1 + 1e-12:
            return None
        return self.restarts * (self.inner - 1) / 2 * math.sqrt(tau * sigma)

    def _base_steps(self, norm_bound: float) -> tuple[float, float]:
        norm = self.norm or norm_bound
        return self.tau or 1 / norm, self.sigma or 1 / norm


@dataclass(frozen=True)
class NetworkSchedule:
    """Geometrically decreasing primal steps, dual kept, last iterate.

    tau_k = tau decay^k and sigma_k = 1 / (L^2 tau_k) for k = 0..layers-1, with L the proven bound
    of the operator's norm.

    Parameters
    ----------
    layers
        Number of layers.
    tau
        First primal step for data of unit norm.
    decay
        Factor between neighbouring primal steps, in (0, 1].
    eps0
        Scale of the steps; None is ||y|| of each item.
    """

    layers: int = 40
    tau: float = 0.5
    decay: float = 0.97
    eps0: float | None = None

    def __post_init__(self) -> None:
        _check_count("layers", self.layers)
        _check_positive("tau", self.tau)
        if self.eps0 is not None:
            _check_positive("eps0", self.eps0)
        if not 0 < self.decay <= 1:
            raise UsageError(f"decay is {self.decay}; it must lie in (0, 1]")

    @property
    def depths(self) -> tuple[int, ...]:
        """Layers of each block: one block."""
        return (self.layers,)

    @property
    def returns_average(self) -> bool:
        """False: the network returns its last iterate."""
        return False

    def blocks(self, norm_bound: float) -> tuple[tuple[Steps, ...], ...]:
        """Return the steps of the one block."""
        taus = [self.tau * self.decay**k for k in range(self.layers)]
        return (tuple(Steps(tau, 1 / (norm_bound**2 * tau)) for tau in taus),)

    def lipschitz_bound(self, norm_bound: float) -> float | None:
        """Return None: no bound is proven for this schedule yet."""
        return None


def _check_count(name: str, value: int) -> None:
    if value < 1:
        raise UsageError(f"{name} is {value}; it must be at least 1")


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise UsageError(f"{name} is {value}; it must be a positive number")
