"""Time of one layer beside the FFTs that it needs: one forward and one inverse over all coils.

Axes on which the sampling mask does not depend need no FFT. The floor is the fastest of torch, in
one call and in blocks that fit the cache, and scipy, on contiguous last axes.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.firenet.network import FIRENET
from firenet_mri.firenet.primal_dual import start, step
from firenet_mri.operators.base import LinearOperator
from firenet_mri.operators.cartesian_residual import CartesianResidual


@dataclass(frozen=True)
class LayerTime:
    """Median milliseconds of one layer and of its FFTs, and their ratio."""

    threads: int
    layer_ms: float
    fft_ms: float

    @property
    def ratio(self) -> float:
        """Layer over FFTs; 1 is the floor."""
        return self.layer_ms / self.fft_ms


def layer_time(
    net: FIRENET, y: Tensor, encoding: LinearOperator, *, threads: int, repeats: int = 15
) -> LayerTime:
    """Return the time of one layer of a network and of the FFTs that it needs.

    Parameters
    ----------
    net, y, encoding
        Network, data (*codomain_shape) complex64, and Cartesian encoding operator.
    threads
        Threads that both may use.
    repeats
        Runs of which the median is taken, after two to warm up.

    Raises
    ------
    UsageError
        If the encoding is not that of a Cartesian scan.
    """
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
        layer = _median_ms(lambda: step(problem, residual, state, tau, sigma), repeats)
        floors = [_median_ms(pair, repeats) for pair in _fft_pairs(residual, threads)]
    return LayerTime(threads, layer, min(floors))


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


def _median_ms(work: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return 1e3 * statistics.median(times[2:])


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
