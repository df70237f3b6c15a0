"""Work in parts, in parallel on single-threaded threads: passes of a layer, or whole slices.

The passes of a layer release Python's lock, compiled ones and FFTs alike. A thread that processes a
part of the image or of the coils keeps it in its own cache, which pays more than sharing every
operation. A waiting thread sleeps, so that a busy machine is not made busier.
"""

from __future__ import annotations

import collections
import functools
import itertools
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

import torch

from firenet_mri.operators.denormals import subnormals_are_zero

_T = TypeVar("_T")
_R = TypeVar("_R")


def in_parallel(work: Callable[[int], _R], count: int) -> list[_R]:
    """Return work(0), ..., work(count - 1), on as many threads as torch uses in the caller.

    The threads record no gradients and use one torch thread each; they treat subnormal numbers like
    the calling thread. With one thread, or one part, the work is done in the calling thread.

    Parameters
    ----------
    work
        Does a part; other parts must not touch what it writes.
    count
        Number of parts. For a result that is the same on any number of threads, the number of parts
        and the order of sums must not depend on it.
    """
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        return [work(part) for part in range(count)]
    return _shared_out(_standing_pool(torch.get_num_threads()), work, count, threads)


def on_all_cores(work: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
    """Return ``work`` of each item, running as many items at once as torch has threads.

    For work that takes seconds or more. It has its own threads, since every other caller would
    meanwhile lack those of :func:`in_parallel`. Work that calls either function again is done in
    its thread, item by item. Gradients are recorded as in the calling thread, and log records
    belong to the job on which the caller works.
    """
    threads = min(torch.get_num_threads(), len(items))
    if threads <= 1:
        return one_by_one(work, items)
    contexts, is_recording = [copy_context() for _ in items], torch.is_grad_enabled()

    def of_part(part: int) -> _R:
        with torch.set_grad_enabled(is_recording):
            return contexts[part].run(work, items[part])

    with _new_pool(threads) as pool:
        return _shared_out(pool, of_part, len(items), threads)


def one_by_one(work: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
    """Return ``work`` of each item."""
    return [work(item) for item in items]


@functools.lru_cache(256)
def even_parts(size: int, largest: int) -> tuple[range, ...]:
    """Return range(size) in parts of at most ``largest``: one, or a multiple of 4 of similar sizes.

    The parts do not depend on the number of threads, so neither do results.
    """
    count = math.ceil(size / largest)
    if count > 1:
        count = min(size, 4 * math.ceil(count / 4))
    bounds = [size * part // count for part in range(count + 1)]
    return tuple(range(*pair) for pair in itertools.pairwise(bounds))


def _shared_out(
    pool: ThreadPoolExecutor, work: Callable[[int], _R], count: int, threads: int
) -> list[_R]:
    """Return work(0), ..., work(count - 1), done by the threads of a pool."""
    flushes = subnormals_are_zero()
    # Each number is handed out once, whichever thread asks.
    parts = iter(range(count))
    futures = [pool.submit(_run, work, parts, flushes) for _ in range(threads)]
    try:
        for future in futures:
            # The other threads finish before an error is passed on.
            future.exception()
    finally:
        # After Control-C nothing new is started.
        _hand_out_all(parts)
    done = dict(itertools.chain.from_iterable(future.result() for future in futures))
    return [done[part] for part in range(count)]


def _run(work: Callable[[int], _R], parts: Iterator[int], flushes: bool) -> list[tuple[int, _R]]:
    """Return numbers and results of the parts that this thread processed."""
    torch.set_flush_denormal(flushes)
    try:
        return [(part, work(part)) for part in parts]
    except BaseException:
        # The remaining parts are not needed.
        _hand_out_all(parts)
        raise


def _hand_out_all(parts: Iterator[int]) -> None:
    collections.deque(parts, maxlen=0)


@functools.cache
def _standing_pool(threads: int) -> ThreadPoolExecutor:
    """Return a pool of waiting threads, made at the first call."""
    return _new_pool(threads)


def _new_pool(threads: int) -> ThreadPoolExecutor:
    """Return a pool of new threads, each using one torch thread."""
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, "firenet", initializer=_prepare_thread)
    # User threads that start later inherit the number that was set last. All threads of the pool
    # exist once this many wait for each other.
    barrier = threading.Barrier(threads)
    for future in [pool.submit(barrier.wait) for _ in range(threads)]:
        future.result()
    torch.set_num_threads(before)
    return pool


def _prepare_thread() -> None:
    # The first query sets the number to its value elsewhere, so it must come first.
    torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)


# Threads do not survive in a forked process.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_standing_pool.cache_clear)
