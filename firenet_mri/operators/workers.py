"""Work in parts, side by side on threads of one thread each.

The passes of a layer release Python's lock, compiled ones and FFTs alike. A thread that takes a
part of the image or of the coils keeps it in its own cache, which pays more than to share every
operation; and a thread that waits sleeps, so that a busy machine is not made busier.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from firenet_mri.operators.denormals import subnormals_are_zero

_R = TypeVar("_R")


def in_parallel(work: Callable[[int], _R], count: int) -> list[_R]:
    """Return work(0), ..., work(count - 1), on as many threads as torch has in the calling one.

    The threads record no gradients and have one thread of torch's; subnormal numbers are what they
    are in the calling thread. With one thread, or one part, the work is done in the calling thread.

    Parameters
    ----------
    work
        Does a part; what it writes no other part may touch.
    count
        Number of parts. A result that is to be the same on any number of threads needs a number of
        parts, and an order of sums, that do not depend on it.
    """
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        return [work(part) for part in range(count)]
    flushes = subnormals_are_zero()
    # A number is handed out once, whoever asks.
    parts = iter(range(count))
    pool = _pool(torch.get_num_threads())
    futures = [pool.submit(_run, work, parts, flushes) for _ in range(threads)]
    done: dict[int, _R] = {}
    for future in futures:
        # The others do all that is left, or fail, too, before an error is passed on.
        if future.exception() is None:
            done.update(future.result())
    for future in futures:
        future.result()
    return [done[part] for part in range(count)]


@functools.lru_cache(256)
def even_parts(size: int, largest: int) -> tuple[range, ...]:
    """Return range(size) in parts of at most so many: one, or a multiple of 4 of nearly one size.

    Whatever the number of threads, so that nothing depends on it.
    """
    count = math.ceil(size / largest)
    if count > 1:
        count = min(size, 4 * math.ceil(count / 4))
    bounds = [size * part // count for part in range(count + 1)]
    return tuple(range(*pair) for pair in itertools.pairwise(bounds))


def _run(work: Callable[[int], _R], parts: Iterator[int], flushes: bool) -> list[tuple[int, _R]]:
    """Return numbers and results of the parts that this thread came to do."""
    torch.set_flush_denormal(flushes)
    return [(part, work(part)) for part in parts]


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return so many waiting threads, made at the first call."""
    pool = ThreadPoolExecutor(threads, "firenet", initializer=_prepare_thread)
    # Threads of the user's that start later take over the number that was set last. The pool has
    # all of its own when so many wait for each other.
    barrier = threading.Barrier(threads)
    for future in [pool.submit(barrier.wait) for _ in range(threads)]:
        future.result()
    torch.set_num_threads(threads)
    return pool


def _prepare_thread() -> None:
    # The first look sets the number to what it is elsewhere, and so it must come first.
    torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)


# Threads do not live on in a forked process.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
