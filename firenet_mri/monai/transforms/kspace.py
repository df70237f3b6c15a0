"""Transforms of k-space: loading, whitening, coil compression, sensitivity maps, sampling masks."""

from __future__ import annotations

import dataclasses
import os
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import numpy as np
import torch
from monai.apps.reconstruction.complex_utils import complex_abs
from monai.apps.reconstruction.mri_utils import root_sum_of_squares
from monai.apps.reconstruction.transforms.array import EquispacedKspaceMask, RandomKspaceMask
from monai.config import NdarrayOrTensor
from monai.data import MetaTensor
from monai.data.fft_utils import ifftn_centered
from monai.transforms import Transform
from monai.utils import TransformBackends
from numpy.typing import NDArray
from torch import Tensor

from firenet_mri.calibration import compress_coils, sensitivity_maps, whiten
from firenet_mri.calibration.methods import MapMethod
from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.io.kspace.options import ReadOptions
from firenet_mri.io.kspace.reading import read_with
from firenet_mri.monai.scans import WITHOUT_A_PLACE, has_trajectory, kspace_of, scan_of
from firenet_mri.monai.tensors import native_kspace
from firenet_mri.monai.transforms.configuration import Configured, with_stable_arrays
from firenet_mri.options import Options, takes_options

Pattern = Literal["equispaced", "random"]


class LoadKspace(Configured, Transform):
    """Reads a raw scan; see :func:`firenet_mri.read` for the formats.

    Parameters
    ----------
    **options
        The fields of :class:`firenet_mri.ReadOptions` except ``maps_file``, which
        :class:`LoadKspaced` takes. A trajectory is then in the metadata, with its density weights.

    Raises
    ------
    UsageError
        If an option is unknown or out of its range.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 - MONAI's convention

    #: What ``**options`` are, and which of them mean nothing here.
    OPTIONS: ClassVar[type[Options]] = ReadOptions
    REFUSED: ClassVar[tuple[str, ...]] = WITHOUT_A_PLACE

    @takes_options(ReadOptions, without=REFUSED)
    def __init__(self, **options: Any) -> None:
        chosen = ReadOptions.from_mapping(options, without=self.REFUSED)
        self.options = with_stable_arrays(chosen)

    def __call__(self, path: str | os.PathLike[str]) -> MetaTensor:
        """Return k-space (*slices, coil, *spatial) complex64 with the scan's metadata.

        Zero where not sampled; along a trajectory (*slices, coil, *samples). Several images, such
        as repetitions, are the first axis. The metadata are those of
        :mod:`firenet_mri.monai.scans`; the affine is the image's.

        Raises
        ------
        FileError, DataError, UsageError
            As :func:`firenet_mri.read`.
        """
        return kspace_of(read_with(path, self.options))


class WhitenCoils(Configured, Transform):
    """Whitens k-space with the noise measurement in its metadata, which is then removed."""

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    def __call__(self, kspace: NdarrayOrTensor) -> MetaTensor:
        """Return k-space of the same shape, complex64, in units of the noise standard deviation.

        Parameters
        ----------
        kspace
            (*slices, coil, *spatial) complex, or (..., 2) real, with metadata as
            :class:`LoadKspace` gives them.

        Raises
        ------
        DataError
            If there is no noise measurement, or it was used already.
        """
        return kspace_of(whiten(scan_of(kspace)), kspace)


class CompressCoils(Configured, Transform):
    """Combines the coils into fewer, see :func:`firenet_mri.calibration.compress_coils`.

    Parameters
    ----------
    coils
        How many, or the share of the energy that they must hold, a float in (0, 1]. A share gives
        every scan its own number, so that scans cannot be put into one batch.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    def __init__(self, coils: int | float) -> None:
        self.coils = coils

    def __call__(self, kspace: NdarrayOrTensor) -> MetaTensor:
        """Return k-space (*slices, virtual coil, *spatial) complex64 with its metadata.

        Parameters
        ----------
        kspace
            (*slices, coil, *spatial) complex, or (..., 2) real; whitened, if there is a noise
            measurement.
        """
        return kspace_of(compress_coils(scan_of(kspace), self.coils), kspace)


class EstimateSensitivity(Configured, Transform):
    """Estimates sensitivity maps, see :func:`firenet_mri.calibration.sensitivity_maps`.

    Parameters
    ----------
    maps
        "espirit", "jsense", "lowres" or "none".
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    def __init__(self, maps: MapMethod = "espirit") -> None:
        if maps not in get_args(MapMethod):
            raise UsageError(f"Unknown maps {maps!r}; use one of {', '.join(get_args(MapMethod))}")
        self.maps: MapMethod = maps

    def __call__(self, kspace: NdarrayOrTensor, mask: NdarrayOrTensor | None = None) -> MetaTensor:
        """Return maps (*slices, coil, *spatial) complex64 of root-sum-of-squares 1 or 0.

        Their metadata are those of k-space, without noise, and ``maps_from_data``: True if they
        were estimated from it, which a certificate then says.

        Parameters
        ----------
        kspace
            (*slices, coil, *spatial) complex, or (..., 2) real.
        mask
            Sampling mask, see :func:`firenet_mri.monai.masks.sampling_mask`; None finds it.

        Raises
        ------
        CalibrationError
            If the calibration region is too small for the method.
        """
        scan = scan_of(kspace, mask)
        meta = kspace_of(dataclasses.replace(scan, noise=None), kspace).meta
        meta["maps_from_data"] = self.maps != "none"
        return MetaTensor(sensitivity_maps(scan, self.maps), meta=meta)


class MaskedKspace(NamedTuple):
    """What MONAI's mask transforms make of k-space: masked k-space, its image, and the mask."""

    kspace: Tensor
    image: Tensor
    mask: Tensor


