"""The speed problems A to D: simulated multi-coil scans on which baselines are compared.

The MNI152 template with a smooth phase, birdcage maps known to all methods, and complex white noise
40 dB below the data. Seeds are fixed, so that figures of different runs can be compared.

A: 256 x 256, 8 coils, 25 % of k-space at random, denser in the middle.
B: 320 x 320, 15 coils, every fourth line and 8 % of the lines in the middle.
C: 128^3, 8 coils, Poisson-disc mask with R = 6, readout fully sampled.
D: 256 x 256, 8 coils, 64 golden-angle spokes of 512 samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from firenet_mri import RawScan
from firenet_mri.errors import DataError
from firenet_mri.operators import Sense, encoding_operator
from firenet_mri.operators.density import compensated

NAMES = ("A", "B", "C", "D")

_TEMPLATE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
_SNR_DB = 40.0
_GOLDEN_ANGLE_DEG = 111.246117975


@dataclass(frozen=True, eq=False)
class SpeedProblem:
    """A simulated scan.

    Parameters
    ----------
    name
        "A" to "D".
    truth
        (*spatial) complex64, largest magnitude 1.
    maps
        (coil, *spatial) complex64, root-sum-of-squares 1.
    mask
        (*spatial) bool; None for D.
    trajectory
        (spoke, sample, 2) float32, cycles per field of view, (row, column); None for A to C.
    kspace
        (coil, *spatial) or (coil, spoke, sample) complex64, unitary scale.
    """

    name: str
    truth: np.ndarray
    maps: np.ndarray
    mask: np.ndarray | None
    trajectory: np.ndarray | None
    kspace: np.ndarray

    def save(self, path: Path) -> None:
        """Write the arrays to an .npz file."""
        arrays = {key: value for key, value in vars(self).items() if value is not None}
        np.savez(path, **arrays)

    def tensors(self) -> tuple[Tensor, Sense]:
        """Return data and encoding operator, with density compensation where there are spokes."""
        y, maps = torch.from_numpy(self.kspace), torch.from_numpy(self.maps)
        if self.trajectory is None:
            assert self.mask is not None
            return y, encoding_operator(torch.from_numpy(self.mask), maps, self.truth.ndim)
        fourier = compensated(torch.from_numpy(self.trajectory), self.truth.shape)
        assert fourier.root_weights is not None
        return y * fourier.root_weights.to(y.real.dtype), Sense(maps, fourier)

    def scan(self) -> RawScan:
        """Return the k-space and mask of A, B or C as a scan, without the maps."""
        assert self.mask is not None
        kspace, mask = torch.from_numpy(self.kspace), torch.from_numpy(self.mask)
        name = f"problem {self.name}"
        return RawScan(kspace, mask, self.truth.ndim, name=name, simulated=True)

    @staticmethod
    def load(path: Path) -> SpeedProblem:
        """Return what :meth:`save` wrote."""
        with np.load(path) as stored:
            parts = {key: stored[key] for key in stored.files}
        name = str(parts.pop("name"))
        return SpeedProblem(
            name,
            parts["truth"],
            parts["maps"],
            parts.get("mask"),
            parts.get("trajectory"),
            parts["kspace"],
        )


def make_problem(name: str) -> SpeedProblem:
    """Return a speed problem.

    Raises
    ------
    DataError
        If nilearn, which contains the template, is not installed.
    """
    makers: dict[str, Callable[[np.ndarray], SpeedProblem]] = {
        "A": _make_a,
        "B": _make_b,
        "C": _make_c,
        "D": _make_d,
    }
    return makers[name](_template())


def _template() -> np.ndarray:
    """Return the template volume, largest value 1."""
    import nibabel

    found = find_spec("nilearn")
    if found is None or found.origin is None:
        raise DataError("The speed problems are made from the template of nilearn; install nilearn")
    volume = nibabel.load(Path(found.origin).parent / _TEMPLATE).get_fdata()  # type: ignore[attr-defined]
    return volume / volume.max()


def _slice(template: np.ndarray) -> np.ndarray:
    return np.rot90(template[:, :, 85])


def _flat_truth(template: np.ndarray) -> np.ndarray:
    """Return the image of A and D."""
    image = _centred(_slice(template), (256, 256))
    return image / image.max() * _phase((256, 256), seed=1)


def _make_a(template: np.ndarray) -> SpeedProblem:
    truth, maps = _flat_truth(template), _birdcage(8, 256, 256)
    mask = _variable_density(256, fraction=0.25, calibration=24, seed=2)
    return _cartesian("A", truth, maps, mask, seed=3)


def _make_b(template: np.ndarray) -> SpeedProblem:
    from scipy.ndimage import zoom

    image = np.clip(zoom(_centred(_slice(template), (256, 256)), 1.25, order=3), 0, None)
    truth = image / image.max() * _phase((320, 320), seed=11)
    lines = _equispaced(320, acceleration=4, centre=0.08)
    mask = np.broadcast_to(lines, (320, 320))
    return _cartesian("B", truth, _birdcage(15, 320, 320), mask, seed=13)


def _make_c(template: np.ndarray) -> SpeedProblem:
    import sigpy.mri
    from scipy.ndimage import zoom

    shape = (128, 128, 128)
    volume = np.clip(zoom(template, 0.54, order=3), 0, None).transpose(2, 1, 0)
    image = _centred(volume, shape)
    truth = image / image.max() * _phase(shape, seed=21)
    plane = np.abs(sigpy.mri.poisson((128, 128), 6.0, calib=(16, 16), seed=5)) > 0
    mask = np.broadcast_to(plane[:, :, None], shape)
    return _cartesian("C", truth, _birdcage(8, *shape), mask, seed=23)


def _make_d(template: np.ndarray) -> SpeedProblem:
    import finufft

    truth, maps = _flat_truth(template), _birdcage(8, 256, 256)
    radius = (np.arange(512) - 256) / 512 * 256
    angle = np.arange(64) * np.deg2rad(_GOLDEN_ANGLE_DEG)
    spokes = np.stack([np.sin(angle), np.cos(angle)], axis=-1)
    trajectory = radius[None, :, None] * spokes[:, None]
    omega = (2 * np.pi / 256 * trajectory.reshape(-1, 2)).T.copy()
    samples = finufft.nufft2d2(*omega, (maps * truth).astype(complex), isign=-1, eps=1e-10) / 256
    kspace = _with_noise(samples, None, seed=4).reshape(8, 64, 512)
    return SpeedProblem("D", _single(truth), maps, None, trajectory.astype(np.float32), kspace)


def _cartesian(
    name: str, truth: np.ndarray, maps: np.ndarray, mask: np.ndarray, *, seed: int
) -> SpeedProblem:
    axes = tuple(range(1, maps.ndim))
    shifted = np.fft.ifftshift(maps * truth, axes=axes)
    kspace = np.fft.fftshift(np.fft.fftn(shifted, axes=axes, norm="ortho"), axes=axes)
    kspace = _with_noise(kspace, mask, seed=seed)
    return SpeedProblem(name, _single(truth), maps, np.ascontiguousarray(mask), None, kspace)


def _with_noise(kspace: np.ndarray, mask: np.ndarray | None, *, seed: int) -> np.ndarray:
    """Return k-space, masked, with complex white noise 40 dB below it."""
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal(kspace.shape) + 1j * generator.standard_normal(kspace.shape)
    if mask is not None:
        kspace, noise = kspace * mask, noise * mask
    size = np.linalg.norm(kspace) / np.linalg.norm(noise) * 10 ** (-_SNR_DB / 20)
    return _single(kspace + size * noise)


def _single(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x, dtype=np.complex64)


def _birdcage(*shape: int) -> np.ndarray:
    import sigpy.mri

    return _single(sigpy.mri.birdcage_maps(shape))


def _centred(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return x in the middle of an array of that shape, cropped or with zeros around it."""
    result = np.zeros(shape)
    source, target = [], []
    for size, wanted in zip(x.shape, shape, strict=True):
        kept = min(size, wanted)
        source.append(slice((size - kept) // 2, (size - kept) // 2 + kept))
        target.append(slice((wanted - kept) // 2, (wanted - kept) // 2 + kept))
    result[tuple(target)] = x[tuple(source)]
    return result


def _phase(shape: tuple[int, ...], *, seed: int) -> np.ndarray:
    """Return a smooth complex phase factor, quadratic with a ripple."""
    generator = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(-1, 1, size) for size in shape], indexing="ij")
    slopes = generator.uniform(-0.8, 0.8, len(axes))
    bends = generator.uniform(-0.9, 0.9, len(axes))
    angle = 0.3 + 0.5 * np.sin(2 * axes[0] + 1.5 * axes[1]) * np.cos(1.7 * axes[-1])
    for axis, slope, bend in zip(axes, slopes, bends, strict=True):
        angle = angle + slope * axis + bend * axis**2
    return np.exp(1j * angle)


def _variable_density(size: int, *, fraction: float, calibration: int, seed: int) -> np.ndarray:
    """Return a random mask of density (1 - radius)^3 with a full square in the middle."""
    generator = np.random.default_rng(seed)
    axis = np.linspace(-1, 1, size, endpoint=False)
    density = (1 - np.hypot(axis[:, None], axis[None]) / np.sqrt(2)) ** 3
    middle = slice(size // 2 - calibration // 2, size // 2 + calibration // 2)

    def probability(factor: float) -> np.ndarray:
        chance = np.clip(factor * density, 0, 1)
        chance[middle, middle] = 1
        return chance

    low, high = 0.0, 50.0
    for _ in range(60):
        factor = (low + high) / 2
        if probability(factor).mean() < fraction:
            low = factor
        else:
            high = factor
    mask: np.ndarray = generator.random((size, size)) < probability(factor)
    mask[middle, middle] = True
    return mask


def _equispaced(size: int, *, acceleration: int, centre: float) -> np.ndarray:
    """Return equispaced lines with a full block in the middle, counted as fastMRI does."""
    block = round(size * centre)
    lines = np.zeros(size, dtype=bool)
    start = (size - block + 1) // 2
    lines[start : start + block] = True
    distance = acceleration * (block - size) / (block * acceleration - size)
    lines[np.around(np.arange(0, size - 1, distance)).astype(int)] = True
    return lines
