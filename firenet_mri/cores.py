"""Runs independent work on all cores that torch may use, a piece of it on each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

import torch

_T = TypeVar("_T")
_R = TypeVar("_R")


def on_all_cores(work: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
    """Return ``work`` of each item, as many at once as torch has threads, each on one thread.

    Work in such a thread that calls this function again is done there, item by item. Gradients are
    recorded if ``work`` says so, not if the caller does.
    """
    threads = torch.get_num_threads()
    if min(threads, len(items)) <= 1:
        return one_by_one(work, items)
    pool = ThreadPoolExecutor(
        min(threads, len(items)), initializer=torch.set_num_threads, initargs=(1,)
    )
    try:
        # What is logged there belongs to the job that the caller works on.
        contexts = [copy_context() for _ in items]
        return list(pool.map(lambda context, item: context.run(work, item), contexts, items))
    finally:
        pool.shutdown(cancel_futures=True)
        # Threads that start later take over what was set last.
        torch.set_num_threads(threads)


def one_by_one(work: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
    """Return ``work`` of each item."""
    return [work(item) for item in items]
