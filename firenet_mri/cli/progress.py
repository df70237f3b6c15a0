"""The progress bars of all commands, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from firenet_mri.cli.streams import drop
from firenet_mri.errors import FirenetError


class _Patient(Console):
    """A console that keeps working when its reader closes the pipe."""

    def on_broken_pipe(self) -> None:
        """Show nothing more instead of ending the program."""
        self.quiet = True
        drop(sys.stderr)


@contextmanager
def progress(
    description: str, unit: str, *, quiet: bool = False
) -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar on stderr that counts units of work, unless ``quiet`` is set."""
    if quiet:
        yield None
        return
    with progress_bars(unit) as report:
        report(description, 0, None)
        yield partial(report, description)


@contextmanager
def noted_progress(
    description: str, unit: str, *, quiet: bool = False
) -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar on stderr that counts units of work, followed by a note, unless ``quiet``."""
    if quiet:
        yield lambda done, total, note: None
        return
    note_column = TextColumn("{task.fields[note]}", markup=False)
    bars = Progress(*_columns(unit), note_column, console=_Patient(stderr=True))
    with bars, _no_bar_of_nothing(bars):
        task = bars.add_task(description, total=None, note="")

        def report(done: int, total: int, note: str) -> None:
            bars.update(task, completed=done, total=total, note=note)

        yield report


@contextmanager
def progress_bars(unit: str = "") -> Iterator[Callable[[str, int, int | None], None]]:
    """Show bars on stderr, one for each name that is reported with (name, done, total).

    The first bar stays; the others disappear when they are complete.
    """
    tasks: dict[str, TaskID] = {}
    bars = Progress(*_columns(unit), console=_Patient(stderr=True))
    with bars, _no_bar_of_nothing(bars):

        def report(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            stays = total is None or done < total or tasks[name] == min(tasks.values())
            bars.update(tasks[name], completed=done, total=total, visible=stays)

        yield report


@contextmanager
def _no_bar_of_nothing(bars: Progress) -> Iterator[None]:
    """Leave no bar behind if the work is refused before any of it is done."""
    try:
        yield
    except FirenetError:
        if not any(task.completed for task in bars.tasks):
            bars.live.transient = True
            # Outside a terminal the bar is written once, at its end.
            bars.console.quiet = not bars.console.is_interactive
        raise


def _columns(unit: str) -> tuple[ProgressColumn, ...]:
    return (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
    )
