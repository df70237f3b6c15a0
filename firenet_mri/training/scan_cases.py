"""Training cases from fully sampled scans: random masks, and variations of what was measured.

A scan is whitened, its maps are estimated from the centre of k-space as a reconstruction does it,
and the combination of its fully sampled coil images is the reference. A case mirrors and rotates a
slice, lowers its resolution, changes its contrast and phase, and adds details and noise, each with
some probability, and samples it with a random mask; the maps are turned by the phase of the image
at low resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from firenet_mri.calibration.methods import MapMethod
from firenet_mri.calibration.phase import reference_phase
from firenet_mri.calibration.sensitivity import sensitivities
from firenet_mri.calibration.whitening import whiten
from firenet_mri.errors import DataError
from firenet_mri.operators.centred import centred_fft, centred_ifft
from firenet_mri.scan import RawScan, split_readout
from firenet_mri.training.masks import random_mask
from firenet_mri.training.options import USUAL, Simulation
from firenet_mri.training.pictures import recoloured, with_details
from firenet_mri.training.randomness import Random
from firenet_mri.training.simulated_cases import TrainingCase, random_noise

_AXES = (-2, -1)
# Of the grid a fully sampled scan may lack a margin: readers fill k-space up with zeros.
_LEAST_BOX = 0.8
# Slices with less than this share of the strongest one's energy show nothing.
_LEAST_ENERGY = 0.01
# Pixels darker than this share of the brightest are not made brighter by more than others.
_DARK = 0.1
_LARGEST_CHANGE = 3.0
_SMALLEST_SIZE = 48


@dataclass(frozen=True, eq=False)
class MeasuredSlice:
    """A fully sampled slice, whitened, in units of the brightest pixel of its combination.

    Parameters
    ----------
    images
        Of the coils, (coil, y, x) complex64.
    maps
        (coil, y, x) complex64, of root-sum-of-squares 1 or 0.
    noise
        Standard deviation of the noise of a sample; 0 if it was not measured.
    """

    images: Tensor
    maps: Tensor
    noise: float

    @property
    def combined(self) -> Tensor:
        """The combination of the coils, (y, x) complex."""
        return (self.maps.conj() * self.images).sum(0)


def measured_slices(scan: RawScan, maps: MapMethod) -> list[MeasuredSlice]:
    """Return the slices of a scan that show something; planes across the readout of a volume.

    Parameters
    ----------
    scan
        Fully sampled and Cartesian.
    maps
        How maps are estimated; a single coil gets a map that is 1.

    Raises
    ------
    DataError
        If it has a trajectory, or is not fully sampled.
    CalibrationError
        If maps cannot be estimated.
    """
    if scan.trajectory is not None:
        raise DataError(
            f"{scan.name}: was sampled along a trajectory; training needs Cartesian scans"
        )
    _check_sampling(scan)
    is_whitened = scan.noise is not None
    scan = whiten(scan) if is_whitened else scan
    scan = split_readout(scan) if scan.spatial_ndim == 3 else scan
    kspace = scan.kspace.reshape(-1, scan.coils, *scan.spatial_shape)
    energy = kspace.abs().square().sum((1, 2, 3))
    shown = kspace[energy >= _LEAST_ENERGY * energy.max()]
    method: MapMethod = "none" if scan.coils == 1 else maps
    return [_measured(scan, one, method, is_whitened) for one in shown]


def scan_case(
    slices: Sequence[MeasuredSlice], seed: int, simulation: Simulation = USUAL
) -> TrainingCase:
    """Return the case of a seed, a variation of one of the slices."""
    random = Random(seed)
    one = random.choice(slices)
    images, maps = _mirrored(one.images, one.maps, random)
    noise, pixels = one.noise, images[0].numel()
    if random.chance(0.5):
        images, maps = _coarser(images, maps, 1 - 0.5 * random.uniform())
        noise *= (images[0].numel() / pixels) ** 0.5
    combined = (maps.conj() * images).sum(0)
    change = _change(combined.abs(), random)
    brightest = float((combined * change).abs().max())
    images, noise = images * change / brightest, noise / brightest
    added = 0.0
    if random.chance(0.5):
        added = random_noise(random, simulation)
        noise = (noise**2 + added**2) ** 0.5
    return _sampled(images, maps, added, noise, random)


def validation_case(slices: Sequence[MeasuredSlice], number: int, seed: int) -> TrainingCase:
    """Return a slice as it was measured, with the mask of a seed; slices are taken in turn."""
    one = slices[number % len(slices)]
    return _sampled(one.images, one.maps, 0.0, one.noise, Random(seed))


def _check_sampling(scan: RawScan) -> None:
    """Refuse a scan that lacks samples within the box that was sampled, or most of the grid."""
    sampled = scan.mask.reshape(-1, *scan.spatial_shape).all(0)
    box = 1
    for axis in range(sampled.ndim):
        places = sampled.movedim(axis, 0).flatten(1).any(1).nonzero()
        box *= int(places.max() - places.min()) + 1 if len(places) else 0
    if int(sampled.sum()) == box and box >= _LEAST_BOX * sampled.numel():
        return
    raise DataError(
        f"{scan.name}: {float(sampled.float().mean()):.0%} of k-space was sampled; training needs "
        "fully sampled scans"
    )


def _measured(scan: RawScan, kspace: Tensor, maps: MapMethod, is_whitened: bool) -> MeasuredSlice:
    mask = torch.ones(1, *kspace.shape[1:], dtype=torch.bool)
    alone = replace(scan, kspace=kspace, mask=mask, images=(), noise=None, reference=None)
    found = sensitivities(alone, maps).maps
    images = centred_ifft(kspace, _AXES)
    brightest = float((found.conj() * images).sum(0).abs().max())
    if brightest <= 0:
        raise DataError(f"{scan.name}: a slice is empty where its maps are not; leave it out")
    return MeasuredSlice(images / brightest, found, 1 / brightest if is_whitened else 0.0)


def _mirrored(images: Tensor, maps: Tensor, random: Random) -> tuple[Tensor, Tensor]:
    if random.chance(0.5):
        images, maps = images.mT, maps.mT
    flips = [axis for axis in _AXES if random.chance(0.5)]
    return images.flip(flips).contiguous(), maps.flip(flips).contiguous()


def _coarser(images: Tensor, maps: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Return a slice reduced to the centre of its k-space, with maps at its pixels."""
    shape = images.shape[-2:]
    wanted = [2 * int(max(n * share, min(n, _SMALLEST_SIZE)) / 2) for n in shape]
    y, x = (slice(n // 2 - m // 2, n // 2 + m // 2) for n, m in zip(shape, wanted, strict=True))
    kept = centred_fft(images, _AXES)[..., y, x]
    scale = (kept[0].numel() / images[0].numel()) ** 0.5
    return centred_ifft(kept, _AXES) * scale, _at_pixels(maps, wanted)


def _at_pixels(maps: Tensor, wanted: Sequence[int]) -> Tensor:
    """Return maps at the pixels of a coarser grid with the same pixel in the middle."""
    where = []
    for n, m in zip(maps.shape[-2:], wanted, strict=True):
        pixel = (torch.arange(m) - m // 2) * n / m + n // 2
        where.append(2 * pixel / (n - 1) - 1)
    y, x = torch.meshgrid(*where, indexing="ij")
    parts = torch.view_as_real(maps.resolve_conj()).movedim(-1, 0)
    grid = torch.stack([x, y], dim=-1).expand(2, -1, -1, -1)
    near = grid_sample(parts, grid, mode="bilinear", padding_mode="border", align_corners=True)
    return torch.view_as_complex(near.movedim(0, -1).contiguous())


def _change(image: Tensor, random: Random) -> Tensor:
    """Return factors for a slice of a magnitude (y, x), for contrast, details and phase."""
    brightest = image.max().clamp(min=1e-6)
    was = (image / brightest).clamp(0, 1)
    new = recoloured(was, random) if random.chance(0.5) else was
    if random.chance(0.4):
        new = with_details(new, random)
    factor = (new / was.clamp(min=_DARK)).clamp(max=_LARGEST_CHANGE)
    # Without another contrast, dark pixels keep what they have, noise included.
    factor = torch.where(new == was, torch.ones_like(factor), factor)
    shape = (image.shape[0], image.shape[1])
    factor = factor * (1 + random.uniform(0, 0.25) * random.smooth(shape, 3)).clamp(0.2, 2)
    phase = random.uniform(-3, 3) + random.uniform(0, 1.5) * random.smooth(shape, 4)
    return torch.polar(factor, phase)


def _sampled(
    images: Tensor, maps: Tensor, added: float, noise: float, random: Random
) -> TrainingCase:
    """Return the case of coil images, with noise added to the samples alone."""
    full = centred_fft(images, _AXES)
    reference = (maps.conj() * images).sum(0).abs()
    if added > 0:
        full = full + added * random.white(*full.shape)
    mask = random_mask((full.shape[-2], full.shape[-1]), random)
    kspace = full * mask
    known = maps * reference_phase(kspace, maps, mask[None])
    return TrainingCase(kspace, mask, known, reference, noise)
