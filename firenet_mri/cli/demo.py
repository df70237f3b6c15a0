"""``firenet demo``: a first image, from a simulated scan that needs no file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from rich.console import Console

from firenet_mri.cli.loading import loading
from firenet_mri.cli.options import Debug, Overwrite, output_flag
from firenet_mri.cli.recon import OutputOptions, reconstruct_file
from firenet_mri.errors import FileError
from firenet_mri.io.kspace.options import ReadOptions
from firenet_mri.reconstruction.options import ReconstructionOptions


def demo(
    output: Annotated[Path, output_flag("Folder for the files.")] = Path("firenet_demo"),
    *,
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Reconstruct a small simulated scan; write scan, image, picture and certificate.

    Nothing is downloaded or opened, and no file of yours is needed.
    """
    scan, reference = output / "scan.h5", output / "reference.nii.gz"
    image = output / "image.nii.gz"
    _write_sample(scan, reference, image, overwrite=overwrite)
    try:
        reconstruct_file(
            scan,
            image,
            ReadOptions(),
            ReconstructionOptions(),
            OutputOptions(reference=reference, overwrite=overwrite),
        )
    except BaseException:
        scan.unlink(missing_ok=True)
        reference.unlink(missing_ok=True)
        raise
    console = Console(highlight=False, soft_wrap=True)
    console.print("To do the same by hand:", markup=False)
    console.print(f"    firenet info {scan}", markup=False)
    console.print(f"    firenet recon {scan} -o my_{image.name}", markup=False)
    console.print(f"    firenet certify {output / 'image.json'} --scan {scan}", markup=False)


def _write_sample(scan: Path, reference: Path, image: Path, *, overwrite: bool) -> None:
    """Write the sample scan and its reference to a folder, which is created.

    Raises
    ------
    FileError
        If the folder cannot be created, or if an output exists and may not be replaced.
    """
    with loading():
        from firenet_mri.io import check_outputs, write_scan
        from firenet_mri.reconstruction import output_paths
        from firenet_mri.simulation.sample import SAMPLE_REFERENCE, sample

    try:
        scan.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"{scan.parent}: cannot be created ({error.strerror or error}); give another folder"
        ) from None
    check_outputs([scan, reference], overwrite=overwrite)
    output_paths(image, overwrite=overwrite)
    write_scan(scan, sample(), overwrite=overwrite)
    reference.write_bytes(SAMPLE_REFERENCE.read_bytes())
