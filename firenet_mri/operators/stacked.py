"""Sums of sparsity terms as one frame: sum_j ||s_j W_j x|| has the bands of all s_j W_j."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.operators.frame import Frame, part_along
from firenet_mri.operators.frame_passes import FramePart


class StackedFrame(Frame):
    """W x = (s_1 W_1 x, s_2 W_2 x, ...), one after the other along the band axis.

    W^H W = sum_j s_j^2 W_j^H W_j. With frames of norm at most 1 and sum_j s_j^2 = 1 the norm is at
    most 1, too, and W is a Parseval frame if all W_j are.

    Parameters
    ----------
    parts
        Pairs (s_j, W_j), s_j positive, all W_j for images of one size.

    Raises
    ------
    UsageError
        If there is no frame, or a factor is not positive.
    ShapeError
        If the parts take images of different sizes.
    """

    def __init__(self, parts: Sequence[tuple[float, Frame]]) -> None:
        scales, frames = [scale for scale, _ in parts], [frame for _, frame in parts]
        if not frames or not all(0 < scale < math.inf for scale in scales):
            raise UsageError(
                f"Factors {scales} were given; at least one frame is needed, all with positive "
                "factors"
            )
        shapes = {frame.domain_shape for frame in frames}
        if len(shapes) > 1:
            raise ShapeError(f"Frames for images of different sizes cannot be summed: {shapes}")
        squares = [(s * frame.norm_bound) ** 2 for s, frame in zip(scales, frames, strict=True)]
        bands = sum(frame.codomain_shape[0] for frame in frames)
        super().__init__(frames[0].domain_shape, bands, math.sqrt(sum(squares)))
        self.scales = tuple(scales)
        self.frames = nn.ModuleList(frames)
        if any(frame.groups is not None for frame in frames):
            self.groups = tuple(size for frame in frames for size in _groups(frame))
        self.is_coherent = any(frame.is_coherent for frame in frames)
        starts = itertools.accumulate((f.codomain_shape[0] for f in frames), initial=0)
        self.average_bands = tuple(
            start + band
            for start, frame in zip(starts, frames, strict=False)
            for band in frame.average_bands
        )
        total = sum(scale**2 for scale in scales)
        self.is_parseval = all(frame.is_parseval for frame in frames) and abs(total - 1) < 1e-14
        self.annihilates_constants = all(frame.annihilates_constants for frame in frames)

    @property
    def parts(self) -> list[tuple[float, Frame]]:
        """The pairs (s_j, W_j)."""
        frames: list[Frame] = list(self.frames)  # type: ignore[arg-type]
        return list(zip(self.scales, frames, strict=True))

    @property
    def band_norms(self) -> Tensor:
        """(band, 1, ...) float64: norm of each band's functions."""
        return torch.cat([scale * frame.band_norms for scale, frame in self.parts])

    def modulus(self, coefficients: Tensor) -> Tensor:
        """Return the penalised size, for every coefficient its group's."""
        if not self.is_coherent:
            return super().modulus(coefficients)
        return self._part_by_part(coefficients, lambda frame, c, _: frame.modulus(c))

    def dual_modulus(self, coefficients: Tensor) -> Tensor:
        """Return the size that the dual step limits, for every coefficient its group's."""
        if not self.is_coherent:
            return super().dual_modulus(coefficients)
        return self._part_by_part(coefficients, lambda frame, c, _: frame.dual_modulus(c))

    def over_groups(self, values: Tensor) -> Tensor:
        """Return for every coefficient the sum over its group; real."""
        if not self.is_coherent:
            return super().over_groups(values)
        return self._part_by_part(values, lambda frame, c, _: frame.over_groups(c))

    def shares(self, coefficients: Tensor) -> Tensor:
        """Return the penalised size, shared equally within a group, which thus counts once."""
        if not self.is_coherent:
            return super().shares(coefficients)
        return self._part_by_part(coefficients, lambda frame, c, _: frame.shares(c))

    def project(self, coefficients: Tensor, radius: Tensor | float) -> Tensor:
        """Return the projection of coefficients on the feasible set of the dual."""
        if not self.is_coherent:
            return super().project(coefficients, radius)
        return self._part_by_part(coefficients, lambda frame, c, r: frame.project(c, r), radius)

    def _project(self, q: Tensor, radius: Tensor | float) -> Tensor:
        if not self.is_coherent:
            return super()._project(q, radius)
        return self._part_by_part(q, lambda frame, p, r: frame._project(p, r), radius)

    def _part_by_part(
        self,
        values: Tensor,
        function: Callable[[Frame, Tensor, Tensor | float], Tensor],
        radius: Tensor | float = 1.0,
    ) -> Tensor:
        """Return the results of a function of each frame, its bands and their radii, joined."""
        results = [function(*part) for part in self.split_bands(values, radius)]
        return torch.cat(results, dim=-len(self.codomain_shape))

    def split_bands(
        self, values: Tensor, radius: Tensor | float = 1.0
    ) -> list[tuple[Frame, Tensor, Tensor | float]]:
        """Return each frame with its bands of coefficients, and its radii."""
        axis, first, found = -len(self.codomain_shape), 0, []
        for _, frame in self.parts:
            count = frame.codomain_shape[0]
            limit = part_along(radius, axis, first, count)
            found.append((frame, values.narrow(axis, first, count), limit))
            first += count
        return found

    def gram_symbol(self) -> Tensor:
        """Return the eigenvalues of W^H W at the frequencies of the FFT, (*spatial) float64."""
        return torch.stack([scale**2 * frame.gram_symbol() for scale, frame in self.parts]).sum(0)

    def _analyse(self, planes: Tensor, *, is_slab: bool = False) -> Tensor:
        axis = -len(self.codomain_shape)
        return torch.cat([scale * frame._analyse(planes) for scale, frame in self.parts], dim=axis)

    def _synthesise(self, coefficients: Tensor, *, is_slab: bool = False) -> Tensor:
        bands = coefficients.split(self._sizes, dim=-len(self.codomain_shape))
        images = [
            scale * frame._synthesise(part)
            for (scale, frame), part in zip(self.parts, bands, strict=True)
        ]
        return torch.stack(images).sum(0)

    def _step_in_slabs(
        self,
        q: Tensor,
        planes: Tensor,
        steps: Tensor,
        radius: Tensor | float,
        relaxation: float = 1.0,
    ) -> Tensor:
        """Overwrite q with q+ and return W^H q+ in planes, frame by frame."""
        axis = -len(self.codomain_shape)
        image = torch.zeros_like(planes)
        first = 0
        for scale, frame in self.parts:
            count = frame.codomain_shape[0]
            part = q.narrow(axis, first, count)
            limit = part_along(radius, axis, first, count)
            back = frame._step_in_slabs(part, planes, steps * scale, limit, relaxation)
            image.add_(back, alpha=scale)
            first += count
        return image

    def _compiled_parts(self, q: Tensor, radius: Tensor | float) -> list[FramePart] | None:
        """Return what the compiled step takes; None unless all frames have one."""
        axis = -len(self.codomain_shape)
        found: list[FramePart] = []
        for scale, frame in self.parts:
            first = sum(part.q.shape[axis] for part in found)
            count = frame.codomain_shape[0]
            limit = part_along(radius, axis, first, count)
            parts = frame._compiled_parts(q.narrow(axis, first, count), limit)
            if parts is None:
                return None
            found += [part._replace(scale=scale * part.scale) for part in parts]
        return found

    @property
    def _sizes(self) -> list[int]:
        return [frame.codomain_shape[0] for _, frame in self.parts]


def _groups(frame: Frame) -> tuple[int, ...]:
    return (1,) * frame.codomain_shape[0] if frame.groups is None else frame.groups
