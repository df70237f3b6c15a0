"""Both sides of the largest eigenvalue of a symmetric map, from one Krylov space.

Let G be symmetric and positive semidefinite on R^n, lambda its largest eigenvalue, w its unit
eigenvector, and u a unit vector. The Lanczos process, G u_i = b_i u_{i-1} + a_i u_i + b_{i+1}
u_{i+1} from u_0 = u, defines polynomials p_i of degree i with u_i = p_i(G) u, orthonormal with
respect to u: p_0 = 1 and b_{i+1} p_{i+1}(t) = (t - a_i) p_i(t) - b_i p_{i-1}(t).

Lower bound: the largest eigenvalue theta of the tridiagonal matrix of a_i and b_i is at most
lambda.

Upper bound: for every polynomial q of degree at most k, |q(lambda)| |<u, w>| = |<q(G) u, w>| <=
||q(G) u||. With q = sum_i c_i p_i this is |sum_i c_i p_i(lambda)| |<u, w>| <= ||c||, and the best c
has c_i = p_i(lambda), so that

    |<u, w>|^2 sum_{i=0}^k p_i(lambda)^2 <= 1.

Let u be uniformly random on the sphere. For n >= 3 the density of <u, w> is largest at 0, where it
at most sqrt(n / (2 pi)), so that P(|<u, w>| <= t) <= t sqrt(2 n / pi), which also holds for n < 3.
With t = delta sqrt(pi / (2 n)) the sum is at most 1 / t^2, except with probability delta. All p_i
grow above theta, and so does the sum: **lambda is at most the one number above theta where the sum
is 1 / t^2**, with probability at least 1 - delta, for all k at once, since only <u, w> is random.
No polynomial gets more from this space; those of Chebyshev [1] are among them.

[1] Dixon, Estimating extremal eigenvalues and condition numbers of matrices, SIAM J. Numer. Anal.
    20(4), 1983; Kuczynski, Wozniakowski, SIAM J. Matrix Anal. Appl. 13(4), 1992.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# A coefficient b below this share of the largest is rounding; a larger share only makes the bound
# larger.
_ROUNDING = 1e-13

_BISECTIONS = 60


class KrylovSpace:
    """The space of u, G u, G^2 u, ..., orthonormal to rounding, one vector at a time.

    Parameters
    ----------
    start
        u, (n) float64, not zero.
    """

    def __init__(self, start: Tensor) -> None:
        self._basis = [start / torch.linalg.vector_norm(start)]
        self._diagonal: list[float] = []
        self._off_diagonal: list[float] = []

    @property
    def degree(self) -> int:
        """k: the number of applications of G."""
        return len(self._diagonal)

    @property
    def last(self) -> Tensor:
        """The unit vector to which G must be applied next, (n) float64."""
        return self._basis[-1]

    @property
    def is_invariant(self) -> bool:
        """True if G leaves the space by no more than rounding."""
        return self.degree > 0 and self._off_diagonal[-1] <= _ROUNDING * self._scale()

    def extend(self, image: Tensor) -> None:
        """Add G applied to :attr:`last`, (n) float64."""
        self._diagonal.append(float(self.last @ image))
        # Twice: one pass leaves rounding errors as large as what is subtracted.
        for _ in range(2):
            for other in self._basis:
                image = torch.sub(image, other, alpha=float(other @ image))
        length = float(torch.linalg.vector_norm(image))
        self._off_diagonal.append(length)
        self._basis.append(image / length if length > 0 else image)

    def below(self) -> float:
        """Return theta, which is at most the largest eigenvalue; at least 0."""
        return max(float(torch.linalg.eigvalsh(self._tridiagonal())[-1]), 0.0)

    def vector(self) -> Tensor:
        """Return the unit vector of the space with <x, G x> = theta, (n) float64."""
        weights = torch.linalg.eigh(self._tridiagonal())[1][:, -1]
        total = torch.zeros_like(self._basis[0])
        for weight, vector in zip(weights.tolist(), self._basis, strict=False):
            total = total + weight * vector
        return total / torch.linalg.vector_norm(total)

    def above(self, failure: float) -> float:
        """Return a number that the largest eigenvalue exceeds with probability at most ``failure``.

        The probability is over the start, which is uniformly random on the sphere.
        """
        low = self.below()
        least = failure * math.sqrt(math.pi / (2 * len(self._basis[0])))
        if low == 0 or self._exceeds(low, least):
            return low
        high = 2 * low
        while not self._exceeds(high, least):
            low, high = high, 2 * high
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            low, high = (low, middle) if self._exceeds(middle, least) else (middle, high)
        return high

    def _exceeds(self, value: float, least: float) -> bool:
        """Return whether the sum of all p_i(value)^2 is more than 1 / least^2."""
        smallest = _ROUNDING * self._scale()
        # least p_i instead of p_i: nothing overflows.
        before, now, total, coefficient = 0.0, least, least**2, 0.0
        for a, b in zip(self._diagonal, self._off_diagonal, strict=True):
            b = max(b, smallest)
            before, now, coefficient = now, ((value - a) * now - coefficient * before) / b, b
            # All further terms only add.
            if now > 1:
                return True
            total += now**2
        return total > 1

    def _scale(self) -> float:
        return max(map(abs, (*self._diagonal, *self._off_diagonal)))

    def _tridiagonal(self) -> Tensor:
        inner = torch.tensor(self._off_diagonal[:-1], dtype=torch.float64)
        matrix = torch.diag(torch.tensor(self._diagonal, dtype=torch.float64))
        if self.degree > 1:
            matrix = matrix + torch.diag(inner, 1) + torch.diag(inner, -1)
        return matrix
