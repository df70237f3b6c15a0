"""Frames over related images: in the plane of each image, and across the images.

The first axis of the images counts them: the phases of a heartbeat, repetitions, echoes, slices.
``InPlane`` applies a frame of the plane to every image, ``GroupedInPlane`` penalises its
coefficients in all images together, and ``AcrossFrames`` applies a small matrix to the values of a
pixel. All are periodic, as a heartbeat is. Where images are not periodic, the last one meets the
first in only one of many differences.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.operators.base import Shape
from firenet_mri.operators.frame import Frame

#: Frames across images by name, see :func:`across_frames`, with their factors in a sum. They were
#: chosen on simulated hearts (``firenet benchmark cine``, seeds 0 and 1): if the plane had an equal
#: factor, images were .9 dB worse.
ACROSS_FACTORS = {"across-tv": 1.0, "across-haar": 1.0, "across-fourier": 0.5}
ACROSS = tuple(ACROSS_FACTORS)


class InPlane(Frame):
    """A frame W of one image, applied to each of several: (frame, y, x) to (band, frame, y, x).

    Parameters
    ----------
    frames
        Number of images.
    plane
        W, from (y, x) to (band, y, x).
    """

    def __init__(self, frames: int, plane: Frame) -> None:
        bands = plane.codomain_shape[0]
        super().__init__((frames, *plane.domain_shape), bands, plane.norm_bound)
        self.plane = plane
        self.is_parseval = plane.is_parseval
        self.annihilates_constants = plane.annihilates_constants
        self.groups, self.average_bands = plane.groups, plane.average_bands

    @property
    def band_norms(self) -> Tensor:
        """(band, 1, 1, 1) float64: norm of each band's functions."""
        return self.plane.band_norms.unsqueeze(1)

    def gram_symbol(self) -> Tensor:
        """Return the eigenvalues of W^H W at the frequencies of the FFT, (frame, y, x) float64."""
        return self.plane.gram_symbol().expand(self.domain_shape)

    def _analyse(self, planes: Tensor, *, is_slab: bool = False) -> Tensor:
        return self.plane._analyse(planes).movedim(-3, -4)

    def _synthesise(self, coefficients: Tensor, *, is_slab: bool = False) -> Tensor:
        return self.plane._synthesise(coefficients.movedim(-4, -3))

    def _step_in_slabs(
        self,
        q: Tensor,
        planes: Tensor,
        steps: Tensor,
        radius: Tensor | float,
        relaxation: float = 1.0,
    ) -> Tensor:
        """Overwrite q with q+ and return W^H q+ in planes, image by image."""
        image = torch.empty_like(planes)
        # One step size per item, which all of its images use.
        steps = steps.squeeze(-4)
        for frame in range(self.domain_shape[0]):
            radii = radius
            if isinstance(radius, Tensor) and radius.ndim >= 3:
                radii = radius.select(-3, min(frame, radius.shape[-3] - 1))
            image[..., frame, :, :] = self.plane._step_in_slabs(
                q.select(-3, frame), planes.select(-3, frame), steps, radii, relaxation
            )
        return image

    def extra_repr(self) -> str:
        """Return frame and number of images, for printing."""
        return f"{self.plane!r}, {self.domain_shape[0]} images"


class GroupedInPlane(Frame):
    """A frame W of one image, applied to each of several, with a joint penalty over all images.

    The coefficients of one function of W in all images are one vector, penalised by its Euclidean
    norm. An edge that several echoes share costs little more than an edge in one of them, whatever
    its values and phases are.

    Parameters
    ----------
    frames
        Number of images, at least 2.
    plane
        W, from (y, x) to (band, y, x).

    Raises
    ------
    UsageError
        If there is only one image.
    """

    def __init__(self, frames: int, plane: Frame) -> None:
        if frames < 2:
            raise UsageError(f"across-groups requested across {frames} image; it needs at least 2")
        each = InPlane(frames, plane)
        super().__init__(each.domain_shape, each.codomain_shape[0], each.norm_bound)
        self.each = each
        self.is_parseval = each.is_parseval
        self.annihilates_constants = each.annihilates_constants
        self.groups, self.average_bands = each.groups, each.average_bands
        self.is_coherent = True

    @property
    def band_norms(self) -> Tensor:
        """(band, 1, 1, 1) float64: the norm of white noise in all images together."""
        return math.sqrt(self.domain_shape[0]) * self.each.band_norms

    def gram_symbol(self) -> Tensor:
        """Return the eigenvalues of W^H W at the frequencies of the FFT, (frame, y, x) float64."""
        return self.each.gram_symbol()

    def over_groups(self, values: Tensor) -> Tensor:
        """Return for every coefficient the sum over all images; real."""
        return self.each.over_groups(values).sum(-3, keepdim=True).expand_as(values)

    def modulus(self, coefficients: Tensor) -> Tensor:
        """Return for every coefficient its norm over all images."""
        sizes = self.each.modulus(coefficients)
        return torch.linalg.vector_norm(sizes, dim=-3, keepdim=True).expand_as(sizes)

    def shares(self, coefficients: Tensor) -> Tensor:
        """Return the norm of each vector, shared equally by its coefficients."""
        sizes = self.modulus(coefficients)
        return sizes / self.over_groups(torch.ones_like(sizes))

    def project(self, coefficients: Tensor, radius: Tensor | float) -> Tensor:
        """Return the nearest coefficients whose vectors have norms within the radius.

        Raises
        ------
        UsageError
            If the radii of the images differ.
        """
        return self.coefficients(self._project(self.laid_out(coefficients), radius))

    def _shares(self, q: Tensor, radii: Tensor) -> Tensor:
        _check_one_radius(radii)
        return super()._shares(q, radii)

    def _project_(self, q: Tensor, radius: Tensor | float) -> None:
        _check_one_radius(radius)
        super()._project_(q, radius)

    def _product(self, p: Tensor, q: Tensor) -> Tensor:
        """Return the real inner products over planes and images, (*batch, band, 1, y, x)."""
        return super()._product(p, q).sum(-3, keepdim=True)

    def _analyse(self, planes: Tensor, *, is_slab: bool = False) -> Tensor:
        return self.each._analyse(planes)

    def _synthesise(self, coefficients: Tensor, *, is_slab: bool = False) -> Tensor:
        return self.each._synthesise(coefficients)


