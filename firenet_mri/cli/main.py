"""The commands: they read options, call the library, and tell people what happened."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import firenet_mri
from firenet_mri.errors import FirenetError, UsageError
from firenet_mri.reconstruction import Reconstruction, SavedFiles, output_paths

app = typer.Typer(
    name="firenet",
    help="Stable MR image reconstruction with certificates (FIRENET).",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
benchmark_app = typer.Typer(help="Measure accuracy and speed.", no_args_is_help=True)
app.add_typer(benchmark_app, name="benchmark")


def main() -> None:
    """Run the command line; the exit status is 0 only if everything asked for was written."""
    debug = "--debug" in sys.argv
    try:
        app(standalone_mode=True)
    except FirenetError as error:
        if debug:
            raise
        _complain(str(error), error.exit_status)
    except KeyboardInterrupt:
        _complain("interrupted; no output was written", 130)
    except MemoryError:
        if debug:
            raise
        _complain("not enough memory for this scan; reconstruct on a larger machine", 1)


def _complain(message: str, status: int) -> None:
    """Print one line on stderr and leave."""
    sys.stderr.write("firenet: " + " ".join(message.split()) + "\n")
    raise SystemExit(status)


@app.callback(invoke_without_command=True)
def _common(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        sys.stdout.write(f"firenet_mri {firenet_mri.__version__}\n")
        raise typer.Exit


@app.command()
def recon(
    scan: Annotated[
        Path,
        typer.Argument(help="ISMRMRD (.h5), BART (.cfl) or NumPy (.npy, coils first) scan."),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Image to write, .nii.gz or .nii.")
    ],
    preset: Annotated[
        str, typer.Option(help="network (default) or paper (the published network).")
    ] = "network",
    lam: Annotated[
        float | None, typer.Option(help="Weight of the sparsity; default: from the scan's size.")
    ] = None,
    sparsifier: Annotated[
        str | None,
        typer.Option(help="undecimated-haar, haar, db2 ... db38, sym4; default: the preset's."),
    ] = None,
    levels: Annotated[int | None, typer.Option(help="Wavelet levels.")] = None,
    layers: Annotated[int | None, typer.Option(help="Number of layers.")] = None,
    maps: Annotated[
        str, typer.Option(help="Sensitivity maps: espirit, jsense, or none (single coil).")
    ] = "espirit",
    maps_file: Annotated[
        Path | None, typer.Option(help="Use these maps, .npy or .cfl, coils first.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="Sampling mask, .npy or .cfl; default: found in the data.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="Reference magnitude image, .nii.gz or .npy, for an error map."),
    ] = None,
    complex_image: Annotated[
        bool, typer.Option("--complex", help="Keep the phase: write a complex image.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the certificate and the paths as JSON.")
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace outputs that exist.")] = False,
    debug: Annotated[bool, typer.Option(help="Show a traceback on errors.")] = False,
) -> None:
    """Reconstruct a multi-coil scan; write image, picture and certificate."""
    from firenet_mri.io import read, read_array, read_reference

    output_paths(output, overwrite=overwrite)
    raw = read(scan, mask=mask)
    target = None if reference is None else read_reference(reference)
    sensitivity: Any = maps if maps_file is None else read_array(maps_file)
    with _progress(f"Reconstructing {raw.name}", quiet=as_json) as on_layer:
        result = firenet_mri.reconstruct(
            raw,
            preset=preset,  # type: ignore[arg-type]
            lam="auto" if lam is None else lam,
            sparsifier=sparsifier,
            levels=levels,
            layers=layers,
            maps=sensitivity,
            device=device,
            on_layer=on_layer,
        )
    files = result.save(
        output, overwrite=overwrite, complex_image=complex_image, reference=target
    )
    if as_json:
        sys.stdout.write(json.dumps(result.report(files), indent=2) + "\n")
    else:
        _tell(result, files)
