"""``firenet benchmark cine``: images over time, one by one, jointly, and by BART."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from firenet_benchmark.cine.kinds import Kind
from firenet_mri.errors import FileError

# Frames, pixels, and seeds of the series; the presets were chosen on seeds 0 to 2.
_KINDS: tuple[Kind, ...] = ("beating", "perfusion")


def cine(
    *,
    seeds: list[int] | None = None,
    kinds: list[Kind] | None = None,
    frames: int = 25,
    size: int = 128,
    coils: int = 8,
    acceleration: int = 8,
    sampling: Literal["lines", "radial"] = "lines",
    output: Annotated[Path | None, Parameter(name=("--output", "-o"))] = None,
    overwrite: bool = False,
    debug: bool = False,
) -> None:
    """Compare joint reconstructions of simulated hearts with others, from few samples a frame.

    The default sparsifier of --joint was chosen on seeds 0 to 2, of 96 pixels. BART's weights are
    the best for each series, found with the truth.

    Parameters
    ----------
    seeds
        Of the simulated hearts; 11 and 12 by default.
    kinds
        Of each seed: beating, perfusion, echoes; the first two by default.
    frames, size, coils, acceleration
        Of every series.
    sampling
        Interleaved lines, or spokes by the golden angle that go on from frame to frame.
    output
        Folder for cine.json and a picture of every series.
    overwrite
        Write into a folder that exists.
    debug
        Show a traceback on errors.
    """
    from firenet_benchmark.cine.methods import compare
    from firenet_benchmark.cine.picture import draw
    from firenet_benchmark.cine.problem import cine_problem

    if output is not None and output.exists() and not overwrite:
        raise FileError(f"{output} exists; choose another name or use --overwrite")
    console, results = Console(highlight=False), []
    sizes: dict[str, Any] = {
        "frames": frames,
        "size": size,
        "coils": coils,
        "acceleration": acceleration,
        "sampling": sampling,
    }
    for seed in seeds or [11, 12]:
        for kind in kinds or _KINDS:
            problem = cine_problem(kind, seed, **sizes)
            found = list(compare(problem))
            table = Table(
                "method", "PSNR dB", "SSIM", "change kept", "s", "gap", "constant", "lambda",
                title=f"{problem.name}, simulated, {sampling}, {acceleration}x",
            )  # fmt: skip
            for row, _ in found:
                table.add_row(
                    row.method,
                    f"{row.psnr_db:.2f}",
                    f"{row.ssim:.3f}",
                    f"{row.change_kept:.3f}",
                    f"{row.seconds:.1f}",
                    "" if row.relative_gap is None else f"{100 * row.relative_gap:.2g} %",
                    "" if row.constant is None else f"{row.constant:.3g}",
                    "" if row.tuned_lambda is None else f"{row.tuned_lambda:.1e}",
                )
            console.print(table)
            results.append({"problem": problem.name, "rows": [asdict(row) for row, _ in found]})
            if output is not None:
                output.mkdir(parents=True, exist_ok=True)
                images = [(row.method, image) for row, image in found]
                figure = draw(problem, images)
                figure.savefig(output / f"{kind}_{seed}.png", dpi=110, metadata={"Software": None})
    if output is not None:
        text = json.dumps({**sizes, "results": results}, indent=1)
        (output / "cine.json").write_text(text + "\n", encoding="utf-8")
