"""Measure what a certificate says and costs: a line of a table for each preset and scan.

    python tools/measure_certificates.py SCAN [SCAN ...] [--threads 1] [--jacobian] [--curve]

For each: the relative duality gap; the proven constant everywhere and at the data; with
``--jacobian`` both sides of the Jacobian's norm at the data; and CPU seconds of the network, of the
gap and of the Jacobian, the smallest of three (the Jacobian once). ``--curve`` prints how the gap
falls with the time that is spent on it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from firenet_mri import read
from firenet_mri.firenet.certificate.gap import DualSearch, prove_gap
from firenet_mri.reconstruction.amplification import measure_amplification
from firenet_mri.reconstruction.certify import certificate_for, search_for
from firenet_mri.reconstruction.options import ReconstructionOptions
from firenet_mri.reconstruction.prepare import prepare
from firenet_mri.reconstruction.solve import Solution, solve

PRESETS = ("accurate", "sharp", "stable", "paper")
CURVE = ((0, 20), (6, 20), (12, 20), (18, 20), (24, 20), (36, 20), (48, 20), (60, 20), (60, 60))

_Result = TypeVar("_Result")


def best_of(count: int, function: Callable[[], _Result]) -> tuple[_Result, float]:
    """Return a result and the smallest wall-clock seconds that it took."""
    seconds = []
    for _ in range(count):
        begun = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - begun)
    return result, min(seconds)


def line(solution: Solution, name: str, preset: str, network_s: float, jacobian: bool) -> str:
    """Return one line of the table."""
    net, encoded = solution.net, solution.encoded
    search = search_for(net)
    gap, gap_s = best_of(
        3, lambda: prove_gap(net, encoded.y, encoded.encoding, solution.state, search)
    )
    certificate = certificate_for(solution, gap, None)
    assert certificate.relative_gap is not None
    at_data = certificate.lipschitz_bound_at_data
    cells = [
        name,
        preset,
        f"{100 * certificate.relative_gap[0]:.2g} %",
        "none" if certificate.lipschitz_bound is None else f"{certificate.lipschitz_bound:.3g}",
        "-" if at_data is None else f"{at_data[0]:.3g}",
    ]
    if jacobian:
        found, jacobian_s = best_of(1, lambda: measure_amplification(solution))
        values = found.entries[-1].values
        cells += [f"{values['lower'][0]:.3g} to {values['upper'][0]:.3g}"]
        cells += [f"{network_s:.3f}", f"{gap_s / network_s:.2f}", f"{jacobian_s / network_s:.0f}"]
    else:
        cells += [f"{network_s:.3f}", f"{gap_s / network_s:.2f}"]
    return "| " + " | ".join(cells) + " |"


def curve(solution: Solution, network_s: float) -> None:
    """Print the gap over the time that is spent on it."""
    net, encoded = solution.net, solution.encoded
    for layers, rounds in CURVE:
        search = DualSearch(layers, rounds)
        gap, seconds = best_of(
            3,
            lambda: prove_gap(net, encoded.y, encoded.encoding, solution.state, search),  # noqa: B023
        )
        relative = 1 - float(gap.lower_bound) / float(gap.objective)
        place = f"{layers:3} layers, {rounds} rounds: {seconds / network_s:.2f} networks"
        print(f"  {place}, {relative:.2e}")  # noqa: T201


def main() -> None:
    """Measure the scans that were named."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scans", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--jacobian", action="store_true")
    parser.add_argument("--curve", action="store_true")
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    for path in wanted.scans:
        for preset in PRESETS:
            options = ReconstructionOptions.from_mapping({"preset": preset})
            prepared = prepare(read(path), options)
            encoded, _ = prepared.encoded(prepared.items[len(prepared.items) // 2])
            with torch.no_grad():
                solution, seconds = best_of(
                    4,
                    lambda: solve(prepared.net, encoded, passes=options.passes),  # noqa: B023
                )
            print(line(solution, path.stem, preset, seconds, wanted.jacobian), flush=True)  # noqa: T201
            if wanted.curve:
                curve(solution, seconds)


if __name__ == "__main__":
    main()
