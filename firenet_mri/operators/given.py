"""Somebody's own encoding operator in the place of P F S: checked, masked, brought to our scale.

    A' = P A / g,   x' = g x,

with A the operator as it was given, from the image to the samples of all coils, and P what of the
samples was measured. The gain g makes presets mean what they mean for maps of unit
root-sum-of-squares: there every pixel i has ||A e_i||^2 = M / N, of M samples a coil and N pixels.
So g^2 = N / M times the mean of ||A e_i||^2, weighted by itself. It is estimated, which no proof
rests on: any g is undone behind the network, and bounds go through it.

What is proven of a norm and what is only said is kept apart. A bound that the package worked out is
called proven; one that an author wrote into a class, or a caller gave, is called stated. A short
power iteration tries to find a vector that contradicts either.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.operators.base import LinearOperator, Part
from firenet_mri.operators.sense import Sense

_PROBES, _POWER_STEPS = 4, 8
# Rounding in single precision, of sums over an image.
_ROUNDING = 1e-3
# Largest mismatch of the adjoint, in units of ||A x|| ||y|| / m^(1/2) for y of m entries.
_ADJOINT = 1e-3


class GivenEncoding(LinearOperator):
    """P A / g for an operator A that somebody gave.

    Parameters
    ----------
    operator
        A, from an image (*spatial) to samples (coil, *samples).
    sampled
        bool, (1 or coil, *samples); samples that were not measured.
    gain
        g; None estimates it.

    Raises
    ------
    ShapeError
        If A and the samples do not belong together.
    UsageError
        If its adjoint is none, or its norm bound is contradicted by a vector.
    """

    mask: Tensor

    def __init__(
        self, operator: LinearOperator, sampled: Tensor, gain: float | None = None
    ) -> None:
        shapes = operator.domain_shape, operator.codomain_shape
        samples = tuple(sampled.shape[1:])
        if len(shapes[0]) not in (2, 3) or shapes[1][1:] != samples or len(shapes[1]) < 2:
            raise ShapeError(
                f"The operator {operator!r} takes {shapes[0]} to {shapes[1]}; it must take an "
                "image (y, x) or (z, y, x) to the samples of all coils, (coil, "
                f"{', '.join(map(str, samples))})"
            )
        self_gain = estimate_gain(operator, sampled) if gain is None else gain
        super().__init__(*shapes, operator.norm_bound / self_gain)
        self.gain = self_gain
        self.operator = operator
        self.norm_is_stated = states_norm(operator)
        self.made_from = (Part(describe(operator)), *operator.made_from)
        self.register_buffer("mask", sampled, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return P A x / g."""
        self.check_domain(x)
        samples: Tensor = self.operator(x)
        return samples * self.mask / self.gain

    def adjoint(self, y: Tensor) -> Tensor:
        """Return A^H P y / g."""
        self.check_codomain(y)
        image: Tensor = self.operator.adjoint(y * self.mask)
        return image / self.gain


def states_norm(operator: LinearOperator) -> bool:
    """Return whether the norm bound rests on what somebody says: a caller, or another's class."""
    parts = [part for part in operator.modules() if isinstance(part, LinearOperator)]
    return any(part.norm_is_stated or not _is_ours(part) for part in parts)


def describe(operator: LinearOperator) -> str:
    """Return in words which operator it is, and how the bound of its norm is known."""
    how = "as it was stated with it" if states_norm(operator) else "as its structure proves"
    # Few digits: a bound that is worked out anew may differ by its rounding.
    return f"the given operator {operator!r} (norm at most {operator.norm_bound:.4g}, {how})"


