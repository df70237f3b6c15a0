"""Simulated hearts over time: a beating one, one with a contrast agent, one with sudden changes.

They consist of soft ellipses in front of a textured body; the numbers do not come from
measurements. All breathe with a period that differs from the length of the series, so that the
series is not periodic.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from firenet_benchmark.cine.edge import Event
from firenet_benchmark.cine.kinds import Heart
from firenet_mri.errors import UsageError

# Width of an edge, as a share of the field of view.
_SOFT = 0.012
_BLOBS = 14
# Shares of the series after which the pool brightens, the wall jumps and a faint spot appears.
_EVENTS = (0.32, 0.48, 0.64)
# Leaves five frames on either side of every event.
_FEWEST = 15


class Series(NamedTuple):
    """A series of images and where something changes.

    Parameters
    ----------
    images
        (frame, y, x) complex64, magnitudes of 0 to about 1.5, smooth phase.
    moves
        (y, x) bool: where the magnitude changes over time by more than a tenth of its largest.
    events
        What happens abruptly.
    maps
        (coil, y, x) complex64, where the series has coils of its own.
    """

    images: Tensor
    moves: Tensor
    events: tuple[Event, ...] = ()
    maps: Tensor | None = None


def simulated_series(
    kind: Heart, frames: int, size: int, seed: int, *, breathing: float = 0.01
) -> Series:
    """Return a heart over time.

    Parameters
    ----------
    kind
        "beating": walls and blood pools move once through a heartbeat. "perfusion": a still heart
        whose pool and then wall brighten and fade again. "abrupt": a beating heart whose pool
        brightens by .3 from one frame to the next, whose wall jumps outwards, and beside which a
        faint spot of .1 appears; see :attr:`Series.events`.
    frames, size
        Number of images, and pixels along both axes.
    seed
        Of place, shape, texture and surroundings.
    breathing
        Amplitude of a shift along y, as a share of the field of view; .74 breaths per series.

    Raises
    ------
    UsageError
        If a series with abrupt events has too few frames to measure them.
    """
    if kind == "abrupt" and frames < _FEWEST:
        raise UsageError(
            f"{frames} frames asked for; abrupt events need at least {_FEWEST}, choose more frames "
            "or leave abrupt out"
        )
    scene = _Scene(size, seed)
    begins = [round(share * frames) for share in _EVENTS] if kind == "abrupt" else []

    def images(fixed: dict[int, bool]) -> Tensor:
        """Return the series; some of the events can have happened always or never."""
        found = []
        for frame in range(frames):
            share = frame / frames
            still = scene.perfused(share) if kind == "perfusion" else scene.beating(share)
            for number, begin in enumerate(begins):
                if fixed.get(number, frame >= begin):
                    still = still + scene.event(number, share)
            shift = breathing * size * math.sin(2 * math.pi * 0.74 * share + seed)
            found.append(_shifted(still * scene.phase, shift))
        return torch.stack(found).to(torch.complex64)

    series = images({})
    events = tuple(
        Event(begin, images({number: False}).abs(), images({number: True}).abs())
        for number, begin in enumerate(begins)
    )
    return Series(series, where_it_changes(series.abs()), events)


def where_it_changes(magnitude: Tensor) -> Tensor:
    """Return where a series (frame, y, x) changes by more than a tenth of its largest, (y, x)."""
    change = magnitude.amax(0) - magnitude.amin(0)
    return change > 0.1 * magnitude.max()


class _Scene:
    """What stays the same over the series."""

    def __init__(self, size: int, seed: int) -> None:
        self._random = torch.Generator().manual_seed(seed)
        place = torch.linspace(-1, 1, size)
        self.y, self.x = torch.meshgrid(place, place, indexing="ij")
        self.phase = torch.exp(1j * (1.2 * self.x + 0.8 * self.y**2 + 0.5 * self.x * self.y))
        self.centre = self._between(-0.1, 0.2), self._between(-0.2, 0.1)
        self.radius, self.angle = self._between(0.16, 0.22), self._between(0, 3)
        body = self._ellipse(0, 0, 0.82, 0.9)
        back = 0.35 * body * (1 + 0.12 * self._texture(size))
        for _ in range(_BLOBS):
            value = self._between(-0.15, 0.2)
            place_, sizes = (self._pair(-0.6, 0.6), self._pair(0.03, 0.12))
            back = back + value * self._ellipse(*place_, *sizes, self._between(0, 3)) * body
        y, x = self.centre
        hole = self._ellipse(y, x, self.radius + 0.12, self.radius + 0.1, self.angle)
        self.background = back * (1 - hole)

    def beating(self, share: float) -> Tensor:
        """Return the magnitude at a share of the heartbeat."""
        squeeze = _squeeze(share)
        (y, x), r = self.centre, self.radius
        outer, inner = r + 0.1 - 0.03 * squeeze, r - 0.07 * squeeze
        image = self.background + 0.45 * self._ellipse(y, x, outer, 0.92 * outer, self.angle)
        image = image + 0.5 * self._ellipse(y, x, inner, 0.9 * inner, self.angle)
        for side in (1, -1):
            reach = 0.45 * side * inner
            where = y + reach * math.cos(self.angle), x + reach * math.sin(self.angle)
            image = image - 0.45 * self._ellipse(*where, 0.035, 0.03)
        right = 0.9 * r - 0.05 * squeeze, 0.1 - 0.02 * squeeze
        image = image + 0.4 * self._ellipse(y + 0.05, x - r - 0.18 + 0.03 * squeeze, *right)
        return image.clamp(min=0)

    def event(self, number: int, share: float) -> Tensor:
        """Return what an event adds to the beating heart, see :func:`simulated_series`."""
        squeeze, (y, x), r = _squeeze(share), self.centre, self.radius
        outer, inner = r + 0.1 - 0.03 * squeeze, r - 0.07 * squeeze
        if number == 0:
            return 0.3 * self._ellipse(y, x, inner, 0.9 * inner, self.angle)
        if number == 1:
            wide = self._ellipse(y, x, outer + 0.05, 0.92 * (outer + 0.05), self.angle)
            return 0.45 * (wide - self._ellipse(y, x, outer, 0.92 * outer, self.angle))
        return 0.1 * self._ellipse(y + 0.45, x + 0.1, 0.08, 0.06)

    def perfused(self, share: float) -> Tensor:
        """Return the magnitude at a share of the passage of a contrast agent."""
        (y, x), r = self.centre, self.radius
        pool = self._ellipse(y, x, r, 0.9 * r, self.angle)
        wall = self._ellipse(y, x, r + 0.1, 0.92 * (r + 0.1), self.angle) - pool
        time = 12 * share
        agent = 0.9 * _bolus(time - 2) * pool + 0.35 * _bolus(0.8 * (time - 4)) * wall
        return (self.background + 0.25 * pool + 0.3 * wall + agent).clamp(min=0)

    def _ellipse(self, y: float, x: float, a: float, b: float, angle: float = 0.0) -> Tensor:
        c, s = math.cos(angle), math.sin(angle)
        along = ((self.y - y) * c + (self.x - x) * s) / a
        across = ((self.x - x) * c - (self.y - y) * s) / b
        return torch.sigmoid((1 - torch.hypot(along, across)) * min(a, b) / _SOFT)

    def _texture(self, size: int) -> Tensor:
        white = torch.randn(size, size, generator=self._random)
        k = torch.fft.fftfreq(size)
        smooth = torch.fft.fft2(white) / (0.02 + torch.hypot(k[:, None], k)) ** 1.2
        found = torch.fft.ifft2(smooth).real
        return found / found.std()

    def _between(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand(1, generator=self._random))

    def _pair(self, low: float, high: float) -> tuple[float, float]:
        return self._between(low, high), self._between(low, high)


def _squeeze(share: float) -> float:
    """Return how far the heart is contracted at a share of the beat, 0 to about 1."""
    angle = 2 * math.pi * share
    return 0.5 * (1 - math.cos(angle)) * (1 + 0.2 * math.sin(angle))


def _bolus(time: float) -> float:
    """Return a curve that rises from 0 to about 1 at time 2 and falls again."""
    return 1.8 * time**2 * math.exp(-time) if time > 0 else 0.0


def _shifted(image: Tensor, rows: float) -> Tensor:
    """Return an image moved down by a fractional number of rows, with periodic ends."""
    k = torch.fft.fftfreq(image.shape[0])[:, None]
    return torch.fft.ifft2(torch.fft.fft2(image) * torch.exp(-2j * math.pi * k * rows))
