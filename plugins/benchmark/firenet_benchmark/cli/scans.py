"""``firenet benchmark scans``: our presets and tuned peers on fully sampled real scans."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from firenet_benchmark.stability.choices import PUBLISHED
from firenet_mri.cli.tables import print_table
from firenet_mri.errors import FileError

if TYPE_CHECKING:
    from torch import nn

    from firenet_benchmark.real import RealProblem
    from firenet_benchmark.tuned import Row

_SHARES = (0.25, 0.35, 0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 1.7, 2.4)


def scans(
    files: list[Path],
    /,
    *,
    noise: list[float] | None = None,
    lam: bool = False,
    network: list[str] | None = None,
    weights: list[Path] | None = None,
    opponent: list[str] | None = None,
    no_peers: bool = False,
    seed: int = 0,
    output: Annotated[Path | None, Parameter(name=("--output", "-o"))] = None,
    overwrite: bool = False,
    debug: bool = False,
) -> None:
    """Compare presets and tuned peers on fully sampled scans, under-sampled in three ways.

    All methods use their defaults, except for the lambdas of BART and SigPy, which are the best
    for each scan, found with the reference.

    Parameters
    ----------
    files
        Fully sampled scans of one 2D slice, such as (coil, y, x) .npy.
    noise
        Norm of the noise that is added to the data, relative to that of the data; 0 by default.
    lam
        Instead, show the default network at multiples of its lam, and what its own best would gain.
    network
        Trained network in addition to the presets: learned, a file that ``firenet train`` wrote,
        or a published network with its --weights, monai-varnet, monai-unet, fastmri-varnet or
        modl; repeat the option for several.
    weights
        State dict of each published --network, in the same order.
    opponent
        Trained opponent, "MoDL, wide" or "VarNet, wide"; repeat the option for both.
    no_peers
        Omit BART and SigPy, which take minutes.
    seed
        Seed of masks and noise.
    output
        JSON file for all numbers.
    overwrite
        Replace it if it exists.
    debug
        Show a traceback on errors.
    """
    if output is not None and output.exists() and not overwrite:
        raise FileError(f"{output} exists; choose another name or use --overwrite")
    console, results = Console(highlight=False), []
    published = _published(network or [], weights or [])
    trained = [name for name in network or [] if name not in PUBLISHED]
    for problem in _problems(files, noise or [0.0], seed):
        rows = _rows(problem, lam, trained, opponent or [], not no_peers)
        if not lam:
            rows += _published_rows(problem, published, console)
        kind = "simulated" if problem.scan.simulated else "measured"
        table = Table(
            "method", "PSNR dB", "SSIM", "HaarPSI", "s", "lambda", title=f"{problem.name}, {kind}"
        )
        for row in rows:
            tuned = "" if row.tuned_lambda is None else f"{row.tuned_lambda:.1e}"
            scores = f"{row.psnr_db:.2f}", f"{row.ssim:.3f}", f"{row.haarpsi:.3f}"
            table.add_row(row.method, *scores, f"{row.seconds:.2f}", tuned)
        print_table(console, table)
        results.append({"problem": problem.name, "rows": [asdict(row) for row in rows]})
    _print_summary(console, results, lam)
    if output is not None:
        output.write_text(json.dumps(results, indent=1))


def _problems(files: list[Path], noise: list[float], seed: int) -> Iterator[RealProblem]:
    from firenet_benchmark.real import problems
    from firenet_mri.io import read

    for file in files:
        scan = read(file)
        for level in noise:
            yield from problems(scan, noise=level, seed=seed)


def _published(networks: list[str], weights: list[Path]) -> dict[str, nn.Module]:
    """Return the published networks by names that differ."""
    from firenet_benchmark.stability.published import open_published
    from firenet_mri.errors import UsageError

    names = [name for given in networks for name in PUBLISHED if name == given]
    if len(names) != len(weights):
        raise UsageError(
            f"{len(weights)} --weights for {len(names)} published --network; give pairs"
        )
    opened = {}
    for name, path in zip(names, weights, strict=True):
        label = name if names.count(name) == 1 else f"{name}, {path}"
        opened[label] = open_published(name, path)
    return opened


def _rows(
    problem: RealProblem, lam: bool, networks: list[str], opponents: list[str], peers: bool
) -> list[Row]:
    from firenet_benchmark.real import METHODS, compare_all, lam_curve, opponent_rows
    from firenet_benchmark.tuned import PEERS

    if lam:
        return list(lam_curve(problem, _SHARES).values())
    trained = {f"FIRENET {Path(name).stem}": {"weights": name} for name in networks}
    rows = list(compare_all(problem, {**METHODS, **trained}, PEERS if peers else ()))
    return rows + list(opponent_rows(problem, opponents))


def _published_rows(
    problem: RealProblem, networks: dict[str, nn.Module], console: Console
) -> list[Row]:
    from firenet_benchmark.real import published_rows

    return list(published_rows(problem, networks, partial(console.print, markup=False)))


def _print_summary(console: Console, results: list[dict[str, Any]], lam: bool) -> None:
    """Print means of the methods, or the losses of the rule."""
    import numpy as np

    if not results:
        return
    if lam:
        losses = []
        for result in results:
            scores = {row["method"]: row["psnr_db"] for row in result["rows"]}
            losses.append(max(scores.values()) - scores["1 lam"])
        console.print(
            f"Loss of the default lam against the best of {len(_SHARES)}: median "
            f"{np.median(losses):.2f} dB, largest {max(losses):.2f} dB, {len(losses)} problems."
        )
        return
    title = f"Means of {len(results)} problems"
    table = Table("method", "PSNR dB", "SSIM", "HaarPSI", "problems", title=title)
    found: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        for row in result["rows"]:
            found.setdefault(row["method"], []).append(row)
    digits = {"psnr_db": 2, "ssim": 3, "haarpsi": 3}
    for name, rows in found.items():
        means = [f"{np.mean([row[key] for row in rows]):.{n}f}" for key, n in digits.items()]
        table.add_row(name, *means, str(len(rows)))
    print_table(console, table)
