"""Writes a sampling pattern as a mask file, and as a picture with the samples of each level."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from firenet_mri.errors import UsageError
from firenet_mri.firenet.sampling import SamplingDesign
from firenet_mri.io.outputs import atomic_writes, check_outputs

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

# Number of frames whose spokes are drawn.
_SHOWN = 3
_SAMPLED, _EMPTY = "#2e86ab", "#d9e4ea"


def pattern_files(output: Path, *, overwrite: bool = False) -> tuple[Path, Path]:
    """Return the mask file and the picture beside it, after checking that both can be written.

    Raises
    ------
    UsageError
        If the name does not end in .npy.
    FileError
        If a file exists and may not be replaced, or cannot be written.
    """
    if output.suffix != ".npy":
        raise UsageError(f"{output}: a mask is written as .npy; give a name with that ending")
    files = (output, output.with_suffix(".png"))
    check_outputs(files, overwrite=overwrite)
    return files


def write_pattern(
    files: tuple[Path, Path],
    design: SamplingDesign,
    *,
    title: str,
    axis_names: tuple[str, str],
    overwrite: bool = False,
) -> None:
    """Write the mask, bool (*spatial_shape), and its picture, or neither of them.

    Parameters
    ----------
    files
        The paths from :func:`pattern_files`.
    design, title, axis_names
        As in :func:`figure`.
    overwrite
        Replace files that exist.

    Raises
    ------
    FileError
        If a file cannot be written.
    """
    drawing = figure(design, title=title, axis_names=axis_names)
    with atomic_writes(files, overwrite=overwrite) as (mask, picture):
        np.save(mask, design.mask.numpy())
        drawing.savefig(picture, dpi=150, bbox_inches="tight", metadata={"Software": None})


def write_frames(
    files: tuple[Path, Path], pattern: Tensor, *, title: str, overwrite: bool = False
) -> None:
    """Write the sampling of frames and its picture, or neither of them.

    Parameters
    ----------
    files
        The paths from :func:`pattern_files`.
    pattern
        Mask (frame, y, x) bool of lines, or trajectory (frame, 1, spoke, sample, 2).
    title
        A line of text above the picture.
    overwrite
        Replace files that exist.

    Raises
    ------
    FileError
        If a file cannot be written.
    """
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(6.0, 4.6), layout="constrained")
    axis = drawing.subplots()
    if pattern.ndim == 3:
        lines = pattern[..., 0].numpy().T
        axis.imshow(lines, cmap="gray", aspect="auto", interpolation="nearest")
        axis.set(xlabel="frame", ylabel="ky")
    else:
        for frame, spokes in enumerate(pattern[:_SHOWN, 0].numpy()):
            for spoke in spokes[:, [0, -1]]:
                axis.plot(spoke[:, 1], spoke[:, 0], color=f"C{frame}", lw=1)
        axis.set(xlabel="kx", ylabel="ky", aspect="equal")
        axis.set_title(f"the first {min(_SHOWN, len(pattern))} frames, by colour", fontsize=10)
    drawing.suptitle(title, fontsize=11)
    with atomic_writes(files, overwrite=overwrite) as (array, picture):
        np.save(array, pattern.numpy())
        drawing.savefig(picture, dpi=150, bbox_inches="tight", metadata={"Software": None})


def figure(design: SamplingDesign, *, title: str, axis_names: tuple[str, str]) -> Figure:
    """Return a figure with the pattern at the left and a bar for each level at the right.

    Parameters
    ----------
    design
        The pattern; for a 3D pattern the phase-encoding plane is shown.
    title
        A line of text above the figure.
    axis_names
        Names of the rows and the columns of the picture.
    """
    from matplotlib.figure import Figure

    result = Figure(figsize=(9.0, 4.6), layout="constrained")
    left, right = result.subplots(1, 2, width_ratios=(1.1, 1.0))
    mask = design.mask[..., 0] if design.mask.ndim == 3 else design.mask
    left.imshow(mask.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    left.set(ylabel=axis_names[0], xlabel=axis_names[1])
    left.set_title(f"white: sampled, {design.rate:.1%}", fontsize=10)
    _draw_levels(right, design)
    result.suptitle(title, fontsize=11)
    return result


def _draw_levels(axis: Any, design: SamplingDesign) -> None:
    """Draw the sampled share of each level's bands, with the numbers."""
    samples, sizes = design.level_samples, design.level_frequencies
    names = [str(level) for level in range(1, len(sizes) + 1)]
    parts = [100 * m / size for m, size in zip(samples, sizes, strict=True)]
    axis.barh(names, [100] * len(names), color=_EMPTY, height=0.7)
    axis.barh(names, parts, color=_SAMPLED, height=0.7)
    for place, (m, size, s) in enumerate(
        zip(samples, sizes, design.levels.sparsities, strict=True)
    ):
        axis.annotate(
            f"{m} of {size}, $s_l$ = {s}",
            (1.02, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=9,
        )
    axis.invert_yaxis()
    axis.set(xlim=(0, 100), xlabel="sampled (%)", ylabel="level, coarsest first")
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(left=False)
