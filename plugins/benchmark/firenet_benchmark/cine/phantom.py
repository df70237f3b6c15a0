"""Simulated hearts: one beats, a contrast agent passes through one, one is seen at several echoes.

Made up of soft ellipses before a textured body; no measurement stands behind the numbers. All
breathe with another period than that of the series, so that the series is not periodic; between
echoes nothing moves.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from firenet_benchmark.cine.kinds import Kind

# Pixels over which an edge goes from nothing to all, as a share of the field of view.
_SOFT = 0.012
_BLOBS = 14


class Series(NamedTuple):
    """A series of images and where something changes.

    Parameters
    ----------
    images
        (frame, y, x) complex64, magnitudes of 0 to about 1.5, smooth phase.
    moves
        (y, x) bool: where the magnitude changes over time by more than a tenth of its largest.
    """

    images: Tensor
    moves: Tensor


def simulated_series(kind: Kind, frames: int, size: int, seed: int) -> Series:
    """Return a heart over time.

    Parameters
    ----------
    kind
        "beating": walls and blood pools move once through a heartbeat. "perfusion": a still heart
        whose pool and then wall brighten and fade again. "echoes": a still heart whose tissues
        decay at different rates, and whose phase grows from echo to echo with the field.
    frames, size
        Number of images, and pixels along both axes.
    seed
        Of place, shape, texture and surroundings.
    """
    scene = _Scene(size, seed)
    images = []
    for frame in range(frames):
        share = frame / frames
        if kind == "echoes":
            images.append(scene.decayed(share) * scene.phase)
            continue
        still = scene.beating(share) if kind == "beating" else scene.perfused(share)
        shift = 0.01 * size * math.sin(2 * math.pi * 0.74 * share + seed)
        images.append(_shifted(still * scene.phase, shift))
    series = torch.stack(images).to(torch.complex64)
    magnitude = series.abs()
    change = magnitude.amax(0) - magnitude.amin(0)
    return Series(series, change > 0.1 * magnitude.max())


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
        rates = torch.Generator().manual_seed(seed + 500)
        self.rate = torch.full_like(self.x, 0.8)
        for _ in range(_BLOBS):
            value = self._between(-0.15, 0.2)
            place_, sizes = (self._pair(-0.6, 0.6), self._pair(0.03, 0.12))
            blob = self._ellipse(*place_, *sizes, self._between(0, 3)) * body
            back = back + value * blob
            self.rate = self.rate + (2 * float(torch.rand(1, generator=rates)) - 0.6) * blob
        y, x = self.centre
        hole = self._ellipse(y, x, self.radius + 0.12, self.radius + 0.1, self.angle)
        self.background = back * (1 - hole)

    def beating(self, share: float) -> Tensor:
        """Return the magnitude at a share of the heartbeat."""
        angle = 2 * math.pi * share
        squeeze = 0.5 * (1 - math.cos(angle)) * (1 + 0.2 * math.sin(angle))
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

    def perfused(self, share: float) -> Tensor:
        """Return the magnitude at a share of the passage of a contrast agent."""
        (y, x), r = self.centre, self.radius
        pool = self._ellipse(y, x, r, 0.9 * r, self.angle)
        wall = self._ellipse(y, x, r + 0.1, 0.92 * (r + 0.1), self.angle) - pool
        time = 12 * share
        agent = 0.9 * _bolus(time - 2) * pool + 0.35 * _bolus(0.8 * (time - 4)) * wall
        return (self.background + 0.25 * pool + 0.3 * wall + agent).clamp(min=0)

    def decayed(self, share: float) -> Tensor:
        """Return the complex image at a share of the time of all echoes, without the coils' phase.

        What has a rate of 1 decays to 1/e; the field turns by up to about two revolutions.
        """
        (y, x), r = self.centre, self.radius
        pool = self._ellipse(y, x, r, 0.9 * r, self.angle)
        wall = self._ellipse(y, x, r + 0.1, 0.92 * (r + 0.1), self.angle) - pool
        magnitude = self.background + 0.7 * pool + 0.45 * wall
        rate = self.rate * (1 - pool - wall) + 0.4 * pool + 1.5 * wall
        field = 0.8 * self.y + 0.6 * self.x**2 + 0.5 * torch.exp(-8 * ((self.y - 0.3) ** 2))
        turn = torch.exp(4j * math.pi * share * field)
        return magnitude.clamp(min=0) * torch.exp(-rate * share) * turn

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


def _bolus(time: float) -> float:
    """Return a curve that rises from 0 to about 1 at time 2 and falls again."""
    return 1.8 * time**2 * math.exp(-time) if time > 0 else 0.0


def _shifted(image: Tensor, rows: float) -> Tensor:
    """Return an image moved down by rows, not whole ones, with periodic ends."""
    k = torch.fft.fftfreq(image.shape[0])[:, None]
    return torch.fft.ifft2(torch.fft.fft2(image) * torch.exp(-2j * math.pi * k * rows))
