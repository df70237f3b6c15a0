"""PSNR against seconds on the speed problems: FIRENET and other libraries in one run.

Every method runs in a process of its own. Its set-up counts; computing the PSNR does not. PSNR is
that of the magnitude image, the largest magnitude being 1.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import platform
import re
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from firenet_benchmark.baselines import BASELINES, Baseline
from firenet_benchmark.problems import SpeedProblem, make_problem
from firenet_mri.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Options of firenet_mri.firenet.presets.make_network, by their names in the table.
NETWORKS: dict[str, dict[str, Any]] = {
    "FIRENET accurate": {},
    "FIRENET undecimated-haar": {"sparsifier": "undecimated-haar"},
    "FIRENET stable": {"preset": "stable"},
}

_ITERATIONS = (5, 10, 15, 20, 30, 40, 60, 100, 160, 300)
# A run of half a minute is not made longer.
_PATIENCE_S = 30.0
# Shorter runs are repeated this often, and the median of the times counts.
_SHORT_S = 2.0
_REPEATS = 5
# This many layers are one point of the curve.
_STRIDE = 5
_LAYERS = 100


@dataclass(frozen=True)
class Point:
    """What a method has reached after so many seconds; the memory of programs is not known."""

    problem: str
    method: str
    iterations: int
    seconds: float
    psnr_db: float
    peak_mib: float | None


def measure(path: Path, method: str, threads: int) -> list[Point]:
    """Return the curve of a method on the problem in a file; run it in a fresh process."""
    torch.set_num_threads(threads)
    problem = SpeedProblem.load(path)
    is_seen = method in NETWORKS or not _baseline(method).is_program
    before = _peak_mib()
    points = []
    for iterations, seconds, image in _curve(problem, method, threads):
        peak = _peak_mib() - before if is_seen else None
        points.append(Point(problem.name, method, iterations, seconds, _psnr(problem, image), peak))
    return points


def _curve(
    problem: SpeedProblem, method: str, threads: int
) -> Iterator[tuple[int, float, np.ndarray]]:
    if method in NETWORKS:
        yield from _network_curve(problem, NETWORKS[method])
        return
    baseline = _baseline(method)
    lam = baseline.lambdas[problem.name]
    # The first call of a library loads what later ones do not, which is not compared here.
    baseline.run(problem, 1, lam, threads)
    for iterations in _ITERATIONS:
        image, seconds = baseline.run(problem, iterations, lam, threads)
        if seconds > _PATIENCE_S:
            yield iterations, seconds, image
            return
        times = [seconds]
        while max(times) < _SHORT_S and len(times) < _REPEATS:
            times.append(baseline.run(problem, iterations, lam, threads)[1])
        yield iterations, statistics.median(times), image


def _network_curve(
    problem: SpeedProblem, options: dict[str, Any]
) -> Iterator[tuple[int, float, np.ndarray]]:
    """Yield the images, with the median time of set-up and layers up to there."""
    times: list[list[float]] = []
    # The last run is the one whose images are used; those of the others are not kept.
    while not times or (times[-1][-1] < _SHORT_S and len(times) < _REPEATS - 1):
        times.append([seconds for _, seconds, _ in _network_run(problem, options)])
    last = _network_run(problem, options)
    for (count, seconds, image), others in zip(last, zip(*times, strict=True), strict=True):
        yield count, statistics.median([seconds, *others]), image


def _network_run(
    problem: SpeedProblem, options: dict[str, Any]
) -> Iterator[tuple[int, float, np.ndarray]]:
    """Yield the images of one run, after a short one, with the time up to there."""
    from firenet_mri.firenet.presets import make_network

    shape = problem.truth.shape
    for warm in (True, False):
        started = time.perf_counter()
        with torch.no_grad():
            layers = None if "preset" in options else _LAYERS
            net = make_network(len(problem.maps), shape, **{"layers": layers, **options})
            data, encoding = problem.tensors()
            for count, (_, _, image) in enumerate(net.iterates(data, encoding), 1):
                if warm and count == 2:
                    break
                if count % _STRIDE == 0 and not warm:
                    elapsed = time.perf_counter() - started
                    yield count, elapsed, image.numpy()
                    started = time.perf_counter() - elapsed


def race(
    problems: Sequence[str],
    methods: Sequence[str],
    threads: int,
    folder: Path,
    on_run: Callable[[int, int], None] | None = None,
) -> list[Point]:
    """Return the curves of all methods on all problems.

    Parameters
    ----------
    problems, methods
        Names of problems, and of methods that are installed, see :func:`available`.
    threads
        Threads that every method may use.
    folder
        Finished runs are kept there, so that an interrupted race resumes.
    on_run
        Called after every run with (runs done, runs in all).
    """
    runs = [(p, m) for p in problems for m in methods if _is_for(m, p)]
    points: list[Point] = []
    for done, (name, method) in enumerate(runs, 1):
        kept = folder / f"speed-{name}-{method.replace(' ', '_')}-{threads}.part.json"
        if kept.exists():
            found = [Point(**row) for row in json.loads(kept.read_text(encoding="utf-8"))]
        else:
            found = _in_a_process(_stored(folder, name), method, threads)
            kept.write_text(json.dumps([asdict(point) for point in found]), encoding="utf-8")
        points += found
        if on_run is not None:
            on_run(done, len(runs))
    return points


def forget(folder: Path) -> None:
    """Remove the finished runs and problems that :func:`race` keeps."""
    for path in (*folder.glob("speed-*.part.json"), *folder.glob("speed-problem-*.npz")):
        path.unlink()


def available() -> tuple[list[str], list[str]]:
    """Return the methods that can be run here, and the names of those that are not installed."""
    here = [baseline.name for baseline in BASELINES if baseline.is_installed()]
    missing = [baseline.name for baseline in BASELINES if not baseline.is_installed()]
    return [*NETWORKS, *here], missing


def versions(methods: Sequence[str]) -> dict[str, str]:
    """Return the versions of what was compared."""
    found = {p.name: p.version() for p in BASELINES if p.name in methods}
    return {"python": platform.python_version(), "torch": torch.__version__, **found}


def _in_a_process(path: Path, method: str, threads: int) -> list[Point]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(measure, path, method, threads).result()


def _stored(folder: Path, name: str) -> Path:
    """Return the file of a problem, made if it is missing."""
    path = folder / f"speed-problem-{name}.npz"
    if not path.exists():
        make_problem(name).save(path)
    return path


def _is_for(method: str, problem: str) -> bool:
    if method in NETWORKS:
        return True
    return problem in _baseline(method).lambdas


def _baseline(name: str) -> Baseline:
    for baseline in BASELINES:
        if baseline.name == name:
            return baseline
    known = ", ".join([*NETWORKS, *(baseline.name for baseline in BASELINES)])
    raise UsageError(f"Unknown method {name!r}; use one of {known}")


def tune(name: str, method: str, iterations: int, threads: int) -> tuple[float, float]:
    """Return the best lambda of a baseline on a problem over powers of two, and its PSNR in dB."""
    problem, baseline = make_problem(name), _baseline(method)
    found = []
    for exponent in range(-13, -3):
        image, _ = baseline.run(problem, iterations, 2.0**exponent, threads)
        found.append((_psnr(problem, image), 2.0**exponent))
    best, lam = max(found)
    return lam, best


def _psnr(problem: SpeedProblem, image: np.ndarray) -> float:
    error = np.abs(image).astype(np.float64) - np.abs(problem.truth)
    return float(-10 * np.log10(np.mean(error**2)))


def _peak_mib() -> float:
    """Return the most memory that this process has held; not what its parent held before it."""
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text(encoding="ascii"))
        assert found is not None
        return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@dataclass(frozen=True)
class Goal:
    """A level, and the time to it as a share of a baseline's time to a level of its own."""

    problem: str
    psnr_db: float
    baseline: str
    peer_psnr_db: float
    share: float


