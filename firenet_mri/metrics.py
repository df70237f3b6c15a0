"""Image metrics in fastMRI's definitions: NMSE, PSNR and SSIM of real magnitude images.

Images are never rescaled to the reference. A volume (slice, y, x) counts as one image with one data
range, the largest value of the reference.

Source: Zbontar et al., fastMRI, arXiv 1811.08839; SSIM of Wang et al., IEEE TIP 13(4), 2004, with a
uniform 7 x 7 window, K1 = 0.01, K2 = 0.03 and the sample covariance.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, pad

from firenet_mri.errors import ShapeError

_WINDOW = 7


def nmse(reference: Tensor, image: Tensor) -> float:
    """Return ||image - reference||^2 / ||reference||^2."""
    reference, image = _prepare(reference, image)
    return float((image - reference).square().sum() / reference.square().sum())


def psnr(reference: Tensor, image: Tensor) -> float:
    """Return 10 log10(max(reference)^2 / mean squared error) in dB; infinite for equal images."""
    reference, image = _prepare(reference, image)
    error = (image - reference).square().mean()
    return float(10 * torch.log10(reference.max().square() / error))


def ssim(reference: Tensor, image: Tensor) -> float:
    """Return the mean structural similarity over windows and slices.

    Parameters
    ----------
    reference, image
        (..., y, x) real, at least 7 x 7.
    """
    reference, image = _prepare(reference, image)
    if min(reference.shape[-2:]) < _WINDOW:
        raise ShapeError(f"SSIM needs images of at least 7 x 7; got {tuple(reference.shape)}")
    size = reference.shape[-2:]
    a, b = reference.reshape(-1, 1, *size), image.reshape(-1, 1, *size)
    data_range = a.max()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    count = _WINDOW**2
    sample = count / (count - 1)
    mean_a, mean_b = avg_pool2d(a, _WINDOW, 1), avg_pool2d(b, _WINDOW, 1)
    var_a = sample * (avg_pool2d(a * a, _WINDOW, 1) - mean_a**2)
    var_b = sample * (avg_pool2d(b * b, _WINDOW, 1) - mean_b**2)
    covariance = sample * (avg_pool2d(a * b, _WINDOW, 1) - mean_a * mean_b)
    similarity = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    )
    return float(similarity.mean())


def _prepare(reference: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    if reference.shape != image.shape:
        raise ShapeError(
            f"The image has shape {tuple(image.shape)}, the reference {tuple(reference.shape)}; "
            "they must be equal"
        )
    if reference.is_complex() or image.is_complex():
        raise ShapeError("Metrics compare real images; take the magnitude first")
    return reference.double(), image.double()


def haarpsi(reference: Tensor, image: Tensor) -> float:
    """Return the Haar wavelet-based perceptual similarity index, in [0, 1].

    Images are scaled so that the reference's largest value is 255. A volume gives the mean over
    slices.

    Parameters
    ----------
    reference, image
        (..., y, x) real.

    Notes
    -----
    Source: Reisenhofer, Bosse, Kutyniok, Wiegand, Signal Processing: Image Communication 61, 2018,
    for grey images, with its C = 30 and alpha = 4.2. As in the source, the resolution is halved
    first.
    """
    reference, image = _prepare(reference, image)
    size = reference.shape[-2:]
    scale = 255 / reference.max()
    a, b = (
        avg_pool2d(pad(scale * x.reshape(-1, 1, *size), (0, size[1] % 2, 0, size[0] % 2)), 2)
        for x in (reference, image)
    )
    similarities, weights = [], []
    for axis in (-2, -1):
        fine = [_haar(x, level, axis) for x in (a, b) for level in (1, 2)]
        pairs = [(fine[0], fine[2]), (fine[1], fine[3])]
        local = [(2 * p * q + _HAARPSI_C) / (p * p + q * q + _HAARPSI_C) for p, q in pairs]
        similarities.append(torch.sigmoid(_HAARPSI_ALPHA * (local[0] + local[1]) / 2))
        weights.append(torch.maximum(_haar(a, 3, axis), _haar(b, 3, axis)))
    similarity, weight = torch.cat(similarities, 1), torch.cat(weights, 1)
    axes = (1, 2, 3)
    mean = (similarity * weight).sum(axes) / weight.sum(axes).clamp(min=1e-30)
    return float((torch.logit(mean) / _HAARPSI_ALPHA).square().mean())


_HAARPSI_C, _HAARPSI_ALPHA = 30.0, 4.2


def _haar(image: Tensor, level: int, axis: int) -> Tensor:
    """Return the moduli of Haar wavelet responses along an axis, of the image's size."""
    width = 2**level
    kernel = torch.full((1, 1, width, width), 2.0**-level, dtype=image.dtype)
    half = [slice(None)] * 4
    half[axis] = slice(width // 2, width)
    kernel[tuple(half)] *= -1
    before, after = (width - 1) // 2, width // 2
    padded = pad(image, (before, after, before, after))
    return conv2d(padded, kernel).abs()


def units_factor(reference: Tensor, image: Tensor) -> float:
    """Return the factor that converts a reference to the units of an image.

    An image may be in noise standard deviations, while a reference is in the units of its own file.

    Parameters
    ----------
    reference, image
        Real, of the same shape.

    Returns
    -------
    float
        1 if the units are the same, that is, if the multiple of the reference nearest to the image
        is between two thirds and one and a half.
    """
    flat, other = reference.double().flatten(), image.double().flatten()
    energy = float(flat @ flat)
    factor = float(flat @ other) / energy if energy > 0 else 1.0
    return factor if factor > 0 and not 1 / 1.5 <= factor <= 1.5 else 1.0
