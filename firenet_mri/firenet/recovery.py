"""What can be verified about a given scan: where else the true image or the optimum may be.

All statements are checked after the fact from an image x, a dual vector and smallest singular
values; A is applied as an operator. T is a set of coefficients, T^c the others, w the weights,
L >= ||A||, d = z - x.

Localisation (:func:`localise`), synthesis and analysis form. Let (v, q) be feasible for the dual of
the square-root LASSO, A^H v + W^H q = 0, ||v|| <= 1, |q_i| <= lam w_i, with
|q_i| <= (1 - eta) lam w_i on T^c. With lower = -<v, y> every z has

    F(z) - lower = [lam ||W z||_{1,w} + <q, W z>] + [||A z - y|| - <v, A z - y>],

two terms that are not negative. So with D = F(z) - lower, r = A z - y and P the projection on the
(real) orthogonal complement of v

    ||(W z)_{T^c}||_{1,w} <= D / (eta lam),
    ||P r||^2 <= (||r|| - <v, r>)(||r|| + <v, r>) <= 2 D ||r||

(the second for v scaled to unit length, which only shortens the bracket where <v, r> >= 0; where it
is negative ||r|| <= D), and ||r|| <= D / (1 - ||v||) where ||v|| < 1. If mu > 0 is a lower bound of
the smallest singular value of d -> (P A d, s w (W d)_{T^c}) then

    mu^2 ||d||^2 <= (||P (A x - y)|| + sqrt(2 D ||r||))^2
                    + s^2 (||w (W x)_{T^c}|| + D / (eta lam))^2.

||r|| <= F(z) at first, then ||r|| <= ||A x - y|| + L ||d||. All images with F(z) <= F(x) + t lie
within that radius of x. For data y + e the minimiser x' has F(x') <= min F + 2 ||e||, hence
t = 2 ||e|| says how far from x it can be.

Recovery (:func:`local_recovery`), synthesis form, on coefficients: let ||A_T d|| >= mu ||d||, u any
vector of data, h = A^H u, theta = ||h_T - (w sgn x)_T||, eta = 1 - max_{T^c} |h_i| / w_i and
B = L / min_{T^c} w >= max ||a_i|| / w_i. If eta > theta B / mu then for all z

    ||d|| <= K1 (||z||_{1,w} - ||x||_{1,w} + 2 ||x_{T^c}||_{1,w}) + K2 ||A d||,
    K1 = (B / mu + 1 / min_{T^c} w) / (eta - theta B / mu),   K2 = 1 / mu + K1 (||u|| + theta / mu).

u = A_T (A_T^H A_T)^{-1} (w sgn x)_T by conjugate gradients; theta covers what they leave.

Stability of the minimiser (:func:`minimiser_stability`), synthesis form: let D be the gap of x,
r = A x - y, v = r / ||r||. Any dual solution v* has ||v* - v|| <= delta = sqrt(2 D / ||r||), by the
second bracket above. So with h = -A^H v / lam every minimiser is zero outside of
T = {|h_i| > (1 - eta) w_i - L delta / lam}. With mu a lower bound of the smallest singular value of
(1 - v v^T) A_T, the minimiser x* lies within R = (||r*|| delta + B D / (eta lam)) / mu +
D / (eta lam min_{T^c} w) of x; ||r*|| <= F(x) at first, then <= ||r|| + L R. If ||r|| > L R, then
for

    ||e|| < eta lam (||r|| - L R) min_{T^c} w / (2 L)

the minimiser for data y + e lives on T too and is at most 3 ||e|| / (mu - L delta) from x*
(docs/theory.md, section 6.2).

Smallest singular values (:func:`smallest_eigenvalue_bound`): let G be symmetric, 0 <= G <= c, and
p_k(t) = T_k((c + m - 2 t) / (c - m)) with Chebyshev's polynomial T_k and any m in (0, c). For the
smallest eigenvalue t and a vector g of independent normal numbers, g_1 its component along an
eigenvector of t, |p_k(t)| |g_1| <= ||p_k(G) g||, and |g_1| > f sqrt(pi/2) with probability 1 - f at
least. T_k grows to the right of 1, hence with that probability

    t >= m - (c - m) / 2 (cosh(arcosh(||p_k(G) g|| / (f sqrt(pi/2))) / k) - 1).

m is where a few Lanczos steps see the eigenvalue; the bound holds for any m.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from firenet_mri.errors import ShapeError
from firenet_mri.firenet.problem import SquareRootLasso

FAILURE = 1e-9
"""f: with this probability, over the random vector, a smallest singular value is overstated."""

_LANCZOS_STEPS = 40
_CHEBYSHEV_STEPS = 400
_CONJUGATE_GRADIENT_STEPS = 100
_FIRST_SUPPORT = 16

# Rounds that tighten the dual of the analysis form.
_ROUNDS = 50

# How far below its bound the dual is on T^c: candidates, of which the best is taken.
_ETAS = (0.5, 0.25, 0.1)


@dataclass(frozen=True)
class NotVerified:
    """That nothing is claimed, and why."""

    reason: str


@dataclass(frozen=True)
class Localisation:
    """Where all images lie whose objective is no larger, or not much larger, than that of x.

    Parameters
    ----------
    support
        Number of coefficients in T.
    eta, mu, s
        See the module's formulas; mu holds with probability 1 - ``FAILURE``.
    dual_norm
        ||v||, at most 1.
    objective, gap
        F(x), and F(x) - lower.
    residual, across
        ||A x - y|| and ||P (A x - y)||.
    outside
        ||w (W x)_{T^c}||.
    slope
        eta lam.
    norm
        L.
    """

    support: int
    eta: float
    mu: float
    s: float
    dual_norm: float
    objective: float
    gap: float
    residual: float
    across: float
    outside: float
    slope: float
    norm: float

    def radius(self, excess: float = 0.0) -> float:
        """Return a bound of ||z - x|| for all z with F(z) <= F(x) + excess."""
        gap = self.gap + excess
        largest = self.objective + excess
        if self.dual_norm < 1:
            largest = min(largest, gap / (1 - self.dual_norm))
        outside = self.outside + gap / self.slope
        # Every pass gives a valid radius; they fall.
        for _ in range(20):
            across = self.across + math.sqrt(2 * gap * largest)
            radius = math.hypot(across, self.s * outside) / self.mu
            largest = min(largest, self.residual + self.norm * radius)
        return radius


@dataclass(frozen=True)
class LocalRecovery:
    """Constants with which an image is recovered, from a verified dual vector.

    Parameters
    ----------
    support
        Number of coefficients in T, the largest ones.
    eta, theta, mu
        See the module's formulas; mu holds with probability 1 - ``FAILURE``.
    k1, k2
        K1 and K2.
    tail
        ||x_{T^c}||_{1,w}.
    residual
        ||A x - y||.
    """

    support: int
    eta: float
    theta: float
    mu: float
    k1: float
    k2: float
    tail: float
    residual: float

    @property
    def radius(self) -> float:
        """A bound of ||z - x|| for all z that are as regular and as consistent as x.

        ||W z||_{1,w} <= ||W x||_{1,w} and ||A z - y|| <= ||A x - y||.
        """
        return 2 * self.k1 * self.tail + 2 * self.k2 * self.residual


@dataclass(frozen=True)
class MinimiserStability:
    """How the exact minimiser moves when the data change by little.

    Parameters
    ----------
    support
        Number of coefficients in T, outside of which all minimisers are zero.
    eta, mu
        See the module's formulas; mu holds with probability 1 - ``FAILURE``.
    distance
        R: the minimiser is at most so far from x.
    largest_change
        The statement is about changes ||e|| of the data below this number.
    lipschitz
        The minimiser moves by at most this many times ||e||.
    """

    support: int
    eta: float
    mu: float
    distance: float
    largest_change: float
    lipschitz: float


def localise(
    problem: SquareRootLasso,
    y: Tensor,
    x: Tensor,
    v: Tensor,
    q: Tensor | None = None,
    *,
    seed: int = 0,
) -> Localisation | NotVerified:
    """Return where all images lie that are as good as x for the objective.

    Parameters
    ----------
    problem, y
        The problem, synthesis or analysis form, and its data, one item.
    x, v, q
        Image and duals; they need not be optimal or feasible, nor belong together.
    seed
        Of the random vector that bounds the smallest singular value.

    Raises
    ------
    ShapeError
        If there are several items.
    """
    _check_one_item(problem, y)
    y, x = _double(y), _double(x)
    dual = _feasible_dual(problem, y, x, v, q)
    if dual is None:
        return NotVerified("The dual vector proves no bound above 0.")
    candidates = [_localise_at(problem, y, x, dual, eta, seed) for eta in _ETAS]
    found = [one for one in candidates if one is not None]
    if not found:
        return NotVerified(
            "Too many coefficients are free: images differ in them that the data tell apart badly "
            "or not at all."
        )
    return min(found, key=lambda one: one.radius())


def local_recovery(
    problem: SquareRootLasso, y: Tensor, x: Tensor, *, seed: int = 0
) -> LocalRecovery | NotVerified:
    """Return recovery constants for the largest coefficients of an image, synthesis form.

    Supports of 16, 32, 64, ... coefficients are tried as long as the dual vector is valid; of the
    two largest the one with the smaller radius is taken.

    Parameters
    ----------
    problem, y, x
        The problem, its data and an image, one item.
    seed
        Of the random vector that bounds the smallest singular value.

    Raises
    ------
    ShapeError
        If there are several items.
    """
    _check_one_item(problem, y)
    if not problem.is_synthesis:
        return NotVerified(
            "The constants are derived for orthogonal sparsifiers only; this one is redundant."
        )
    y, c = _double(y), problem.analyse(_double(x))
    duals: list[tuple[Tensor, _DualVector]] = []
    # What rounding leaves where a coefficient is zero has no meaningful sign.
    count = int((c.abs() > 1e-9 * c.abs().max()).sum())
    size = min(_FIRST_SUPPORT, count)
    while 0 < size <= min(count, c.numel() - 1):
        mask = _largest(c, size)
        dual = _fuchs_vector(problem, c, mask)
        if dual.eta <= 0:
            break
        duals.append((mask, dual))
        size *= 2
    if not duals:
        return NotVerified(
            f"No dual vector could be verified, not even for the {_FIRST_SUPPORT} largest "
            "coefficients."
        )
    found = [_recovery_at(problem, y, c, mask, dual, seed) for mask, dual in duals[-2:]]
    constants = [one for one in found if one is not None]
    if not constants:
        return NotVerified("The data tell images apart badly that differ in large coefficients.")
    return min(constants, key=lambda one: one.radius)


def minimiser_stability(
    problem: SquareRootLasso, y: Tensor, x: Tensor, gap: float, *, seed: int = 0
) -> MinimiserStability | NotVerified:
    """Return how the minimiser depends on the data, synthesis form.

    Parameters
    ----------
    problem, y, x
        The problem, its data and an image near the minimiser, one item.
    gap
        D, the certified duality gap of x.
    seed
        Of the random vector that bounds the smallest singular value.

    Raises
    ------
    ShapeError
        If there are several items.
    """
    _check_one_item(problem, y)
    if not problem.is_synthesis:
        return NotVerified(
            "The minimiser's support is derived for orthogonal sparsifiers only; this one is "
            "redundant."
        )
    y, x = _double(y), _double(x)
    residual = problem.encoding(x) - y
    if gap >= _norm(residual):
        return NotVerified("The gap is larger than the residual, whose direction is then unknown.")
    candidates = [_stability_at(problem, y, x, residual, max(gap, 0.0), eta, seed) for eta in _ETAS]
    found = [one for one in candidates if one is not None]
    if not found:
        return NotVerified(
            "The gap is too large to tell on which coefficients the minimiser lives, or the data "
            "tell those apart badly."
        )
    return min(found, key=lambda one: one.lipschitz)


def smallest_eigenvalue_bound(
    apply: Callable[[Tensor], Tensor], start: Tensor, largest: float, *, steps: int = 400
) -> float:
    """Return a lower bound of the smallest eigenvalue; it fails with probability ``FAILURE``.

    Parameters
    ----------
    apply
        G, symmetric for the real inner product, 0 <= G <= largest, on the space of ``start``.
    start
        g: independent standard normal numbers (real and imaginary parts), zero outside of the
        coordinates on which G acts.
    largest
        c, an upper bound of the largest eigenvalue.
    steps
        k at most; the bound is better the larger it is. 0 is returned where that many steps and a
        few more could not prove anything else.
    """
    limit = FAILURE * math.sqrt(math.pi / 2)
    seen = _lanczos_estimate(apply, start, _LANCZOS_STEPS)
    within_reach = largest / 2 * (math.cosh(math.acosh(1 / limit) / steps) - 1)
    if seen < within_reach:
        return 0.0
    # Any m in (0, c) does; at c itself the interval is empty.
    seen = min(seen, 0.99 * largest)
    best = 0.0
    before, now = start, _affine(apply, start, seen, largest)
    for k in range(1, steps + 1):
        angle = math.acosh(max(1.0, _norm(now) / limit)) / k
        best = max(best, seen - (largest - seen) / 2 * (math.cosh(min(angle, 50.0)) - 1))
        if best > 0.75 * seen:
            break
        before, now = now, 2 * _affine(apply, now, seen, largest) - before
    return best


def _affine(apply: Callable[[Tensor], Tensor], x: Tensor, m: float, c: float) -> Tensor:
    """Return ((c + m) - 2 G) / (c - m) x."""
    return ((c + m) * x - 2 * apply(x)) / (c - m)


def _lanczos_estimate(apply: Callable[[Tensor], Tensor], start: Tensor, steps: int) -> float:
    """Return an estimate of the smallest eigenvalue, not below it but for rounding."""
    x, before = start / _norm(start), torch.zeros_like(start)
    diagonal: list[float] = []
    beside: list[float] = []
    for _ in range(steps):
        after = apply(x)
        diagonal.append(_inner(x, after))
        after = after - diagonal[-1] * x
        if beside:
            after = after - beside[-1] * before
        length = _norm(after)
        if length < 1e-10:
            break
        beside.append(length)
        x, before = after / length, x
    off = torch.tensor(beside[: len(diagonal) - 1], dtype=torch.float64)
    matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    matrix = matrix + torch.diag(off, 1) + torch.diag(off, -1)
    return float(torch.linalg.eigvalsh(matrix)[0])


class _FeasibleDual:
    """(v, q) with A^H v + W^H q = 0, ||v|| <= 1, |q_i| <= lam w_i, and its bound -<v, y>."""

    def __init__(self, v: Tensor, q: Tensor, y: Tensor) -> None:
        self.v = v
        self.q = q
        self.lower = -_inner(v, y)


def _feasible_dual(
    problem: SquareRootLasso, y: Tensor, x: Tensor, v: Tensor, q: Tensor | None
) -> _FeasibleDual | None:
    """Return the better of v and the residual of x, made feasible; None if both prove nothing."""
    found: list[_FeasibleDual] = []
    for candidate in (_double(v), problem.encoding(x) - y):
        length = _norm(candidate)
        if length == 0:
            continue
        unit = candidate / length
        image = problem.encoding.adjoint(unit)
        coefficients = -problem.analyse(image)
        if not problem.is_synthesis:
            start = coefficients if q is None else _double(q) / length
            coefficients = problem.tighten_dual_of(image, start, _ROUNDS)
        size = coefficients.abs().clamp(min=torch.finfo(torch.float64).tiny)
        scale = min(1.0, float((problem.threshold(coefficients) / size).min()))
        found.append(_FeasibleDual(scale * unit, scale * coefficients, y))
    best = max(found, key=lambda dual: dual.lower, default=None)
    return best if best is not None and best.lower > 0 else None


def _localise_at(
    problem: SquareRootLasso, y: Tensor, x: Tensor, dual: _FeasibleDual, eta: float, seed: int
) -> Localisation | None:
    """Return the localisation for one eta, None if mu is not above 0."""
    norm, slope = problem.encoding.norm_bound, eta * problem.lam
    weights = _weights(problem, dual.q)
    heaviest = float(weights.max())
    outside = (dual.q.abs() <= (1 - eta) * problem.lam * weights) * weights
    length = _norm(dual.v)
    direction = dual.v / length
    residual = problem.encoding(x) - y
    across = residual - _inner(direction, residual) * direction
    objective = float(problem.objective_of(problem.analyse(x), residual + y, y))
    gap = max(objective - dual.lower, 0.0)
    rest = _norm(outside * problem.analyse(x))
    # Any s does; with this one the two parts are of the same norm.
    s = norm / heaviest

    def apply(d: Tensor) -> Tensor:
        data = problem.encoding(d)
        data = data - _inner(direction, data) * direction
        penalty = problem.synthesise((s * outside) ** 2 * problem.analyse(d))
        return problem.encoding.adjoint(data) + penalty

    largest = norm**2 + (s * heaviest) ** 2
    square = smallest_eigenvalue_bound(apply, _normal(x, seed), largest, steps=_CHEBYSHEV_STEPS)
    if square <= 0:
        return None
    return Localisation(
        support=int((outside == 0).sum()),
        eta=eta,
        mu=math.sqrt(square),
        s=s,
        dual_norm=min(1.0, length),
        objective=objective,
        gap=gap,
        residual=_norm(residual),
        across=_norm(across),
        outside=rest,
        slope=slope,
        norm=norm,
    )


@dataclass(frozen=True)
class _DualVector:
    """||u||, eta and theta of a vector u."""

    length: float
    eta: float
    theta: float


def _largest(c: Tensor, size: int) -> Tensor:
    """Return a mask of the largest numbers."""
    mask = torch.zeros(c.numel(), dtype=torch.bool, device=c.device)
    mask[c.abs().flatten().topk(size).indices] = True
    return mask.reshape(c.shape)


def _fuchs_vector(problem: SquareRootLasso, c: Tensor, mask: Tensor) -> _DualVector:
    """Return what is needed of the shortest u with (A^H u)_T = (w sgn c)_T, as far as it is met."""
    weights = _weights(problem, c)
    signs = mask * weights * torch.sgn(c)

    def gram(g: Tensor) -> Tensor:
        data = problem.encoding(problem.synthesise(g))
        return mask * problem.analyse(problem.encoding.adjoint(data))

    u = problem.encoding(problem.synthesise(_conjugate_gradients(gram, signs)))
    h = problem.analyse(problem.encoding.adjoint(u))
    eta = 1 - float((~mask * h.abs() / weights).max())
    return _DualVector(_norm(u), eta, _norm(mask * h - signs))


def _conjugate_gradients(apply: Callable[[Tensor], Tensor], right: Tensor) -> Tensor:
    """Return an approximate solution; how good it is must be checked."""
    solution, residual = torch.zeros_like(right), right
    direction, square = residual, _inner(residual, residual)
    wanted = 1e-20 * square
    for _ in range(_CONJUGATE_GRADIENT_STEPS):
        image = apply(direction)
        curvature = _inner(direction, image)
        if square <= wanted or curvature <= 0:
            break
        length = square / curvature
        solution = solution + length * direction
        residual = residual - length * image
        previous, square = square, _inner(residual, residual)
        direction = residual + square / previous * direction
    return solution


def _recovery_at(
    problem: SquareRootLasso, y: Tensor, c: Tensor, mask: Tensor, dual: _DualVector, seed: int
) -> LocalRecovery | None:
    """Return the constants for one support, None if they cannot be verified."""
    weights = _weights(problem, c)
    mu = _restricted_singular_value(problem, c, mask, None, seed)
    if mu <= 0:
        return None
    smallest = float(weights[~mask].min())
    ratio = problem.encoding.norm_bound / smallest / mu
    margin = dual.eta - dual.theta * ratio
    if margin <= 0:
        return None
    k1 = (ratio + 1 / smallest) / margin
    return LocalRecovery(
        support=int(mask.sum()),
        eta=dual.eta,
        theta=dual.theta,
        mu=mu,
        k1=k1,
        k2=1 / mu + k1 * (dual.length + dual.theta / mu),
        tail=float((weights * c.abs())[~mask].sum()),
        residual=_norm(problem.encoding(problem.synthesise(c)) - y),
    )


def _stability_at(
    problem: SquareRootLasso,
    y: Tensor,
    x: Tensor,
    residual: Tensor,
    gap: float,
    eta: float,
    seed: int,
) -> MinimiserStability | None:
    """Return the stability for one eta, None if it cannot be verified."""
    norm, lam, size = problem.encoding.norm_bound, problem.lam, _norm(residual)
    v = residual / size
    delta = math.sqrt(2 * gap / size)
    h = problem.analyse(problem.encoding.adjoint(v)) / lam
    weights = _weights(problem, h)
    mask = h.abs() + norm * delta / lam > (1 - eta) * weights
    if bool(mask.all()):
        return None
    smallest = float(weights[~mask].min())
    mu = _restricted_singular_value(problem, h, mask, v, seed)
    if mu <= norm * delta:
        return None
    rest = gap / (eta * lam * smallest)
    largest = float(problem.objective_of(problem.analyse(x), residual + y, y))
    # Every pass gives a valid distance; they fall.
    for _ in range(20):
        distance = (largest * delta + norm * rest) / mu + rest
        largest = min(largest, size + norm * distance)
    left = size - norm * distance
    if left <= 0:
        return None
    return MinimiserStability(
        support=int(mask.sum()),
        eta=eta,
        mu=mu,
        distance=distance,
        largest_change=0.5 * eta * lam * left * smallest / norm,
        lipschitz=3 / (mu - norm * delta),
    )


def _restricted_singular_value(
    problem: SquareRootLasso, like: Tensor, mask: Tensor, v: Tensor | None, seed: int
) -> float:
    """Return a lower bound of the smallest singular value of A_T, or of (1 - v v^T) A_T."""
    norm = problem.encoding.norm_bound
    if not bool(mask.any()):
        return norm

    def apply(c: Tensor) -> Tensor:
        data = problem.encoding(problem.synthesise(c))
        if v is not None:
            data = data - _inner(v, data) * v
        return mask * problem.analyse(problem.encoding.adjoint(data))

    start = mask * _normal(like, seed)
    square = smallest_eigenvalue_bound(apply, start, norm**2, steps=_CHEBYSHEV_STEPS)
    return math.sqrt(square)


def _check_one_item(problem: SquareRootLasso, y: Tensor) -> None:
    if tuple(y.shape) != problem.encoding.codomain_shape:
        raise ShapeError(
            f"The data have shape {tuple(y.shape)}; one item of shape "
            f"{problem.encoding.codomain_shape} is verified at a time"
        )


def _weights(problem: SquareRootLasso, like: Tensor) -> Tensor:
    """Return w in the shape of the coefficients."""
    return torch.ones_like(like.real) * problem.threshold(like) / problem.lam


def _normal(like: Tensor, seed: int) -> Tensor:
    """Return independent standard normal numbers; a complex one has two of them."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(*like.shape, 2, dtype=torch.float64, generator=generator).to(like.device)
    return torch.view_as_complex(values) if like.is_complex() else values[..., 0]


def _double(values: Tensor) -> Tensor:
    return values.detach().to(torch.promote_types(values.dtype, torch.float64))


def _norm(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values))


def _inner(a: Tensor, b: Tensor) -> float:
    """Return Re <a, b>."""
    return float((a.conj() * b).real.sum())
