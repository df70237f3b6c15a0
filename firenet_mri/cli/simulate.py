"""``firenet simulate``: a simulated raw scan of an image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console

from firenet_mri.cli.options import Debug, Overwrite, output_flag, with_flags
from firenet_mri.errors import UsageError
from firenet_mri.options import Options, documented, indices, option


@documented
@dataclass(frozen=True, eq=False)
class SimulationOptions(Options):
    """The coils, the sampling and the noise of a simulated scan."""

    coils: int = option(8, "Number of coils of the simulated birdcage.")
    acceleration: float = option(4.0, "Undersampling factor: grid points per sampled one.")
    calibration: int = option(24, "Width of the fully sampled centre, in samples.")
    pattern: Literal["lines", "points"] = option(
        "lines", "What is sampled: lines or single points."
    )
    snr: float = option(40.0, "Mean signal divided by the noise's standard deviation.")
    slices: tuple[int, ...] | None = option(
        None,
        "Slices to encode, counted from 0, such as 3 or 2-5,8; all by default.",
        parse=indices,
    )
    seed: int = option(0, "Seed of the pattern and the noise.")


@with_flags(SimulationOptions)
def simulate(
    image: Annotated[
        Path, Parameter(help="NIfTI, DICOM series or .npy image, magnitude or complex.")
    ],
    /,
    *,
    output: Annotated[Path, output_flag("Scan to write: .h5, .mrd, .cfl or .npy.")],
    volume: Annotated[
        bool,
        Parameter(
            name="--3d",
            help="Encode the slices as one volume, not one by one.",
            show_default=False,
        ),
    ] = False,
    overwrite: Overwrite = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Simulate a multi-coil scan of an image; everything made from it says so."""
    from firenet_mri.io import write_scan
    from firenet_mri.io.image.reading import read_image
    from firenet_mri.io.kspace.writing import check_conversion
    from firenet_mri.simulation import simulate as simulated

    wanted = SimulationOptions.from_mapping(options)
    check_conversion(image, output, overwrite=overwrite)
    pixels, geometry = read_image(image)
    chosen = wanted.slices
    if chosen is not None:
        missing = [index for index in chosen if index >= len(pixels)]
        if missing:
            raise UsageError(
                f"{image}: slices {missing} asked for; there are 0 to {len(pixels) - 1}"
            )
        pixels = pixels[list(chosen)]
        geometry = None if geometry is None else geometry.of_slices(chosen)
    scan = simulated(
        pixels,
        geometry,
        coils=wanted.coils,
        acceleration=wanted.acceleration,
        calibration=wanted.calibration,
        pattern=wanted.pattern,
        snr=wanted.snr,
        volume=volume,
        seed=wanted.seed,
        name=output.name,
    )
    console = Console(highlight=False, soft_wrap=True)
    for path in write_scan(output, scan, overwrite=overwrite):
        console.print(f"Wrote {path} (simulated)", markup=False)
