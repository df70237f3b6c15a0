"""Measures what background and output do to fastMRI's metrics: the table of docs/monai.md.

    python tools/measure_background.py [--lam-factor F] SCAN.npy...

Scans are fully sampled, (coil, y, x) or (slice, coil, y, x) complex, as ``tests/real_scans.py`` and
``firenet convert`` write them. Each slice is under-sampled as fastMRI's are, four times along x, by
equispaced and by random lines in two draws, and compared with two targets: the root-sum-of-squares
of its coils, noise and all, and the image combined over the coils, 0 outside of the object. Means
over all slices, SSIM / PSNR in dB.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from firenet_mri.calibration import espirit_maps
from firenet_mri.calibration.methods import Background
from firenet_mri.firenet.presets import make_network
from firenet_mri.metrics import psnr, ssim
from firenet_mri.monai import FIRENETModel
from firenet_mri.monai.networks import Output
from firenet_mri.operators.centred import centred_ifft

ACCELERATION, DRAWS, CALIBRATION = 4, 2, 24
CENTRES = (0.08, 0.125)
FORMS: tuple[tuple[Output, Background], ...] = (
    ("magnitude", "crop"),
    ("magnitude", "keep"),
    ("rss", "crop"),
    ("rss", "keep"),
)


def masks(width: int, centre: float) -> Iterator[Tensor]:
    """Yield fastMRI's masks of lines, (width) bool."""
    count = round(centre * width)
    start = (width - count + 1) // 2
    # The distance that leaves the acceleration to centre and lines together.
    step = ACCELERATION * (count - width) / (count * ACCELERATION - width)
    share = (width / ACCELERATION - count) / (width - count)
    for draw in range(DRAWS):
        equispaced = np.isin(np.arange(width), np.around(np.arange(draw, width - 1, step)))
        for lines in (equispaced, np.random.default_rng(draw).random(width) < share):
            lines[start : start + count] = True
            yield torch.from_numpy(lines)


def images(kspace: Tensor, mask: Tensor, lam: float) -> Iterator[tuple[str, Tensor]]:
    """Yield the image (y, x) of each form, by its name."""
    samples = (kspace * mask)[None]
    yield "zero filling", torch.linalg.vector_norm(centred_ifft(samples[0], (-2, -1)), dim=0)
    for output, background in FORMS:
        model = FIRENETModel(output=output, background=background, lam=lam)
        yield f"{output}, {background}", model(samples, mask)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scans", nargs="+", type=Path)
    parser.add_argument("--lam-factor", type=float, default=1.0, help="On the automatic lam.")
    options = parser.parse_args()
    scores: dict[tuple[float, str], list[tuple[float, ...]]] = defaultdict(list)
    stacks = [np.load(path) for path in options.scans]
    for kspace in (one for stack in stacks for one in stack.reshape(-1, *stack.shape[-3:])):
        data = torch.from_numpy(kspace).to(torch.complex64)
        coil_images = centred_ifft(data, (-2, -1))
        maps = espirit_maps(data, CALIBRATION)
        targets = (
            torch.linalg.vector_norm(coil_images, dim=0),
            (maps.conj() * coil_images).sum(0).abs(),
        )
        lam = options.lam_factor * make_network(len(data), data.shape[1:]).lam
        for centre in CENTRES:
            for mask in masks(data.shape[-1], centre):
                for name, image in images(data, mask, lam):
                    row = [metric(target, image) for target in targets for metric in (ssim, psnr)]
                    scores[centre, name].append(tuple(row))
    write = sys.stdout.write
    write("| centre | image | root-sum-of-squares | combined |\n|---|---|---|---|\n")
    for (centre, name), rows in scores.items():
        a, b, c, d = map(fmean, zip(*rows, strict=True))
        write(f"| {100 * centre:g} % | {name} | {a:.3f} / {b:.2f} | {c:.3f} / {d:.2f} |\n")


if __name__ == "__main__":
    with torch.no_grad():
        main()
