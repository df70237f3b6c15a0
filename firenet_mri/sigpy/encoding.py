"""The encoding operator sqrt(weights) F S, from arrays as SigPy's reconstruction apps take them.

The maps are divided by a gain g, so that the sparsity weight of the presets fits. With residuals of
white noise before the weights w, |A^H r|^2 / ||r||^2 is g^2 = max sum_c |s_c|^2 * sum w^2 / sum w
instead of 1 (for maps with unit root-sum-of-squares, w 0 or 1). The network's image is g times too
large and is divided by g: sqrt(w) before the network and 1/g after it are the chain of a
certificate.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import sigpy
import torch
from torch import Tensor

from firenet_mri.domain import check_is_kspace
from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.linops.arrays import as_tensor
from firenet_mri.operators import CartesianFourier, LinearOperator, NonuniformFourier, Sense
from firenet_mri.operators.base import Part
from firenet_mri.operators.links import Chain, SampleWeighting
from firenet_mri.plurals import counted
from firenet_mri.reconstruction.solve import Encoded

_WEIGHTS = Part("weights")


class CoilBlocks(LinearOperator):
    """Sense for a few coils at a time, which needs less memory for intermediate images.

    Parameters
    ----------
    maps
        (coil, *spatial) complex.
    fourier
        The operator of one coil.
    coils
        Number of coils that are processed together.
    """

    def __init__(self, maps: Tensor, fourier: LinearOperator, coils: int) -> None:
        whole = Sense(maps, fourier)
        super().__init__(whole.domain_shape, whole.codomain_shape, whole.norm_bound)
        blocks = [Sense(block, fourier) for block in maps.split(coils)]
        self.made_from = whole.made_from
        self.blocks = torch.nn.ModuleList(blocks)
        self.sizes = [block.codomain_shape[0] for block in blocks]

    def forward(self, x: Tensor) -> Tensor:
        """Return the k-space of all coils."""
        axis = -len(self.codomain_shape)
        return torch.cat([block(x) for block in self.blocks], axis)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return the coil-combined images."""
        self.check_codomain(y)
        parts = y.split(self.sizes, -len(self.codomain_shape))
        pairs = zip(self.blocks, parts, strict=True)
        images = (block.adjoint(part) for block, part in pairs)  # type: ignore[operator]
        total: Tensor = sum(images, start=y.new_zeros(()))
        return total


def make_scan(
    y: Any,
    mps: Any,
    weights: Any = None,
    coord: Any = None,
    *,
    device: torch.device,
    coil_batch_size: int | None = None,
) -> Encoded:
    """Return data and operator from arrays as SigPy's reconstruction apps take them.

    Parameters
    ----------
    y
        k-space, (coil, *spatial), or with ``coord`` (coil, *samples); zero where not sampled.
    mps
        Sensitivity maps, (coil, *spatial).
    weights
        Real, at least 0, broadcast against y; None estimates 1 where any coil has a sample.
    coord
        (*samples, ndim) in cycles per field of view, from -N/2 to N/2; None is Cartesian.
    device
        Where tensors go.
    coil_batch_size
        Number of coils that are processed together; None means all.

    Raises
    ------
    DataError, ShapeError, UsageError
        If an array cannot be used; the message says what to do.
    """
    data, maps = _complex("y", y), _complex("mps", mps)
    trajectory = None if coord is None else _trajectory(coord, maps.shape[1:])
    _check_shapes(data, maps, trajectory)
    if trajectory is None:
        check_is_kspace(data, data.ndim - 1, name="y")
    given = _weights(weights, data, trajectory)
    data, maps, given = (part.to(device) for part in (data, maps.to(data.dtype), given))
    root_sum_of_squares = torch.linalg.vector_norm(maps, dim=0)
    largest = float(root_sum_of_squares.max())
    if largest == 0:
        raise DataError("mps is zero everywhere; give maps that cover the object")
    given = given.expand(data.shape)
    total = given.double().sum()
    gain = largest * math.sqrt(float(given.double().square().sum() / total))
    encoding = _encoding(maps / gain, given, trajectory, coil_batch_size).to(device)
    chain = Chain(gain=1 / gain)
    if weights is not None:
        chain = chain.then(SampleWeighting(given.sqrt(), encoding.codomain_shape, _WEIGHTS))
    # Estimated weights are the mask; what was not sampled is zero.
    root, support = given.sqrt(), (root_sum_of_squares > 0).to(maps.real.dtype)
    sampled = None if trajectory is not None else (given > 0).any(0)
    return Encoded(data * root, encoding, support, chain, data, sampled)


def _encoding(
    maps: Tensor, weights: Tensor, trajectory: Tensor | None, coil_batch_size: int | None
) -> LinearOperator:
    """Return sqrt(weights) F S for weights (coil, *samples)."""
    # The weights that all coils share go into the transform, whose norm bound is then sharper.
    common = weights.amax(0)
    if trajectory is None:
        fourier, common = _cartesian(common)
    else:
        fourier = NonuniformFourier(trajectory, tuple(maps.shape[1:]), weights=common)
    coils = maps.shape[0] if coil_batch_size is None else coil_batch_size
    if coils < 1:
        raise UsageError(f"coil_batch_size is {coils}; it must be at least 1")
    sense = Sense(maps, fourier) if coils >= len(maps) else CoilBlocks(maps, fourier, coils)
    rest = torch.where(common > 0, weights / common, torch.zeros_like(weights))
    if torch.equal(rest, (common > 0).to(rest.dtype).expand_as(rest)):
        return sense
    return SampleWeighting(rest.sqrt(), sense.codomain_shape, _WEIGHTS) @ sense


