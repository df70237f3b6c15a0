"""``firenet simulate``: simulates a raw scan of an image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from firenet_mri.cli.early import check_files, check_inputs, check_replaces_none
from firenet_mri.cli.options import Debug, Overwrite, chosen, output_flag, with_flags
from firenet_mri.errors import UsageError
from firenet_mri.io.image.options import ImageReadOptions
from firenet_mri.options import Options, documented, indices, option
from firenet_mri.simulation.options import SimulationOptions


@documented
@dataclass(frozen=True, eq=False)
class SliceOptions(Options):
    """The option that selects the slices of an image."""

    slices: tuple[int, ...] | None = option(
        None,
        "Slices to encode, counted from 0, such as 3 or 2-5,8; all by default.",
        parse=indices,
    )


@with_flags(SimulationOptions, SliceOptions, ImageReadOptions)
def simulate(
    image: Annotated[
        Path,
        Parameter(
            help="NIfTI, DICOM series or .npy image, magnitude or complex, or a series of images "
            "with time as the fourth axis."
        ),
    ],
    /,
    *,
    output: Annotated[Path, output_flag("Scan to write: .h5, .mrd, .cfl or .npy.")],
    overwrite: Overwrite = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Simulate a multi-coil scan from an image; everything made from it is labelled simulated."""
    wanted, slices = chosen(SimulationOptions, options), chosen(SliceOptions, options).slices
    check_inputs([image])
    check_files(wanted)
    from firenet_mri.domain import check_is_image
    from firenet_mri.io.kspace.targets import beside, files_of

    names = (output, beside(output, "noise"), beside(output, "trajectory"))
    check_replaces_none([file for name in names for file in files_of(name)], [image], wanted)
    from firenet_mri.io import write_scan
    from firenet_mri.io.image.reading import read_image
    from firenet_mri.io.kspace.writing import check_conversion
    from firenet_mri.simulation import simulate_with

    check_conversion(image, output, overwrite=overwrite)
    pixels, geometry = read_image(image, chosen(ImageReadOptions, options), several=True)
    check_is_image(pixels, 2, name=str(image))
    if slices is not None:
        count = pixels.shape[-3]
        missing = [index for index in slices if index >= count]
        if missing:
            raise UsageError(f"{image}: slices {missing} asked for; there are 0 to {count - 1}")
        pixels = pixels[..., list(slices), :, :]
        geometry = None if geometry is None else geometry.of_slices(slices)
    scan = simulate_with(pixels, geometry, wanted, name=output.name)
    console = Console(highlight=False, soft_wrap=True)
    for path in write_scan(output, scan, overwrite=overwrite):
        console.print(f"Wrote {path} (simulated)", markup=False)
