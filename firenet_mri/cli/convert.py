"""``firenet convert``: a raw scan in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from firenet_mri.cli.options import Debug, Overwrite, with_flags
from firenet_mri.io.kspace.options import ReadOptions


@with_flags(ReadOptions, without=["maps_file", "slices"])
def convert(
    scan: Annotated[Path, Parameter(help="Raw scan of any format that firenet reads.")],
    output: Annotated[
        Path, Parameter(help="ISMRMRD (.h5), BART (.cfl) or NumPy (.npy) file to write.")
    ],
    /,
    *,
    overwrite: Overwrite = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Write a raw scan in another format, without anything about the patient."""
    from firenet_mri.io.kspace.reading import read_with
    from firenet_mri.io.kspace.writing import check_conversion, write_scan

    reading = ReadOptions.from_mapping(options)
    check_conversion(scan, output, overwrite=overwrite)
    written = write_scan(output, read_with(scan, reading), overwrite=overwrite)
    console = Console(highlight=False, soft_wrap=True)
    for path in written:
        console.print(f"Wrote {path}", markup=False)
