"""Tells an image from k-space, by the metadata of an array and by the array itself.

k-space has its energy at its centre, where the low frequencies are. An image can have it anywhere;
the image's Fourier transform has it at the centre. Along an axis of N samples, let E(B) be the
energy within the box B of 1 to 5 samples about the centre, and x_0 the sample at the centre. Then

    share(x) = (E(B) - |x_0|^2) / (|x|^2 - |x_0|^2)

is compared for x and for its unitary Fourier transform F x. The array is an image if, along some
axis, share(F x) is above .3 and at least twice share(x), and the reverse holds along no axis.
Brains and phantoms, of one coil or of many, have .6 or more in the domain where their energy lies
and .1 or less in the other; noise, and k-space without its centre, stay below in both. x_0 is left
out because random numbers with a mean would otherwise pass for an image. Axes of fewer than 16
samples have no such box; along them an array is an image only if it is real and nowhere negative,
as magnitudes are.

A decision from the array is a guess with margins: an image whose phase runs through many turns is
missed, and k-space of an object of three pixels at the very centre would be refused. Metadata of
readers therefore decide first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firenet_mri.errors import DataError

#: Metadata key that states what an array is, and its values.
DOMAIN = "domain"
IMAGE = "image"
KSPACE = "kspace"

# Keys that our scan readers and MONAI's fastMRI reader write for k-space.
_MARKS_OF_KSPACE = frozenset({"spatial_ndim", "applied", "kspace", "reconstruction_rss", "norm"})
# Keys that image readers write: MONAI's for formats with a position, NIfTI's header, pictures.
_MARKS_OF_IMAGES = {
    "original_affine": "an image reader's affine",
    "pixdim": "a NIfTI header",
    "mode": "a picture's header",
}
_DICOM_TAG = re.compile(r"[0-9A-Fa-f]{4}\|?[0-9A-Fa-f]{4}")

# Width of the box about the centre, and the number of samples below which chance would decide.
_BOX = 5
_SMALLEST = 256
# Share that identifies a domain, and its least ratio to the share in the other domain.
_SHARE = 0.3
_TIMES = 2
# Spread of the magnitudes, relative to their mean, below which they come from a single point.
_FLAT = 1e-3

_WHAT_TO_DO = (
    "convert it to k-space with firenet_mri.monai.SimulateKspace or with firenet simulate, or give "
    "the scanner's raw data"
)


def check_is_kspace(
    samples: Tensor,
    spatial_ndim: int,
    *,
    name: str = "k-space",
    metadata: Mapping[str, Any] | None = None,
    looks: bool = True,
) -> None:
    """Raise an error if an array that is given as k-space is an image.

    k-space without metadata passes, whatever its sampling, and so do noise, zeros and single
    points. ``metadata["domain"] = "kspace"`` declares any array to be k-space.

    Parameters
    ----------
    samples
        (..., *spatial), complex or real.
    spatial_ndim
        Number of spatial axes, the last ones.
    name
        Name of the array, for messages.
    metadata
        What its reader recorded, such as the ``meta`` of MONAI's tensors, also of a batch.
    looks
        Examine the numbers, too; they must be zero where nothing was sampled.

    Raises
    ------
    DataError
        If the array is an image; the message states the evidence and what to do.
    """
    known = _known(metadata or {})
    if known.get(DOMAIN) == KSPACE:
        return
    sign = _sign_of_image(known)
    if sign is None and looks:
        sign = _affine_of_image(known, samples) or _look_of_image(samples, spatial_ndim)
    if sign is None:
        return
    way_out = f"; if it is k-space, set meta[{DOMAIN!r}] = {KSPACE!r}" if known else ""
    raise DataError(
        f"{name} of shape {tuple(samples.shape)} is an image, not k-space: {sign}; "
        f"{_WHAT_TO_DO}{way_out}"
    )


def check_is_image(
    image: Tensor,
    spatial_ndim: int,
    *,
    name: str = "image",
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Raise an error if an array that is given as an image is k-space.

    Parameters
    ----------
    image, spatial_ndim, name, metadata
        See :func:`check_is_kspace`.

    Raises
    ------
    DataError
        If the array is k-space; the message states the evidence and what to do.
    """
    known = _known(metadata or {})
    if known.get(DOMAIN) == IMAGE:
        return
    sign = None
    marks = sorted(_MARKS_OF_KSPACE & known.keys())
    if marks or known.get(DOMAIN) == KSPACE:
        sign = f"its metadata hold {(marks or [DOMAIN])[0]!r}"
    elif _sign_of_image(known) is None and not _is_real(image):
        sign = "its energy lies at the centre" if _looks_like_kspace(image, spatial_ndim) else None
    if sign is not None:
        raise DataError(
            f"{name} of shape {tuple(image.shape)} is k-space, not an image: {sign}; reconstruct "
            "it with firenet recon or firenet_mri.monai.FIRENETReconstruct, or give an image"
        )


