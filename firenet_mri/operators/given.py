"""A user's own encoding operator instead of P F S: checked, masked and scaled to our convention.

    A' = P A / g,   x' = g x,

with A the given operator, from the image to the samples of all coils, and P the projection on the
measured samples. The gain g gives presets the same meaning as for maps of unit root-sum-of-squares.
For such maps every pixel i has ||A e_i||^2 = M / N, with M samples per coil and N pixels. So g^2 is
N / M times the mean of ||A e_i||^2, weighted by itself. g is estimated, but no proof depends on it:
any g is undone after the network, and bounds include it.

A norm bound that is proven is kept apart from one that is only stated. A bound that the package
derived is called proven; one that an author wrote into a class, or a caller gave, is called stated.
A short power iteration searches for a vector that contradicts either.
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
# Rounding of sums over an image in single precision.
_ROUNDING = 1e-3
# Largest mismatch of the adjoint, in units of ||A x|| ||y|| / m^(1/2) for y of m entries.
_ADJOINT = 1e-3


class GivenEncoding(LinearOperator):
    """P A / g for a user's operator A.

    Parameters
    ----------
    operator
        A, from an image (*spatial) to samples (coil, *samples).
    sampled
        bool, (1 or coil, *samples); True where samples were measured.
    gain
        g; None estimates it.

    Raises
    ------
    ShapeError
        If the shapes of A and the samples do not match.
    UsageError
        If the adjoint is wrong, or a vector contradicts the norm bound.
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
    """Return whether the norm bound was only stated, by a caller or in another package's class."""
    parts = [part for part in operator.modules() if isinstance(part, LinearOperator)]
    return any(part.norm_is_stated or not _is_ours(part) for part in parts)


def describe(operator: LinearOperator) -> str:
    """Return which operator it is, and how its norm bound is known, in words."""
    how = "as it was stated with it" if states_norm(operator) else "as its structure proves"
    # Few digits, since a bound that is derived again may differ by rounding.
    return f"the given operator {operator!r} (norm at most {operator.norm_bound:.4g}, {how})"


def estimate_gain(operator: LinearOperator, sampled: Tensor) -> float:
    """Return an estimate of g, see the module docstring; exact for :class:`Sense`.

    Raises
    ------
    UsageError
        If the operator is zero.
    """
    if not bool(sampled.any()):
        # An item without signal: any scale is right.
        return operator.norm_bound or 1.0
    if isinstance(operator, Sense):
        return float(operator.root_sum_of_squares.max()) or 1.0
    energies = [_energies(operator, sampled, seed) for seed in range(_PROBES)]
    total = float(torch.stack(energies).mean(0).sum())
    pairs = [float((a * b).sum()) for a, b in itertools.combinations(energies, 2)]
    # The estimates are noisy per pixel; their products are unbiased.
    peak = sum(pairs) / len(pairs) / total if total > 0 else 0.0
    if not (peak > 0 and math.isfinite(peak)):
        raise UsageError(
            f"The operator {operator!r} maps random images to zero or NaN; there is nothing "
            "to reconstruct with it"
        )
    per_coil = float(sampled.sum()) / len(sampled)
    return math.sqrt(peak * math.prod(operator.domain_shape) / per_coil)


def check_operator(operator: LinearOperator, y: Tensor) -> float:
    """Return ||A x|| / ||x|| for an x found by power iteration from A^H y: at most the norm.

    Parameters
    ----------
    operator
        A.
    y
        Data, (*codomain_shape).

    Raises
    ------
    UsageError
        If A or its adjoint returns wrong shapes or NaN, <A x, y> is not <x, A^H y>, or ||A x||
        exceeds the norm bound.
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
            f"The norm bound of {operator!r} is {operator.norm_bound:.6g}, but it increases the "
            f"norm of an image {found:.6g} times; give a proven bound"
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
                f"The operator {operator!r} returned a tensor of shape {tuple(found.shape)}; its "
                f"declared shapes require {shape}"
            )
    left, right = torch.vdot(y.flatten(), ahead.flatten()), torch.vdot(back.flatten(), x.flatten())
    size = float(torch.linalg.vector_norm(ahead) * torch.linalg.vector_norm(y)) / math.sqrt(
        y.numel()
    )
    # Written so that NaN fails.
    if not float((left - right).abs()) <= _ADJOINT * max(size, 1e-30):
        raise UsageError(
            f"The adjoint of {operator!r} is wrong: <A x, y> and <x, A^H y> differ by "
            f"{float((left - right).abs()) / max(size, 1e-30):.1e} of their size; "
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
