"""A trained network with a proven Lipschitz constant.

    x_0 = 0,   x_k = J_k(x_{k-1} + p_k(N) (A^H y - N x_{k-1})),   N = A^H A,

in units of s = ||y|| / sqrt(pixels), with the layers of ``layers.py`` and A divided by its norm
bound where that is above 1. Then ||dx_K||^2 <= sum_k m_k prod_{j >= k} L_j^2 ||dy||^2 at fixed s,
whatever the weights have become (``bound.py``; docs/theory.md). At the end x is projected on
||x|| <= B ||y||, so that the constant holds with B added for s as it is, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from firenet_mri.firenet.learned.layers import Gradient, Stage, data_step, shrinkage
from firenet_mri.operators.base import LinearOperator
from firenet_mri.operators.fourier import CartesianFourier
from firenet_mri.prox import item_norm

#: What a network is told of a scan, see :func:`conditions_of`.
CONDITIONS = ("acceleration", "lines", "coils")


@dataclass(frozen=True)
class Architecture:
    """The sizes of a learned network.

    Parameters
    ----------
    stages
        Data steps, each followed by a shrinkage.
    singles
        Filters that are shrunk one by one, by their moduli.
    groups, group_size
        Groups of filters that are shrunk by singular values, and filters of each.
    kernel
        Width of the filters in pixels, odd.
    dilations
        Pixels between neighbouring entries of a filter, in turn.
    """

    stages: int = 20
    singles: int = 16
    groups: int = 2
    group_size: int = 8
    kernel: int = 5
    dilations: tuple[int, ...] = (1, 2)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Filters of each group; a single one is a group, too."""
        return (1,) * self.singles + (self.group_size,) * self.groups

    @property
    def filters(self) -> int:
        """Filters of a stage."""
        return sum(self.sizes)


def apply_stages(
    stages: Iterable[Stage], gradient: Gradient, start: Tensor, conditions: Tensor, sizes: Architecture
) -> Iterator[Tensor]:
    """Yield x after every stage, in units of s.

    Parameters
    ----------
    stages
        The weights.
    gradient
        x -> A^H y - N x, in these units.
    start
        A^H y, (item, y, x) complex.
    conditions
        (item, condition).
    sizes
        The architecture.
    """
    x, g = torch.zeros_like(start), start
    for k, stage in enumerate(stages):
        x = data_step(x, gradient(x) if k else g, gradient, stage.coefficients)
        dilation = sizes.dilations[k % len(sizes.dilations)]
        x = shrinkage(x, stage, conditions, sizes.sizes, dilation)
        yield x


def conditions_of(acceleration: float, has_lines: bool, coils: int) -> Tensor:
    """Return what a network is told of a scan, (condition) float32, each near 0.

    Parameters
    ----------
    acceleration
        Points of the grid for one sample.
    has_lines
        The mask changes along one axis only.
    coils
        Number of coils.
    """
    return torch.tensor([math.log2(acceleration) - 2, float(has_lines), math.log2(coils) - 2.5])
