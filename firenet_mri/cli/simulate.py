"""``firenet simulate``: a simulated raw scan of an image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from firenet_mri.cli.options import Debug, Overwrite, output_flag
from firenet_mri.errors import UsageError
from firenet_mri.io.kspace.options import ReadOptions


def simulate(
    image: Annotated[
        Path, Parameter(help="NIfTI, DICOM series or .npy image, magnitude or complex.")
    ],
    /,
    *,
    output: Annotated[Path, output_flag("Scan to write: .h5, .mrd, .cfl or .npy.")],
    coils: Annotated[int, Parameter(help="Number of coils of the simulated birdcage.")] = 8,
    acceleration: Annotated[
        float, Parameter(help="Undersampling factor: grid points per sampled one.")
    ] = 4.0,
    calibration: Annotated[
        int, Parameter(help="Width of the fully sampled centre, in samples.")
    ] = 24,
    pattern: Annotated[
        Literal["lines", "points"], Parameter(help="What is sampled: lines or single points.")
    ] = "lines",
    snr: Annotated[
        float, Parameter(help="Mean signal divided by the noise's standard deviation.")
    ] = 40.0,
    slices: Annotated[
        str | None,
        Parameter(
            help="Slices to encode, counted from 0, such as 3 or 2-5,8; all by default.",
        ),
    ] = None,
    volume: Annotated[
        bool,
        Parameter(
            name="--3d",
            help="Encode the slices as one volume, not one by one.",
            show_default=False,
        ),
    ] = False,
    seed: Annotated[int, Parameter(help="Seed of the pattern and the noise.")] = 0,
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Simulate a multi-coil scan of an image; everything made from it says so."""
    from firenet_mri.io import write_scan
    from firenet_mri.io.image.reading import read_image
    from firenet_mri.io.kspace.writing import check_conversion
    from firenet_mri.simulation import simulate as simulated

    check_conversion(image, output, overwrite=overwrite)
    pixels, geometry = read_image(image)
    chosen = ReadOptions.from_mapping({"slices": slices}).slices
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
        coils=coils,
        acceleration=acceleration,
        calibration=calibration,
        pattern=pattern,
        snr=snr,
        volume=volume,
        seed=seed,
        name=output.name,
    )
    console = Console(highlight=False, soft_wrap=True)
    for path in write_scan(output, scan, overwrite=overwrite):
        console.print(f"Wrote {path} (simulated)", markup=False)
