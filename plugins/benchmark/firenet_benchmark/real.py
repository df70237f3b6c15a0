"""Fully sampled real scans, under-sampled afterwards: ours with its defaults beside tuned peers.

All methods get the same k-space, mask and maps, which are estimated from the under-sampled data;
ours turn them by a phase that they find in the same data.
The reference is the fully sampled scan, combined with these maps. It has the scan's own noise, and
so have the samples that were kept: methods that keep the noise are favoured. With noise added to
the data only, the reference is fairer.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from firenet_benchmark.stability.wide import shipped_opponent
from firenet_benchmark.tuned import PEERS, Peer, Row, row_of, tuned_rows
from firenet_mri import RawScan, reconstruct
from firenet_mri.calibration import sensitivity_maps, whiten
from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.firenet.presets import make_network
from firenet_mri.operators import encoding_operator

Pattern = Literal["random", "equispaced", "points"]

#: Options of :func:`firenet_mri.reconstruct`, by their names in the table.
METHODS: dict[str, dict[str, Any]] = {
    "FIRENET accurate": {},
    "FIRENET sharp": {"preset": "sharp"},
    "FIRENET stable": {"preset": "stable"},
    "FIRENET paper": {"preset": "paper"},
    "accurate, dual-tree": {"sparsifier": "dual-tree"},
    "accurate, undecimated-haar+undecimated-dct3": {
        "sparsifier": "undecimated-haar+undecimated-dct3"
    },
}

# Every fourth line, and as many at random; points of the plane.
_LINES_APART = 4
_ACCELERATION = 6.0


@dataclass(frozen=True, eq=False)
class RealProblem:
    """A scan that was under-sampled afterwards.

    Parameters
    ----------
    name
        Scan, pattern, grid points per sample, and added noise in per cent of the data's norm.
    scan
        What is left, (coil, y, x).
    maps
        (coil, y, x) complex, from what is left.
    reference
        Magnitude (y, x).
    """

    name: str
    scan: RawScan
    maps: Tensor
    reference: Tensor


def problems(
    scan: RawScan, *, noise: float = 0.0, calibration: int = 24, seed: int = 0
) -> Iterator[RealProblem]:
    """Yield a scan with each of the patterns.

    Parameters
    ----------
    scan
        A single 2D slice, fully sampled; it is whitened if it has a noise measurement.
    noise
        Norm of white noise that is added to the data, over that of the data.
    calibration
        Width of the sampled centre, at most half the matrix.
    seed
        Of masks and noise.

    Raises
    ------
    DataError
        If the scan is not fully sampled, or is not a single slice.
    """
    shape = (scan.coils, *scan.spatial_shape)
    if scan.spatial_ndim != 2 or scan.kspace.numel() != torch.Size(shape).numel():
        raise DataError(f"{scan.name}: more than one 2D slice; choose one with --slices")
    if not bool(scan.mask.all()):
        raise DataError(f"{scan.name}: only a fully sampled scan can be under-sampled afterwards")
    if scan.noise is not None:
        scan = whiten(scan)
    full = scan.kspace.reshape(shape)
    for pattern in get_args(Pattern):
        mask = make_mask(scan.spatial_shape, pattern, calibration=calibration, seed=seed)
        if mask is None:
            continue
        kspace = full * mask
        if noise > 0:
            added = torch.randn(shape, generator=torch.manual_seed(seed), dtype=full.dtype) * mask
            kspace = kspace + noise * kspace.norm() / added.norm() * added
        left = dataclasses.replace(scan, kspace=kspace, mask=mask, images=())
        maps = sensitivity_maps(left)
        reference = encoding_operator(None, maps).adjoint(full).abs()
        apart = mask.numel() / int(mask.sum())
        name = f"{scan.name} {pattern} {apart:.2f}" + (f" +{100 * noise:g} %" if noise else "")
        yield RealProblem(name, left, maps, reference)


def make_mask(
    shape: tuple[int, ...], pattern: Pattern, *, calibration: int = 24, seed: int = 0
) -> Tensor | None:
    """Return a mask (1, y, x) bool with a sampled centre; None where the matrix is too small.

    Parameters
    ----------
    shape
        (y, x).
    pattern
        "equispaced": every fourth line, every second of fewer than 96. "random": lines, denser in
        the middle, up to three fifths of a fourth of all outside the centre. "points": a
        Poisson-disc pattern of SigPy of acceleration 6, from 96 lines on.
    """
    ny, nx = shape
    centre = np.zeros(ny, bool)
    centre[ny // 2 - calibration // 2 : ny // 2 + calibration // 2] = True
    if pattern == "points":
        if ny < 96:
            return None
        import sigpy.mri

        found = sigpy.mri.poisson((ny, nx), _ACCELERATION, calib=(calibration,) * 2, seed=seed)
        return torch.from_numpy(np.abs(found) > 0)[None]
    lines = centre.copy()
    if pattern == "equispaced":
        lines[:: _LINES_APART if ny >= 96 else 2] = True
    elif pattern == "random":
        outside = np.flatnonzero(~centre)
        density = (1 - np.abs(outside - ny / 2) / (ny / 2)) ** 2 + 0.05
        count = max(8, round(0.1 * ny))
        generator = np.random.default_rng(seed)
        chosen = generator.choice(outside, count, replace=False, p=density / density.sum())
        lines[chosen] = True
    else:
        raise UsageError(f"Unknown pattern {pattern!r}; use {', '.join(get_args(Pattern))}")
    return torch.from_numpy(np.broadcast_to(lines[:, None], shape).copy())[None]


def compare_all(
    problem: RealProblem,
    methods: Mapping[str, Mapping[str, Any]] | None = None,
    peers: tuple[Peer, ...] = PEERS,
) -> Iterator[Row]:
    """Yield the rows of zero filling, our methods and the tuned peers."""
    scan, maps, reference = problem.scan, problem.maps, problem.reference
    zero_filled = encoding_operator(scan.mask, maps).adjoint(scan.kspace)
    yield row_of("zero filling", reference, zero_filled)
    for name, options in (METHODS if methods is None else methods).items():
        result = reconstruct(scan, no_gap=True, **options)
        yield row_of(name, reference, result.image, result.timings.network_s)
    yield from tuned_rows(scan.kspace, maps, reference, peers)


def opponent_rows(problem: RealProblem, names: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of trained opponents, keys of :data:`firenet_benchmark.stability.wide.KINDS`.

    Raises
    ------
    FileError
        If the weights of one are missing.
    """
    scan = problem.scan
    for name in names:
        network = shipped_opponent(name).network
        shape = scan.kspace.shape[-3:]
        started = time.process_time()
        with torch.no_grad():
            image = network(scan.kspace.reshape(1, *shape), scan.mask[None], problem.maps[None])[0]
        yield row_of(name, problem.reference, image, time.process_time() - started)


