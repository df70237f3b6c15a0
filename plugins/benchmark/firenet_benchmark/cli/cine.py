"""``firenet benchmark cine``: images over time, one by one, jointly, and by BART."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from firenet_benchmark.cine.kinds import KINDS, Kind, Sampling
from firenet_mri.errors import FileError, UsageError

if TYPE_CHECKING:
    from firenet_benchmark.cine.methods import CineRow


def cine(
    *,
    kinds: list[Kind] | None = None,
    seeds: list[int] | None = None,
    frames: int = 25,
    size: int = 128,
    coils: int = 8,
    acceleration: int = 8,
    breathing: float = 0.01,
    sampling: Sampling = "lines",
    output: Annotated[Path | None, Parameter(name=("--output", "-o"))] = None,
    overwrite: bool = False,
    debug: bool = False,
) -> None:
    """Compare joint reconstructions of simulated series with others, from few samples per frame.

    The default sparsifier of --joint was chosen on seeds 0 and 1, of 64 and 96 pixels. The weights
    of BART, SigPy and mrpro are the best for each series, found with the truth. Every method runs
    in a process of its own. The table names those that are left out, and why.

    Parameters
    ----------
    kinds
        Series: beating, perfusion (with a contrast agent), abrupt (with events from one frame to
        the next, whose width is measured), echoes, and mrphantom (the phantom of that package). The
        default is all that can be made.
    seeds
        Of each kind of series; 11 and 12 by default.
    frames, size, coils, acceleration
        Of every series; there are 8 echoes at most.
    breathing
        Amplitude of the shift by breathing, as a share of the field of view.
    sampling
        Interleaved lines, or golden-angle spokes that continue from frame to frame.
    output
        Folder for cine.json and a picture of every series.
    overwrite
        Write into a folder that exists.
    debug
        Show a traceback on errors.
    """
    from firenet_benchmark.cine.methods import compare, left_out
    from firenet_benchmark.cine.picture import draw
    from firenet_benchmark.cine.problem import cine_problem, is_available

    if output is not None and output.exists() and not overwrite:
        raise FileError(f"{output} exists; choose another name or use --overwrite")
    unknown = [kind for kind in kinds or () if kind not in KINDS or not is_available(kind)]
    if unknown:
        known = ", ".join(kind for kind in KINDS if is_available(kind))
        raise UsageError(f"No series {', '.join(unknown)} can be made here; use {known}")
    console, results = Console(highlight=False), []
    sizes: dict[str, Any] = {
        "frames": frames,
        "size": size,
        "coils": coils,
        "acceleration": acceleration,
        "breathing": breathing,
        "sampling": sampling,
    }
    chosen = product(seeds or [11, 12], kinds or filter(is_available, KINDS))
    # All are made first, so that anything refused is refused before hours of work.
    problems = [(seed, kind, cine_problem(kind, seed, **sizes)) for seed, kind in chosen]
    for seed, kind, problem in problems:
        found, absent = list(compare(problem)), left_out(problem)
        title = f"{problem.name}, simulated, {sampling}, {acceleration}x"
        console.print(_table(title, [row for row, _ in found], absent))
        rows = [asdict(row) for row, _ in found]
        results.append({"problem": problem.name, "rows": rows, "left_out": absent})
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            figure = draw(problem, [(row.method, image) for row, image in found])
            figure.savefig(output / f"{kind}_{seed}.png", dpi=110, metadata={"Software": None})
            text = json.dumps({**sizes, "results": results}, indent=1)
            (output / "cine.json").write_text(text + "\n", encoding="utf-8")


def _table(title: str, rows: Sequence[CineRow], absent: Mapping[str, str]) -> Table:
    """Return what all methods reached."""
    table = Table(
        "method", "PSNR dB", "SSIM", "change kept", "edge", "edge at equal PSNR", "s",
        "processor s", "MiB", "gap", "constant", "lambda", title=title,
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row.method,
            f"{row.psnr_db:.2f}",
            f"{row.ssim:.3f}",
            f"{row.change_kept:.3f}",
            _written(row.edge_frames, "{:.2f}"),
            _written(row.edge_at_equal, "{:.2f}"),
            f"{row.seconds:.1f}",
            f"{row.processor_s:.1f}",
            _written(row.peak_mib, "{:.0f}"),
            _written(row.relative_gap, "{:.2%}"),
            _written(row.constant, "{:.3g}"),
            _written(row.tuned_lambda, "{:.1e}"),
        )
    for name, why in absent.items():
        table.add_row(f"{name}: {why}")
    return table


def _written(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
