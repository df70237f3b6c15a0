"""``firenet convert``: a raw scan in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from firenet_mri.cli.app import app


@app.command()
def convert(
    scan: Annotated[Path, typer.Argument(help="Raw scan of any format that firenet reads.")],
    output: Annotated[
        Path, typer.Argument(help="ISMRMRD (.h5), BART (.cfl) or NumPy (.npy) file to write.")
    ],
    fft_sign: Annotated[
        int | None, typer.Option(help="1 or -1; see firenet recon. Default: the vendor's.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace outputs that exist.")] = False,
    debug: Annotated[bool, typer.Option(help="Show a traceback on errors.")] = False,
) -> None:
    """Write a raw scan in another format, without anything about the patient."""
    from firenet_mri.io import read
    from firenet_mri.io.kspace.writing import check_conversion, write_scan

    check_conversion(scan, output, overwrite=overwrite)
    written = write_scan(output, read(scan, fft_sign=fft_sign), overwrite=overwrite)
    console = Console(highlight=False, soft_wrap=True)
    for path in written:
        console.print(f"Wrote {path}", markup=False)