def published_rows(
    problem: RealProblem,
    networks: Mapping[str, nn.Module],
    on_refusal: Callable[[str], None] = lambda _: None,
) -> Iterator[Row]:
    """Yield the rows of published networks; one that cannot take the mask has none.

    Parameters
    ----------
    problem
        What is reconstructed.
    networks
        Networks of :func:`firenet_benchmark.stability.published.open_published` by their names.
    on_refusal
        Called with a line that says which network cannot take the mask, and why.
    """
    scan, maps = problem.scan, problem.maps
    kspace = scan.kspace.reshape(1, *scan.kspace.shape[-3:])
    # As the reference has it, to which coils without a map do not contribute.
    inside = torch.linalg.vector_norm(maps, dim=0) > 0
    for name, network in networks.items():
        started = time.process_time()
        try:
            with torch.no_grad():
                image = network(kspace, scan.mask[None], maps[None])[0]
        except ShapeError as error:
            on_refusal(f"{name}, {problem.name}: {error}")
            continue
        yield row_of(name, problem.reference, image * inside, time.process_time() - started)


def lam_curve(problem: RealProblem, shares: tuple[float, ...]) -> dict[float, Row]:
    """Return the default network's row for multiples of the automatic lam."""
    scan = problem.scan
    usual = make_network(scan.coils, scan.spatial_shape).lam
    found = {}
    for share in shares:
        result = reconstruct(scan, no_gap=True, lam=share * usual)
        found[share] = row_of(f"{share:g} lam", problem.reference, result.image)
    return found
