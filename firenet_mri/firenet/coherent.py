"""The sparsity of the preset `coherent`: single coefficients, and the bands of a pixel together.

    alpha ||W x||_{1,w} + beta sum_j w_j ||diag(s) W_j x||_*

W is the frame of `accurate` with its weights w, and ||.||_* the sum over all pixels of the nuclear
norm of the real 2 x K matrix of what the part W_j of W has there, see
:mod:`firenet_mri.operators.phase_coherent`. w_j s is in proportion to the norms of the bands, with
s at most 1; where these are all the same, s is 1. Averages are in the groups, with their full
weight: the details of an image with a smooth phase have the phase that its averages have.

It is one frame that contains W twice, with factors a and b, a^2 + b^2 = 1, so that its norm stays
at most 1, and with it steps and Lipschitz constant those of `accurate`. The weights of the stack
make up for the factors.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.operators.base import LinearOperator
from firenet_mri.operators.frame import Frame
from firenet_mri.operators.phase_coherent import PhaseCoherent
from firenet_mri.operators.stacked import StackedFrame

# alpha and beta; chosen on simulated slices and a phantom, see docs/performance_details.md.
_EACH, _TOGETHER = 0.58, 0.58


def coherent_form(
    sparsifier: LinearOperator, weights: Tensor | None
) -> tuple[StackedFrame, Tensor]:
    """Return the frame with phase-coherent groups, and its weights, (band, 1, ...).

    Parameters
    ----------
    sparsifier
        A frame of one level of separable filters, or a sum of such.
    weights
        (band, 1, ...) w of its bands, at most 1.

    Raises
    ------
    UsageError
        If the sparsifier is of another kind.
    """
    if not isinstance(sparsifier, Frame) or weights is None:
        raise UsageError(
            f"The preset coherent compares the bands of a pixel; {sparsifier} has none there, use "
            "undecimated wavelets of one level or undecimated cosines, or a sum of these"
        )
    parts = sparsifier.parts if isinstance(sparsifier, StackedFrame) else [(1.0, sparsifier)]
    # In proportion to the penalties: the duals' balls are of like size then.
    length = math.hypot(_EACH, _TOGETHER)
    each, together = _EACH / length, _TOGETHER / length
    sizes = [frame.codomain_shape[0] for _, frame in parts]
    coherent, limits = [], []
    for (scale, frame), norms in zip(parts, sparsifier.band_norms.split(sizes), strict=True):
        largest = norms.max()
        scaled = PhaseCoherent(frame, (len(norms),), (norms / largest).flatten())
        coherent.append((together * scale, scaled))
        limits.append(torch.full_like(norms, float(largest / sparsifier.band_norms.max())))
    stack = StackedFrame([*((each * scale, frame) for scale, frame in parts), *coherent])
    return stack, length * torch.cat([weights, *limits])
