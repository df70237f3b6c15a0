"""The Lipschitz constant of a learned network, proven from its weights.

    x_0 = 0,   x_k = J_k(x_{k-1} + p_k(N) (A^H y - N x_{k-1})),   J_k(x) = x - W_k^T P_k(W_k x),

with N = A^H A, ||A|| <= 1, W_k real filters that act on real and imaginary part, and P_k the
function

    phi(t) = t up to r,   r - rho (t - r) from there down to 0,   0 beyond,   r > 0, rho >= 0,

of the singular values of the 2 x m matrices of groups of m filters, pixel by pixel. The thresholds
r may differ from group to group and pixel to pixel, but are fixed numbers; all filters of a group
have one rho. With m_k of the polynomial p_k (learned/polynomial.py), S_k = sup sum_f |H_f|^2 and
R_k = sup sum_f rho_f |H_f|^2 (learned/filters_norm.py)

    L_k = max(S_k - 1, 1 + R_k),   ||dx_K||^2 <= sum_k m_k L_k^2 ... L_K^2 ||dy||^2.

Proofs are in docs/theory.md, section 3.9. All numbers are rounded up; the network's own arithmetic
is not covered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.firenet.learned.filters_norm import squared_norm
from firenet_mri.firenet.learned.polynomial import first_step_constant, step_constant
from firenet_mri.firenet.rational import float_above, root_above


@dataclass(frozen=True, eq=False)
class Stage:
    """The numbers of one stage on which the constant depends; thresholds do not matter.

    Parameters
    ----------
    coefficients
        c_0, c_1, ... of p(t) = sum_i c_i t^i. None, or zeros, is a stage without a data step: the
        second of two layers between two data steps is a stage of this kind.
    filters
        (n, k, k) real; n may be 0. Dilation changes nothing.
    firmness
        (n,), rho of each filter, at least 0; 0 is the soft threshold. Filters of a group have the
        same.

    Raises
    ------
    ShapeError
        If there is not one rho for each filter.
    """

    coefficients: tuple[float, ...]
    filters: NDArray[np.floating[Any]]
    firmness: NDArray[np.floating[Any]]

    def __post_init__(self) -> None:
        if self.filters.ndim != 3 or self.firmness.shape != self.filters.shape[:1]:
            raise ShapeError(
                f"filters have shape {self.filters.shape} and firmness {self.firmness.shape}; they "
                "must be (n, k, k) and (n,)"
            )


class StageBound(NamedTuple):
    """Proven numbers of a stage, each rounded upwards.

    step: m of the data step; layer: L, the Lipschitz constant of the layer after it; filters: S,
    the largest sum of |H_f|^2 over all frequencies; firm: the same with weights rho.
    """

    step: float
    layer: float
    filters: float
    firm: float


def stage_bounds(stages: Sequence[Stage]) -> tuple[StageBound, ...]:
    """Return m, L, S and S_rho of every stage.

    The first stage that has a data step starts from the image 0, and its m is that of
    :func:`first_step_constant`.

    Raises
    ------
    UsageError
        If a number is not finite, a rho is negative, or a polynomial is not admissible; the
        message names the stage.
    """
    bounds, starts_from_zero = [], True
    for number, stage in enumerate(stages, start=1):
        try:
            bounds.append(_stage_bound(stage, starts_from_zero))
        except UsageError as error:
            raise UsageError(f"stage {number}: {error}") from None
        starts_from_zero = starts_from_zero and not any(stage.coefficients)
    return tuple(bounds)


def combined_bound(bounds: Sequence[StageBound]) -> float:
    """Return the constant that follows from numbers of the stages, rounded upwards.

    inf where it is too large for double precision.
    """
    square = Fraction(0)
    try:
        for bound in bounds:
            square = (square + Fraction(bound.step)) * Fraction(bound.layer) ** 2
            # Upwards to a double, so that no number grows with the depth.
            square = Fraction(float_above(square))
    except OverflowError:
        return math.inf
    return root_above(square)


def _stage_bound(stage: Stage, from_zero: bool) -> StageBound:
    step = first_step_constant if from_zero else step_constant
    norm = squared_norm(stage.filters)
    firm = squared_norm(stage.filters, stage.firmness)
    layer = max(Fraction(norm) - 1, 1 + Fraction(firm))
    return StageBound(step(stage.coefficients), float_above(layer), norm, firm)
