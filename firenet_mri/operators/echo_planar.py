"""Echo trains on a Cartesian grid: gridding along the readout and phase correction in one.

    y = F exp(+-i phi / 2) Z s,

for the samples s of a readout as they were stored. Z maps them to the image along the readout. It
is one matrix for forward and one for backward readouts, and contains the order of the samples and
their uneven spacing on the gradient's ramps. phi is the phase by which the two directions differ;
each gets half of it, forward readouts with the minus. F is the centred unitary Fourier transform.
"""

from __future__ import annotations

import torch
from torch import Tensor

from firenet_mri.errors import ShapeError
from firenet_mri.operators.base import LinearOperator, Part, Shape
from firenet_mri.operators.centred import centred_fft, centred_ifft

# Margin for the rounding of a singular value computed in double precision.
_ROUNDING = 1e-12


class EchoTrainGridding(LinearOperator):
    """s -> F exp(+-i phi / 2) Z s, readout by readout.

    Parameters
    ----------
    readout
        Z of forward and backward readouts, (2, columns, samples) complex.
    backward
        bool, (*batch, *lines): True where a readout runs backward. ``lines`` are the axes of phase
        encoding.
    phase
        phi in radians, the phase of forward readouts less that of backward ones, (*batch, coil,
        columns) real.
    part
        What phi was made from; None if phi is zero.

    Raises
    ------
    ShapeError
        If these shapes do not match.

    Notes
    -----
    ``norm_bound`` is the largest singular value of the two matrices, with a margin for rounding:
    the rest is unitary, and readouts do not mix.
    """

    readout: Tensor
    backward: Tensor
    phase: Tensor

    def __init__(self, readout: Tensor, backward: Tensor, phase: Tensor, part: Part | None) -> None:
        batch, coils = tuple(phase.shape[:-2]), phase.shape[-2]
        is_whole = readout.ndim == 3 and len(readout) == 2 and phase.ndim >= 2
        if not is_whole or phase.shape[-1] != readout.shape[1]:
            raise ShapeError(
                f"Matrices {tuple(readout.shape)} were given with phases {tuple(phase.shape)}; "
                "they must be (2, columns, samples) and (..., coil, columns)"
            )
        if tuple(backward.shape[: len(batch)]) != batch or backward.ndim == len(batch):
            raise ShapeError(
                f"Directions {tuple(backward.shape)} were given with phases {tuple(phase.shape)}; "
                "they must be (..., lines) with the same leading axes"
            )
        columns, samples = readout.shape[1:]
        lines = tuple(backward.shape[len(batch) :])
        largest = float(torch.linalg.matrix_norm(readout.to(torch.complex128), 2).max())
        shape: Shape = (*batch, coils, *lines)
        super().__init__((*shape, samples), (*shape, columns), largest * (1 + _ROUNDING))
        self.made_from = () if part is None else (part,)
        self._line_ndim = len(lines)
        self.register_buffer("readout", readout, persistent=False)
        self.register_buffer("backward", backward, persistent=False)
        self.register_buffer("phase", phase, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return k-space (..., coil, *lines, columns) of samples (..., coil, *lines, samples)."""
        self.check_domain(x)
        matrices = self.readout.to(x.device, x.dtype)
        forward, backward = (x @ matrix.mT for matrix in matrices)
        image = torch.where(self._backward(x), backward, forward)
        return centred_fft(image * self._turn(x), [-1])

    def adjoint(self, y: Tensor) -> Tensor:
        """Return the adjoint of k-space y, (..., coil, *lines, samples)."""
        self.check_codomain(y)
        matrices = self.readout.to(y.device, y.dtype)
        image = centred_ifft(y, [-1]) * self._turn(y).conj()
        forward, backward = (image @ matrix.conj() for matrix in matrices)
        return torch.where(self._backward(y), backward, forward)

    def _backward(self, x: Tensor) -> Tensor:
        """Return the directions as (*batch, 1, *lines, 1)."""
        return self.backward.to(x.device).unsqueeze(-self._line_ndim - 1)[..., None]

    def _turn(self, x: Tensor) -> Tensor:
        """Return exp(+-i phi / 2) as (*batch, coil, *lines, columns)."""
        half = self.phase.to(x.device, torch.float64) / 2
        half = half.reshape(*half.shape[:-1], *[1] * self._line_ndim, half.shape[-1])
        turn = torch.polar(torch.ones_like(half), half).to(x.dtype)
        return torch.where(self._backward(x), turn, turn.conj())


class KspaceReversal(LinearOperator):
    """Map index n of each of the last axes to (2 (N//2) - n) mod N: k-space reversed.

    Parameters
    ----------
    shape
        Shape of k-space.
    ndim
        Number of reversed axes.
    """

    is_unitary = True
    is_parseval = True

    def __init__(self, shape: Shape, ndim: int) -> None:
        super().__init__(shape, shape, 1.0)
        self.ndim = ndim

    def forward(self, x: Tensor) -> Tensor:
        """Return x reversed."""
        self.check_domain(x)
        return reversed_about_centre(x, self.ndim)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return y reversed."""
        self.check_codomain(y)
        return reversed_about_centre(y, self.ndim)


def reversed_about_centre(x: Tensor, ndim: int) -> Tensor:
    """Return x with index n of each of the last axes at (2 (N//2) - n) mod N."""
    for axis in range(-ndim, 0):
        # For even N the first sample, -N/2, is its own opposite.
        x = x.flip(axis).roll(1 - x.shape[axis] % 2, axis)
    return x.contiguous()
