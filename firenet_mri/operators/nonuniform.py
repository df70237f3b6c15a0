"""The Fourier transform at arbitrary points of k-space, by finufft, and its normal operator.

    y_j = w_j^(1/2) N^(-1/2) sum_n x_n exp(-2 pi i <k_j, n - c> / N),   c = N // 2 on every axis,

where the N under the root is the number of pixels. On integer k_j this is the centred unitary
transform of Cartesian MRI. F^H F is a convolution with the point spread function

    p_d = N^(-1) sum_j w_j exp(2 pi i k_j d / N)

over all distances d. It is thus a corner of a periodic convolution of twice the size, whose
eigenvalues are one FFT of p. Their maximum bounds ||F||^2.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.operators.base import LinearOperator, Part, Shape
from firenet_mri.operators.derivative import linear

# Single precision cannot represent points more accurately.
_SINGLE_EPS = 1e-5

# Relative error that the eigenvalues of the normal operator may have, added to the bound.
_MARGIN = 1e-6


class NonuniformFourier(LinearOperator):
    """F: images (*spatial) to samples at the points of a trajectory.

    Parameters
    ----------
    trajectory
        (*samples, ndim) real, in cycles per field of view, in [-N/2, N/2) on every axis; the last
        axis in the order of the image's axes.
    spatial_shape
        Sizes of the 1, 2 or 3 axes.
    eps
        Relative accuracy. With 1e-5 or more, complex64 images are transformed in single precision,
        otherwise in double.
    weights
        w, (*samples) real, not negative: density compensation, whose root is in F. None means 1.

    Notes
    -----
    ``norm_bound`` is the root of the largest eigenvalue of the periodic convolution that contains
    F^H F, plus margins for rounding and ``eps``. F is differentiable to any order with respect to
    the images. It runs on the CPU; finufft's plans are made once and kept.

    Raises
    ------
    ShapeError
        If trajectory or weights have a wrong shape.
    DataError
        If a point is NaN or outside [-N/2, N/2), or a weight is negative or NaN.
    """

    trajectory: Tensor
    root_weights: Tensor | None

    def __init__(
        self,
        trajectory: Tensor,
        spatial_shape: Shape,
        eps: float = 1e-6,
        weights: Tensor | None = None,
    ) -> None:
        check_trajectory(trajectory, spatial_shape)
        if not 1e-14 <= eps <= 0.1:
            raise UsageError(f"eps is {eps}; it must lie between 1e-14 and 0.1")
        samples = tuple(trajectory.shape[:-1])
        if weights is not None:
            _check_sample_weights(weights, samples)
        super().__init__(spatial_shape, samples, 1.0)
        self.eps = eps
        weighted = () if weights is None else (Part("density weights"),)
        self.made_from = (Part("trajectory"), *weighted)
        self.register_buffer("trajectory", trajectory.detach().double(), persistent=False)
        root = None if weights is None else weights.detach().double().sqrt()
        self.register_buffer("root_weights", root, persistent=False)
        self._plans = _Plans(self.domain_shape, eps)
        self.spectrum = self._spectrum()
        self.norm_bound = math.sqrt(float(self.spectrum.max()) * (1 + _MARGIN)) * (1 + eps)

    def forward(self, x: Tensor) -> Tensor:
        """Return the samples F x, (*batch, *samples), of images (*batch, *spatial)."""
        self.check_domain(x)
        return linear(_complex(x), self._samples, self._images)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return F^H y, (*batch, *spatial)."""
        self.check_codomain(y)
        return linear(_complex(y), self._images, self._samples)

    def _samples(self, x: Tensor) -> Tensor:
        return self._execute(x, forward=True)

    def _images(self, y: Tensor) -> Tensor:
        return self._execute(y, forward=False)

    def _execute(self, x: Tensor, *, forward: bool) -> Tensor:
        """Return F x or F^H x without recording gradients."""
        if x.device.type != "cpu":
            raise UsageError(
                f"NonuniformFourier runs on the CPU; the tensor is on {x.device}, so move it there"
            )
        source = self.domain_shape if forward else self.codomain_shape
        target = self.codomain_shape if forward else self.domain_shape
        batch = x.shape[: x.ndim - len(source)]
        if math.prod(batch) == 0:
            return x.new_zeros(*batch, *target)
        values = x.detach().resolve_conj()
        if self.eps < _SINGLE_EPS:
            values = values.to(torch.complex128)
        if self.root_weights is not None and not forward:
            values = values * self.root_weights.to(values.real.dtype)
        items = values.reshape(-1, *source) if forward else values.reshape(math.prod(batch), -1)
        result = self._plans.execute(self._points(), items.contiguous().numpy(), forward=forward)
        found = torch.from_numpy(result).reshape(*batch, *target)
        found = found / math.sqrt(math.prod(self.domain_shape))
        if self.root_weights is not None and forward:
            found = found * self.root_weights.to(found.real.dtype)
        return found.to(x.dtype)

    def _points(self) -> np.ndarray:
        points: np.ndarray = self.trajectory.reshape(-1, self.trajectory.shape[-1]).numpy()
        return points

    def _spectrum(self) -> Tensor:
        """Return the eigenvalues of the periodic normal operator, (*2 spatial) float64, >= 0."""
        weights = torch.ones(self.codomain_shape, dtype=torch.complex128)
        if self.root_weights is not None:
            weights = (self.root_weights**2).to(torch.complex128)
        doubled = tuple(2 * size for size in self.domain_shape)
        plans = _Plans(doubled, 1e-12)
        # Cycles per twice the field of view.
        points = 2 * self._points()
        spread = plans.execute(points, weights.reshape(1, -1).numpy(), forward=False)
        function = torch.from_numpy(spread).reshape(doubled) / math.prod(self.domain_shape)
        # The distance -N has no counterpart and belongs to no pair of pixels.
        for axis in range(len(doubled)):
            function.select(axis, 0).zero_()
        axes = tuple(range(len(doubled)))
        return torch.fft.fftn(torch.fft.ifftshift(function, dim=axes), dim=axes).real

    def extra_repr(self) -> str:
        """Return shapes and accuracy, for printing."""
        return f"{self.domain_shape} -> {self.codomain_shape}, eps={self.eps}"


