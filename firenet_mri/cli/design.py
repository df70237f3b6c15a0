"""``firenet design``: draws a sampling pattern and states what the theory says about it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from firenet_mri.cli.early import check_files, check_replaces_none
from firenet_mri.cli.options import Debug, Overwrite, output_flag, with_flags
from firenet_mri.cli.tables import print_table
from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.options import Options, documented, option
from firenet_mri.simulation.options import MOST_FRAMES

if TYPE_CHECKING:
    from firenet_mri.firenet.levels import TheoremParameters
    from firenet_mri.firenet.sampling import SamplingDesign
    from firenet_mri.operators.base import Shape

_Transform = Literal["fourier", "walsh"]
_Kind = Literal["points", "lines", "plane", "radial"]
# Options from which a pattern for several frames is made.
_OF_FRAMES = {"rate", "kind", "calibration", "frames"}
_LEAST_SIZE, _MOST_SIZE = 2, 8192
_NAMES = (
    "C1",
    "C2",
    "largest admissible lam",
    "lam",
    "sharpness chi",
    "inner iterations p",
    "restarts n",
    "layers n p",
)


@documented
@dataclass(frozen=True, eq=False)
class DesignOptions(Options):
    """Options of the pattern, of the images for which it is meant, and of the theorem."""

    rate: float = option(0.15, "Fraction of k-space that is sampled, 0 to 1.")
    wavelet: str = option("haar", "Sparsifying wavelet: haar, db2 ... db10, or sym2 ... sym10.")
    transform: _Transform = option("fourier", "Transform that is sampled.")
    kind: _Kind = option(
        "points",
        "Kind of pattern: points (2D), phase-encoding lines, or planes (3D); radial means spokes, "
        "for frames only.",
    )
    frames: int | None = option(
        None,
        "Number of frames over time that are reconstructed together, each with other lines or "
        "spokes.",
        check=lambda value: (
            None if 1 < value <= MOST_FRAMES else f"give a number from 2 to {MOST_FRAMES}"
        ),
    )
    calibration: int = option(0, "Width of a fully sampled centre for coil maps, in samples.")
    sparsities: str | None = option(
        None,
        "Local sparsities of the levels, such as 15,44,82; those of a Shepp-Logan phantom "
        "by default.",
    )
    image: Path | None = option(
        None, "Image of the same size, .nii.gz or .npy, whose sparsities are measured instead."
    )
    lam: float | None = option(
        None, "Weight of the sparsity; the largest admissible one by default."
    )
    accuracy: float = option(
        0.01,
        "Error that the network itself may have, relative to ||y||, at most 1.",
        check=lambda value: None if 1e-15 <= value <= 1 else "give a number from 1e-15 to 1",
    )
    seed: int = option(0, "Seed of the random draw.")

    def _check_together(self) -> None:
        if self.sparsities is not None and self.image is not None:
            raise UsageError("--sparsities and --image given; give one of them")
        if self.frames is None:
            if self.kind == "radial":
                raise UsageError("--kind radial is for frames; give --frames")
            return
        if self.kind not in ("lines", "radial"):
            raise UsageError("--frames measure lines or spokes; give --kind lines or radial")
        given = {one.name for one in fields(self) if getattr(self, one.name) != one.default}
        others = sorted(given - _OF_FRAMES)
        if others:
            raise UsageError(
                f"--frames was given with {', '.join(f'--{name}' for name in others)}, which "
                "belongs to the theorem for one image; omit one of them"
            )


@with_flags(DesignOptions)
def design(
    size: Annotated[
        str,
        Parameter(
            help="Size of the image: 256, 256x200 (y, x), or 64x256x200 (z, y, x) for planes."
        ),
    ],
    /,
    *,
    output: Annotated[Path, output_flag("Mask to write: .npy; a picture is written next to it.")],
    overwrite: Overwrite = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Draw a sampling pattern; write mask and picture, and state what the theory guarantees."""
    wanted = DesignOptions.from_mapping(options)
    shape = _shape(size, wanted.kind)
    check_files(wanted)
    from firenet_mri.io.pattern import pattern_files, write_pattern

    files = pattern_files(output, overwrite=overwrite)
    check_replaces_none(files, [], wanted)
    if wanted.frames is not None:
        _design_frames(files, shape, wanted, wanted.frames, overwrite=overwrite)
        return
    result = _drawn(shape, wanted)
    exact, inexact = _theorems(result, wanted.accuracy, wanted.lam)
    name = " x ".join(str(n) for n in shape)
    transform, kind = wanted.transform, wanted.kind
    title = f"{transform.capitalize()} {kind}, {name}, {wanted.wavelet}, seed {wanted.seed}"
    axes = _axis_names(transform, kind)
    write_pattern(files, result, title=title, axis_names=axes, overwrite=overwrite)
    source = wanted.image or (wanted.sparsities and "--sparsities") or "a Shepp-Logan phantom"
    console = Console(highlight=False, soft_wrap=True)
    print_table(console, _level_table(result, f"{title}; s_l: {source}"))
    print_table(console, _theorem_table(exact, inexact))
    _tell(console, result, exact, wanted.accuracy, files)


