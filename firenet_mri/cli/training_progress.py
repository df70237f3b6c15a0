"""Shared by commands that train for a time: a bar with the latest numbers, and a way to stop."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from firenet_mri.cli.progress import noted_progress

if TYPE_CHECKING:
    from firenet_mri.training.timed import Look, Progress


@contextmanager
def training_progress(
    description: str, minutes: float, *, quiet: bool = False
) -> Iterator[tuple[Callable[[Progress], None], Callable[[Look], None]]]:
    """Show a bar of seconds on stderr; yield the functions to call at every step and validation.

    If stderr is not a terminal, one line per validation is written instead of a bar.
    """
    total = round(60 * minutes)
    note = [""]
    with noted_progress(description, "s", quiet=quiet) as report:

        def stepped_to(seconds: float) -> None:
            report(min(round(seconds), total), total, note[0])

        def stepped(progress: Progress) -> None:
            stepped_to(progress.seconds)

        def looked(look: Look) -> None:
            note[0] = _words(look)
            stepped_to(60 * look["minutes"])
            # A log gets a line instead of a bar.
            if not quiet and not sys.stderr.isatty():
                sys.stderr.write(f"{look['minutes']:.1f} min: {note[0]}\n")

        yield stepped, looked


def _words(look: Mapping[str, float]) -> str:
    words = f"validation {look['validation_psnr_db']:.2f} dB"
    if "bound_estimate" in look:
        words += f", constant about {look['bound_estimate']:.1f}"
    return words


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns True after the first Ctrl-C, or a batch system's SIGTERM.

    A training can then stop between two steps and keep everything. A second Ctrl-C stops it at
    once.
    """
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    is_main = threading.current_thread() is threading.main_thread()
    signals = (signal.SIGINT, signal.SIGTERM) if is_main else ()
    before = {number: signal.signal(number, ask) for number in signals}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def tell_it_is_kept(place: object, step: int | None = None, *, can_finish: bool = True) -> None:
    """Print on stderr that a training was stopped, where it is kept, and how it resumes."""
    after = "" if step is None else f" after step {step}"
    finish = ", and with --finish writes the best weights so far" if can_finish else ""
    sys.stderr.write(
        f"The training is kept in {place}{after}; the same command resumes there{finish}\n"
    )
