"""Worst-case perturbations of images, as the paper looks for them.

For a reconstruction Phi, an encoding operator A, an image x and a reference z, which is Phi(A x)
unless another is given,

    Q(r) = 1/2 ||Phi(A (x + r)) - z||^2 - lam/2 ||r||^2,        r = r_re + i r_im,

is climbed by :func:`firenet_mri.training.attack.ascend` from r_re, r_im uniform in [0, start), with
steps along the gradient as it is, until ||r|| reaches the wanted norm; then on to the next one [1].

Differs from [1] in: an r that has reached its norm is scaled to have exactly this norm; the ascent
can be held at a norm for more steps, after each of which r is scaled back to it, and the r with the
largest distance is kept: what the published ascent passes by is not yet the worst.

[1] Colbrook, Antun, Hansen, PNAS 119(12) e2107151119, 2022, and its published code; for AUTOMAP
Antun, Renna, Poon, Adcock, Hansen, PNAS 117(48), 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.training.attack import Ascent, Momentum, ascend, check_finite, scaled_to

#: Images (batch, *spatial) from data (batch, *data), or data from images; differentiable, and items
#: of a batch may not influence each other.
BatchMap = Callable[[Tensor], Tensor]

#: The ascent published for FIRENET.
FIRENET_ASCENT = Ascent(
    learning_rate=0.01, momentum=0.9, lam=0.01, start=1e-3, steps=150, normalised=False
)

#: The ascent published for AUTOMAP; its reference is the true image.
AUTOMAP_ASCENT = Ascent(
    learning_rate=1e-3,
    momentum=0.9,
    lam=0.1,
    nesterov=False,
    start=1e-5,
    steps=24,
    normalised=False,
)


class Perturbation(NamedTuple):
    """A perturbation of every image.

    r is (batch, *spatial) complex; distance ||Phi(A (x + r)) - z||, (batch); reached, bool (batch):
    False where the steps ended before r had the wanted norm.
    """

    r: Tensor
    distance: Tensor
    reached: Tensor


def worst_case(
    reconstruct: BatchMap,
    encoding: BatchMap,
    images: Tensor,
    norms: Sequence[Tensor],
    ascent: Ascent,
    *,
    seed: int,
    reference: Tensor | None = None,
    on_step: Callable[[], None] | None = None,
) -> list[Perturbation]:
    """Return the perturbations found, one for each norm; each search starts from the one before.

    Parameters
    ----------
    reconstruct, encoding
        Phi and A.
    images
        x, (batch, *spatial), real or complex.
    norms
        Wanted ||r||, each (batch), growing.
    ascent
        How to climb; with a start.
    seed
        Of the start.
    reference
        z, of the shape of Phi's images; None is Phi(A x).
    on_step
        Called after every r that is tried.

    Raises
    ------
    UsageError
        If norms are not positive and growing, or the seed is negative.
    ShapeError
        If norms or reference do not fit the images.
    DataError
        If Phi returns NaN or infinite values.
    """
    _check_norms(norms, images)
    if ascent.start is None:
        raise UsageError("The ascent has no start; give the size of the images' first perturbation")
    r = _random_start(images, ascent.start, seed)
    with torch.no_grad():
        clean = reconstruct(encoding(images))
    check_finite(clean, "the clean data")
    reference = clean if reference is None else reference
    if reference.shape != clean.shape:
        raise ShapeError(
            f"The reference has shape {tuple(reference.shape)}, the reconstruction "
            f"{tuple(clean.shape)}; they must be equal"
        )

    def change(r: Tensor) -> Tensor:
        return reconstruct(encoding(images + r)) - reference

    state = Momentum(r, torch.zeros_like(r))
    result = []
    for norm in norms:
        state, found = ascend(change, state, norm, ascent, finite=True, on_step=on_step)
        result.append(Perturbation(found.e, found.distance, found.reached))
    return result


def random_perturbations(images: Tensor, norm: Tensor, count: int, *, seed: int) -> Tensor:
    """Return complex white Gaussian perturbations of a norm, (count, batch, *spatial).

    Parameters
    ----------
    images
        (batch, *spatial).
    norm
        (batch), positive.
    count, seed
        How many, and of which draw.

    Raises
    ------
    UsageError
        If a norm is not positive, the count less than 1, or the seed negative.
    """
    _check_norms([norm], images)
    if count < 1:
        raise UsageError(f"{count} random perturbations asked for; ask for at least 1")
    shape = (count * len(images), *images.shape[1:])
    r = torch.randn(shape, dtype=images.dtype.to_complex(), generator=_generator(seed))
    return scaled_to(r, norm.repeat(count)).unflatten(0, (count, -1))


def _random_start(images: Tensor, start: float, seed: int) -> Tensor:
    parts = torch.rand(2, *images.shape, dtype=images.real.dtype, generator=_generator(seed))
    return start * torch.complex(parts[0], parts[1])


def _generator(seed: int) -> torch.Generator:
    if seed < 0:
        raise UsageError(f"seed is {seed}; it must be at least 0")
    return torch.Generator().manual_seed(seed)


def _check_norms(norms: Sequence[Tensor], images: Tensor) -> None:
    if images.ndim < 2 or any(norm.shape != images.shape[:1] for norm in norms):
        raise ShapeError(
            f"Norms of shapes {[tuple(norm.shape) for norm in norms]} given for images of shape "
            f"{tuple(images.shape)}; the images need a batch axis, and one norm each"
        )
    before = torch.zeros(len(images))
    for norm in norms:
        if not bool((norm > before).all() and norm.isfinite().all()):
            raise UsageError(
                f"Sizes of perturbations {[n.tolist() for n in norms]} asked for; they must be "
                "positive and grow"
            )
        before = norm
