"""Sparsity in levels: local sparsities of an image and the weights that the theory gives them.

With s_l the number of large coefficients in level l and s their sum, w_l = sqrt(s / s_l) makes
w_l^2 s_l the same for all levels, which is the best choice in Theorem 3 of [1].

[1] Colbrook, Antun, Hansen, PNAS 119(12) e2107151119, 2022, (1.15) and its published code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from firenet_mri.errors import UsageError


def local_sparsities(
    coefficients: Tensor, band_levels: Tensor, threshold: float
) -> tuple[int, ...]:
    """Return for levels 0 (averages) to the finest how many coefficients exceed a threshold.

    Parameters
    ----------
    coefficients
        Coefficients of one image.
    band_levels
        Level of every coefficient, as a sparsifier's ``band_levels`` gives it; broadcasts.
    threshold
        Magnitude from which a coefficient counts as large.
    """
    levels = band_levels.to(coefficients.device).expand(coefficients.shape)
    large = levels[coefficients.abs() > threshold]
    counts = torch.bincount(large, minlength=int(band_levels.max()) + 1)
    return tuple(int(count) for count in counts)


def level_weights(sparsities: Sequence[int], band_levels: Tensor) -> Tensor:
    """Return the weight sqrt(s / s_l) of every coefficient, float64, of ``band_levels``' shape.

    Parameters
    ----------
    sparsities
        s_l for levels 0 (averages) to the finest, as :func:`local_sparsities` gives them; each at
        least 1.
    band_levels
        Level of every coefficient.

    Raises
    ------
    UsageError
        If there is not one positive sparsity a level.
    """
    count = int(band_levels.max()) + 1
    if len(sparsities) != count or min(sparsities) < 1:
        raise UsageError(
            f"Sparsities {tuple(sparsities)} given; {count} numbers of at least 1 are needed, one "
            "a level"
        )
    total = sum(sparsities)
    weights = torch.tensor([math.sqrt(total / s) for s in sparsities], dtype=torch.float64)
    return weights[band_levels]
