"""``firenet simulate``: a simulated raw scan of an image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from firenet_mri.cli.app import app
from firenet_mri.cli.scans import numbers
from firenet_mri.errors import UsageError


@app.command()
def simulate(
    image: Annotated[
        Path, typer.Argument(help="NIfTI, DICOM series or .npy image, magnitude or complex.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Scan to write, .h5, .mrd, .cfl or .npy.")
    ],
    coils: Annotated[int, typer.Option(help="Number of coils, of a birdcage.")] = 8,
    acceleration: Annotated[float, typer.Option(help="Grid points for one that is sampled.")] = 4.0,
    calibration: Annotated[int, typer.Option(help="Width of the fully sampled centre.")] = 24,
    pattern: Annotated[str, typer.Option(help="lines or points.")] = "lines",
    snr: Annotated[float, typer.Option(help="Mean signal over the noise's deviation.")] = 40.0,
    slices: Annotated[
        str | None, typer.Option(help="Slices to take, from 0, such as 3 or 2-5,8; default: all.")
    ] = None,
    volume: Annotated[
        bool, typer.Option("--3d", help="Encode the slices as one volume, not one by one.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of pattern and noise.")] = 0,
    overwrite: Annotated[bool, typer.Option(help="Replace outputs that exist.")] = False,
    debug: Annotated[bool, typer.Option(help="Show a traceback on errors.")] = False,
) -> None:
    """Simulate a multi-coil scan of an image; everything made from it says so."""
    from firenet_mri.io import write_scan
    from firenet_mri.io.image.reading import read_image
    from firenet_mri.io.kspace.writing import check_conversion
    from firenet_mri.simulation import simulate as simulated

    check_conversion(image, output, overwrite=overwrite)
    pixels, geometry = read_image(image)
    chosen = numbers(slices)
    if chosen is not None:
        missing = [index for index in chosen if index >= len(pixels)]
        if missing:
            raise UsageError(
                f"{image}: slices {missing} asked for; there are 0 to {len(pixels) - 1}"
            )
        pixels = pixels[chosen]
        geometry = None if geometry is None else geometry.of_slices(chosen)
    scan = simulated(
        pixels,
        geometry,
        coils=coils,
        acceleration=acceleration,
        calibration=calibration,
        pattern=pattern,  # type: ignore[arg-type]
        snr=snr,
        volume=volume,
        seed=seed,
        name=output.name,
    )
    console = Console(highlight=False, soft_wrap=True)
    for path in write_scan(output, scan, overwrite=overwrite):
        console.print(f"Wrote {path} (simulated)", markup=False)
