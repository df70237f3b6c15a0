"""Simulated echoes of one slice, whose edges lie in the same places.

Every tissue has a proton density and a T2*; a smooth field map turns the phase from echo to echo:

    x_e = rho exp(-TE_e / T2* + 2 pi i f TE_e + i phi).

The values are rounded textbook values at 1.5 T, not measurements.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from firenet_benchmark.cine.phantom import Series, where_it_changes

# Milliseconds: the first echo, and from echo to echo.
_FIRST, _SPACING = 2.0, 3.0
# Density and T2* in ms of tissues that are drawn at random.
_TISSUES = ((0.5, 12.0), (0.7, 25.0), (0.8, 45.0), (1.0, 80.0), (0.9, 6.0), (0.35, 18.0))
_INSERTS = 18
# Hz: largest deviation of the field.
_FIELD = 60.0
# Every pixel is the mean of this number squared.
_FINER = 3


def simulated_echoes(echoes: int, size: int, seed: int) -> Series:
    """Return the echoes of a body with round and long inserts of other tissues.

    Parameters
    ----------
    echoes, size
        Number of echoes, and pixels along both axes.
    seed
        Of the inserts, their tissues, and the field.
    """
    random = torch.Generator().manual_seed(seed)
    place = torch.linspace(-1, 1, _FINER * size)
    y, x = torch.meshgrid(place, place, indexing="ij")
    density, t2 = _tissues(y, x, random)
    a, b, c, d = (2 * torch.rand(4, generator=random) - 1).tolist()
    field = _FIELD * (a * x + b * y + c * x * y + d * (x**2 - y**2)) / 2
    phase = 1.2 * x + 0.8 * y**2
    images = []
    for echo in range(echoes):
        te = _FIRST + _SPACING * echo
        angle = phase + 2 * math.pi * field * te / 1000
        fine = torch.polar(density * torch.exp(-te / t2), angle)
        images.append(fine.reshape(size, _FINER, size, _FINER).mean((1, 3)))
    series = torch.stack(images).to(torch.complex64)
    return Series(series, where_it_changes(series.abs()))


def _tissues(y: Tensor, x: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return proton density and T2* in ms on a grid."""

    def between(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand(1, generator=random))

    inside = torch.hypot(y / 0.85, x / 0.7) < 1
    density = 0.6 * inside
    t2 = torch.full_like(y, 40.0)
    for _ in range(_INSERTS):
        value, time = _TISSUES[int(torch.randint(len(_TISSUES), (1,), generator=random))]
        angle, long, short = between(0, 3), between(0.05, 0.3), between(0.03, 0.12)
        down, right = y - between(-0.6, 0.6), x - between(-0.45, 0.45)
        along = down * math.cos(angle) + right * math.sin(angle)
        across = right * math.cos(angle) - down * math.sin(angle)
        insert = (torch.hypot(along / long, across / short) < 1) & inside
        density, t2 = torch.where(insert, value, density), torch.where(insert, time, t2)
    return density, t2
