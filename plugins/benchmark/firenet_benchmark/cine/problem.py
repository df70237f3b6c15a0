"""A simulated series as a scan: coils, noise, and other lines or spokes in every frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from firenet_benchmark.cine import slime
from firenet_benchmark.cine.echoes import simulated_echoes
from firenet_benchmark.cine.edge import Event
from firenet_benchmark.cine.kinds import Heart, Kind, Sampling
from firenet_benchmark.cine.phantom import Series, simulated_series
from firenet_mri import RawScan
from firenet_mri.operators import NonuniformFourier, Sense, encoding_operator
from firenet_mri.operators.trajectories import golden_angle_frames
from firenet_mri.simulation import interleaved_lines

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
        (frame, 1, coil, y, x), or (frame, 1, coil, spoke, sample), of frames called "phase 0",
        "phase 1", ..., or "contrast 0", ... where they are echoes.
    reference
        Magnitude, (frame, y, x).
    moves
        (y, x) bool: where something changes.
    events
        What happens abruptly.
    axis
        Along which the images belong together: "phase", or "contrast" for echoes.
    maps
        Maps that all methods get, (coil, y, x). Echoes have them, since their phases differ, so
        that maps from their mean are worse. With None the maps are estimated from the mean.
    """

    name: str
    scan: RawScan
    reference: Tensor
    moves: Tensor
    events: tuple[Event, ...] = ()
    axis: str = "phase"
    maps: Tensor | None = None

    @property
    def sampling(self) -> Sampling:
        """Return how k-space is measured."""
        return "radial" if self.scan.trajectories else "lines"


def is_available(kind: Kind) -> bool:
    """Return whether a kind of series can be made here."""
    return kind != "mrphantom" or slime.is_installed()


def cine_problem(
    kind: Kind,
    seed: int,
    *,
    frames: int = 25,
    size: int = 128,
    coils: int = 8,
    acceleration: int = 8,
    noise: float = 0.01,
    breathing: float = 0.01,
    sampling: Sampling = "lines",
) -> CineProblem:
    """Return a simulated series with interleaved lines and four in the centre of every frame.

    Or, with radial sampling, golden-angle spokes that continue from frame to frame.

    Parameters
    ----------
    kind
        One of :data:`.kinds.KINDS`.
    seed, frames, size, breathing
        See :func:`firenet_benchmark.cine.phantom.simulated_series`; echoes are 8 at most.
    coils
        Around the body.
    acceleration
        Lines of the grid for one that is measured, without those in the centre, or for a spoke.
    noise
        Standard deviation of the noise in k-space, over the largest magnitude of the images; that
        of spokes, which have two samples for a step of the grid, is sqrt 2 larger.
    sampling
        "lines" or "radial".
    """
    series = _series(kind, seed, frames, size, coils, breathing)
    frames = len(series.images)
    maps, along = coil_maps(coils, size) if series.maps is None else series.maps, {}
    if sampling == "radial":
        points = golden_angle_frames(frames, size // acceleration, 2 * size, (size, size))
        full, noise = torch.ones((1, *points.shape[1:3]), dtype=torch.bool), noise * math.sqrt(2)
        kspace = _along(points, series.images, maps)
        along = {"trajectory": list(points), "image_shape": (size, size)}
    else:
        mask = interleaved_lines(frames, size, acceleration)
        full = mask[:, None, :, None].expand(frames, 1, size, size)
        kspace = encoding_operator(full, maps)(series.images)
    generator = torch.Generator().manual_seed(seed + 1000)
    drawn = torch.randn(kspace.shape, dtype=kspace.dtype, generator=generator)
    kspace = (kspace + noise * float(series.images.abs().max()) * drawn) * full
    axis = "contrast" if kind == "echoes" else "phase"
    scan = RawScan(
        kspace[:, None],
        full[:, None] if sampling == "lines" else full,
        2,
        name=f"{kind} {'heart ' if kind in get_args(Heart) else ''}{seed}",
        simulated=True,
        images=tuple(f"{axis} {frame}" for frame in range(frames)),
        **along,  # type: ignore[arg-type]
    )
    known = maps if axis == "contrast" else None
    reference = series.images.abs()
    return CineProblem(scan.name, scan, reference, series.moves, series.events, axis, known)


def _series(kind: Kind, seed: int, frames: int, size: int, coils: int, breathing: float) -> Series:
    if kind == "echoes":
        return simulated_echoes(min(frames, _ECHOES), size, seed)
    if kind == "mrphantom":
        return slime.slime_series(frames, size, coils, seed)
    return simulated_series(kind, frames, size, seed, breathing=breathing)


def _along(points: Tensor, images: Tensor, maps: Tensor) -> Tensor:
    """Return the samples (frame, coil, spoke, sample) of images (frame, y, x)."""
    shape = tuple(images.shape[-2:])
    pairs = zip(points, images, strict=True)
    return torch.stack([Sense(maps, NonuniformFourier(p, shape))(image) for p, image in pairs])


def coil_maps(coils: int, size: int) -> Tensor:
    """Return maps of coils around the body, (coil, y, x) complex64, of root-sum-of-squares 1."""
    place = torch.linspace(-1, 1, size)
    angles = (2 * math.pi * torch.arange(coils) / coils)[:, None, None]
    y, x = place[:, None] - 1.3 * angles.sin(), place - 1.3 * angles.cos()
    turn = angles + 0.7 * (place[:, None] * angles.sin() + place * angles.cos())
    maps = torch.exp(-(y**2 + x**2) / 1.6) * torch.exp(1j * turn)
    return (maps / torch.linalg.vector_norm(maps, dim=0)).to(torch.complex64)
