"""``firenet benchmark accuracy``: presets and sparsifiers beside tuned peers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.table import Table

from firenet_mri.cli.tables import print_table

if TYPE_CHECKING:
    from torch import Tensor

    from firenet_mri import RawScan


def accuracy(
    scan: str,
    /,
    *,
    reference: Path | None = None,
    acceleration: float = 6.0,
    calibration: int = 24,
    maps: Literal["espirit", "jsense"] = "espirit",
    encoding: str | None = None,
    seed: int = 0,
    debug: bool = False,
) -> None:
    """Compare presets and sparsifiers with zero filling and with tuned BART and SigPy.

    Maps are estimated. A and B are the problems of ``firenet benchmark speed``.

    Parameters
    ----------
    scan
        One 2D slice, (coil, y, x); or A or B, simulated.
    reference
        Reference magnitude image; without it the scan must be fully sampled.
    acceleration
        Undersampling factor for a fully sampled scan.
    calibration
        Width of the sampled centre, in lines.
    maps
        Method by which the sensitivity maps are estimated.
    encoding
        Your own encoding operator, as FILE.py:FUNCTION; the function takes the scan and returns a
        LinearOperator or a SigPy Linop. The file is run. Needs a reference image.
    seed
        Seed of the sampling mask.
    debug
        Show a traceback on errors.
    """
    from firenet_benchmark.accuracy import compare
    from firenet_benchmark.operators import load_encoding

    raw, target = _scan_and_target(
        scan, reference, acceleration=acceleration, calibration=calibration, seed=seed
    )
    kind = "simulated" if raw.simulated else "measured"
    title = f"{raw.name}: {kind} data, {100 * raw.sampled_fraction:.1f} % sampled, "
    title += f"maps {maps}" if encoding is None else f"operator {encoding}"
    table = Table("method", "PSNR dB", "SSIM", "HaarPSI", "seconds", "tuned lambda", title=title)
    own = {} if encoding is None else {"encoding": load_encoding(encoding, raw)}
    for row in compare(raw, target, maps=maps, **own):
        tuned = "" if row.tuned_lambda is None else f"{row.tuned_lambda:.1e}"
        table.add_row(
            row.method,
            f"{row.psnr_db:.2f}",
            f"{row.ssim:.4f}",
            f"{row.haarpsi:.3f}",
            f"{row.seconds:.2f}",
            tuned,
        )
    print_table(Console(highlight=False), table)


def _scan_and_target(
    scan: str, reference: Path | None, *, acceleration: float, calibration: int, seed: int
) -> tuple[RawScan, Tensor | RawScan]:
    """Return an under-sampled scan, and what its image should be."""
    from torch import from_numpy

    from firenet_benchmark.accuracy import undersample
    from firenet_benchmark.problems import make_problem
    from firenet_mri.io import read, read_reference

    if scan in ("A", "B"):
        problem = make_problem(scan)
        return problem.scan(), from_numpy(problem.truth).abs()
    raw = read(Path(scan))
    if reference is not None:
        return raw, read_reference(reference)
    return undersample(raw, acceleration, calibration=calibration, seed=seed), raw