GOALS = (
    Goal("A", 48.3, "", math.nan, math.inf),
    Goal("A", 45.4, "bartorch", 45.4, 0.25),
    Goal("A", 43.0, "MIRTorch POGM", 43.0, 0.5),
    Goal("B", 37.5, "BART", 37.5, 0.5),
    Goal("C", 43.5, "BART", 42.8, 0.5),
    Goal("D", 38.0, "bartorch", 38.0, 0.5),
)


@dataclass(frozen=True)
class Verdict:
    """The outcome of a goal: seconds of ours and the baseline, their ratio; None means never."""

    goal: Goal
    method: str
    seconds: float | None
    peer_seconds: float | None
    is_met: bool | None

    def text(self) -> str:
        """Return the goal and its outcome in words."""
        wanted = f"{self.goal.problem}: {self.goal.psnr_db:g} dB"
        if self.goal.baseline:
            wanted += f" in {self.goal.share:g} of {self.goal.baseline}'s time"
        if self.is_met is None:
            return f"{wanted}: not decided, {self.goal.baseline or self.method} was not run"
        reached = "never" if self.seconds is None else f"{self.seconds:.2f} s"
        theirs = "" if self.peer_seconds is None else f" against {self.peer_seconds:.2f} s"
        outcome = "met" if self.is_met else "missed"
        return f"{wanted}: {outcome} ({self.method} {reached}{theirs})"