def _design_frames(
    files: tuple[Path, Path], shape: Shape, wanted: DesignOptions, frames: int, *, overwrite: bool
) -> None:
    """Write the sampling of all frames, and print what it means."""
    from firenet_mri.cli.design_frames import frames_of_lines, frames_of_spokes, usage
    from firenet_mri.io.pattern import write_frames

    if len(shape) != 2:
        raise UsageError(f"Frames of {len(shape)} axes asked for; give a size of y and x")
    along = wanted.kind == "radial"
    make = frames_of_spokes if along else frames_of_lines
    pattern, said = make(frames, shape, wanted.rate, wanted.calibration)
    what = "golden-angle spokes" if along else "interleaved lines"
    title = f"{frames} frames, {' x '.join(map(str, shape))}, {what}"
    write_frames(files, pattern, title=title, overwrite=overwrite)
    console = Console(highlight=False, soft_wrap=True)
    kind = "Trajectory" if along else "Mask"
    for line in (*said, f"{kind}: {files[0]} ({usage(files[0], along=along)})"):
        console.print(line, markup=False)
    console.print(f"Picture: {files[1]}", markup=False)


def _drawn(shape: Shape, wanted: DesignOptions) -> SamplingDesign:
    """Return the pattern for the given or measured sparsities."""
    from firenet_mri.firenet.sampling import sampling_design

    kind = wanted.kind
    assert kind != "radial"
    counts = None if wanted.sparsities is None else _numbers(wanted.sparsities)
    if wanted.image is not None:
        counts = _measure(wanted.image, shape, wanted.wavelet, kind)
    return sampling_design(
        shape,
        wanted.rate,
        sparsities=counts,
        wavelet=wanted.wavelet,
        transform=wanted.transform,
        kind=kind,
        calibration=wanted.calibration,
        seed=wanted.seed,
    )


def _theorems(
    result: SamplingDesign, accuracy: float, lam: float | None
) -> tuple[TheoremParameters, TheoremParameters]:
    """Return the theorem's parameters for an operator known exactly, and known approximately."""
    from firenet_mri.firenet.levels import NullSpaceConstants, theorem_parameters

    # The property that the theorem needs, and that holds with high probability, for norm 1.
    assumed = NullSpaceConstants(rho=0.5, gamma=math.sqrt(2))
    exact, inexact = (
        theorem_parameters(result.levels, assumed, accuracy=accuracy, lam=lam, exact=known)
        for known in (True, False)
    )
    return exact, inexact


def _axis_names(transform: _Transform, kind: _Kind) -> tuple[str, str]:
    letter = "sequency " if transform == "walsh" else "k"
    return (
        letter + ("z" if kind == "plane" else "y"),
        letter + ("y" if kind == "plane" else "x"),
    )


def _shape(size: str, kind: _Kind) -> Shape:
    """Return the sizes of all axes; a single number applies to every axis."""
    numbers = _numbers(size, separator="x")
    if not all(_LEAST_SIZE <= number <= _MOST_SIZE for number in numbers):
        raise UsageError(
            f"Size {size} given; give sizes of {_LEAST_SIZE} to {_MOST_SIZE} along each axis"
        )
    return numbers * (3 if kind == "plane" else 2) if len(numbers) == 1 else numbers


def _numbers(text: str, *, separator: str = ",") -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(separator))
    except ValueError:
        example = "256x200" if separator == "x" else "15,44,82"
        raise UsageError(
            f"{text!r} given; give whole numbers separated by {separator!r}, such as {example}"
        ) from None


