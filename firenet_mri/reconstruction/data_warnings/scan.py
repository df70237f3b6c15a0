"""Warnings about a whole scan as it was read, before whitening and compression mix its coils."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from firenet_mri.operators.links import COMPRESSION
from firenet_mri.reconstruction.data_warnings.calibration import slices_without_calibration
from firenet_mri.reconstruction.data_warnings.noise import radius_of_grid
from firenet_mri.reconstruction.data_warnings.samples import sample_warnings
from firenet_mri.reconstruction.data_warnings.warning import DataWarning, Kind, joined, listed
from firenet_mri.scan import RawScan

DEAD_COILS = Kind(
    "dead_coils",
    0.25,
    "{} no signal, only noise or nothing at all. Look for a coil that was not connected, and omit "
    "it from the file.",
)

# Samples on either side of the centre with signal, and the relative radius where noise begins.
_CENTRE, _OUTER = 4, 0.75
# A coil with less than this share of the usual energy has no signal, whatever its noise.
_NOTHING = 1e-4
# Limit for the median coil; above it there is no signal at all, so no single coil lacks it.
_OF_OTHERS = 0.0625
# Stride along each axis of the samples that are used for noise.
_STRIDE = 3


def scan_warnings(scan: RawScan, items: int | None = None) -> tuple[DataWarning, ...]:
    """Return the warnings about all slices of a scan as it was read.

    Parameters
    ----------
    scan
        The scan before whitening and compression.
    items
        Number of items that are reconstructed one by one; None is one per slice.
    """
    if any(part.name == COMPRESSION for link in scan.applied for part in link.made_from):
        # Virtual coils are in decreasing order of signal; the last ones may be noise.
        return ()
    shares = noise_over_signal(scan)
    dead = [coil for coil, share in enumerate(shares) if share > DEAD_COILS.threshold]
    if not dead or len(dead) == len(shares):
        return ()
    number = math.prod(scan.batch_shape) if items is None else items
    names = listed([str(coil) for coil in dead])
    verb = f"Coil {names} holds" if len(dead) == 1 else f"Coils {names} hold"
    values = (max(shares),) * number
    sentence = DEAD_COILS.sentence.format(f"{verb} (counted from 0)")
    return (
        DataWarning(DEAD_COILS.name, values, DEAD_COILS.threshold, sentence, tuple(range(number))),
    )


def warnings_before(scan: RawScan) -> tuple[DataWarning, ...]:
    """Return the warnings about a scan that need no reconstruction: those of ``firenet info``."""
    found = [*scan_warnings(scan), *slices_without_calibration(scan)]
    if scan.trajectory is None:
        for index, at in enumerate(np.ndindex(scan.batch_shape)):
            mask = scan.mask[at][0]
            for warning in sample_warnings(scan.kspace[at] * mask, mask):
                found.append(replace(warning, items=(index,)))
    return joined(found)


def noise_over_signal(scan: RawScan) -> list[float]:
    """Return for every coil the ratio of noise to signal at the centre of k-space, at most 1.

    It is that of the slice with the coil's strongest signal. A coil with almost no energy has 1.
    """
    if scan.coils < 2:
        return [0.0] * scan.coils
    leading = list(np.ndindex(scan.batch_shape))
    best = torch.zeros(scan.coils, dtype=torch.float64)
    energies = torch.zeros(scan.coils, dtype=torch.float64)
    each = _near_and_far(scan)
    for index, at in enumerate(leading):
        near, far = each[index if len(each) > 1 else 0]
        mask = scan.mask[at][0]
        signal = _mean_energy(scan.kspace[at], near & mask)
        noise = _mean_energy(scan.kspace[at], far & mask)
        if signal is None or noise is None:
            continue
        best = torch.maximum(best, (signal / noise.clamp(min=1e-300)).sqrt())
        energies += signal
    shares = 1 / best.clamp(min=1)
    if not bool(energies.any()) or float(shares.median()) > _OF_OTHERS:
        return [0.0] * scan.coils
    shares[energies <= _NOTHING * energies.median()] = 1.0
    return [float(share) for share in shares]


def _near_and_far(scan: RawScan) -> list[tuple[Tensor, Tensor]]:
    """Return which samples contain signal and which noise, (*samples) bool each.

    One pair applies to all slices; several pairs are one per slice.
    """
    if scan.trajectories:
        distances = (torch.linalg.vector_norm(one, dim=-1) for one in scan.trajectories)
        return [(one <= _CENTRE, one >= _OUTER * one.max()) for one in distances]
    shape = scan.spatial_shape
    radius = radius_of_grid(shape)
    sparse = torch.zeros(shape, dtype=torch.bool)
    sparse[(slice(None, None, _STRIDE),) * len(shape)] = True
    return [(_box(shape), (radius >= _OUTER) & (sparse if math.prod(shape) > 1 << 16 else True))]


def _box(shape: tuple[int, ...]) -> Tensor:
    box = torch.zeros(shape, dtype=torch.bool)
    box[tuple(slice(max(n // 2 - _CENTRE, 0), n // 2 + _CENTRE) for n in shape)] = True
    return box


def _mean_energy(kspace: Tensor, where: Tensor) -> Tensor | None:
    """Return the mean energy of every coil, (coil) float64; None if nothing was sampled."""
    if not bool(where.any()):
        return None
    place = where.to(kspace.device)
    return torch.stack([coil[place].abs().double().square().mean() for coil in kspace]).cpu()
