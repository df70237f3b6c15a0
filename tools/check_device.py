"""Check the code on a GPU: run the tests that skip without one, and time layers beside cuFFT.

    python tools/check_device.py

Takes less than five minutes. Prints how many tests passed, failed and were skipped, and a table of
layers. The exit status is 0 if all passed, 1 if one failed or none ran, and 77 without a GPU.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from firenet_mri import FIRENET
from firenet_mri.firenet.presets import make_network
from firenet_mri.firenet.primal_dual import start, step
from firenet_mri.firenet.problem import Problem
from firenet_mri.operators import Sense, encoding_operator
from firenet_mri.operators.cartesian_residual import CartesianResidual

ROOT = Path(__file__).parents[1]
NO_DEVICE = 77
MARKER = "cuda"
ORTHOGONAL = "haar"
REPEATS = 30


class Size(NamedTuple):
    """A problem: coils, sizes, whether readouts are whole, and the default frame."""

    coils: int
    shape: tuple[int, ...]
    has_whole_readouts: bool
    frame: str

    def __str__(self) -> str:
        return f"{' x '.join(map(str, self.shape))}, {self.coils} coils"


# Sizes and masks of the problems A, B and C of docs/performance_details.md.
SIZES = (
    Size(8, (256, 256), False, "undecimated-haar+undecimated-dct3"),
    Size(15, (320, 320), True, "undecimated-haar+undecimated-dct3"),
    Size(8, (128, 128, 128), True, "undecimated-haar"),
)


class Counts(NamedTuple):
    """How many tests passed, failed and were skipped."""

    passed: int
    failed: int
    skipped: int

    @property
    def are_good(self) -> bool:
        """True if none failed and some ran."""
        return self.failed == 0 and self.passed > 0


class Row(NamedTuple):
    """Median milliseconds of a layer and of the FFTs that it needs."""

    size: str
    network: str
    fft_ms: float
    layer_ms: float


def main() -> int:
    """Return the exit status."""
    if not torch.cuda.is_available():
        sys.stdout.write("There is no GPU that torch can use here, so nothing was checked.\n")
        return NO_DEVICE
    sys.stdout.write(f"{torch.cuda.get_device_name()}, torch {torch.__version__}\n")
    sys.stdout.flush()
    counts = run_tests(device_tests(ROOT / "tests"))
    sys.stdout.write(f"{counts.passed} passed, {counts.failed} failed, {counts.skipped} skipped\n")
    sys.stdout.flush()
    rows = [row for size in SIZES for row in time_layers(size, torch.device("cuda"), REPEATS)]
    sys.stdout.write(table(rows))
    return 0 if counts.are_good else 1


def device_tests(folder: Path) -> list[Path]:
    """Return the files below a folder that have tests for a GPU: those that name the marker."""
    files = sorted(folder.rglob("test_*.py"))
    return [file for file in files if f"mark.{MARKER}\n" in file.read_text(encoding="utf-8")]


def run_tests(files: Sequence[Path], marker: str = MARKER) -> Counts:
    """Return what became of the tests with the marker; pytest's own output goes to stdout."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-rs", "-m", marker]
        names = [str(file) for file in files]
        subprocess.run([*command, f"--junitxml={report}", *names], cwd=ROOT, check=False)
        return count(report) if report.is_file() else Counts(0, 0, 0)


def count(report: Path) -> Counts:
    """Return the numbers in a JUnit report."""
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    total, errors, failures, skipped = (
        sum(int(suite.get(name, 0)) for suite in suites)
        for name in ("tests", "errors", "failures", "skipped")
    )
    return Counts(total - errors - failures - skipped, errors + failures, skipped)


def time_layers(size: Size, device: torch.device, repeats: int) -> Iterator[Row]:
    """Yield the times of a layer with an orthogonal wavelet and with the default frame.

    Maps, data and mask are random: times do not depend on what the numbers are.
    """
    y, encoding = random_scan(size)
    y, encoding = y.to(device), encoding.to(device)
    residual = encoding.residual(y)
    assert isinstance(residual, CartesianResidual)
    data, axes, *_ = residual.workload()
    for name in (ORTHOGONAL, size.frame):
        problem = problem_of(make_network(size.coils, size.shape, sparsifier=name), encoding)
        tau = torch.tensor(0.3, device=device) * y.norm()
        sigma = 1 / (problem.norm_bound**2 * tau)
        with torch.no_grad():
            state = step(problem, residual, start(problem, encoding.adjoint(y)), tau, sigma)
            layer = functools.partial(step, problem, residual, state, tau, sigma)
            fft_ms, layer_ms = median_ms([lambda: _ffts(data, axes), layer], device, repeats)
        yield Row(str(size), name, fft_ms, layer_ms)


def random_scan(size: Size) -> tuple[Tensor, Sense]:
    """Return data (coil, *spatial) complex64 of which half is sampled, and their encoding."""
    generator = torch.Generator().manual_seed(0)
    draw = {"dtype": torch.complex64, "generator": generator}
    sizes = (*size.shape[:-1], 1) if size.has_whole_readouts else size.shape
    mask = (torch.rand(sizes, generator=generator) < 0.5).expand(size.shape)
    maps = torch.randn(size.coils, *size.shape, **draw)
    maps = maps / torch.linalg.vector_norm(maps, dim=0)
    y = torch.randn(size.coils, *size.shape, **draw) * mask
    return y, encoding_operator(mask, maps, len(size.shape))


def problem_of(net: FIRENET, encoding: Sense) -> Problem:
    """Return the problem of a network's first layer, on the device of the encoding."""
    net = net.to(encoding.maps.device)
    problem = net.problem(encoding)
    shifted = getattr(net.blocks[0], "sparsifiers", None)
    return problem if shifted is None else dataclasses.replace(problem, sparsifier=shifted[0])


def _ffts(data: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return the data after the FFTs of a layer, forward and back."""
    return torch.fft.ifftn(torch.fft.fftn(data, dim=axes), dim=axes)


def median_ms(
    works: Sequence[Callable[[], object]], device: torch.device, repeats: int
) -> list[float]:
    """Return the median milliseconds of each, in turns, after two rounds to warm up."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(repeats + 2):
        for work, own in zip(works, times, strict=True):
            _wait_for(device)
            started = time.perf_counter()
            work()
            _wait_for(device)
            own.append(time.perf_counter() - started)
    return [1e3 * statistics.median(own[2:]) for own in times]


def _wait_for(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def table(rows: Sequence[Row]) -> str:
    """Return the times as a table in Markdown."""
    lines = ["| problem | network | FFTs, ms | layer, ms | ratio |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.size} | {row.network} | {row.fft_ms:.2f} | {row.layer_ms:.2f} | "
        f"{row.layer_ms / row.fft_ms:.1f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
