"""The first slice of a scan as data and encoding operator, for experiments on a single slice."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from firenet_mri import RawScan
from firenet_mri.calibration import sensitivity_maps, whiten
from firenet_mri.operators import LinearOperator, encoding_operator


def first_slice(raw: RawScan) -> tuple[Tensor, LinearOperator]:
    """Return k-space (coil, *spatial) and the encoding operator of a scan's first slice."""
    index = (0,) * len(raw.batch_shape)
    one = replace(raw, kspace=raw.kspace[index], mask=raw.mask[index])
    if one.noise is not None:
        one = whiten(one)
    maps = sensitivity_maps(one)
    return one.kspace, encoding_operator(one.mask, maps, one.spatial_ndim)
