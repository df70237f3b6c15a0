"""Phase-coherent sparsity: the bands of a pixel have a small penalty if they share one phase.

The coefficients of a group of K bands at a pixel make a real 2 x K matrix, real parts above
imaginary parts, where each band is multiplied by a scale s_b, its weight. The nuclear norm of that
matrix, the sum of its two singular values, is penalised. Where all K coefficients have the same
phase, up to their signs, the matrix has rank 1 and the norm is that of their vector. An edge of an
image with a smooth phase thus counts once, not once per band. A change of the image's phase rotates
the two rows, so that the penalty does not depend on it.

The dual of such a group lies in the ball of the spectral norm, on which
:mod:`firenet_mri.operators.spectral_ball` projects. The scales belong to W, not to the radius: with
one radius per group the projection has a closed form, and W^H W remains a convolution.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.operators.coherent_passes import coherent_step_
from firenet_mri.operators.frame import Frame
from firenet_mri.operators.kernels import can_compile
from firenet_mri.operators.spectral_ball import project_spectral, singular_values


class PhaseCoherent(Frame):
    """W x = (s_1 W_1 x, s_2 W_2 x, ...): a Parseval frame's bands, scaled, in coherent groups.

    Parameters
    ----------
    frame
        A Parseval frame of one level of separable filters (undecimated wavelets or cosines), or a
        learned frame.
    groups
        Numbers of successive bands that make one matrix; their sum is the number of bands.
    scales
        (band), s_b in (0, 1]; None means 1.

    Raises
    ------
    UsageError
        If the frame is of another kind, or a scale is out of its range.
    ShapeError
        If scales or groups do not fit the bands.
    """

    scales: Tensor
    filters: Tensor

    def __init__(self, frame: Frame, groups: tuple[int, ...], scales: Tensor | None = None) -> None:
        bands = frame.codomain_shape[0]
        scales = torch.ones(bands) if scales is None else scales
        is_plain = frame.filters is not None or frame.compares_bands
        if not is_plain or not frame.is_parseval or frame.groups is not None:
            raise UsageError(
                f"{frame} has no phase-coherent form; use undecimated wavelets of one level or "
                "undecimated cosines, or a sum of these"
            )
        if tuple(scales.shape) != (bands,) or sum(groups) != bands or min(groups) < 1:
            raise ShapeError(
                f"Scales of shape {tuple(scales.shape)} and groups of {groups} bands were given; "
                f"the frame has {bands} bands"
            )
        if not bool(((scales > 0) & (scales <= 1)).all()):
            raise UsageError(f"Scales {scales.tolist()} were given; all must lie in (0, 1]")
        if frame.filters is None and not bool((scales == 1).all()):
            raise UsageError(f"{frame} has no separable filters; its bands cannot be scaled")
        largest = float(scales.max()) * frame.norm_bound
        super().__init__(frame.domain_shape, bands, largest, frame.reach, frame.filters)
        self.frame = frame
        self.groups = groups
        self.is_coherent = True
        self.is_parseval = bool((scales == 1).all())
        self.is_trained = frame.is_trained
        self.average_bands = frame.average_bands
        ndim = len(frame.domain_shape)
        flat = scales.double().reshape(-1, *[1] * ndim)
        self.register_buffer("scales", flat, persistent=False)
        self._symbol = (
            torch.ones(frame.domain_shape, dtype=torch.float64)
            if frame.filters is None
            else _symbol(frame.filters, flat, frame.domain_shape)
        )

    @property
    def band_norms(self) -> Tensor:
        """(band, 1, ...) float64: norm of each band's functions."""
        return self.scales * self.frame.band_norms.to(self.scales.device)

    def gram_symbol(self) -> Tensor:
        """Return the eigenvalues of W^H W at the frequencies of the FFT, (*spatial) float64."""
        return self._symbol.to(self.scales.device)

    def modulus(self, coefficients: Tensor) -> Tensor:
        """Return for every coefficient the nuclear norm of its group, (..., *codomain_shape)."""
        return self._over_values(coefficients, "sum")

    def dual_modulus(self, coefficients: Tensor) -> Tensor:
        """Return for every coefficient the spectral norm of its group, (..., *codomain_shape)."""
        return self._over_values(coefficients, "max")

    def project(self, coefficients: Tensor, radius: Tensor | float) -> Tensor:
        """Return the nearest coefficients whose groups have spectral norms within the radius."""
        return self.coefficients(self._project(self.laid_out(coefficients), radius))

    def with_radii(self, planes: Tensor, radius: Tensor | float) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the groups of coefficients in planes, and their one radius, (..., 1, *spatial)."""
        axis, first = -len(self.codomain_shape), 0
        radii = torch.as_tensor(radius, dtype=planes.dtype, device=planes.device)
        is_one = radii.ndim < -axis or radii.shape[axis] == 1
        for part in planes.split(self.group_sizes, dim=axis):
            yield part, radii if is_one else radii.narrow(axis, first, 1)
            first += part.shape[axis]

    def bands_of(self, planes: Tensor) -> Tensor:
        """Return W of real images (..., *spatial), (..., band, *spatial)."""
        return self._analyse(planes)

    @property
    def group_sizes(self) -> tuple[int, ...]:
        """Numbers of successive bands that make one matrix."""
        assert self.groups is not None
        return self.groups

    def _over_values(self, coefficients: Tensor, what: str) -> Tensor:
        """Return the sum or maximum of a group's singular values for each of its coefficients."""
        axis, parts = -len(self.codomain_shape), []
        for part in self.laid_out(coefficients).split(self.group_sizes, dim=axis):
            values = singular_values(part, axis)
            size = values.sum(0) if what == "sum" else values.amax(0)
            parts.append(size.expand(part.shape[1:]))
        return torch.cat(parts, dim=axis)

    def _project(self, q: Tensor, radius: Tensor | float) -> Tensor:
        """Return q in planes projected on the balls."""
        axis = -len(self.codomain_shape)
        parts = [project_spectral(part, r, axis) for part, r in self.with_radii(q, radius)]
        return torch.cat(parts, dim=axis)

    def _project_(self, q: Tensor, radius: Tensor | float) -> None:
        """Overwrite q in planes with its projection on the balls."""
        q.copy_(self._project(q, radius))

    def _analyse(self, planes: Tensor, *, is_slab: bool = False) -> Tensor:
        bands = self.frame._analyse(planes, is_slab=is_slab)
        return bands * self.scales.to(bands.device, bands.dtype)

    def _synthesise(self, coefficients: Tensor, *, is_slab: bool = False) -> Tensor:
        scaled = coefficients * self.scales.to(coefficients.device, coefficients.dtype)
        return self.frame._synthesise(scaled, is_slab=is_slab)

    def _can_compile(
        self, q: Tensor, planes: Tensor, steps: Tensor, radius: Tensor | float
    ) -> bool:
        return len(q) == 2 and can_compile(q, planes, steps) and self._fits_kernels(q, radius)

    def _compiled_step(
        self, q: Tensor, planes: Tensor, lengths: Tensor, radii: Tensor, relaxation: float
    ) -> Tensor:
        numbers = self.scales.flatten(), self.filters
        return coherent_step_(q, planes, lengths, radii, *numbers, self.group_sizes, relaxation)

    def extra_repr(self) -> str:
        """Return the groups, for printing."""
        return f"groups={self.groups}"


def _symbol(filters: Tensor, scales: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return sum_b s_b^2 prod_i |F g_{b_i}|^2, the first axis' filter varying fastest."""
    left = len(shape)
    # The first axis' filter varies fastest in the order of the bands.
    total = scales.reshape([len(filters)] * left).square().cpu()
    taps = torch.arange(filters.shape[1], dtype=torch.float64)
    for size in shape:
        angles = 2 * torch.pi / size * torch.arange(size, dtype=torch.float64)
        waves = torch.exp(-1j * angles * taps.unsqueeze(1))
        energy = (filters.to("cpu", waves.dtype) @ waves).abs().square()
        left -= 1
        total = torch.tensordot(total, energy, dims=([left], [0]))
    return total
