"""Draws what networks lose and invent: docs/images/learned.png, of the card of the shipped network.

    python plugins/benchmark/tools/picture_learned.py OUT.png

A test slice of the stability benchmark with a lesion, and one with a text. For each method that
ships: the image, ten times its error, and what is left of the detail, the image with it minus the
image without. Needs firenet_mri[dev].
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from firenet_benchmark.stability.evaluation_data import Detail, built_in
from firenet_benchmark.stability.learned_methods import learned_methods, wide_methods
from firenet_benchmark.stability.methods import Method, firenets, trained_methods
from firenet_mri.metrics import psnr

WANTED = ("FIRENET accurate", "FIRENET learned", "MoDL, jittered", "MoDL, wide")
ERROR_FACTOR = 10
DETAIL_FACTOR = 8


def main(out: Path) -> None:
    """Draw the picture."""
    every = (*firenets(), *trained_methods(), *learned_methods(), *wide_methods())
    methods = {one.name: one for one in every if not one.absent}
    shown = [methods[name] for name in WANTED if name in methods]
    data = built_in(2, 1, 2, [4.0], leave_out=["shifts"])
    # The faintest lesion, and the text.
    details = list(data.details[-2:])
    figure = Figure(figsize=(2.6 * (1 + len(shown)), 7.8 * len(details)), layout="constrained")
    axes = figure.subplots(3 * len(details), 1 + len(shown), squeeze=False)
    for number, detail in enumerate(details):
        draw_detail(axes[3 * number : 3 * number + 3], detail, shown)
    for place in axes.flat:
        place.axis("off")
    figure.savefig(out, dpi=80, metadata={"Software": None})


@torch.no_grad()
def draw_detail(axes: list[list[Axes]], detail: Detail, methods: list[Method]) -> None:
    """Draw the three rows of a detail."""
    truth, inserted = detail.after.reference, detail.detail[0]
    assert truth is not None
    largest = float(truth[0].max())
    signed = {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}
    axes[0][0].imshow(truth[0], cmap="gray", vmin=0, vmax=largest)
    axes[0][0].set_title(f"truth, {detail.name}", fontsize=9)
    axes[2][0].imshow(DETAIL_FACTOR * inserted, **signed)
    axes[2][0].set_title(f"detail x {DETAIL_FACTOR}", fontsize=9)
    for column, method in enumerate(methods, 1):
        image, before = (method.magnitude(batch)[0] for batch in (detail.after, detail.before))
        axes[0][column].imshow(image, cmap="gray", vmin=0, vmax=largest)
        axes[0][column].set_title(f"{method.name}\n{psnr(truth[0], image):.1f} dB", fontsize=9)
        axes[1][column].imshow(ERROR_FACTOR * (image - truth[0]), **signed)
        axes[1][column].set_title(f"error x {ERROR_FACTOR}", fontsize=9)
        axes[2][column].imshow(DETAIL_FACTOR * (image - before), **signed)
        axes[2][column].set_title("what is left", fontsize=9)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