class FixedKspaceMask(Configured, Transform):
    """Under-samples k-space by a mask that is always the same, so that datasets can cache it.

    MONAI's ``EquispacedKspaceMask`` and ``RandomKspaceMask`` draw a mask at every call; what
    follows them is never cached.

    Parameters
    ----------
    pattern
        "equispaced" or "random": MONAI's masks of lines along the last axis. Or the mask itself,
        not zero where sampled, that broadcasts from the right to the spatial axes, such as that of
        :func:`firenet_mri.firenet.sampling_pattern`.
    acceleration, center_fraction
        As MONAI's masks take them; ignored where the mask is given.
    seed
        Of the draw.
    spatial_dims
        2 or 3.
    native_complex
        Return k-space (..., coil, *spatial) complex instead of MONAI's (..., coil, *spatial, 2).

    Raises
    ------
    UsageError
        If the pattern is unknown, or the centre alone is as much as the acceleration allows.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    def __init__(
        self,
        pattern: Pattern | NdarrayOrTensor = "equispaced",
        *,
        acceleration: float = 4,
        center_fraction: float = 0.08,
        seed: int = 0,
        spatial_dims: int = 2,
        native_complex: bool = False,
    ) -> None:
        if isinstance(pattern, str):
            _check_pattern(pattern, acceleration, center_fraction)
            self.pattern: Pattern | NDArray[np.bool_] = pattern
        else:
            # An array pickles to the same bytes in every process, as cached datasets need it.
            self.pattern = np.ascontiguousarray(np.asarray(pattern) != 0)
        self.acceleration = acceleration
        self.center_fraction = center_fraction
        self.seed = seed
        self.spatial_dims = spatial_dims
        self.native_complex = native_complex

    def __call__(self, kspace: NdarrayOrTensor) -> MaskedKspace:
        """Return masked k-space, its image, and the mask, as MONAI's mask transforms have them.

        Parameters
        ----------
        kspace
            (..., coil, *spatial) complex, or (..., 2) real. Metadata stay with masked k-space.

        Returns
        -------
        MaskedKspace
            k-space (..., coil, *spatial, 2) float32, or complex64 without the last axis; the
            zero-filled root-sum-of-squares image (..., *spatial) float32; and the mask float32
            (1, ..., *sampled, 1), or without the last axis.

        Raises
        ------
        ShapeError
            If the mask does not broadcast to the spatial axes.
        DataError
            If it is an image, or k-space lies along a trajectory.
        """
        if isinstance(kspace, MetaTensor) and has_trajectory(kspace.meta):
            raise DataError(
                f"k-space of shape {tuple(kspace.shape)} lies along a trajectory, and masks are "
                "for grids; read the file with a trajectory of fewer points"
            )
        given = native_kspace(kspace, self.spatial_dims)
        mask = self._mask(tuple(given.shape))
        masked = torch.view_as_real(given * mask)
        images = ifftn_centered(masked, spatial_dims=self.spatial_dims, is_complex=True)
        image = root_sum_of_squares(complex_abs(images), spatial_dim=-self.spatial_dims - 1)
        result, shown = masked, mask.float().unsqueeze(-1)
        if self.native_complex:
            result, shown = torch.view_as_complex(masked), mask.float()
        if isinstance(kspace, MetaTensor):
            result = MetaTensor(
                result, meta=kspace.meta, applied_operations=kspace.applied_operations
            )
        return MaskedKspace(result, torch.as_tensor(image), shown)

    def _mask(self, shape: tuple[int, ...]) -> Tensor:
        """Return the mask for k-space of a shape, with as many axes, bool."""
        if isinstance(self.pattern, str):
            kind = EquispacedKspaceMask if self.pattern == "equispaced" else RandomKspaceMask
            drawn = kind([self.center_fraction], [self.acceleration], spatial_dims=1)
            drawn.set_random_state(seed=self.seed)
            drawn(torch.zeros(1, shape[-1], dtype=torch.complex64))
            mask = drawn.mask.flatten() != 0
        else:
            mask = torch.from_numpy(self.pattern)
        spatial = shape[-self.spatial_dims :]
        pairs = zip(reversed(mask.shape), reversed(spatial), strict=False)
        too_many = mask.ndim > self.spatial_dims and max(mask.shape[: -self.spatial_dims]) > 1
        if too_many or not all(found in (1, size) for found, size in pairs):
            raise ShapeError(
                f"The mask has shape {tuple(mask.shape)}; it must broadcast from the right to the "
                f"spatial axes {spatial} of k-space of shape {shape}"
            )
        mask = mask.reshape(mask.shape[-self.spatial_dims :])
        return mask.reshape(*[1] * (len(shape) - mask.ndim), *mask.shape)


def _check_pattern(pattern: str, acceleration: float, center_fraction: float) -> None:
    if pattern not in get_args(Pattern):
        raise UsageError(
            f"Unknown pattern {pattern!r}; use equispaced or random, or give the mask itself"
        )
    if acceleration < 1 or not 0 <= center_fraction < 1 / acceleration:
        raise UsageError(
            f"acceleration {acceleration} and center_fraction {center_fraction} leave nothing to "
            "sample off the centre; the centre must be less than 1 / acceleration, which is at "
            "most 1"
        )
