"""The encoding operator of images that belong together: every frame has its own mask and maps."""

from __future__ import annotations

import torch
from torch import Tensor

from firenet_mri.errors import ShapeError
from firenet_mri.operators.base import LinearOperator, Residual
from firenet_mri.operators.fourier import CartesianFourier
from firenet_mri.operators.sense import Sense


class FrameWise(LinearOperator):
    """(x_t) -> (A_t x_t): frames (frame, *spatial) to their k-space (coil, frame, *samples).

    The operators A_t = P_t F S_t of the frames do not mix them, so that the norm of the whole is
    the largest of theirs.

    Parameters
    ----------
    frames
        Number of frames, at least 1.
    sense
        The Cartesian operators of all frames, which are its leading axis: a mask (frame, 1,
        *spatial) or one for all, and maps (frame, coil, *spatial) or (coil, *spatial).

    Raises
    ------
    ShapeError
        If mask or maps are those of another number of frames.
    """

    root_sum_of_squares: Tensor

    def __init__(self, frames: int, sense: Sense) -> None:
        ndim = len(sense.domain_shape)
        fourier = sense.fourier
        leading = [sense.maps.shape[: -ndim - 1]]
        if isinstance(fourier, CartesianFourier):
            leading.append(fourier.mask.shape[: -ndim - 1])
        for found in leading:
            if tuple(found) not in ((), (1,), (frames,)):
                raise ShapeError(
                    f"{frames} frames, and masks or maps with leading axes {tuple(found)}; give "
                    "one for all frames, or one for each"
                )
        coils, *samples = sense.codomain_shape
        shapes = (frames, *sense.domain_shape), (coils, frames, *samples)
        super().__init__(*shapes, sense.norm_bound)
        self.sense = sense
        self.made_from = sense.made_from
        seen = sense.root_sum_of_squares.expand(self.domain_shape)
        self.register_buffer("root_sum_of_squares", seen, persistent=False)
        self._coil_axis = -len(sense.codomain_shape)

    def forward(self, x: Tensor) -> Tensor:
        """Return the k-space (..., coil, frame, *samples) of frames x."""
        self.check_domain(x)
        samples: Tensor = self.sense(x)
        return samples.transpose(self._coil_axis, self._coil_axis - 1)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return A^H y, frame by frame, (..., frame, *spatial)."""
        self.check_codomain(y)
        return self.sense.adjoint(self._frame_by_frame(y))

    def residual(self, y: Tensor) -> Residual:
        """Return x -> (A^H (A x - y), ||A x - y||), each frame at the cost of its FFTs."""
        self.check_codomain(y)
        return _FramesResidual(self.sense.residual(self._frame_by_frame(y)))

    def _frame_by_frame(self, y: Tensor) -> Tensor:
        return y.transpose(self._coil_axis, self._coil_axis - 1).contiguous()


class _FramesResidual(Residual):
    """The residual of all frames together, from that of each."""

    def __init__(self, each: Residual) -> None:
        self._each = each

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return A^H (A x - y), (..., frame, *spatial), and ||A x - y||, (...)."""
        gradient, norms = self._each(x)
        return gradient, torch.linalg.vector_norm(norms, dim=-1)