def _known(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of one array; of a batch's first image, or else of its first item."""
    known = {str(key): value for key, value in metadata.items()}
    found = known.get(DOMAIN)
    if isinstance(found, list | tuple):
        known[DOMAIN] = IMAGE if IMAGE in found else next(iter(found), None)
    return known


def _sign_of_image(known: Mapping[str, Any]) -> str | None:
    """Return which metadata show an image; None if none do."""
    if known.get(DOMAIN) == IMAGE:
        return "its metadata say so"
    if _MARKS_OF_KSPACE & known.keys():
        return None
    for mark, meaning in _MARKS_OF_IMAGES.items():
        if mark in known:
            return f"its metadata hold {meaning} ({mark})"
    if any(_DICOM_TAG.fullmatch(key) for key in known):
        return "its metadata hold DICOM attributes"
    return None


def _affine_of_image(known: Mapping[str, Any], samples: Tensor) -> str | None:
    """Return evidence that an affine is an image's: MONAI's transforms give k-space one, too."""
    if "affine" not in known or _MARKS_OF_KSPACE & known.keys() or not samples.is_complex():
        return None
    values = np.asarray(known["affine"], dtype=float)
    is_made_up = np.allclose(values, np.eye(values.shape[-1]))
    if is_made_up or not _is_real(samples) or _is_flat(samples):
        return None
    return "its imaginary part is zero, and its metadata hold an affine and nothing of a scan"


def _look_of_image(samples: Tensor, spatial_ndim: int) -> str | None:
    """Return what in the numbers shows an image; None if nothing does."""
    shares = _shares(samples, spatial_ndim)
    sign = None
    if _prevails([(image, kspace) for kspace, image in shares]):
        real = "its imaginary part is zero, and " if _is_real(samples) else ""
        sign = f"{real}it has no dominant centre, but its Fourier transform has"
    elif _is_magnitude(samples) and not _prevails(shares):
        sign = "its imaginary part is zero, and no value is negative, as in a magnitude"
    return None if sign is None or _is_flat(samples) else sign


def _is_real(x: Tensor) -> bool:
    return not x.is_complex() or not bool(x.detach().imag.any())


def _is_magnitude(x: Tensor) -> bool:
    """Return whether many values are positive, and none is negative or has an imaginary part."""
    if not x.is_complex() or not _is_real(x):
        return False
    values = x.detach().real
    return bool((values >= 0).all()) and int((values > 0).sum()) >= _SMALLEST


def _looks_like_kspace(image: Tensor, spatial_ndim: int) -> bool:
    return _prevails(_shares(image, spatial_ndim)) and not _is_flat(image)


def _prevails(shares: list[tuple[float, float]]) -> bool:
    """Return whether the first share dominates along some axis, and the second along none."""
    wins = any(first > max(_SHARE, _TIMES * second) for first, second in shares)
    loses = any(second > max(_SHARE, _TIMES * first) for first, second in shares)
    return wins and not loses


def _shares(x: Tensor, spatial_ndim: int) -> list[tuple[float, float]]:
    """Return share(x) and share(F x) per spatial axis, omitting axes where chance would decide."""
    x = x.detach()
    x = (x if x.is_complex() else x.float()).to(torch.complex64)
    if x.numel() < _SMALLEST or x.ndim < spatial_ndim:
        return []
    energy = _energy(x)
    if not 0 < energy < math.inf:
        return []
    axes = range(-spatial_ndim, 0)
    centres = [_share(_centre(x, axis), energy) for axis in axes]
    if max(centres) > 1 / _TIMES:
        # No share exceeds 1, so this cannot be an image, and the slower transform is not needed.
        return [(centre, 0.0) for centre in centres]
    transforms = [_share(_low_frequencies(x, axis), energy) for axis in axes]
    return list(zip(centres, transforms, strict=True))


def _share(box: Tensor, energy: float) -> float:
    """Return the share of the energy in a box (..., width), both without the middle sample."""
    of_middle = _energy(box[..., box.shape[-1] // 2])
    rest = energy - of_middle
    # Rounding leaves a residue of a constant array.
    return max(_energy(box) - of_middle, 0.0) / rest if rest > 1e-5 * energy else 0.0


def _energy(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x).double()) ** 2


def _width(size: int) -> int:
    """Return the width of the box: odd, and a small part of the axis."""
    return min(_BOX, 2 * (size // 16) + 1)


def _centre(x: Tensor, axis: int) -> Tensor:
    """Return the box (..., width) about index N//2 of an axis, which becomes the last one."""
    size = x.shape[axis]
    width = _width(size)
    return x.narrow(axis, size // 2 - width // 2, width).movedim(axis, -1)


def _low_frequencies(x: Tensor, axis: int) -> Tensor:
    """Return this box of the unitary Fourier transform along an axis, which becomes the last."""
    size = x.shape[axis]
    frequency = torch.arange(_width(size), dtype=torch.float64) - _width(size) // 2
    place = torch.arange(size, dtype=torch.float64) - size // 2
    phase = -2 * math.pi / size * torch.outer(place, frequency)
    return x.movedim(axis, -1) @ torch.polar(torch.full_like(phase, size**-0.5), phase).to(x)


def _is_flat(x: Tensor) -> bool:
    """Return whether all values that are not zero are equal, as the samples of a point are."""
    magnitude = x.detach().abs()
    values = magnitude[magnitude > 0].float()
    return bool(values.numel() < 2 or values.std() <= _FLAT * values.mean())