def estimate_gain(operator: LinearOperator, sampled: Tensor) -> float:
    """Return an estimate of g, see the module; exact for :class:`Sense`.

    Raises
    ------
    UsageError
        If the operator is zero.
    """
    if not bool(sampled.any()):
        # An item without signal: any scale serves it.
        return operator.norm_bound or 1.0
    if isinstance(operator, Sense):
        return float(operator.root_sum_of_squares.max()) or 1.0
    energies = [_energies(operator, sampled, seed) for seed in range(_PROBES)]
    total = float(torch.stack(energies).mean(0).sum())
    pairs = [float((a * b).sum()) for a, b in itertools.combinations(energies, 2)]
    # Per pixel they are noisy, and their products unbiased.
    peak = sum(pairs) / len(pairs) / total if total > 0 else 0.0
    if not (peak > 0 and math.isfinite(peak)):
        raise UsageError(
            f"The operator {operator!r} makes nothing, or NaN, of random images; there is nothing "
            "to reconstruct with it"
        )
    per_coil = float(sampled.sum()) / len(sampled)
    return math.sqrt(peak * math.prod(operator.domain_shape) / per_coil)


def check_operator(operator: LinearOperator, y: Tensor) -> float:
    """Return ||A x|| / ||x|| of an x that a power iteration from A^H y found: at most the norm.

    Parameters
    ----------
    operator
        A.
    y
        Data, (*codomain_shape).

    Raises
    ------
    UsageError
        If A or its adjoint returns other shapes or NaN, <A x, y> is not <x, A^H y>, or ||A x|| is
        larger than the norm bound says.
    """
    with torch.no_grad():
        _check_adjoint(operator, y.device)
        x, found = _start(operator, y), 0.0
        for _ in range(_POWER_STEPS):
            size = float(torch.linalg.vector_norm(x))
            if size == 0:
                break
            ahead = operator(x / size)
            found = max(found, float(torch.linalg.vector_norm(ahead)))
            x = operator.adjoint(ahead)
    if not found <= operator.norm_bound * (1 + _ROUNDING):
        raise UsageError(
            f"The norm bound of {operator!r} is {operator.norm_bound:.6g}, but an image was found "
            f"which it makes {found:.6g} times as long; give a bound that is proven"
        )
    return found


def _start(operator: LinearOperator, y: Tensor) -> Tensor:
    x: Tensor = operator.adjoint(y)
    return x if bool(x.any()) else _draw(operator.domain_shape, 0).to(y.device)


def _check_adjoint(operator: LinearOperator, device: torch.device) -> None:
    x = _draw(operator.domain_shape, 1).to(device)
    y = _draw(operator.codomain_shape, 2).to(device)
    ahead, back = operator(x), operator.adjoint(y)
    for found, shape in ((ahead, operator.codomain_shape), (back, operator.domain_shape)):
        if tuple(found.shape) != shape:
            raise UsageError(
                f"The operator {operator!r} returned a tensor of shape {tuple(found.shape)}; by "
                f"its own shapes it has to be {shape}"
            )
    left, right = torch.vdot(y.flatten(), ahead.flatten()), torch.vdot(back.flatten(), x.flatten())
    size = float(torch.linalg.vector_norm(ahead) * torch.linalg.vector_norm(y)) / math.sqrt(
        y.numel()
    )
    # Written so that NaN fails.
    if not float((left - right).abs()) <= _ADJOINT * max(size, 1e-30):
        raise UsageError(
            f"The adjoint of {operator!r} is not its adjoint: <A x, y> and <x, A^H y> differ by "
            f"{float((left - right).abs()) / max(size, 1e-30):.1e} of their size, "
            f"{_ADJOINT:.0e} is allowed"
        )


def _energies(operator: LinearOperator, sampled: Tensor, seed: int) -> Tensor:
    """Return unbiased estimates of ||P A e_i||^2, (*domain_shape) float64."""
    signs = torch.randint(2, operator.domain_shape, generator=torch.Generator().manual_seed(seed))
    x = (2 * signs - 1).to(torch.complex64).to(sampled.device)
    with torch.no_grad():
        back: Tensor = operator.adjoint(operator(x) * sampled)
    return (x * back).real.double()


def _draw(shape: tuple[int, ...], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.complex64, generator=generator)


def _is_ours(operator: LinearOperator) -> bool:
    return type(operator).__module__.startswith("firenet_mri.")
