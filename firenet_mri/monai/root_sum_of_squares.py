"""The image of fastMRI's and MONAI's targets: the root-sum-of-squares of coil images.

From an image x, the samples y and the maps S, with P the projection onto the samples that were
measured, the coils' k-space and the image of it are

    k = y + (1 - P) F S x,   rss = (sum_c |F^H k_c|^2)^(1/2).

What was measured stays as it was, noise included, outside of the object too; x fills the rest. Its
scale is that of |x| where the maps have root-sum-of-squares 1.

Stability. Let a change of y change x by at most L times as much. y and (1 - P) F S x lie in
orthogonal subspaces, F is unitary, S has norm 1 at most, and a root-sum-of-squares changes by no
more than its argument. So rss changes by at most

    (1 + L^2)^(1/2)

times the change of y.
"""

from __future__ import annotations

import torch
from torch import Tensor

from firenet_mri.firenet.rational import length_above
from firenet_mri.operators.centred import centred_fft, centred_ifft


def root_sum_of_squares(image: Tensor, maps: Tensor, kspace: Tensor, sampled: Tensor) -> Tensor:
    """Return the root-sum-of-squares (batch, *spatial) real of samples that an image completes.

    Parameters
    ----------
    image
        x, (batch, *spatial) complex.
    maps
        S, (batch or 1, coil, *spatial) complex, of root-sum-of-squares 1 at most.
    kspace
        y, (batch, coil, *spatial) complex, zero where not sampled.
    sampled
        (batch or 1, 1, *spatial) bool.
    """
    axes = tuple(range(2, kspace.ndim))
    predicted = centred_fft(maps * image.unsqueeze(1), axes)
    complete = torch.where(sampled, kspace, predicted)
    return torch.linalg.vector_norm(centred_ifft(complete, axes), dim=1)


def bound_with_samples(bound: float) -> float:
    """Return the Lipschitz constant of k-space -> root-sum-of-squares, from that of the image."""
    return length_above(1.0, bound)
