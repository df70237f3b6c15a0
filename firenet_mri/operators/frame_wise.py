"""Encoding operators of related images, each with its own samples and perhaps its own maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from firenet_mri.errors import ShapeError
from firenet_mri.operators.base import LinearOperator, Residual
from firenet_mri.operators.fourier import CartesianFourier
from firenet_mri.operators.sense import Sense
from firenet_mri.plurals import counted


class FrameWise(LinearOperator):
    """(x_t) -> (A_t x_t): frames (frame, *spatial) to their k-space (coil, frame, *samples).

    The operators A_t = P_t F S_t of the frames do not mix them, so that the norm of the whole is
    the largest of the frames' norms.

    Parameters
    ----------
    frames
        Number of frames, at least 1.
    sense
        The Cartesian operators of all frames, along its leading axis: a mask (frame, 1, *spatial),
        or one for all, and maps (frame, coil, *spatial) or (coil, *spatial).

    Raises
    ------
    ShapeError
        If mask or maps are for another number of frames.
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
                    f"The masks or maps have the leading axes {tuple(found)}, for "
                    f"{counted(frames, 'frame')}; give one for all frames, or one per frame"
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


class FramesApart(LinearOperator):
    """(x_t) -> (A_t x_t) of frames that each have their own operator, such as a trajectory.

    Maps frames (frame, *spatial) to their samples (coil, frame, *samples). The operators do not mix
    frames, so that the norm of the whole is the largest of their norms.

    Parameters
    ----------
    senses
        The operators of the frames, all of the same shapes.

    Raises
    ------
    ShapeError
        If there are none, or their shapes differ.
    """

    root_sum_of_squares: Tensor

    def __init__(self, senses: Sequence[Sense]) -> None:
        shapes = {(one.domain_shape, one.codomain_shape) for one in senses}
        if len(shapes) != 1:
            raise ShapeError(
                f"{len(senses)} frames have the shapes {sorted(shapes)}; give frames of one shape"
            )
        domain, (coils, *samples) = shapes.pop()
        bound = max(one.norm_bound for one in senses)
        super().__init__((len(senses), *domain), (coils, len(senses), *samples), bound)
        self.senses = torch.nn.ModuleList(senses)
        self.made_from = tuple(dict.fromkeys(part for one in senses for part in one.made_from))
        seen = torch.stack([one.root_sum_of_squares.expand(domain) for one in senses])
        self.register_buffer("root_sum_of_squares", seen, persistent=False)
        self._image_axis, self._sample_axis = -len(domain) - 1, -len(samples) - 1

    def forward(self, x: Tensor) -> Tensor:
        """Return the samples (..., coil, frame, *samples) of frames x."""
        self.check_domain(x)
        frames = zip(self.senses, x.unbind(self._image_axis), strict=True)
        return torch.stack([sense(one) for sense, one in frames], self._sample_axis)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return A^H y, frame by frame, (..., frame, *spatial)."""
        self.check_codomain(y)
        frames = zip(self.senses, y.unbind(self._sample_axis), strict=True)
        back = [sense.adjoint(one) for sense, one in frames]  # type: ignore[operator]
        return torch.stack(back, self._image_axis)

    def residual(self, y: Tensor) -> Residual:
        """Return x -> (A^H (A x - y), ||A x - y||), each frame in its fastest way."""
        self.check_codomain(y)
        frames = zip(self.senses, y.unbind(self._sample_axis), strict=True)
        each = [sense.residual(one) for sense, one in frames]  # type: ignore[operator]
        return _FramesResidual(_OneByOne(each, self._image_axis))


class _OneByOne(Residual):
    """The residuals of frames, from one function per frame."""

    def __init__(self, each: Sequence[Residual], axis: int) -> None:
        self._each, self._axis = each, axis

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return A_t^H (A_t x_t - y_t), (..., frame, *spatial), and the norms, (..., frame)."""
        frames = zip(self._each, x.unbind(self._axis), strict=True)
        gradients, norms = zip(*(each(one) for each, one in frames), strict=True)
        return torch.stack(gradients, self._axis), torch.stack(norms, -1)


class _FramesResidual(Residual):
    """The residual of all frames together, from the frames' residuals."""

    def __init__(self, each: Residual) -> None:
        self._each = each

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return A^H (A x - y), (..., frame, *spatial), and ||A x - y||, (...)."""
        gradient, norms = self._each(x)
        return gradient, torch.linalg.vector_norm(norms, dim=-1)
