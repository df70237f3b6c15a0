"""Time of one layer beside the FFTs that it needs: one forward and one inverse over all coils."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from firenet_mri.firenet.network import FIRENET
from firenet_mri.firenet.primal_dual import start, step
from firenet_mri.operators.base import LinearOperator


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
        Network, data (*codomain_shape) complex64, and encoding operator.
    threads
        Threads that torch uses for both.
    repeats
        Runs of which the median is taken, after two to warm up.
    """
    problem = net.problem(encoding)
    axes = tuple(range(-len(encoding.domain_shape), 0))
    tau = torch.tensor(0.3) * y.norm()
    sigma = 1 / (problem.norm_bound**2 * tau)
    with torch.no_grad(), _threads(threads):
        state = start(problem, y, encoding.adjoint(y))
        layer = _median_ms(lambda: step(problem, y, state, tau, sigma), repeats)
        fft = _median_ms(lambda: torch.fft.ifftn(torch.fft.fftn(y, dim=axes), dim=axes), repeats)
    return LayerTime(threads, layer, fft)


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
