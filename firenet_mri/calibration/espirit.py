"""ESPIRiT: sensitivity maps as eigenvectors of a matrix from the calibration region at each pixel.

The k x k neighbourhoods of all coils in the calibration region span a small space. A pixel's coil
sensitivities s(x), modulated over such a neighbourhood, lie in this space. So s(x) is an
eigenvector with eigenvalue 1 of a Hermitian matrix over coils,

    G(x) = k^-d sum_l R(l) exp(2 pi i l x / N),   R_cc'(l) = sum_{a - b = l} P_(c a)(c' b),

with P the projection onto this space [1]. R has only (2k - 1)^d lags, so G costs two small matrix
products per axis and no Fourier transform of each vector of the space.

Where an object is larger than the field of view, pixels show two places of the object. A second map
set is the eigenvector of the second eigenvalue, which is near 1 there and near 0 elsewhere.

Where there is no signal, no eigenvalue is near 1. The eigenvector of the largest eigenvalue is
still the coil vector to which the neighbourhoods come nearest. It varies as smoothly as G and has
norm 1, so that it can extend the maps beyond the object, on request.

[1] Uecker et al., ESPIRiT, Magn Reson Med 71:990-1001, 2014.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from firenet_mri.calibration.methods import Background
from firenet_mri.errors import CalibrationError, ShapeError, UsageError
from firenet_mri.operators.workers import on_all_cores, one_by_one
from firenet_mri.plurals import counted

# Smaller eigenvalues belong to pixels without signal; BART's value.
_CROP = 0.8
# Singular values below this share of the largest are noise; SigPy's value.
_NOISE = 0.02
# Entries of the pixels' matrices that are kept at once, 8 MiB in several arrays. Those of all
# pixels are larger than k-space by the number of coils.
_BLOCK = 1 << 20
# Columns of the neighbourhoods' matrix above which only the needed eigenvectors are computed.
_LARGE = 1500


class Eigenvalues(NamedTuple):
    """The eigenvalues that tell how many places a pixel shows.

    ``second`` and ``third`` are (..., *spatial) float32, 0 to 1, and near 1 where a pixel shows two
    or three places; ``third`` is 0 for two coils. This holds only if the noise of a sample has a
    standard deviation below ``noise``, (...) float64, in the unit of k-space; more noise is taken
    for signal.
    """

    second: Tensor
    third: Tensor
    noise: Tensor


class Eigenmaps(NamedTuple):
    """Maps of :func:`espirit_maps`, with the eigenvalues that were computed on the way."""

    maps: Tensor
    eigenvalues: Eigenvalues


class _Space(NamedTuple):
    """Columns that span the neighbourhoods' space, (coil k^d, rank) orthonormal, and the noise
    level above which noise would be taken for signal.
    """

    basis: Tensor
    noise: Tensor


def espirit_maps(
    kspace: Tensor,
    width: int,
    *,
    spatial_ndim: int = 2,
    sets: int = 1,
    kernel: int = 6,
    crop: float = _CROP,
    threshold: float = _NOISE,
    background: Background = "crop",
) -> Tensor:
    """Return one or more sets of sensitivity maps.

    Parameters
    ----------
    kspace
        (..., coil, *spatial) complex, zero frequency at index N//2, at least two coils. Leading
        axes are batch axes.
    width
        Size of the fully sampled centre along every axis, at least ``kernel`` + 1.
    spatial_ndim
        2 or 3.
    sets
        Number of map sets, 1 to the number of coils.
    kernel
        Size of the neighbourhoods along every axis.
    crop
        Maps are set to zero where their eigenvalue, 0 to 1, is smaller.
    threshold
        Singular values of the neighbourhoods below this share of the largest are treated as noise.
        For a second set from data with little noise, a smaller value is better.
    background
        "crop": zero where the eigenvalue is small, see ``crop``. "keep": the first set is the
        eigenvector everywhere. Further sets are cropped in any case, since in pixels that show one
        place a second unknown would have no meaning.

    Returns
    -------
    Tensor
        (..., coil, *spatial) complex64 of root-sum-of-squares 1 or 0; with several sets
        (..., set, coil, *spatial), orthogonal in every pixel, the largest eigenvalue first. Their
        phase makes the principal component of the coils real and positive.

    Raises
    ------
    ShapeError
        If k-space does not have these axes.
    UsageError
        If more sets than coils, or fewer than one, are requested.
    CalibrationError
        If the region is too small for the neighbourhoods, or has no signal.
    """
    return espirit(
        kspace,
        width,
        spatial_ndim=spatial_ndim,
        sets=sets,
        kernel=kernel,
        crop=crop,
        threshold=threshold,
        background=background,
    ).maps


def espirit(
    kspace: Tensor,
    width: int,
    *,
    spatial_ndim: int = 2,
    sets: int = 1,
    kernel: int = 6,
    crop: float = _CROP,
    threshold: float = _NOISE,
    background: Background = "crop",
) -> Eigenmaps:
    """Return the maps of :func:`espirit_maps`, with the eigenvalues after the first."""
    if kspace.ndim < spatial_ndim + 1:
        raise ShapeError(
            f"k-space has shape {tuple(kspace.shape)}; it must be (..., coil, *spatial) with "
            f"{spatial_ndim} spatial axes"
        )
    coils, *spatial = kspace.shape[-spatial_ndim - 1 :]
    if not 1 <= sets <= coils:
        raise UsageError(
            f"{counted(sets, 'map set')} of {counted(coils, 'coil')} requested; use 1 to {coils}"
        )
    if not kernel < width <= min(spatial):
        raise CalibrationError(
            f"The calibration region has width {width}; neighbourhoods of {kernel} need at least "
            f"{kernel + 1}, and the matrix {tuple(spatial)} is the upper limit"
        )
    items = kspace.reshape(-1, coils, *spatial)
    # Eigenvalues of a projection are at least 0, except for rounding.
    first = crop if background == "crop" else -1.0
    crops = [first, *[crop] * (sets - 1)]

    def of_item(item: Tensor) -> Eigenmaps:
        return _maps(item, width, kernel, crops, threshold)

    # Several volumes at once would need too much memory.
    found = (on_all_cores if _can_share(kspace, spatial_ndim) else one_by_one)(of_item, list(items))
    maps = _stacked([one.maps for one in found])
    if sets == 1:
        maps = maps.squeeze(1)
    batch = kspace.shape[: -spatial_ndim - 1]
    parts = zip(*(one.eigenvalues for one in found), strict=True)
    second, third, noise = (_stacked(part) for part in parts)
    values = Eigenvalues(
        second.reshape(*batch, *spatial), third.reshape(*batch, *spatial), noise.reshape(batch)
    )
    return Eigenmaps(maps.reshape(*batch, *maps.shape[1:]), values)


def _can_share(kspace: Tensor, spatial_ndim: int) -> bool:
    """Return whether slices may be processed in separate threads."""
    return spatial_ndim < 3 and kspace.device.type == "cpu" and not kspace.requires_grad


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    """Return the parts along a new first axis; a single part is not copied."""
    return parts[0].unsqueeze(0) if len(parts) == 1 else torch.stack(list(parts))


def _maps(
    kspace: Tensor, width: int, kernel: int, crops: Sequence[float], threshold: float
) -> Eigenmaps:
    """Return maps (set, coil, *spatial) of k-space (coil, *spatial), one set for each crop."""
    coils, *spatial = kspace.shape
    centre = kspace
    for axis, size in enumerate(spatial, 1):
        centre = centre.narrow(axis, size // 2 - width // 2, width)
    centre = centre.to(torch.complex64)
    scale = centre.abs().max()
    if not bool(scale > 0):
        raise CalibrationError("The calibration region has no signal; no maps can be made from it")
    centre = centre / scale
    space = _space(centre, kernel, threshold)
    lags = _lags(space.basis, coils, kernel, len(spatial))
    reference = _principal_component(centre)
    shape = (len(crops), coils, *spatial)
    maps = torch.empty(shape, dtype=torch.complex64, device=kspace.device)
    others = torch.zeros((2, *spatial), dtype=torch.float32, device=kspace.device)
    waves = [_waves(size, kernel, lags) for size in spatial]

    def fill(place: tuple[slice, slice]) -> None:
        values, vectors = torch.linalg.eigh(_matrices(lags, waves, place))
        for rank in range(2, min(coils, 3) + 1):
            others[rank - 2][place] = values[..., -rank].clamp(0, 1)
        for index, crop in enumerate(crops):
            vector = vectors[..., -1 - index]
            phase = torch.sgn(vector @ reference.conj())
            vector = vector * phase.conj().unsqueeze(-1)
            vector = vector * (values[..., -1 - index, None] >= crop)
            maps[index].movedim(0, -1)[place] = vector

    # Small matrices gain nothing from further threads, and would wait for them.
    is_shared = kspace.device.type == "cpu" and not kspace.requires_grad
    (on_all_cores if is_shared else one_by_one)(fill, list(_places(coils, spatial)))
    noise = space.noise.cpu() * float(scale)
    return Eigenmaps(maps, Eigenvalues(others[0], others[1], noise))


def _space(centre: Tensor, kernel: int, threshold: float) -> _Space:
    """Return the space of neighbourhoods, without singular values below a share of the largest."""
    coils, ndim = centre.shape[0], centre.ndim - 1
    windows = centre
    for axis in range(1, centre.ndim):
        windows = windows.unfold(axis, kernel, 1)
    # The coil axis lies between the axes of the windows' positions and those of their samples.
    windows = windows.movedim(0, ndim)
    columns = coils * kernel**ndim
    gram = centre.new_zeros((columns, columns))
    # In parts, since in 3D all neighbourhoods together can be larger than the volume.
    for part in windows:
        rows = part.reshape(-1, columns)
        gram.addmm_(rows.mT, rows.conj())
    largest, basis = _strongest(gram, threshold**2)
    # White noise of deviation 1 has a largest singular value of sqrt(rows) + sqrt(columns).
    of_noise = math.sqrt(math.prod(windows.shape[:ndim])) + math.sqrt(columns)
    return _Space(basis, threshold * largest.double().sqrt() / of_noise)


def _strongest(gram: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Return the largest eigenvalue, and the eigenvectors of eigenvalues above a share of it.

    The matrix is overwritten on a CPU. If it is large, only these vectors are computed there, which
    takes a third of the time and half of the memory.
    """
    if gram.device.type != "cpu" or gram.requires_grad or len(gram) < _LARGE:
        values, vectors = torch.linalg.eigh(gram)
        return values[-1], vectors[:, values > share * values[-1]]
    from scipy import linalg
    from scipy.sparse.linalg import eigsh

    # In Fortran's order the memory is that of the transpose, which is the conjugate.
    matrix = gram.numpy().T
    start = np.random.default_rng(0).standard_normal(len(gram)).astype(matrix.dtype)
    largest = float(eigsh(matrix, k=1, v0=start, return_eigenvectors=False)[0])
    _, vectors = linalg.eigh(
        matrix,
        overwrite_a=True,
        check_finite=False,
        driver="evr",
        subset_by_value=(share * largest, math.inf),
    )
    return torch.tensor(largest), torch.from_numpy(vectors.conj())


