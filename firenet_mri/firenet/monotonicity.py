"""What the monotonicity of its layers says about two runs of an unrolled network.

Two runs with data y and y', the same schedule and the same operator K, ||K|| <= 1, differ by
(x_k, v_k), starting from zero; tau_k sigma_k = 1. Resolvents are monotone, so that

    <x_k, (x_{k-1} - x_k) / tau - K^H v_{k-1}> >= 0,
    <v_k, (v_{k-1} - v_k) / sigma + K (2 x_k - x_{k-1}) - (y - y')> >= 0,

and K may be taken as the identity, since a contraction is part of a unitary operator on a larger
space, whose added components monotone operators hold at zero. Multipliers mu_i >= 0 of these
conditions <p_i, r_i> >= 0 for which

    Q = t^2 y y^T - x x^T - 2 sum_i mu_i <p_i, r_i>

is positive semidefinite prove ||x|| <= t ||y|| for the output x.

In the analysis form K = (A, W), and the primal step is linear: x_k = x_{k-1} - tau (a + b) with
a = A^H v and b = W^H q. The two duals have a condition each. With ||A||^2 <= theta and
||W||^2 <= 1 - theta, and v and q in the units in which both operators are contractions,

    <v_k, (v_{k-1} - v_k) tau / theta - y> + <a_k, 2 x_k - x_{k-1}> >= 0,
    <q_k, (q_{k-1} - q_k) tau / (1 - theta)> + <b_k, 2 x_k - x_{k-1}> >= 0.

Then three forms must be semidefinite with the same multipliers (docs/theory.md, section 3.4): that
of the duals v with the data, that of the duals q, and that of the images a, b of both, with the
data and the output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product

Vector = Mapping[int, Fraction]
"""A vector as its coefficients in the basis of data change (0), iterates and duals."""

_DATA: Vector = {0: Fraction(1)}
_ONE = Fraction(1)


@dataclass(frozen=True)
class UnrolledIteration:
    """What the bounds need to know about a network.

    Parameters
    ----------
    primal_steps
        tau of every layer, block by block, up to a common factor.
    returns_average
        A block passes on its ergodic average; otherwise its last iterate.
    keeps_dual
        A block starts from the dual of the block before; otherwise from zero.
    data_share
        An interval within (0, 1) that holds ||A||^2 / (||A||^2 + ||W||^2), where the network has
        the analysis form and its structure is made use of; None: nothing is known but ||K||.
    """

    primal_steps: tuple[tuple[Fraction, ...], ...]
    returns_average: bool
    keeps_dual: bool
    data_share: tuple[Fraction, Fraction] | None = None

    @classmethod
    def geometric(
        cls, decay: Fraction, layers: int, data_share: tuple[Fraction, Fraction] | None = None
    ) -> UnrolledIteration:
        """Return one block with tau_k = decay^k that returns its last iterate."""
        return cls((tuple(decay**k for k in range(layers)),), False, True, data_share)

    @classmethod
    def restarted(cls, restarts: int, inner: int) -> UnrolledIteration:
        """Return n blocks of p layers that return averages; their steps' sizes do not matter."""
        return cls(((Fraction(1),) * inner,) * restarts, True, False)

    @property
    def layers(self) -> int:
        """Number of layers of all blocks."""
        return sum(len(steps) for steps in self.primal_steps)


@dataclass(frozen=True)
class Form:
    """A quadratic form that must be positive semidefinite, linear in t^2 and the multipliers:

        weight t^2 y y^T - output output^T - 2 sum_i mu_i <p_i, r_i>.

    Parameters
    ----------
    units
        Sizes to expect of the basis vectors, of which there are so many; vector 0 is the change of
        the data.
    pairs
        (p_i, r_i) of every multiplier; empty vectors where it has no part in this form.
    output
        The change of the network's output; empty where it has no part in this form.
    weight
        Of t^2.
    """

    units: tuple[Fraction, ...]
    pairs: tuple[tuple[Vector, Vector], ...]
    output: Vector
    weight: Fraction = _ONE

    @property
    def size(self) -> int:
        """Number of basis vectors."""
        return len(self.units)


def forms(iteration: UnrolledIteration) -> tuple[Form, ...]:
    """Return the forms that prove ||x|| <= t ||y|| if all of them are positive semidefinite.

    They depend linearly on the inverse shares of data and frame in the norm, so that what holds at
    the ends of an interval of shares holds within.
    """
    if iteration.data_share is None:
        return (_form(iteration),)
    low, high = iteration.data_share
    data_shares = tuple(dict.fromkeys((low, high)))
    frame_shares = tuple(dict.fromkeys((1 - high, 1 - low)))
    steps, images, output = _dual_steps(iteration)
    whole = [
        _image_form(steps, images, output, low, corner)
        for corner in product(data_shares, frame_shares)
    ]
    of_data = [_dual_form(steps, True, low, share) for share in data_shares]
    of_frame = [_dual_form(steps, False, low, share) for share in frame_shares]
    return (*whole, *of_data, *of_frame)


