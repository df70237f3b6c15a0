"""Draws the table "Where we stand" of docs/benchmark.md: docs/images/frontier.png.

    python plugins/benchmark/tools/picture_frontier.py OUT.png

Each method is a point: its PSNR without a perturbation, and under the worst perturbation of 1 % and
of 4 % that was found. The numbers are those of the page, so that picture and table agree.
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

PAGE = Path(__file__).parents[3] / "docs" / "benchmark.md"
HEADING = "| method | clean PSNR"
# Of the colour-blind-safe palette of Okabe and Ito.
FAMILIES = {
    "zero filling": ("#777777", "o"),
    "trained, no proven bound": ("#d55e00", "s"),
    "FIRENET, not trained": ("#0072b2", "D"),
    "FIRENET, trained, proven bound": ("#009e73", "^"),
}


def main(out: Path) -> None:
    """Draw the picture."""
    rows = table_rows(PAGE.read_text(encoding="utf-8"))
    figure = Figure(figsize=(11, 5), layout="constrained")
    for axes, size in zip(figure.subplots(1, 2, sharex=True), ("1 %", "4 %"), strict=True):
        draw(axes, rows, size)
    figure.axes[0].legend(fontsize=8, loc="upper left")
    figure.savefig(out, dpi=110, metadata={"Software": None})


def table_rows(page: str) -> list[dict[str, str]]:
    """Return the rows of the table, by the headings of their columns."""
    lines = page[page.index(HEADING) :].split("\n\n")[0].splitlines()
    cells = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(cells[0], row, strict=False)) for row in cells[2:]]


def family(name: str) -> str:
    """Return what kind of method a row is."""
    if name == "zero filling":
        return name
    if "FIRENET" not in name:
        return "trained, no proven bound"
    return "FIRENET, trained, proven bound" if "trained" in name else "FIRENET, not trained"


def draw(axes: Axes, rows: list[dict[str, str]], size: str) -> None:
    """Draw the points for perturbations of one size; rows that were not attacked have none."""
    labelled: set[str] = set()
    for row in rows:
        name = row["method"]
        clean, attacked = row["clean PSNR / SSIM / HaarPSI"].split("/")[0], row[size]
        try:
            point = float(clean), float(attacked)
        except ValueError:
            continue
        colour, marker = FAMILIES[family(name)]
        label = None if family(name) in labelled else family(name)
        labelled.add(family(name))
        axes.plot(*point, marker, color=colour, label=label)
        if name.endswith(", jittered"):
            continue  # They lie on top of the ones without noise in training.
        short = name.removeprefix("FIRENET ").removesuffix(", trained").removesuffix(" constraint")
        short = short.replace("`", "")
        axes.annotate(short, point, textcoords="offset points", xytext=(6, -9), fontsize=8)
    axes.set(xlabel="PSNR, clean (dB)", ylabel=f"PSNR under the worst {size} found (dB)")
    axes.set_xlim(22, 37)
    axes.grid(alpha=0.3)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
