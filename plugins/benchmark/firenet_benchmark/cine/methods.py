"""FIRENET frame by frame and jointly, and BART with what it has over time, on one series."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from firenet_benchmark.cine.problem import CineProblem
from firenet_mri import RawScan, ReconstructionOptions, reconstruct
from firenet_mri.calibration import sensitivity_maps
from firenet_mri.errors import DataError
from firenet_mri.io.kspace.bart import write_cfl
from firenet_mri.metrics import psnr, ssim
from firenet_mri.reconstruction.joint import SPARSIFIER, mean_of_frames

#: Sparsifiers of the joint problem that are compared.
SPARSIFIERS = (
    SPARSIFIER,
    "undecimated-dct3+across-tv",
    "undecimated-dct3+across-haar",
    "across-fourier",
    "across-low-rank",
    "across-tv+across-low-rank",
)

#: The same for echoes.
SPARSIFIERS_OF_ECHOES = (
    SPARSIFIER,
    "across-low-rank",
    "across-fourier+across-low-rank",
    "undecimated-dct3+across-groups",
    "undecimated-dct3+across-groups+across-fourier",
)

#: BART's regularisation over time by name: total variation, locally low rank, temporal Fourier.
BART = {"T": "T:1024:0", "L": "L:3:3", "F": "F:1024:0"}
_LAMBDAS = tuple(2.0**-exponent for exponent in range(4, 15))
_ITERATIONS = 100
# BART's dimension of time.
_TIME = 10


@dataclass(frozen=True)
class CineRow:
    """What a method reached on a series.

    Parameters
    ----------
    method
        Its name.
    psnr_db, ssim
        Of all frames' magnitudes.
    change_kept
        <d', d> / <d, d> of the changes d from frame to frame where the heart moves: 1 keeps them,
        less smooths in time.
    seconds
        Of one run, maps included.
    relative_gap, constant
        What is proven; None of others.
    tuned_lambda
        Weight that was best on this series, against the truth; None where nothing was tuned.
    """

    method: str
    psnr_db: float
    ssim: float
    change_kept: float
    seconds: float
    relative_gap: float | None = None
    constant: float | None = None
    tuned_lambda: float | None = None


def compare(problem: CineProblem) -> Iterator[tuple[CineRow, Tensor]]:
    """Yield the row and the magnitude (frame, y, x) of every method, the other library's last."""
    yield _firenet(problem, "FIRENET, frame by frame", ReconstructionOptions())
    for name in SPARSIFIERS if problem.maps is None else SPARSIFIERS_OF_ECHOES:
        chosen = {} if name == SPARSIFIER else {"sparsifier": name}
        options = ReconstructionOptions.from_mapping({"joint": "phase", **chosen})
        yield _firenet(problem, f"FIRENET joint, {name}", options)
    maps = _maps(problem)
    for name, regularisation in BART.items():
        found = _tuned(problem, maps, f"BART -R {name} over time", regularisation)
        if found is not None:
            yield found


def change_kept(magnitude: Tensor, reference: Tensor, moves: Tensor) -> float:
    """Return which share of the changes from frame to frame comes out, see :class:`CineRow`."""
    found, true = (part.diff(dim=0)[:, moves] for part in (magnitude, reference))
    return float((found * true).sum() / true.square().sum())


def _firenet(
    problem: CineProblem, name: str, options: ReconstructionOptions
) -> tuple[CineRow, Tensor]:
    began = time.perf_counter()
    given = {} if problem.maps is None else {"maps": problem.maps}
    result = reconstruct(problem.scan, **{**options.flat(), **given})
    seconds = time.perf_counter() - began - result.timings.certificate_s
    constants = (
        max(entry.values["lipschitz_bound"])
        for entry in result.certificate.entries
        if entry.name == "lipschitz_bound"
    )
    gap = None if result.certificate.relative_gap is None else max(result.certificate.relative_gap)
    row = _row(problem, name, result.magnitude[:, 0], seconds)
    known = {"relative_gap": gap, "constant": next(constants, None)}
    return CineRow(**{**vars(row), **known}), result.magnitude[:, 0]


def _row(problem: CineProblem, name: str, magnitude: Tensor, seconds: float) -> CineRow:
    reference = problem.reference
    kept = change_kept(magnitude, reference, problem.moves)
    return CineRow(name, psnr(reference, magnitude), ssim(reference, magnitude), kept, seconds)


def _maps(problem: CineProblem) -> Tensor:
    """Return the maps as FIRENET has them, given or from the mean of all frames, (coil, y, x)."""
    if problem.maps is not None:
        return problem.maps
    kspace = problem.scan.kspace[:, 0].transpose(0, 1)
    if problem.scan.trajectories:
        points = torch.stack(problem.scan.trajectories)
        mask = torch.ones(1, *points.shape[:-1], dtype=torch.bool)
        shape = problem.scan.image_shape
        return sensitivity_maps(RawScan(kspace, mask, 2, trajectory=points, image_shape=shape))
    mean = mean_of_frames(kspace, problem.scan.mask[:, 0].transpose(0, 1))
    return sensitivity_maps(RawScan(mean, (mean != 0).any(0, keepdim=True), 2))


def _tuned(
    problem: CineProblem, maps: Tensor, name: str, regularisation: str
) -> tuple[CineRow, Tensor] | None:
    """Return BART's row at the weight that is best here; None where it is not installed."""
    if shutil.which("bart") is None:
        return None
    support = torch.linalg.vector_norm(maps, dim=0)
    best: tuple[CineRow, Tensor] | None = None
    for lamda in _LAMBDAS:
        began = time.perf_counter()
        magnitude = (_bart(problem, maps, f"{regularisation}:{lamda}") * support).abs()
        row = _row(problem, name, magnitude, time.perf_counter() - began)
        if best is not None and row.psnr_db < best[0].psnr_db - 1:
            # It falls on from here.
            break
        if best is None or row.psnr_db > best[0].psnr_db:
            best = CineRow(**{**vars(row), "tuned_lambda": lamda}), magnitude
    return best


def _bart(problem: CineProblem, maps: Tensor, regularisation: str) -> Tensor:
    """Return BART's images, (frame, y, x) complex."""
    kspace = problem.scan.kspace[:, 0].numpy()
    frames, coils, *shape = kspace.shape
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # BART's axes from the last: x, y, z, coil; along spokes one, sample, spoke, coil.
        along: list[str] = []
        if problem.scan.trajectories:
            points = torch.stack(problem.scan.trajectories)[:, None].numpy()
            where = np.zeros((*points.shape[:-1], 3), np.complex64)
            where[..., :2] = points[..., ::-1]
            write_cfl(folder / "trajectory", where, fifth=_TIME)
            along, data = ["-t", str(folder / "trajectory")], kspace[..., None]
            if regularisation.startswith("L"):
                # Its steps are for an encoding of norm 1 otherwise, and do not converge.
                along.append("-e")
        else:
            data = kspace.reshape(frames, coils, 1, *shape)
        write_cfl(folder / "data", data, fifth=_TIME)
        write_cfl(folder / "maps", maps.numpy()[:, None])
        files = [str(folder / part) for part in ("data", "maps", "image")]
        settings = ["-S", "-i", str(_ITERATIONS), "-R", regularisation]
        command = ["bart", "pics", *settings, *along, *files]
        environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            raise DataError(f"BART failed: {' '.join(done.stderr.split())[-300:]}")
        image = np.fromfile(folder / "image.cfl", np.complex64)
    return torch.from_numpy(image.reshape(frames, *problem.scan.spatial_shape))
