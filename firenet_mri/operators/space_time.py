"""Frames over images that belong together: in the plane of each, and across them.

The first axis of the images counts them: the phases of a heartbeat, repetitions, echoes, slices.
``InPlane`` takes a frame of the plane to every image, ``AcrossFrames`` a small matrix to the values
of a pixel. Both are periodic, as a heartbeat is; where images are not, the last one meets the first
in one difference of many.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.operators.base import Shape
from firenet_mri.operators.frame import Frame

#: Frames across images by name, see :func:`across_frames`, with their factors in a sum. These were
#: chosen on simulated hearts (``firenet benchmark cine``, seeds 0 and 1): with equal factors for
#: the plane, too, images were .9 dB worse.
ACROSS_FACTORS = {"across-tv": 1.0, "across-haar": 1.0, "across-fourier": 0.5}
ACROSS = tuple(ACROSS_FACTORS)


class InPlane(Frame):
    """A frame W of one image, on each of several: (frame, y, x) to (band, frame, y, x).

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
        # One step an item, which all of its images take.
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


class AcrossFrames(Frame):
    """A matrix T over the images of a pixel: (frame, y, x) to (band, frame, y, x).

    Parameters
    ----------
    matrices
        (band, frame, frame) real; sum over bands of T_b^T T_b is circulant and at most 1.
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
        # Of a circulant matrix these are the FFT of its first column.
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
        If the name is unknown, or there is one image only.
    """
    frames, *plane = shape
    if name not in ACROSS:
        raise UsageError(f"Unknown sparsifier {name!r} across images; use {', '.join(ACROSS)}")
    if frames < 2:
        raise UsageError(f"{name} asked for across {frames} image; it needs at least 2")
    one = torch.eye(frames, dtype=torch.float64)
    following = one.roll(1, 1)
    if name == "across-tv":
        matrices = ((following - one) / 2).unsqueeze(0)
    elif name == "across-haar":
        sums, farther = (one + following) / 2, one.roll(2, 1)
        matrices = torch.stack([(following - one) / 2, sums @ (farther - one) / 2])
        # Of two images the second level is nothing.
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
        # As the FFT orders them: those above the half are the sines of those below.
        angle = 2 * math.pi * ((k * time) % size) / size
        row = angle.cos() if 2 * k <= size else angle.sin()
        rows.append(row / torch.linalg.vector_norm(row))
    return torch.stack(rows)
