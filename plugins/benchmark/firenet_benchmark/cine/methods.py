"""FIRENET frame by frame and jointly, and other libraries with what they offer, on one series."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from firenet_benchmark.cine.edge import mean_edge
from firenet_benchmark.cine.kinds import Kind
from firenet_benchmark.cine.peers import PEERS, Peer
from firenet_benchmark.cine.problem import CineProblem, cine_problem
from firenet_benchmark.cine.tuning import Trial, best_of, climb, width_at
from firenet_benchmark.cine.worker import Found, Run, Worker
from firenet_mri import RawScan, ReconstructionOptions, reconstruct
from firenet_mri.calibration import sensitivity_maps
from firenet_mri.metrics import psnr, ssim
from firenet_mri.reconstruction.joint import SPARSIFIER, mean_of_frames

#: Sparsifiers of the joint problem that are compared.
SPARSIFIERS = (
    SPARSIFIER,
    "undecimated-dct3+across-tv",
    "undecimated-dct3+across-haar",
    "undecimated-dct3+across-tv+across-fourier",
    "across-fourier",
    "across-low-rank",
    "across-tv+across-low-rank",
)

#: The same for echoes.
SPARSIFIERS_OF_ECHOES = (
    *SPARSIFIERS,
    "across-fourier+across-low-rank",
    "undecimated-dct3+across-groups",
    "undecimated-dct3+across-groups+across-fourier",
)


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
        <d', d> / <d, d> of the changes d from frame to frame where something moves: 1 keeps them,
        less means smoothing in time.
    seconds, processor_s
        Of one warm run, maps included, without the certificate: by the clock, and on processors.
    peak_mib
        Memory that the run needed with its samples; None where it is not known. FIRENET's includes
        the maps and the certificate.
    relative_gap, constant
        What is proven; None of others.
    tuned_lambda
        Weight that was best on this series, against the truth; None where nothing was tuned.
    edge_frames, edge_height
        Means over what happens abruptly, see :mod:`.edge`; None where nothing does.
    edge_at_equal
        Width at another weight, with the PSNR of the usual joint image, see :func:`.width_at`.
    """

    method: str
    psnr_db: float
    ssim: float
    change_kept: float
    seconds: float
    processor_s: float
    peak_mib: float | None = None
    relative_gap: float | None = None
    constant: float | None = None
    tuned_lambda: float | None = None
    edge_frames: float | None = None
    edge_height: float | None = None
    edge_at_equal: float | None = None


def compare(problem: CineProblem) -> Iterator[tuple[CineRow, Tensor]]:
    """Yield the row and the magnitude (frame, y, x) of every method, other libraries' last."""
    began = time.perf_counter(), time.process_time()
    maps = _maps(problem)
    seconds = time.perf_counter() - began[0], time.process_time() - began[1]
    yield _firenet(problem, "FIRENET, frame by frame", {})
    level_db = None
    for name in SPARSIFIERS if problem.axis == "phase" else SPARSIFIERS_OF_ECHOES:
        chosen = {} if name == SPARSIFIER else {"sparsifier": name}
        row, image = _firenet(problem, f"FIRENET joint, {name}", {"joint": problem.axis, **chosen})
        level_db = row.psnr_db if level_db is None else level_db
        yield row, image
    for peer in _peers(problem):
        if _why_not(peer, problem) is None:
            yield _tuned(problem, peer, (maps, seconds), level_db)


def left_out(problem: CineProblem) -> dict[str, str]:
    """Return why other libraries are not run, by their names."""
    reasons = ((peer.name, _why_not(peer, problem)) for peer in _peers(problem))
    return {name: why for name, why in reasons if why is not None}


def change_kept(magnitude: Tensor, reference: Tensor, moves: Tensor) -> float:
    """Return the share of the changes from frame to frame that is kept, see :class:`CineRow`."""
    found, true = (part.diff(dim=0)[:, moves] for part in (magnitude, reference))
    return float((found * true).sum() / true.square().sum())


def run_firenet(scan: RawScan, options: dict[str, Any]) -> Found:
    """Return FIRENET's magnitude of a scan and what is proven of it."""
    result = reconstruct(scan, **ReconstructionOptions.from_mapping(options).flat())
    constants = (
        max(entry.values["lipschitz_bound"])
        for entry in result.certificate.entries
        if entry.name == "lipschitz_bound"
    )
    gap = None if result.certificate.relative_gap is None else max(result.certificate.relative_gap)
    apart = result.timings.certificate_s
    return Found(result.magnitude[:, 0].clone(), gap, next(constants, None), apart)


def _peers(problem: CineProblem) -> list[Peer]:
    return [peer for peer in PEERS if problem.axis in peer.axes]


def _why_not(peer: Peer, problem: CineProblem) -> str | None:
    """Return why a method of another library is not run; None where it is."""
    if problem.sampling not in peer.samplings:
        return f"compared along {' and '.join(peer.samplings)} only"
    return None if peer.is_installed() else "not installed"


def _warm_up(problem: CineProblem) -> CineProblem:
    """Return a small problem of the same kind."""
    kind: Kind = "echoes" if problem.axis == "contrast" else "beating"
    sizes = {"frames": 6, "size": 32, "coils": 2, "acceleration": 2}
    return cine_problem(kind, 0, **sizes, sampling=problem.sampling)


def _firenet(problem: CineProblem, name: str, options: dict[str, Any]) -> tuple[CineRow, Tensor]:
    small = _warm_up(problem)
    first, whole = (
        options if one.maps is None else {**options, "maps": one.maps} for one in (small, problem)
    )
    with Worker(run_firenet, torch.get_num_threads(), (small.scan, first)) as worker:
        run = worker.run(problem.scan, whole)
    row = _row(problem, name, run.found.image, run)
    return replace(row, relative_gap=run.found.gap, constant=run.found.constant), run.found.image


def _row(problem: CineProblem, name: str, magnitude: Tensor, run: Run) -> CineRow:
    reference = problem.reference
    kept = change_kept(magnitude, reference, problem.moves)
    edge = mean_edge(magnitude, problem.events)
    return CineRow(
        name,
        psnr(reference, magnitude),
        ssim(reference, magnitude),
        kept,
        run.seconds,
        run.processor_s,
        run.peak_mib,
        edge_frames=None if edge is None else edge.width,
        edge_height=None if edge is None else edge.height,
    )


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
    problem: CineProblem,
    peer: Peer,
    maps_and_seconds: tuple[Tensor, tuple[float, float]],
    level_db: float | None,
) -> tuple[CineRow, Tensor]:
    """Return the row of another library at the weight that is best here."""
    maps, (seconds, processor_s) = maps_and_seconds
    support = torch.linalg.vector_norm(maps, dim=0)
    threads, small = torch.get_num_threads(), _warm_up(problem)
    with Worker(peer.run, threads, (small.scan, _maps(small), threads, peer.start)) as worker:

        def trial(weight: float) -> Trial:
            run = worker.run(problem.scan, maps, threads, weight)
            magnitude = (run.found.image * support).abs()
            edge = mean_edge(magnitude, problem.events)
            return Trial(weight, psnr(problem.reference, magnitude), edge, magnitude, run)

        trials = climb(trial, peer.start, level_db if problem.events else None)
    best = best_of(trials)
    row = _row(problem, peer.name, best.magnitude, best.run)
    at_equal = None if level_db is None else width_at(trials, level_db)
    return replace(
        row,
        seconds=row.seconds + seconds,
        processor_s=row.processor_s + processor_s,
        tuned_lambda=best.weight,
        edge_at_equal=at_equal,
    ), best.magnitude