def _lags(basis: Tensor, coils: int, kernel: int, ndim: int) -> Tensor:
    """Return R(l) / k^d, (coil, coil, *lags) with lags from 1 - k to k - 1 along every axis."""
    rows = basis.reshape(coils, *[kernel] * ndim, -1)
    lags = basis.new_zeros((coils, coils, *[2 * kernel - 1] * ndim))
    for place in itertools.product(range(kernel), repeat=ndim):
        # With b fixed, a - b runs over k lags.
        columns, target = rows, lags
        for axis, at in enumerate(place):
            columns = columns.select(1, at)
            target = target.narrow(2 + axis, kernel - 1 - at, kernel)
        part = (basis @ columns.mH).reshape(coils, *[kernel] * ndim, coils)
        target += part.movedim(-1, 1)
    return lags / kernel**ndim


def _principal_component(centre: Tensor) -> Tensor:
    """Return the coils' principal component, (coil)."""
    samples = centre.reshape(centre.shape[0], -1)
    return torch.linalg.eigh(samples @ samples.mH)[1][:, -1]


def _waves(size: int, kernel: int, like: Tensor) -> Tensor:
    """Return exp(2 pi i l x / N), (lag, pixel), with x = 0 at pixel N//2."""
    lag = torch.arange(1 - kernel, kernel, device=like.device, dtype=torch.float64)
    pixel = torch.arange(size, device=like.device) - size // 2
    angle = 2 * math.pi / size * lag[:, None] * pixel
    return torch.polar(torch.ones_like(angle), angle).to(like.dtype)


def _places(coils: int, spatial: Sequence[int]) -> Iterator[tuple[slice, slice]]:
    """Yield the rows along the first axis and along the second of every block of the image.

    A block has as many rows along the first axis as may be kept at once. If one row is too large, a
    block is a part of this row along the second axis.
    """
    pixels = max(1, _BLOCK // coils**2)
    for first in _parts(spatial[0], pixels // math.prod(spatial[1:])):
        for second in _parts(spatial[1], pixels // math.prod(spatial[2:])):
            yield first, second


def _matrices(lags: Tensor, waves: Sequence[Tensor], place: tuple[slice, slice]) -> Tensor:
    """Return G of a block, (*pixels, coil, coil)."""
    first, second = place
    for wave in (waves[0][:, first], waves[1][:, second], *waves[2:]):
        # The axis of lags is replaced by an axis of pixels, which becomes the last.
        lags = torch.tensordot(lags, wave, dims=([2], [0]))
    return lags.movedim((0, 1), (-2, -1)).contiguous()


def _parts(size: int, count: int) -> Iterator[slice]:
    """Yield slices of ``count`` entries of an axis, at least one."""
    count = max(1, count)
    for start in range(0, size, count):
        yield slice(start, min(start + count, size))
