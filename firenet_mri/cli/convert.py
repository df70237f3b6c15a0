"""``firenet convert``: writes raw scans in another format."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from firenet_mri.cli.early import check_files, check_inputs, check_replaces_none
from firenet_mri.cli.options import Debug, Overwrite, chosen, output_flag, with_flags
from firenet_mri.cli.progress import progress
from firenet_mri.conversion.options import ConversionOptions
from firenet_mri.plurals import by_number, counted

if TYPE_CHECKING:
    from firenet_mri.conversion import Conversion, Converted, ConvertedFilm, ConvertedImages


@with_flags(ConversionOptions, without=ConversionOptions.REFUSED)
def convert(
    scan: Annotated[
        Path,
        Parameter(
            help=(
                "Raw scan in any format that firenet reads, a folder of such scans, or a file "
                "of MRD images; for a film also a NIfTI image."
            )
        ),
    ],
    /,
    output: Annotated[
        Path,
        output_flag(
            "ISMRMRD (.h5, .mrd), fastMRI (.h5), BART (.cfl) or NumPy (.npy) file to "
            "write; for a folder of scans, a folder. For MRD images, NIfTI (.nii.gz, "
            ".nii) or enhanced DICOM (.dcm), a folder with --to dicom, or a stem such as "
            "sub-01_T1w with --to bids. For a film of images that follow one another, .gif "
            "or .mp4."
        ),
    ],
    *,
    overwrite: Overwrite = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Write raw scans or images in another format, or images as a film, without patient data.

    In a folder and its subfolders every scan is converted. A scan that fails does not stop the
    others; the exit status is then 1. The same command resumes after an interruption: finished
    scans are kept. The table OUTPUT.csv next to the output folder lists the result of each scan.
    """
    wanted = chosen(ConversionOptions, options)
    check_inputs([scan])
    check_files(wanted)
    _check_replaces_none(output, scan, wanted)
    from firenet_mri.conversion import convert_film, convert_images, convert_scan
    from firenet_mri.io.kspace.bruker import find_experiment
    from firenet_mri.io.kspace.targets import image_target_of, is_film

    if is_film(output, wanted.to):
        _tell(convert_film(scan, output, wanted, overwrite=overwrite))
        return
    if image_target_of(output, wanted.to) is not None and not scan.is_dir():
        _tell(convert_images(scan, output, wanted, overwrite=overwrite))
        return
    if scan.is_dir() and find_experiment(scan) is None:
        _convert_folder(scan, output, wanted, overwrite)
        return
    _tell(convert_scan(scan, output, wanted, overwrite=overwrite))


def _check_replaces_none(output: Path, scan: Path, wanted: ConversionOptions) -> None:
    """Refuse an output that would replace a file that is read, itself or by files beside it."""
    from firenet_mri.io.kspace.targets import beside, files_of

    names = (output, beside(output, "noise"), beside(output, "trajectory"))
    check_replaces_none([file for name in names for file in files_of(name)], [scan], wanted)


def _tell(made: Converted | ConvertedFilm | ConvertedImages) -> None:
    """Print what was written, and which parts of the source it does not contain."""
    console = Console(highlight=False, soft_wrap=True)
    for path in made.files:
        console.print(f"Wrote {path}", markup=False)
    for note in made.notes:
        Console(highlight=False, soft_wrap=True, stderr=True).print(note, markup=False)


def _convert_folder(
    folder: Path, output: Path, options: ConversionOptions, overwrite: bool
) -> None:
    """Convert all scans under a progress bar, and print one summary."""
    from firenet_mri.conversion import convert_study, find_scans, summary_path
    from firenet_mri.conversion.study import check_study

    # Checked before a progress bar appears.
    find_scans(folder)
    check_study(folder, output, options)
    try:
        with progress("Scans", "scans") as on_step:

            def on_outcome(outcome: Conversion, done: int, total: int) -> None:
                if on_step is not None:
                    on_step(done, total)

            outcomes = convert_study(
                folder, output, options, overwrite=overwrite, on_outcome=on_outcome
            )
    except KeyboardInterrupt:
        sys.stderr.write("firenet: interrupted; the same command resumes\n")
        raise SystemExit(130) from None
    counts = {state: sum(one.state == state for one in outcomes) for state in ("kept", "failed")}
    for outcome in outcomes:
        if outcome.state == "failed":
            reason = outcome.error.removeprefix(f"{outcome.scan}: ")
            sys.stderr.write(f"Failed: {outcome.scan}: {reason}\n")
    made = len(outcomes) - counts["failed"]
    Console(highlight=False, soft_wrap=True).print(
        f"{made} of {counted(len(outcomes), 'scan')} "
        f"{by_number(made or len(outcomes), 'is', 'are')} converted, {counts['kept']} of them "
        f"before. Summary: {summary_path(output)}",
        markup=False,
    )
    if counts["failed"]:
        raise SystemExit(1)
