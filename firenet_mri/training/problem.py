"""A training case in the form that a network takes, on its device, with a cheap gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from firenet_mri.firenet.learned.conditions import conditions_of, data_conditions
from firenet_mri.firenet.learned.layers import Stage
from firenet_mri.firenet.learned.network import Architecture, apply_stages
from firenet_mri.operators.centred import centred_fft, centred_ifft
from firenet_mri.training.simulated_cases import TrainingCase

_AXES = (-2, -1)


class Problem:
    """A case in units of s = ||y|| / sqrt(pixels), with a differentiable gradient.

    Parameters
    ----------
    case
        The under-sampled slice and its reference.
    device
        Where to compute.

    Notes
    -----
    ``acceleration`` is points of the grid for one sample, ``relative_noise`` the expected norm of
    the noise over that of the samples.
    """

    def __init__(self, case: TrainingCase, device: torch.device) -> None:
        self.maps = case.maps.to(device)
        self.mask = case.mask.to(device)
        self.reference = case.reference.to(device)
        self.support = (self.maps.abs().sum(0) > 0).float()
        self.kspace = case.kspace.to(device)
        pixels = float(self.support.sum())
        self.scale = float(torch.linalg.vector_norm(self.kspace)) / math.sqrt(max(pixels, 1))
        share = self.mask.float().mean()
        self.acceleration = 1 / float(share)
        acceleration = torch.tensor(self.acceleration, dtype=torch.float64)
        sampling = conditions_of(acceleration, _has_lines(self.mask), len(self.maps))
        samples = len(self.maps) * int(self.mask.sum())
        norm = float(torch.linalg.vector_norm(self.kspace))
        self.relative_noise = case.noise * math.sqrt(samples) / max(norm, 1e-20)
        self._axes = tuple(
            axis for axis in _AXES if not bool((self.mask == self.mask.narrow(axis, 0, 1)).all())
        )
        narrow = self.mask
        for axis in _AXES:
            if axis not in self._axes:
                narrow = narrow.narrow(axis, 0, 1)
        self._factor = torch.fft.ifftshift(narrow, dim=self._axes).float()
        self._conjugate = self.maps.conj().resolve_conj()
        y = self.kspace / self.scale
        start = self.adjoint(self.kspace)[0]

        def residual(x: Tensor) -> tuple[Tensor, Tensor]:
            return self.normal(x)[0] - start, torch.linalg.vector_norm(self.spread(x) - y)

        zero = torch.zeros_like(start)
        levels = data_conditions(y, self.mask[None], residual, zero, torch.tensor(pixels))
        self.conditions = torch.cat([sampling.float().to(device), levels])

    def adjoint(self, kspace: Tensor) -> Tensor:
        """Return A^H y, (1, y, x), in units of s."""
        return (self._conjugate * centred_ifft(kspace, _AXES)).sum(0)[None] / self.scale

    def spread(self, image: Tensor) -> Tensor:
        """Return A x of (y, x)."""
        return centred_fft(self.maps * image, _AXES) * self.mask

    def normal(self, x: Tensor) -> Tensor:
        """Return N x, (1, y, x)."""
        if not self._axes:
            return x * self.support
        k = torch.fft.fftn(self.maps * x, dim=self._axes)
        k = torch.fft.ifftn(k.mul_(self._factor), dim=self._axes)
        return k.mul_(self._conjugate).sum(0)[None]

    def image(self, stages: Sequence[Stage], start: Tensor, architecture: Architecture) -> Tensor:
        """Return the network's image, (y, x), at the size of the data.

        Parameters
        ----------
        stages, architecture
            The network.
        start
            A^H y as :meth:`adjoint` returns it.
        """

        def gradient(x: Tensor) -> Tensor:
            return start - SelfAdjoint.apply(x, self.normal)  # type: ignore[no-untyped-call]

        *_, x = apply_stages(stages, gradient, start, self.conditions[None], architecture)
        return x[0] * self.scale

    def error(self, image: Tensor) -> Tensor:
        """Return the mean square error of the magnitude, over the square of the largest value."""
        difference = (image.abs() - self.reference) * self.support
        return (difference / self.reference.max()).square().mean()


class SelfAdjoint(torch.autograd.Function):
    """A linear map that is its own adjoint, so that nothing needs to be recorded."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, normal: Callable[[Tensor], Tensor]) -> Tensor:
        """Return N x."""
        ctx.normal = normal
        return normal(x)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, None]:
        """Return N cotangent."""
        return ctx.normal(cotangent), None


def psnr_db(error: float) -> float:
    """Return the PSNR of a mean square error, at most 120 dB; nan of nan."""
    return -10 * math.log10(max(error, 1e-12))


def _has_lines(mask: Tensor) -> Tensor:
    return ((mask == mask[:1]).all() | (mask == mask[:, :1]).all()).cpu()
