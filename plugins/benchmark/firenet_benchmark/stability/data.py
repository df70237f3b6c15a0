"""The slices on which methods are compared: simulated from real T1 images, or read from scans.

Built-in images (brains.npz, provenance beside it): axial slices of one person, divided into blocks
for training, validation and test that are 4 mm apart; training also has slices of an average brain.
Scans of them are simulated: six birdcage coils, smooth random phase, white noise,
random lines with a sampled centre along the last axis. Maps are estimated from these lines by
ESPIRiT, as they would be for a real scan, and all methods get the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from firenet_benchmark.stability.choices import Axis
from firenet_mri import RawScan
from firenet_mri.calibration import sensitivity_maps, whiten
from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.operators import encoding_operator
from firenet_mri.simulation import Pattern, simulate

# Signal over noise that single precision does not see.
_NO_NOISE = 1e9

ImageSet = Literal["train", "validation", "test", "coronal", "sagittal", "macaque"]


@dataclass(frozen=True, eq=False)
class Case:
    """One under-sampled slice.

    Parameters
    ----------
    name
        For tables and pictures.
    kspace
        (coil, y, x) complex64, whitened: noise has variance 1. 0 where not sampled.
    mask
        (y, x) bool.
    maps
        Sensitivity maps, (coil, y, x) complex64, of root-sum-of-squares 1 or 0.
    reference
        Magnitude image, (y, x) float32; None where it is not known.
    truth
        The noise-free image as these maps combine it, (y, x) complex64; None as the reference.
    simulated
        Whether the data are.
    """

    name: str
    kspace: Tensor
    mask: Tensor
    maps: Tensor
    reference: Tensor | None
    truth: Tensor | None
    simulated: bool


@dataclass(frozen=True)
class Protocol:
    """How a scan is simulated.

    Parameters
    ----------
    coils, acceleration, calibration, pattern
        See :func:`firenet_mri.simulation.simulate`; lines lie along the last axis.
    snr
        Mean signal over the standard deviation of the noise, in an image of all samples.
    """

    coils: int = 6
    acceleration: float = 4.0
    calibration: int = 12
    pattern: Pattern = "lines"
    snr: float = 50.0


def images(which: ImageSet) -> Tensor:
    """Return built-in images, (slice, y, x) float32 in [0, 1].

    Raises
    ------
    UsageError
        If there is no such set.
    """
    if which not in get_args(ImageSet):
        raise UsageError(f"No images {which!r}; use one of {', '.join(get_args(ImageSet))}")
    with files(__package__).joinpath("brains.npz").open("rb") as file, np.load(file) as arrays:
        return torch.from_numpy(arrays[which]).float() / 255


def simulated_case(
    image: Tensor,
    protocol: Protocol | None = None,
    *,
    seed: int,
    name: str = "simulated",
    axis: Axis = "x",
    mask: Tensor | None = None,
) -> Case:
    """Return a scan of an image; of one coil it has maps of 1.

    Parameters
    ----------
    image
        Magnitude (y, x).
    protocol
        How it is scanned; None is the default.
    seed
        Of phase, mask and noise.
    name
        Of the case.
    axis
        Along which lines are left out.
    mask
        (y, x) bool, instead of the protocol's pattern, acceleration and centre.

    Raises
    ------
    UsageError
        If the protocol is out of range.
    ShapeError
        If the mask is not of the image's size.
    CalibrationError
        If the sampled centre is too small for maps.
    """
    protocol = protocol or Protocol()
    if mask is not None and mask.shape != image.shape:
        raise ShapeError(f"The mask has shape {tuple(mask.shape)}, the image {tuple(image.shape)}")

    def turned(x: Tensor) -> Tensor:
        # The simulation samples rows.
        return x.mT if axis == "x" else x

    rows = turned(image * torch.exp(1j * smooth_phase(image.shape, seed)))[None]
    scan = simulate(
        rows,
        coils=protocol.coils,
        acceleration=protocol.acceleration if mask is None else 1,
        calibration=protocol.calibration,
        pattern=protocol.pattern,
        snr=protocol.snr,
        seed=seed,
        name=name,
    )
    if mask is not None:
        own = turned(mask)
        scan = replace(scan, kspace=scan.kspace * own, mask=own[None])
    assert scan.noise is not None
    white = whiten(scan)
    shape = (protocol.coils, *rows.shape[1:])
    maps = maps_of(white).reshape(shape)
    full = simulate(rows, coils=protocol.coils, acceleration=1, snr=_NO_NOISE, seed=seed)
    whole = whiten(replace(full, noise=scan.noise)).kspace
    sigma = float(scan.noise.abs().square().mean().sqrt())
    return Case(
        name,
        turned(white.kspace.reshape(shape)).contiguous(),
        turned(white.mask.reshape(shape[1:])).contiguous(),
        turned(maps).contiguous(),
        image / sigma,
        turned(encoding_operator(None, maps).adjoint(whole.reshape(shape))).contiguous(),
        True,
    )


def maps_of(scan: RawScan) -> Tensor:
    """Return the maps that all methods get: by ESPIRiT, or 1 for a single coil."""
    return sensitivity_maps(scan, "espirit" if scan.coils > 1 else "none")


def smooth_phase(shape: Sequence[int], seed: int) -> Tensor:
    """Return a random smooth phase in radians, (y, x) float32."""
    generator = torch.Generator().manual_seed(seed)
    a, b, c, d = (2 * torch.rand(4, generator=generator) - 1).tolist()
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in shape), indexing="ij")
    return 1.5 * (a * y + b * x**2 + c * torch.cos(2 * x * y + 1) + d * x)


def training_cases(count: int, *, seed: int, protocol: Protocol | None = None) -> list[Case]:
    """Return scans to train with: slices rotated, mirrored, scaled, with other contrast and noise.

    Parameters
    ----------
    count
        How many.
    seed
        Of everything random.
    protocol
        What is not drawn anew for each scan; the signal-to-noise ratio is between 0.6 and 1.6 of
        the protocol's.
    """
    protocol = protocol or Protocol()
    sources = images("train")
    generator = torch.Generator().manual_seed(seed)
    cases = []
    for i in range(count):
        source = sources[int(torch.randint(len(sources), (1,), generator=generator))]
        snr = protocol.snr * 0.6 * (1.6 / 0.6) ** float(torch.rand(1, generator=generator))
        image = _varied(source, generator)
        cases.append(
            simulated_case(image, replace(protocol, snr=snr), seed=seed + 1 + i, name=f"train {i}")
        )
    return cases


def _varied(image: Tensor, generator: torch.Generator) -> Tensor:
    """Return an image rotated by up to 20 degrees, mirrored, scaled by 0.9 to 1.1, with a gamma."""
    turn, scale_y, scale_x, gamma, mirror = torch.rand(5, generator=generator).tolist()
    angle = math.radians(40 * (turn - 0.5))
    sy, sx = 0.9 + 0.2 * scale_y, (0.9 + 0.2 * scale_x) * (1 if mirror < 0.5 else -1)
    theta = torch.tensor(
        [
            [math.cos(angle) * sx, -math.sin(angle) * sy, 0],
            [math.sin(angle) * sx, math.cos(angle) * sy, 0],
        ]
    )
    grid = affine_grid(theta[None], [1, 1, *image.shape], align_corners=False)
    moved = grid_sample(image[None, None], grid, mode="bicubic", align_corners=False)[0, 0]
    moved = moved.clamp(min=0) ** (0.7 + 0.7 * gamma)
    return moved / moved.max()
