"""Draws what networks lose and invent: docs/images/learned.png of the card of the shipped network.

    python plugins/benchmark/scripts/picture_learned.py OUT.png

Two test slices of the stability benchmark: one with a lesion of 5 % and a text of 3 %, one without.
For each method: the image, ten times its error, and how much of the detail is left: the image with
it minus the image without. Needs firenet_mri[dev].
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure

from firenet_benchmark.stability.evaluation_data import Detail, built_in
from firenet_benchmark.stability.methods import Method, firenets, trained_methods, wide_methods
from firenet_mri.metrics import psnr

WANTED = ("FIRENET accurate", "FIRENET learned", "MoDL, jittered", "MoDL, wide")
ERROR_FACTOR = 10
DETAIL_FACTOR = 8


def main(out: Path) -> None:
    """Draw the picture."""
    methods = {m.name: m for m in (*firenets(), *trained_methods(), *wide_methods())}
    shown = [methods[name] for name in WANTED if name in methods]
    details = built_in().details
    figure = Figure(figsize=(3 * (1 + len(shown)), 6.2 * len(details[:2])), layout="constrained")
    axes = figure.subplots(3 * len(details[:2]), 1 + len(shown))
    for number, detail in enumerate(details[:2]):
        _rows(axes[3 * number : 3 * number + 3], detail, shown)
    for place in axes.flat:
        place.axis("off")
    figure.savefig(out, dpi=90, metadata={"Software": None})


@torch.no_grad()
def _rows(axes, detail: Detail, methods: list[Method]) -> None:  # type: ignore[no-untyped-def]
    """Draw the three rows of a detail."""
    reference, without = detail.with_it.reference[0], detail.without.reference[0]
    largest = float(reference.max())
    axes[0][0].imshow(reference, cmap="gray", vmax=largest)
    axes[0][0].set_title(f"truth, {detail.name}")
    axes[2][0].imshow(DETAIL_FACTOR * (reference - without), **_signed(largest))
    axes[2][0].set_title(f"detail x {DETAIL_FACTOR}")
    for column, method in enumerate(methods, 1):
        image = method.magnitude(detail.with_it)[0]
        before = method.magnitude(detail.without)[0]
        axes[0][column].imshow(image, cmap="gray", vmax=largest)
        axes[0][column].set_title(f"{method.name}, {psnr(reference, image):.1f} dB")
        axes[1][column].imshow(ERROR_FACTOR * (image - reference), **_signed(largest))
        axes[1][column].set_title(f"error x {ERROR_FACTOR}")
        axes[2][column].imshow(DETAIL_FACTOR * (image - before), **_signed(largest))
        axes[2][column].set_title(f"what is left of the detail x {DETAIL_FACTOR}")


def _signed(largest: float) -> dict[str, object]:
    return {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