def _cartesian(weights: Tensor) -> tuple[LinearOperator, Tensor]:
    """Return the masked Fourier transform and its weights, 0 or 1."""
    mask = weights > 0
    return CartesianFourier(mask, tuple(weights.shape)), mask.to(weights.dtype)


def _complex(name: str, array: Any) -> Tensor:
    """Return an array of finite numbers as a complex tensor."""
    tensor = _tensor(name, array)
    if not (tensor.is_complex() or tensor.is_floating_point()):
        raise DataError(
            f"{name} is {array.dtype}; it must be complex; use {name}.astype(np.complex64)"
        )
    return tensor.to(torch.promote_types(tensor.dtype, torch.complex64))


def _tensor(name: str, array: Any) -> Tensor:
    if not (isinstance(array, np.ndarray) or type(array).__module__.startswith("cupy")):
        raise UsageError(
            f"{name} is a {type(array).__name__}; SigPy apps take NumPy or CuPy arrays, "
            f"so use {name}.cpu().numpy() for a tensor"
        )
    tensor = as_tensor(array)
    if not bool(torch.isfinite(tensor).all()):
        raise DataError(f"{name} has NaN or infinite values; set such samples or pixels to 0")
    return tensor


def _trajectory(coord: Any, shape: torch.Size) -> Tensor:
    """Return (*samples, ndim) positions in [-N/2, N/2), with N/2 itself changed to -N/2."""
    trajectory = _tensor("coord", coord)
    if trajectory.is_complex() or trajectory.ndim < 2 or trajectory.shape[-1] != len(shape):
        raise ShapeError(
            f"coord is {coord.dtype} of shape {tuple(coord.shape)}; it must be real and end in an "
            f"axis of {len(shape)}, the number of axes of maps of {tuple(shape)}"
        )
    trajectory = trajectory.to(torch.promote_types(trajectory.dtype, torch.float32))
    sizes = trajectory.new_tensor(shape)
    if bool((trajectory.abs() > sizes / 2).any()):
        raise DataError(
            f"coord reaches {float(trajectory.abs().max()):.4g}; rescale it to cycles per field of "
            f"view, from -N/2 to N/2 for N = {tuple(shape)}"
        )
    # Pixels lie at integers, so both ends are the same frequency.
    return torch.where(trajectory == sizes / 2, -sizes / 2, trajectory)


def _check_shapes(y: Tensor, maps: Tensor, trajectory: Tensor | None) -> None:
    """Raise ShapeError unless k-space and maps, (coil, *spatial), match."""
    if maps.ndim not in (3, 4):
        raise ShapeError(
            f"mps has shape {tuple(maps.shape)}; it must be (coil, y, x) or (coil, z, y, x)"
        )
    if y.ndim == 0 or y.shape[0] != maps.shape[0]:
        raise ShapeError(
            f"y has {counted(y.shape[0] if y.ndim else 0, 'coil')} and mps has {maps.shape[0]}; "
            "give both for the same coils"
        )
    samples = tuple(maps.shape[1:] if trajectory is None else trajectory.shape[:-1])
    if tuple(y.shape[1:]) != samples:
        source = "mps" if trajectory is None else "coord"
        raise ShapeError(
            f"y has shape {tuple(y.shape)}; {source} requires {(maps.shape[0], *samples)}"
        )


def _weights(weights: Any, y: Tensor, trajectory: Tensor | None) -> Tensor:
    """Return real weights of at least 0 that broadcast against y, (coil, *samples)."""
    if weights is None:
        if trajectory is not None:
            return y.real.new_ones(())
        return (y != 0).any(0).to(y.real.dtype)
    result = _tensor("weights", np.asarray(weights) if np.isscalar(weights) else weights)
    if result.is_complex() and bool((result.imag == 0).all()):
        result = result.real
    if result.is_complex() or bool((result < 0).any()) or not bool((result > 0).any()):
        raise DataError(
            "weights are complex, negative, or all 0; they must be real, at least 0 and somewhere "
            "positive"
        )
    _check_weights_fit(tuple(result.shape), tuple(y.shape))
    return result.to(y.device, y.real.dtype)


def _check_weights_fit(found: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Raise ShapeError unless an array broadcasts to a shape without making it larger."""
    pairs = zip(reversed(found), reversed(shape), strict=False)
    if len(found) > len(shape) or any(a not in (1, b) for a, b in pairs):
        raise ShapeError(f"weights have shape {found}; they must broadcast to y, {shape}")


def torch_device(device: Any) -> torch.device:
    """Return SigPy's device, -1 for the CPU or the number of a GPU, as a torch device.

    Raises
    ------
    UsageError
        If the device does not exist, or CuPy is missing.
    """
    number = device.id if isinstance(device, sigpy.Device) else device
    if number == -1:
        return torch.device("cpu")
    is_there = isinstance(number, int) and 0 <= number < torch.cuda.device_count()
    if not is_there or not sigpy.config.cupy_enabled:
        raise UsageError(
            f"Device {device} cannot be used here: it needs a GPU for torch and CuPy for SigPy's "
            "arrays; use device=-1, the CPU"
        )
    return torch.device("cuda", number)
