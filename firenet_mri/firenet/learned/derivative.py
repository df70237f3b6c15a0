"""The derivative of a learned network's image at a fixed scale, applied stage by stage.

The network knows the data y only through b = A^H y and s, and so does its derivative. With D_k the
derivative of the firm projection, which is symmetric, and N = A^H A, a stage becomes

    u = dx + p_k(N) (db - N dx),   dx+ = u - W_k^T D_k (W_k u),

and its transpose is the same in the opposite order. It costs about as much as a run of the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d

from firenet_mri.firenet.derivative import Change, inner
from firenet_mri.firenet.learned.firm import firm_slopes
from firenet_mri.firenet.learned.layers import Stage, data_step
from firenet_mri.operators.base import LinearOperator

if TYPE_CHECKING:
    from firenet_mri.firenet.learned.network import LearnedNetwork, Task


class LearnedDerivative:
    """The derivative of a learned network's image by the data of one item.

    Parameters
    ----------
    net
        The network.
    task
        What its stages are given, in the precision of the derivative.
    encoding
        The encoding operator.
    """

    def __init__(self, net: LearnedNetwork, task: Task, encoding: LinearOperator) -> None:
        self._encoding = encoding
        self._step = 1 / max(1.0, encoding.norm_bound) ** 2
        self._slopes: list[_Slope] = []
        x, sizes = task.start, net.architecture.sizes
        for stage in net.stages:
            weights = Stage(*(part.to(x.real.dtype) for part in stage.weights))  # type: ignore[union-attr]
            dilation: int = stage.dilation  # type: ignore[assignment]
            g = task.gradient(x)
            at = data_step(x, g, task.gradient, weights.coefficients)
            radii = weights.radii(task.conditions)
            self._slopes.append(_Slope(weights, radii, at, sizes, dilation))
            # The module, whose hooks count.
            x = stage(x, g, task.gradient, task.conditions)
        image = task.image(x)
        whole = x.reshape(image.shape) * task.scale
        size = torch.linalg.vector_norm(whole)
        is_outside = bool(size > task.radius)
        self._factor = float(task.radius / size) if is_outside else 1.0
        self._direction = whole / size if is_outside else None
        self.x = image

    @torch.no_grad()
    def forward(self, change: Change, x0: Tensor | None = None) -> Tensor:
        """Return the change of the image, (y, x); there is no start image."""
        back = self._step * change.back
        x = torch.zeros_like(back)
        for k, slope in enumerate(self._slopes):
            g = back - self._normal(x) if k else back
            a, b = slope.weights.coefficients
            x = slope.apply(x + a * g - b * self._normal(g))
        return self._limited(x)

    @torch.no_grad()
    def transpose(self, image: Tensor) -> tuple[Change, Tensor]:
        """Return what is transposed to :meth:`forward`, and zeros for the start image."""
        x = self._limited(image)
        back = torch.zeros_like(x)
        for k, slope in reversed(list(enumerate(self._slopes))):
            x = slope.apply(x)
            a, b = slope.weights.coefficients
            g = a * x - b * self._normal(x)
            back = back + g
            if k:
                x = x - self._normal(g)
        return Change(self._step * back, 0.0), torch.zeros_like(image)

    def _normal(self, x: Tensor) -> Tensor:
        return self._step * self._encoding.adjoint(self._encoding(x))

    def _limited(self, x: Tensor) -> Tensor:
        """Return the symmetric derivative, at a fixed radius, of the projection on the ball."""
        if self._direction is None:
            return x
        return self._factor * (x - inner(self._direction, x) * self._direction)


class _Slope(NamedTuple):
    """I - W^T D W at the image that went into a shrinkage, (1, y, x)."""

    weights: Stage
    radii: Tensor
    at: Tensor
    sizes: tuple[int, ...]
    dilation: int

    def apply(self, x: Tensor) -> Tensor:
        """Return it of an image, (y, x); it is symmetric."""
        parts = torch.view_as_real(x).movedim(-1, 0)[None].contiguous()
        # Recomputed every time: those of all stages together are larger than the samples.
        c = self._correlated(torch.view_as_real(self.at).movedim(-1, 1).contiguous())
        changed, _ = firm_slopes(
            c, self.radii, self.weights.firmness, self.sizes, self._correlated(parts)
        )
        size = tuple(x.shape)
        back = conv_transpose2d(
            changed.reshape(2, -1, *size), self._kernel, padding=self._reach, dilation=self.dilation
        )
        return x - torch.view_as_complex(back[:, 0].movedim(0, -1).contiguous())

    def _correlated(self, parts: Tensor) -> Tensor:
        """Return W of real and imaginary part (1, 2, y, x), (1, 2, band, pixels)."""
        found = conv2d(
            parts.movedim(1, 0), self._kernel, padding=self._reach, dilation=self.dilation
        )
        return found.reshape(1, 2, len(self._kernel), -1).contiguous()

    @property
    def _kernel(self) -> Tensor:
        return self.weights.filters[:, None]

    @property
    def _reach(self) -> int:
        return self.dilation * (self.weights.filters.shape[-1] // 2)
