"""A method in a process of its own, so that its time is that of a warm run and its memory its own.

Memory is the largest resident size during a run minus that before the data arrived, so that the
samples count and the libraries do not. It is known on Linux only.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from firenet_mri.errors import DataError

_STATUS = Path("/proc/self/status")


class Found(NamedTuple):
    """What a method returns.

    Parameters
    ----------
    image
        (frame, y, x), complex or magnitude.
    gap, constant
        What is proven; None of others.
    apart_s
        Seconds that do not count, since other methods do nothing of the kind.
    program_mib
        Memory of a program that did the work; None where this process did.
    """

    image: Tensor
    gap: float | None = None
    constant: float | None = None
    apart_s: float = 0.0
    program_mib: float | None = None


class Run(NamedTuple):
    """What a method returned, and what it needed.

    Parameters
    ----------
    found
        The image.
    seconds, processor_s
        By the clock, and of all its threads on processors; only the latter holds where other
        programs run at the same time.
    peak_mib
        Memory; None where it is not known.
    """

    found: Found
    seconds: float
    processor_s: float
    peak_mib: float | None


Method = Callable[..., Found]


class Worker:
    """A process for one method.

    Parameters
    ----------
    method
        A function of a module, or a partial of one, since it goes to another process.
    threads
        That torch may use.
    warm_up
        Arguments of a first, small run, after which libraries are loaded and kernels compiled.
    """

    def __init__(self, method: Method, threads: int, warm_up: Sequence[Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, context, torch.set_num_threads, (threads,))
        self._method = method
        self._pool.submit(_run, method, tuple(warm_up)).result()
        self._before = self._pool.submit(_resident_mib).result()

    def run(self, *arguments: Any) -> Run:
        """Return what the method finds, with time and memory."""
        run: Run = self._pool.submit(_run, self._method, arguments).result()
        if run.found.program_mib is not None:
            return run._replace(peak_mib=run.found.program_mib)
        if run.peak_mib is None or self._before is None:
            return run._replace(peak_mib=None)
        return run._replace(peak_mib=run.peak_mib - self._before)

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown()


def run_program(command: Sequence[str], environment: Mapping[str, str]) -> float | None:
    """Run a program and return the most memory that it held in MiB; None if that is not known.

    For ended children the system reports the parent's usage where that is larger, so the program is
    watched while it runs.

    Raises
    ------
    DataError
        If it fails.
    """
    peak = None
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=dict(environment)
    ) as process:
        while process.poll() is None:
            peak = _of_status(Path(f"/proc/{process.pid}/status"), "VmHWM") or peak
            time.sleep(0.01)
        assert process.stderr is not None
        said = process.stderr.read()
    if process.returncode:
        raise DataError(f"{command[0]} failed: {' '.join(said.split())[-300:]}")
    return peak


def _run(method: Method, arguments: tuple[Any, ...]) -> Run:
    _give_back_freed_memory()
    if _STATUS.exists():
        # From here on the peak counts.
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    began, began_processor = time.perf_counter(), _processor_s()
    found = method(*arguments)
    seconds, processor_s = time.perf_counter() - began, _processor_s() - began_processor
    # What is apart is known by the clock alone.
    counts = 1 - found.apart_s / seconds
    return Run(found, seconds * counts, processor_s * counts, _of_status(_STATUS, "VmHWM"))


def _processor_s() -> float:
    """Return the seconds that this process and the programs it ran were on processors."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _give_back_freed_memory() -> None:
    """Make the C library return freed memory, which would otherwise count for the next method."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _resident_mib() -> float | None:
    _give_back_freed_memory()
    return _of_status(_STATUS, "VmRSS")


def _of_status(path: Path, name: str) -> float | None:
    """Return an entry of a process's status in MiB; None where there is none."""
    try:
        found = re.search(rf"{name}:\s*(\d+) kB", path.read_text(encoding="ascii"))
    except OSError:
        return None
    return None if found is None else int(found[1]) / 1024
