"""Parts of a layer's work side by side: what the threads may do, and what they leave alone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from firenet_mri.operators.denormals import denormals_flushed, subnormals_are_zero
from firenet_mri.operators.workers import even_parts, in_parallel, on_all_cores


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_parts() -> None:
    assert in_parallel(lambda part: part**2, 9) == [part**2 for part in range(9)]
    assert in_parallel(lambda part: part, 0) == []


def test_two_parts_are_worked_on_at_once() -> None:
    both = threading.Barrier(2, timeout=30)
    in_parallel(lambda _: both.wait(), 2)


def test_one_thread_or_one_part_is_the_calling_thread() -> None:
    own = threading.get_ident()
    assert in_parallel(lambda _: threading.get_ident(), 1) == [own]
    torch.set_num_threads(1)
    assert in_parallel(lambda _: threading.get_ident(), 3) == [own] * 3


def test_threads_record_nothing_and_start_no_others() -> None:
    seen = in_parallel(lambda _: (torch.is_grad_enabled(), torch.get_num_threads()), 4)
    assert seen == [(False, 1)] * 4
    # What is parallel within has one thread.
    own = in_parallel(lambda _: in_parallel(lambda _: threading.get_ident(), 3), 2)
    assert all(len(set(within)) == 1 for within in own)


def test_numbers_of_threads_outside_stay_as_they_are() -> None:
    torch.set_num_threads(3)
    in_parallel(lambda part: part, 4)
    assert torch.get_num_threads() == 3
    seen: list[int] = []
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert seen == [3]


def test_subnormal_numbers_are_what_they_are_in_the_calling_thread() -> None:
    assert in_parallel(lambda _: subnormals_are_zero(), 2) == [False] * 2
    with denormals_flushed():
        assert in_parallel(lambda _: subnormals_are_zero(), 2) == [True] * 2
    assert in_parallel(lambda _: subnormals_are_zero(), 2) == [False] * 2


def test_errors_reach_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        in_parallel(lambda part: 1 / (part - 2), 4)
    assert in_parallel(lambda part: part, 2) == [0, 1]


def test_no_part_is_worked_on_after_an_error_has_reached_the_caller() -> None:
    busy, done = threading.Event(), []

    def work(part: int) -> None:
        if part == 0:
            busy.wait(30)
            raise ValueError
        busy.set()
        time.sleep(0.05)
        done.append(part)

    with pytest.raises(ValueError):  # noqa: PT011
        in_parallel(work, 4)
    seen = len(done)
    time.sleep(0.1)
    assert len(done) == seen


def test_no_part_is_begun_after_an_error() -> None:
    begun = []

    def work(part: int) -> None:
        begun.append(part)
        if part == 1:
            raise ValueError
        time.sleep(0.05)

    with pytest.raises(ValueError):  # noqa: PT011
        on_all_cores(work, range(40))
    assert len(begun) <= 4


def test_items_on_all_cores_keep_their_order_and_record_what_the_caller_records() -> None:
    seen = on_all_cores(lambda i: (i, torch.is_grad_enabled(), torch.get_num_threads()), range(5))
    assert seen == [(i, True, 1) for i in range(5)]
    with torch.no_grad():
        assert on_all_cores(lambda _: torch.is_grad_enabled(), range(2)) == [False, False]
    assert torch.get_num_threads() == 2


def test_long_work_leaves_the_threads_of_short_work_free() -> None:
    """Else the layers of another caller would wait until all slices of this one are done."""
    begun, passed = threading.Barrier(3, timeout=30), threading.Event()
    in_time: list[bool] = []

    def work(_: int) -> None:
        begun.wait()
        in_time.append(passed.wait(10))

    long = threading.Thread(target=on_all_cores, args=(work, range(2)))
    long.start()
    begun.wait()
    try:
        assert in_parallel(lambda part: part, 2) == [0, 1]
    finally:
        passed.set()
        long.join()
    assert in_time == [True, True]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_threads_of_its_own() -> None:
    script = """
import os, sys, torch
from firenet_mri.operators.workers import in_parallel
torch.set_num_threads(2)
assert in_parallel(lambda part: part, 3) == [0, 1, 2]
child = os.fork()
if child == 0:
    os._exit(0 if in_parallel(lambda part: part, 3) == [0, 1, 2] else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=60)


@given(size=st.integers(1, 300), largest=st.integers(1, 300))
def test_even_parts_cover_all_and_are_no_larger_than_asked(size, largest) -> None:
    parts = even_parts(size, largest)
    assert [i for part in parts for i in part] == list(range(size))
    sizes = np.array([len(part) for part in parts])
    assert sizes.min() > 0
    assert sizes.max() <= largest
    assert sizes.max() - sizes.min() <= 1
    assert len(parts) in (1, size) or len(parts) % 4 == 0
