"""Time of one layer beside the FFTs that it needs: one forward and one inverse over all coils.

Axes on which the sampling mask does not depend need no FFT. The floor is the fastest of torch, in
one call and in blocks that fit the cache, and scipy, on contiguous last axes.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from firenet_mri import FIRENET
from firenet_mri.errors import UsageError
from firenet_mri.firenet.primal_dual import start, step
from firenet_mri.operators import LinearOperator
from firenet_mri.operators.cartesian_residual import CartesianResidual

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class LayerTime:
    """Median milliseconds of one layer, of its FFTs alone, and of its two large parts.

    Parameters
    ----------
    scan, network, threads
        What was timed.
    layer_ms
        The whole layer.
    fft_ms
        The FFTs that it needs, in the fastest form.
    residual_ms
        A^H (A x - y) and ||A x - y||, which holds the FFTs.
    sparsifier_ms
        Prox, or dual step of the coefficients.
    """

    scan: str
    network: str
    threads: int
    layer_ms: float
    fft_ms: float
    residual_ms: float
    sparsifier_ms: float

    @property
    def ratio(self) -> float:
        """Layer over FFTs; 1 is the floor."""
        return self.layer_ms / self.fft_ms


def layer_time(
    net: FIRENET,
    y: Tensor,
    encoding: LinearOperator,
    *,
    threads: int,
    repeats: int = 15,
    scan: str = "",
    network: str = "",
) -> LayerTime:
    """Return the time of one layer of a network and of the FFTs that it needs.

    Parameters
    ----------
    net, y, encoding
        Network, data (*codomain_shape) complex64, and Cartesian encoding operator.
    threads
        Threads that both may use.
    repeats
        Rounds of which the median is taken, after two to warm up.
    scan, network
        Names for the table.

    Raises
    ------
    UsageError
        If the encoding is not that of a Cartesian scan.
    """
    with torch.no_grad():
        residual = encoding.residual(y)
    if not isinstance(residual, CartesianResidual):
        raise UsageError("Layers are timed beside the FFTs of Cartesian scans only")
    problem = net.problem(encoding)
    sparsifiers = getattr(net.blocks[0], "sparsifiers", None)
    if sparsifiers is not None:
        problem = dataclasses.replace(problem, sparsifier=sparsifiers[0])
    tau = torch.tensor(0.3) * y.norm()
    sigma = 1 / (problem.norm_bound**2 * tau)
    with torch.no_grad(), _threads(threads):
        state = step(problem, residual, start(problem, encoding.adjoint(y)), tau, sigma)

        def sparsify() -> None:
            if state.q is None:
                problem.prox(state.x, tau)
            else:
                problem.coefficient_step(state.q, state.x, sigma)

        layer, residual_alone, sparsifier, *floors = _median_ms(
            [
                lambda: step(problem, residual, state, tau, sigma),
                lambda: residual(state.mean),
                sparsify,
                *_fft_pairs(residual, threads),
            ],
            repeats,
        )
    return LayerTime(scan, network, threads, layer, min(floors), residual_alone, sparsifier)


def _fft_pairs(residual: CartesianResidual, threads: int) -> Iterator[Callable[[], object]]:
    """Yield ways to do the FFTs of a layer, forward and back."""
    import scipy.fft

    data, axes, rows, coils = residual.workload()
    array = data.numpy()

    def whole() -> None:
        torch.fft.ifftn(torch.fft.fftn(data, dim=axes), dim=axes)

    def blocked() -> None:
        for coil in range(0, data.shape[0], coils):
            for row in range(0, data.shape[1], rows):
                block = data[coil : coil + coils, row : row + rows]
                torch.fft.ifftn(torch.fft.fftn(block, dim=axes), dim=axes)

    def by_scipy() -> None:
        kspace = scipy.fft.fftn(array, axes=axes, workers=threads)
        scipy.fft.ifftn(kspace, axes=axes, workers=threads, overwrite_x=True)

    yield from (whole, blocked, by_scipy)


def _median_ms(works: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Return the median of each, in turns, so that whatever slows the machine slows all of them."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(repeats + 2):
        for work, own in zip(works, times, strict=True):
            started = time.perf_counter()
            work()
            own.append(time.perf_counter() - started)
    return [1e3 * statistics.median(own[2:]) for own in times]


def plot(times: Sequence[LayerTime]) -> Figure:
    """Return a figure with a bar for each layer, made of its parts, in units of the FFTs."""
    from matplotlib.figure import Figure

    labels = [f"{t.scan}, {t.network}, {t.threads} thread{'s'[: t.threads - 1]}" for t in times]
    parts = {
        "FFTs that are needed": [1.0 for _ in times],
        "rest of the residual: maps, mask, coil sum": [
            max(t.residual_ms / t.fft_ms - 1, 0) for t in times
        ],
        "sparsifier": [t.sparsifier_ms / t.fft_ms for t in times],
        "updates of the image": [
            max((t.layer_ms - t.residual_ms - t.sparsifier_ms) / t.fft_ms, 0) for t in times
        ],
    }
    figure = Figure(figsize=(8, 1.2 + 0.28 * len(times)), layout="constrained")
    panel = figure.subplots()
    left = [0.0 for _ in times]
    rows = range(len(times))
    for (label, widths), colour in zip(
        parts.items(), ("#4c4c4c", "#8da0cb", "#fc8d62", "#c7c7c7"), strict=True
    ):
        panel.barh(rows, widths, left=left, color=colour, label=label)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    panel.set_yticks(rows, labels, fontsize=8)
    panel.set_ylim(len(times) - 0.4, -0.6)
    panel.set_xlabel("time of one layer / time of its FFTs")
    panel.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=2, fontsize=8, frameon=False)
    return figure


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
