"""What several commands share: lists of numbers, a scan's first slice, the progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.operators import LinearOperator
from firenet_mri.scan import RawScan


def first_slice(raw: RawScan) -> tuple[Tensor, LinearOperator]:
    """Return k-space (coil, *spatial) and the encoding operator of a scan's first slice."""
    from firenet_mri.calibration import sensitivity_maps, whiten
    from firenet_mri.operators import encoding_operator

    index = (0,) * len(raw.batch_shape)
    one = replace(raw, kspace=raw.kspace[index], mask=raw.mask[index])
    if one.noise is not None:
        one = whiten(one)
    maps = sensitivity_maps(one)
    return one.kspace, encoding_operator(one.mask, maps, one.spatial_ndim)


@contextmanager
def progress(
    description: str, unit: str, *, quiet: bool = False
) -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar on stderr that counts units of work, or nothing."""
    if quiet:
        yield None
        return
    with progress_bars(unit) as report:
        report(description, 0, None)
        yield partial(report, description)


@contextmanager
def progress_bars(unit: str = "") -> Iterator[Callable[[str, int, int | None], None]]:
    """Show bars on stderr, one for each name that is reported with (name, done, total).

    The first stays; others vanish when they are complete.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True)) as bars:

        def report(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            stays = total is None or done < total or tasks[name] == min(tasks.values())
            bars.update(tasks[name], completed=done, total=total, visible=stays)

        yield report


def numbers(text: str | None) -> list[int] | None:
    """Return the numbers of a list such as 2-5,8."""
    if text is None:
        return None
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdigit() or not (last or first).isdigit() or int(last or first) < int(first):
            raise UsageError(f"{text!r} is no list of numbers; give one such as 3 or 2-5,8")
        found += range(int(first), int(last or first) + 1)
    return found
