"""``firenet bundle``: writes the MONAI bundle to a new folder."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

from rich.console import Console

import firenet_mri
from firenet_mri.cli.loading import loading
from firenet_mri.cli.options import Debug, output_flag
from firenet_mri.errors import FileError
from firenet_mri.io.outputs import check_outputs

_BUNDLE = Path(firenet_mri.__file__).parent / "monai" / "bundle"
# The trial scan is made here: in the package it would take half of the package's size.
_SCAN = "brain_3slices.h5"
# Files that a run in the package's own folder may have left there.
_LEFT_OUT = shutil.ignore_patterns("eval", "__pycache__", "*.ts")


def bundle(
    output: Annotated[Path, output_flag("Folder to create, such as firenet_reconstruction.")],
    *,
    debug: Debug = False,
) -> None:
    """Write the MONAI bundle to a new folder, with a small scan to try it on.

    The bundle is self-contained: copy it anywhere, and run it with python -m monai.bundle.
    """
    write_bundle(output)
    Console(highlight=False, soft_wrap=True).print(
        f"Wrote {output}. Try it there: python -m monai.bundle run --config_file "
        "configs/inference.json",
        markup=False,
    )


def write_bundle(folder: Path) -> None:
    """Copy the bundle to a folder, all of it or nothing.

    Raises
    ------
    FileError
        If a file or folder of that name exists, or if the parent folder is missing or not writable.
    """
    if folder.exists() or folder.is_symlink():
        raise FileError(f"{folder}: exists; give the name of a folder to create")
    check_outputs([folder])
    with loading():
        from firenet_mri.io import write_scan
        from firenet_mri.simulation.sample import sample

    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".bundle-") as temporary:
            made = Path(temporary) / "bundle"
            shutil.copytree(_BUNDLE, made, ignore=_LEFT_OUT)
            write_scan(made / "data" / _SCAN, sample())
            made.rename(folder)
    except OSError as error:
        raise FileError(f"{folder}: cannot be written ({error.strerror or error})") from None