class AcrossFrames(Frame):
    """A matrix T over the images of a pixel: (frame, y, x) to (band, frame, y, x).

    Parameters
    ----------
    matrices
        (band, frame, frame) real; sum over bands of T_b^T T_b is circulant, of norm at most 1.
    plane_shape
        (y, x).
    """

    matrices: Tensor

    def __init__(self, name: str, matrices: Tensor, plane_shape: Shape) -> None:
        bands, frames, _ = matrices.shape
        gram = torch.einsum("bst,bsu->tu", matrices, matrices)
        super().__init__((frames, *plane_shape), bands, 1.0)
        self.name = name
        self.register_buffer("matrices", matrices, persistent=False)
        self.is_parseval = bool((gram - torch.eye(frames).double()).abs().max() < 1e-14)
        self._norms = tuple(torch.linalg.vector_norm(matrices, dim=2).amax(1).tolist())

    @property
    def band_norms(self) -> Tensor:
        """(band, 1, 1, 1) float64: norm of each band's functions."""
        return torch.tensor(self._norms, dtype=torch.float64).reshape(-1, 1, 1, 1)

    def gram_symbol(self) -> Tensor:
        """Return the eigenvalues of W^H W at the frequencies of the FFT, (frame, y, x) float64."""
        gram = torch.einsum("bst,bsu->tu", self.matrices, self.matrices)
        # The eigenvalues of a circulant matrix are the FFT of its first column.
        symbol = torch.fft.fft(gram[:, 0]).real.clamp(min=0)
        return symbol.reshape(-1, 1, 1).expand(self.domain_shape)

    def _analyse(self, planes: Tensor, *, is_slab: bool = False) -> Tensor:
        matrix = self.matrices.flatten(0, 1).to(planes)
        bands = matrix @ planes.flatten(-2)
        shape = (*planes.shape[:-3], *self.codomain_shape)
        return bands.reshape(shape)

    def _synthesise(self, coefficients: Tensor, *, is_slab: bool = False) -> Tensor:
        matrix = self.matrices.flatten(0, 1).to(coefficients)
        image = matrix.T @ coefficients.flatten(-4, -3).flatten(-2)
        return image.reshape(*coefficients.shape[:-4], *self.domain_shape)

    def extra_repr(self) -> str:
        """Return name and shape, for printing."""
        return f"{self.name}, {self.domain_shape}"


def _check_one_radius(radius: Tensor | float) -> None:
    if isinstance(radius, Tensor) and radius.ndim >= 3 and radius.shape[-3] != 1:
        raise UsageError(
            "Weights differ from image to image, but across-groups joins the images; give one for "
            "all images"
        )


def across_frames(name: str, shape: Shape) -> AcrossFrames:
    """Return a frame across images by its name.

    Parameters
    ----------
    name
        "across-tv": differences of neighbours, (x_{t+1} - x_t) / 2. "across-haar": the details of
        two levels of the undecimated Haar wavelet. "across-fourier": the real Fourier transform, an
        orthogonal matrix.
    shape
        (frame, y, x), at least 2 images.

    Raises
    ------
    UsageError
        If the name is unknown, or there is only one image.
    """
    frames, *plane = shape
    if name not in ACROSS:
        raise UsageError(f"Unknown sparsifier {name!r} across images; use {', '.join(ACROSS)}")
    if frames < 2:
        raise UsageError(f"{name} requested across {frames} image; it needs at least 2")
    one = torch.eye(frames, dtype=torch.float64)
    following = one.roll(1, 1)
    if name == "across-tv":
        matrices = ((following - one) / 2).unsqueeze(0)
    elif name == "across-haar":
        sums, farther = (one + following) / 2, one.roll(2, 1)
        matrices = torch.stack([(following - one) / 2, sums @ (farther - one) / 2])
        # The second level of two images is zero.
        matrices = matrices[: 1 if frames == 2 else 2]
    else:
        matrices = _real_fourier(frames).unsqueeze(0)
    found = AcrossFrames(name, matrices, tuple(plane))
    found.annihilates_constants = name != "across-fourier"
    return found


def _real_fourier(size: int) -> Tensor:
    """Return the orthogonal matrix whose rows are cosines and sines of the FFT's frequencies."""
    time = torch.arange(size, dtype=torch.float64)
    rows = []
    for k in range(size):
        # In the FFT's order: the upper half holds the sines of the frequencies in the lower half.
        angle = 2 * math.pi * ((k * time) % size) / size
        row = angle.cos() if 2 * k <= size else angle.sin()
        rows.append(row / torch.linalg.vector_norm(row))
    return torch.stack(rows)