def check_trajectory(trajectory: Tensor, spatial_shape: Shape) -> None:
    """Raise ShapeError or DataError unless the trajectory can be used for images of that shape."""
    ndim = len(spatial_shape)
    if trajectory.ndim < 2 or trajectory.shape[-1] != ndim:
        raise ShapeError(
            f"The trajectory has shape {tuple(trajectory.shape)}; it must be (*samples, {ndim}), "
            "one coordinate per axis of the image"
        )
    if trajectory.is_complex() or not bool(torch.isfinite(trajectory).all()):
        raise DataError("The trajectory is complex or has NaN or infinite values; export it again")
    for axis, size in enumerate(spatial_shape):
        low, high = float(trajectory[..., axis].min()), float(trajectory[..., axis].max())
        # The rounding of a spoke's last sample is accepted.
        if low < -size / 2 * (1 + 1e-6) or high >= size / 2 * (1 + 1e-6):
            raise DataError(
                f"The trajectory goes from {low:.6g} to {high:.6g} on axis {axis}; an image of "
                f"{size} pixels needs cycles per field of view in [-{size / 2:g}, {size / 2:g}), "
                "so rescale it or ask for a larger image"
            )


def _check_sample_weights(weights: Tensor, samples: Shape) -> None:
    if tuple(weights.shape) != samples:
        raise ShapeError(
            f"The sample weights have shape {tuple(weights.shape)}; the trajectory requires "
            f"{samples}"
        )
    if weights.is_complex() or not bool(((weights >= 0) & torch.isfinite(weights)).all()):
        raise DataError("A sample weight is complex, negative, infinite or NaN; use 0 or more")


def _complex(x: Tensor) -> Tensor:
    return x if x.is_complex() else x.to(torch.promote_types(x.dtype, torch.complex64))


class _Plans:
    """finufft's plans for one grid, made when first needed and not pickled."""

    def __init__(self, modes: Shape, eps: float) -> None:
        self.modes = modes
        self.eps = eps
        self._plans: dict[tuple[bool, str, int, int], Any] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"modes": self.modes, "eps": self.eps}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __deepcopy__(self, memo: Any) -> _Plans:
        return _Plans(self.modes, self.eps)

    def execute(self, points: np.ndarray, values: np.ndarray, *, forward: bool) -> np.ndarray:
        """Return the sums at the points (forward) or on the grid, (item, ...)."""
        # A plan has one workspace.
        with self._lock:
            plan = self._plan(points, values, forward=forward)
            result: np.ndarray = plan.execute(values if len(values) > 1 else values[0])
        return result

    def _plan(self, points: np.ndarray, values: np.ndarray, *, forward: bool) -> Any:
        import finufft

        threads = torch.get_num_threads()
        key = forward, str(values.dtype), len(values), threads
        if key not in self._plans:
            real = np.float32 if values.dtype == np.complex64 else np.float64
            # The small grid costs a fraction of the large one, but reaches only 1e-9.
            small = self.eps >= 1e-9
            plan = finufft.Plan(
                2 if forward else 1,
                self.modes,
                len(values),
                # finufft's errors may slightly exceed the requested accuracy.
                max(self.eps / 2, 1e-6 if real == np.float32 else 1e-14),
                -1 if forward else 1,
                dtype=str(values.dtype),
                upsampfac=1.25 if small else 2.0,
                nthreads=threads,
                debug=0,
            )
            omega = 2 * np.pi * points / np.array(self.modes)
            plan.setpts(*[np.ascontiguousarray(axis, real) for axis in omega.T])
            self._plans[key] = plan
        return self._plans[key]