def judge(points: Sequence[Point]) -> list[Verdict]:
    """Return the outcome of the goals for the network that reaches them first.

    A baseline that never reaches its level gets the time to within 0.1 dB of its own best.
    """
    verdicts = []
    for goal in GOALS:
        curves = {method: _curve_of(points, goal.problem, method) for method in NETWORKS}
        times = {method: _time_to(curve, goal.psnr_db) for method, curve in curves.items()}
        theirs = _curve_of(points, goal.problem, goal.baseline)
        if not any(curves.values()):
            continue
        method = min(times, key=lambda name: math.inf if times[name] is None else times[name] or 0)
        seconds = times[method]
        if not goal.baseline:
            verdicts.append(Verdict(goal, method, seconds, None, seconds is not None))
            continue
        if not theirs:
            verdicts.append(Verdict(goal, method, seconds, None, None))
            continue
        best = max(point.psnr_db for point in theirs) - 0.1
        level = min(goal.peer_psnr_db, best)
        limit = _time_to(theirs, level)
        assert limit is not None
        is_met = seconds is not None and seconds <= goal.share * limit
        verdicts.append(Verdict(goal, method, seconds, limit, is_met))
    return verdicts


def _curve_of(points: Sequence[Point], problem: str, method: str) -> list[Point]:
    return [point for point in points if (point.problem, point.method) == (problem, method)]


def _time_to(curve: Sequence[Point], psnr_db: float) -> float | None:
    """Return the seconds at which a curve first reaches a level, between points on a straight line.

    None if it never does.
    """
    before = None
    for point in curve:
        if point.psnr_db >= psnr_db:
            if before is None:
                return point.seconds
            share = (psnr_db - before.psnr_db) / (point.psnr_db - before.psnr_db)
            return before.seconds + share * (point.seconds - before.seconds)
        before = point
    return None


@dataclass(frozen=True)
class Summary:
    """One row of the table: best PSNR, seconds to within 0.1 dB of it, ms per iteration."""

    problem: str
    method: str
    best_psnr_db: float
    seconds: float
    ms_an_iteration: float
    peak_mib: float | None


def summarise(points: Sequence[Point]) -> list[Summary]:
    """Return one row for every problem and method, in the order of the points."""
    rows = []
    for problem, method in dict.fromkeys((point.problem, point.method) for point in points):
        curve = _curve_of(points, problem, method)
        best = max(point.psnr_db for point in curve)
        seconds = _time_to(curve, best - 0.1)
        assert seconds is not None
        first, last = curve[0], curve[-1]
        pace = (last.seconds - first.seconds) / max(last.iterations - first.iterations, 1)
        peak = max((p.peak_mib for p in curve if p.peak_mib is not None), default=None)
        rows.append(Summary(problem, method, best, seconds, 1e3 * pace, peak))
    return rows


def plot(points: Sequence[Point]) -> Figure:
    """Return a figure with a panel for each problem: PSNR against seconds."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    problems = list(dict.fromkeys(point.problem for point in points))
    methods = list(dict.fromkeys(point.method for point in points))
    columns = min(len(problems), 2)
    rows = -(-len(problems) // columns)
    figure = Figure(figsize=(5 * columns, 3.4 * rows + 0.8), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for panel, problem in zip(panels.flat, problems, strict=False):
        for index, method in enumerate(methods):
            curve = _curve_of(points, problem, method)
            if not curve:
                continue
            panel.plot(
                [point.seconds for point in curve],
                [point.psnr_db for point in curve],
                "-o",
                color=colormaps["tab10"](index % 10),
                linewidth=2 if method in NETWORKS else 1,
                markersize=3,
                label=method,
            )
        panel.set_xscale("log")
        panel.set_title(f"problem {problem} (simulated)", fontsize=10)
        panel.set_xlabel("seconds, set-up included")
        panel.set_ylabel("PSNR / dB")
        panel.spines[["top", "right"]].set_visible(False)
        best = max(point.psnr_db for point in points if point.problem == problem)
        panel.set_ylim(best - 16, best + 1)
    for panel in panels.flat[len(problems) :]:
        panel.set_axis_off()
    lines = {
        line.get_label(): line for panel in panels.flat for line in reversed(panel.get_lines())
    }
    named = [method for method in methods if method in lines]
    figure.legend(
        [lines[method] for method in named],
        named,
        loc="outside upper center",
        ncols=min(5, len(named)),
        fontsize=8,
        frameon=False,
    )
    return figure