def _measure(
    path: Path, shape: Shape, wavelet: str, kind: Literal["points", "lines", "plane"]
) -> tuple[int, ...]:
    """Return the local sparsities of the image in a file."""
    from firenet_mri.firenet.sampling import measured_sparsities
    from firenet_mri.io import read_reference

    found = read_reference(path)
    if found.ndim > len(shape) and found.shape[0] == 1:
        found = found[0]
    if tuple(found.shape) != shape:
        raise ShapeError(
            f"{path}: the image has shape {tuple(found.shape)}, the pattern {shape}; give an image "
            "of the pattern's size"
        )
    return measured_sparsities(found, wavelet=wavelet, kind=kind)


def _level_table(result: SamplingDesign, title: str) -> Table:
    columns = ("level", "coefficients", "sparsity s_l", "weight w_l", "k-space", "samples", "part")
    table = Table(*columns, title=title)
    levels = result.levels
    for index, values in enumerate(
        zip(
            levels.sizes,
            levels.sparsities,
            levels.weights,
            result.level_frequencies,
            result.level_samples,
            strict=True,
        ),
        1,
    ):
        size, sparsity, weight, frequencies, samples = values
        part = f"{samples / frequencies:.1%}"
        row = (index, size, sparsity, f"{weight:.4f}", frequencies, samples, part)
        table.add_row(*(str(cell) for cell in row))
    return table


def _theorem_table(exact: TheoremParameters, inexact: TheoremParameters) -> Table:
    table = Table(
        "theorem, rho = 1/2, gamma = sqrt(2) assumed",
        "operator known exactly",
        "known approximately (Theorem 3)",
    )
    for name, *cells in zip(_NAMES, _cells(exact), _cells(inexact), strict=True):
        table.add_row(name, *cells)
    return table


def _cells(theorem: TheoremParameters) -> tuple[str, ...]:
    """Return the numbers that belong to ``_NAMES``."""
    return (
        f"{theorem.recovery.c1:.4g}",
        f"{theorem.recovery.c2:.4g}",
        f"{theorem.largest_lam:.4g}",
        f"{theorem.lam:.4g}",
        f"{theorem.chi:.4g}",
        str(theorem.inner),
        str(theorem.restarts),
        str(theorem.inner * theorem.restarts),
    )


def _tell(
    console: Console,
    result: SamplingDesign,
    exact: TheoremParameters,
    accuracy: float,
    files: tuple[Path, Path],
) -> None:
    """Print what holds, what is assumed, and where the files are."""
    levels = result.levels
    count, total = sum(result.level_samples), sum(result.level_frequencies)
    what = "points" if result.band_samples.ndim == 2 else "lines"
    lines = [
        f"Samples: {count} of {total} {what}, {count / total:.2%}. kappa = {levels.kappa:.4g}, "
        f"xi = {levels.xi:.6g}.",
        "Guarantee: if the sampled transform has the robust null space property in levels with "
        "rho = 1/2 and gamma = sqrt(2), the result of the network with these p and n lies, for "
        "every image c and data y, within",
        f"    {exact.tail_factor:.3g} sigma(c) + {exact.misfit_factor:.3g} ||A c - y|| + "
        f"{exact.delta_factor:.3g} delta + {accuracy:g} ||y||",
        "of c. Here sigma(c) is the weighted l1 norm of all but the s_l largest coefficients of "
        "every level, and delta is the parameter of the schedule, which must be at least "
        f"{2 * exact.lam:.3g} sigma(c) + {1 + exact.recovery.c2 / exact.chi:.3g} ||A c - y||.",
        "It is assumed, not verified, that this pattern has the property. According to the theory "
        "it does with high probability if every band k has C L kappa M(s, k) samples. The constant "
        "C and the logarithmic factors L are not verified here.",
        _margin(result),
        "This holds for one coil; several coils have a different operator.",
        f"Mask:    {files[0]} (firenet recon SCAN --mask {files[0]})",
        f"Picture: {files[1]}",
    ]
    for line in lines:
        console.print(line, markup=False)


def _margin(result: SamplingDesign) -> str:
    margin = result.margin
    if margin is None:
        return "M(s, k) is implemented for Haar only, so that nothing is known about C L here."
    if math.isinf(margin):
        return "All of k-space is sampled, so that the operator is unitary and the property holds."
    return (
        f"This pattern has at least {margin:.3g} kappa M(s, k) samples in every band that is not "
        "full: the theorem applies only if C L is at most that factor."
    )