def _form(iteration: UnrolledIteration) -> Form:
    """Return the form for an operator of which only the norm is known."""
    units = [_ONE]
    pairs: list[tuple[Vector, Vector]] = []
    x: Vector = {}
    v: Vector = {}
    for steps, uses_dual in _blocks(iteration):
        if not iteration.keeps_dual:
            v = {}
        iterates: list[Vector] = []
        for tau, dual_is_used in zip(steps, uses_dual, strict=True):
            inside = _sum((_ONE, x), (-tau, v))
            x_next: Vector = {}
            # A resolvent maps zero to zero: no unknown, no condition.
            if inside:
                x_next = _new(units, _ONE)
                pairs.append((x_next, _sum((1 / tau, inside), (-1 / tau, x_next))))
            if dual_is_used:
                v_next = _new(units, 1 / tau)
                ahead = ((Fraction(2), x_next), (-_ONE, x), (-_ONE, _DATA))
                pairs.append((v_next, _sum((tau, v), (-tau, v_next), *ahead)))
                v = v_next
            x = x_next
            iterates.append(x)
        if iteration.returns_average:
            x = _average(iterates)
    return Form(tuple(units), tuple(pairs), x)


@dataclass(frozen=True)
class _DualStep:
    """The step of one dual in the analysis form: v of the data, or q of the frame.

    ``index`` and ``before`` are the new and the old dual among all of their kind, None for zero;
    ``image`` and ``image_before`` what the operator's adjoint makes of them.
    """

    is_of_data: bool
    tau: Fraction
    index: int
    before: int | None
    image: Vector
    image_before: Vector
    ahead: Vector


def _dual_steps(
    iteration: UnrolledIteration,
) -> tuple[list[_DualStep], tuple[Fraction, ...], Vector]:
    """Return the steps of the duals, the units of their images' basis, and the output.

    The basis has the images x and a = A^H v; b = W^H q follows from x_next = x - tau (a + b).
    """
    units = [_ONE]
    found: list[_DualStep] = []
    x: Vector = {}
    a: Vector = {}
    b: Vector = {}
    last: dict[bool, int | None] = {True: None, False: None}
    count = {True: 0, False: 0}
    pending: _DualStep | None = None

    def step(is_of_data: bool, tau: Fraction, image: Vector, ahead: Vector) -> _DualStep:
        count[is_of_data] += 1
        before, last[is_of_data] = last[is_of_data], count[is_of_data]
        image_before = a if is_of_data else b
        return _DualStep(is_of_data, tau, count[is_of_data], before, image, image_before, ahead)

    for steps, uses_dual in _blocks(iteration):
        if not iteration.keeps_dual:
            a, b, last = {}, {}, {True: None, False: None}
        iterates: list[Vector] = []
        for tau, dual_is_used in zip(steps, uses_dual, strict=True):
            if pending is None:
                x_next = _sum((_ONE, x), (-tau, a))
            else:
                x_next = _new(units, _ONE)
                b = _sum((1 / tau, x), (-1 / tau, x_next), (-_ONE, a))
                found.append(replace(pending, image=b))
                pending = None
            ahead = _sum((Fraction(2), x_next), (-_ONE, x))
            if dual_is_used:
                a_next = _new(units, 1 / tau)
                found.append(step(True, tau, a_next, ahead))
                # The projection maps zero to zero: no unknown, no condition.
                if ahead or b:
                    pending = step(False, tau, {}, ahead)
                a = a_next
            x = x_next
            iterates.append(x)
        if iteration.returns_average:
            x = _average(iterates)
    return found, tuple(units), x


def _image_form(
    steps: list[_DualStep],
    units: tuple[Fraction, ...],
    output: Vector,
    weight: Fraction,
    shares: tuple[Fraction, Fraction],
) -> Form:
    """Return the form of the duals' images, with the data and the output."""
    pairs = []
    for step in steps:
        share = shares[0] if step.is_of_data else shares[1]
        own = ((step.tau / share, step.image_before), (-step.tau / share, step.image))
        data = ((-_ONE, _DATA),) if step.is_of_data else ()
        pairs.append((step.image, _sum(*own, *data, (_ONE, step.ahead))))
    return Form(units, tuple(pairs), output, weight)


def _dual_form(steps: list[_DualStep], is_of_data: bool, weight: Fraction, share: Fraction) -> Form:
    """Return the form of the duals of one kind, with the data where it is theirs."""
    units = [_ONE]
    pairs: list[tuple[Vector, Vector]] = []
    for step in steps:
        if step.is_of_data != is_of_data:
            pairs.append(({}, {}))
            continue
        current = _new(units, 1 / step.tau)
        before: Vector = {} if step.before is None else {step.before: _ONE}
        own = ((step.tau / share, before), (-step.tau / share, current))
        pairs.append((current, _sum(*own, *(((-_ONE, _DATA),) if is_of_data else ()))))
    return Form(tuple(units), tuple(pairs), {}, weight)


def _blocks(
    iteration: UnrolledIteration,
) -> Iterator[tuple[tuple[Fraction, ...], tuple[bool, ...]]]:
    """Yield the steps of every block, and after which of them the dual is used again."""
    for number, steps in enumerate(iteration.primal_steps, 1):
        goes_on = iteration.keeps_dual and number < len(iteration.primal_steps)
        yield steps, (True,) * (len(steps) - 1) + (goes_on,)


def _new(units: list[Fraction], unit: Fraction) -> Vector:
    """Return a new basis vector."""
    units.append(unit)
    return {len(units) - 1: _ONE}


def _average(vectors: Sequence[Vector]) -> Vector:
    return _sum(*((Fraction(1, len(vectors)), vector) for vector in vectors))


def _sum(*terms: tuple[Fraction, Vector]) -> Vector:
    total: dict[int, Fraction] = {}
    for factor, vector in terms:
        for index, value in vector.items():
            total[index] = total.get(index, Fraction(0)) + factor * value
    return {index: value for index, value in total.items() if value}
