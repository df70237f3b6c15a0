"""A simulated series as a scan: coils, noise, and other lines in every frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from firenet_benchmark.cine import slime
from firenet_benchmark.cine.echoes import simulated_echoes
from firenet_benchmark.cine.edge import Event
from firenet_benchmark.cine.phantom import Kind, Series, simulated_series
from firenet_mri import RawScan
from firenet_mri.operators import encoding_operator

#: Series by name: those of :mod:`.phantom`, "echoes", and "mrphantom" where that is installed.
KINDS = ("beating", "perfusion", "abrupt", "echoes", "mrphantom")

# As many echoes as a gradient-echo train has.
_ECHOES = 8


@dataclass(frozen=True, eq=False)
class CineProblem:
    """A scan of frames and the truth.

    Parameters
    ----------
    name
        For tables.
    scan
        (frame, 1, coil, y, x), of frames called "phase 0", "phase 1", ...
    reference
        Magnitude, (frame, y, x).
    moves
        (y, x) bool: where something changes.
    events
        What happens abruptly.
    axis
        Along which the images belong together: "phase", or "contrast" of echoes.
    """

    name: str
    scan: RawScan
    reference: Tensor
    moves: Tensor
    events: tuple[Event, ...] = ()
    axis: str = "phase"


def is_available(kind: str) -> bool:
    """Return whether a kind of series can be made here."""
    return kind != "mrphantom" or slime.is_installed()


def cine_problem(
    kind: str,
    seed: int,
    *,
    frames: int = 25,
    size: int = 128,
    coils: int = 8,
    acceleration: int = 8,
    noise: float = 0.01,
    breathing: float = 0.01,
) -> CineProblem:
    """Return a simulated series with interleaved lines and four in the centre of every frame.

    Parameters
    ----------
    kind
        One of :data:`KINDS`.
    seed, frames, size, breathing
        See :func:`firenet_benchmark.cine.phantom.simulated_series`; echoes are 8 at most.
    coils
        Around the body.
    acceleration
        Lines of the grid for one that is measured, without those in the centre.
    noise
        Standard deviation of the noise in k-space, over the largest magnitude of the images.
    """
    series = _series(kind, seed, frames, size, coils, breathing)
    frames = len(series.images)
    mask = interleaved_lines(frames, size, acceleration)
    full = mask[:, None, :, None].expand(frames, 1, size, size)
    maps = coil_maps(coils, size) if series.maps is None else series.maps
    kspace = encoding_operator(full, maps)(series.images)
    generator = torch.Generator().manual_seed(seed + 1000)
    drawn = torch.randn(kspace.shape, dtype=kspace.dtype, generator=generator)
    kspace = (kspace + noise * float(series.images.abs().max()) * drawn) * full
    axis = "contrast" if kind == "echoes" else "phase"
    scan = RawScan(
        kspace[:, None],
        full[:, None],
        2,
        name=f"{kind} {seed}" if kind in KINDS[3:] else f"{kind} heart {seed}",
        simulated=True,
        images=tuple(f"{axis} {frame}" for frame in range(frames)),
    )
    reference = series.images.abs()
    return CineProblem(scan.name, scan, reference, series.moves, series.events, axis)


def _series(kind: str, seed: int, frames: int, size: int, coils: int, breathing: float) -> Series:
    if kind == "echoes":
        return simulated_echoes(min(frames, _ECHOES), size, seed)
    if kind == "mrphantom":
        return slime.slime_series(frames, size, coils, seed)
    return simulated_series(cast(Kind, kind), frames, size, seed, breathing=breathing)


def interleaved_lines(frames: int, size: int, acceleration: int, centre: int = 4) -> Tensor:
    """Return which lines every frame measures, (frame, line) bool.

    Every ``acceleration``-th line, moved from frame to frame by a step near the golden section of
    the acceleration and prime to it, so that successive frames fill k-space; and the centre.
    """
    golden = max(1, round(0.382 * acceleration))
    step = next(s for s in range(golden, acceleration + 2) if math.gcd(s, acceleration) == 1)
    mask = torch.zeros(frames, size, dtype=torch.bool)
    for frame in range(frames):
        mask[frame, (frame * step) % acceleration :: acceleration] = True
    mask[:, size // 2 - centre // 2 : size // 2 + (centre + 1) // 2] = True
    return mask


def coil_maps(coils: int, size: int) -> Tensor:
    """Return maps of coils around the body, (coil, y, x) complex64, of root-sum-of-squares 1."""
    place = torch.linspace(-1, 1, size)
    angles = (2 * math.pi * torch.arange(coils) / coils)[:, None, None]
    y, x = place[:, None] - 1.3 * angles.sin(), place - 1.3 * angles.cos()
    turn = angles + 0.7 * (place[:, None] * angles.sin() + place * angles.cos())
    maps = torch.exp(-(y**2 + x**2) / 1.6) * torch.exp(1j * turn)
    return (maps / torch.linalg.vector_norm(maps, dim=0)).to(torch.complex64)
