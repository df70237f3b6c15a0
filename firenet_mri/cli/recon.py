"""``firenet recon``: reconstructs a raw scan into image, picture and certificate."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from firenet_mri.cli.early import check_files, check_image, check_inputs, check_replaces_none
from firenet_mri.cli.loading import loading
from firenet_mri.cli.options import Debug, chosen, output_flag, with_flags
from firenet_mri.errors import UsageError
from firenet_mri.extras import require
from firenet_mri.io.kspace.options import ReadOptions
from firenet_mri.io.kspace.recognise import READABLE
from firenet_mri.options import Options, documented, option
from firenet_mri.plurals import by_number, counted
from firenet_mri.reconstruction.options import ReconstructionOptions

if TYPE_CHECKING:
    from torch import Tensor

    from firenet_mri.io.image.dicom import DicomReference
    from firenet_mri.reconstruction import Reconstruction, SavedFiles
    from firenet_mri.scan import RawScan


@documented
@dataclass(frozen=True, eq=False)
class OutputOptions(Options):
    """Options of the files that are written beside the image."""

    panel = "Output"

    reference: Path | None = option(
        None, "Reference magnitude image, .nii.gz or .npy, for an error map, PSNR and SSIM."
    )
    dicom: Path | None = option(
        None, ("Folder for a DICOM series, written in addition to the image.")
    )
    dicom_reference: Path | None = option(
        None,
        ("DICOM series of the same scan, whose patient and study are copied to the DICOM images."),
    )
    bids: Path | None = option(
        None, "Stem, such as sub-01_T1w, for magnitude and phase in BIDS format."
    )
    film: Path | None = option(
        None,
        "Film of images that follow one another, such as the phases of a heartbeat: .gif, or .mp4.",
    )
    report: bool = option(
        False,
        "Also write a self-contained page, NAME.html, with all slices, the certificate in "
        "plain words and the settings.",
    )
    scanner_matrix: bool = option(
        False, "Write the image on the scanner's own grid: cropped, padded and interpolated."
    )
    no_evidence: bool = option(
        False, "Omit the evidence file that others need to check the certificate."
    )
    sign: Path | None = option(
        None, "Private Ed25519 key, a .pem file, with which the certificate is signed."
    )
    complex: bool = option(False, "Keep the phase: write a complex image.")
    json: bool = option(False, "Print the certificate and the paths as JSON.")
    overwrite: bool = option(False, "Replace outputs that exist.")


@with_flags(ReadOptions, ReconstructionOptions, OutputOptions)
def recon(
    scan: Annotated[
        Path,
        Parameter(help=f"{READABLE}."),
    ],
    /,
    *,
    output: Annotated[Path, output_flag("Image to write: .nii.gz, .nii, .dcm, .h5 or .mrd.")],
    debug: Debug = False,
    **options: Any,
) -> None:
    """Reconstruct a multi-coil scan; write image, picture and certificate."""
    written = chosen(OutputOptions, options)
    reading, wanted = chosen(ReadOptions, options), chosen(ReconstructionOptions, options)
    reconstruct_file(scan, output, reading, wanted, written)


def reconstruct_file(
    path: Path,
    output: Path,
    reading: ReadOptions,
    options: ReconstructionOptions,
    written: OutputOptions,
    kept: Sequence[Path] = (),
) -> Reconstruction:
    """Read, reconstruct and write a scan, print where the outputs are, and return the result.

    The files in ``kept`` are not replaced either, although they are not read here.
    """
    _check_asked(path, output, reading, options, written)
    _load()
    from firenet_mri.io import read_reference
    from firenet_mri.io.image.dicom import read_dicom_reference
    from firenet_mri.io.kspace.reading import read_with
    from firenet_mri.reconstruction.prepare import check_scan
    from firenet_mri.reconstruction.run import check_options

    _check_outputs([path, *kept], output, reading, options, written)
    check_options(options)
    options = with_maps(reading, options)
    raw = read_with(path, reading)
    check_scan(raw, options)
    reference = written.dicom_reference
    series = None if reference is None else read_dicom_reference(reference)
    _check_written(raw, output, written, options, series)
    shape = (*raw.batch_shape, *raw.spatial_shape)
    target = None if written.reference is None else read_reference(written.reference, shape=shape)
    result = _reconstructed(raw, output, options, quiet=written.json)
    files = _save_image(result, output, written, target, series)
    others = _save_others(result, written, series)
    film = _save_film(result, written)
    page = _save_report(result, output, written, target)
    _remove_slices(output)
    if written.json:
        sys.stdout.write(files.certificate.read_text(encoding="utf-8"))
    else:
        _tell(result, files, others, page, film)
    return result


def _check_asked(
    path: Path,
    output: Path,
    reading: ReadOptions,
    options: ReconstructionOptions,
    written: OutputOptions,
) -> None:
    """Refuse mistakes that can be found without torch."""
    if written.sign is not None:
        require("cryptography")
    check_inputs([path])
    check_image(output, overwrite=written.overwrite)
    check_files(reading, options, written)
    check_replaces_none([output], [path], reading, options, written)
    if written.complex and output.suffix == ".dcm":
        raise UsageError(
            f"{output}: DICOM images hold the magnitude only; omit --complex, or write NIfTI"
        )


def _load() -> None:
    """Load torch, the reconstruction, and the modules that layers and picture need later."""
    with loading():
        importlib.import_module("firenet_mri.reconstruction.run")
        importlib.import_module("firenet_mri.report")
        importlib.import_module("numba")
        importlib.import_module("matplotlib.figure")
        importlib.import_module("matplotlib.backends.backend_agg")


def _check_outputs(
    inputs: Sequence[Path],
    output: Path,
    reading: ReadOptions,
    options: ReconstructionOptions,
    written: OutputOptions,
) -> None:
    """Refuse outputs that could not be written or signed, before the scan is read."""
    from firenet_mri.io.signatures import read_private_key
    from firenet_mri.reconstruction import output_paths
    from firenet_mri.report import report_path

    files = output_paths(
        output,
        overwrite=written.overwrite,
        evidence=not written.no_evidence,
        sensitivity=options.jacobian,
    )
    reports = [report_path(output)] if written.report else []
    every = _check_apart([*files.paths, *reports], written)
    check_replaces_none(every, inputs, reading, options, written)
    if written.sign is not None:
        read_private_key(written.sign)


def _check_apart(files: Sequence[Path], written: OutputOptions) -> list[Path]:
    """Refuse outputs that would replace each other, before anything is read.

    Returns the paths that are known by then, which excludes the files of a DICOM series.
    """
    from firenet_mri.io.image.bids import bids_paths
    from firenet_mri.io.image.film import check_film
    from firenet_mri.io.outputs import check_outputs

    paths = list(files)
    if written.bids is not None:
        paths += bids_paths(written.bids)
    if written.film is not None:
        check_film(written.film)
        paths.append(written.film)
    check_outputs(paths, overwrite=written.overwrite)
    if written.dicom is None:
        return paths
    if not written.dicom.exists():
        check_outputs([written.dicom])
    folder = written.dicom.resolve()
    for path in (*paths, written.dicom_reference):
        if path is not None and folder in (path.resolve(), *path.resolve().parents):
            raise UsageError(
                f"{written.dicom}: must hold the DICOM series only, but {path} would be inside it; "
                "give a folder of its own"
            )
    return paths


def _check_written(
    raw: RawScan,
    output: Path,
    written: OutputOptions,
    options: ReconstructionOptions,
    series: DicomReference | None,
) -> None:
    """Refuse, before the work, outputs that would fail only after it."""
    from firenet_mri.io.image.bids import bids_paths
    from firenet_mri.io.image.dicom import check_place, check_series_folder, check_shape
    from firenet_mri.io.outputs import check_outputs
    from firenet_mri.resizing import scanner_grid_of

    count, rows, columns = (1, *raw.spatial_shape)[-3:]
    if raw.spatial_ndim == 2:
        count = math.prod(raw.batch_shape[1:] if raw.images else raw.batch_shape)
    if written.scanner_matrix:
        nz, rows, columns = scanner_grid_of(raw)[0].shape
        count = nz if raw.spatial_ndim == 3 else count
    if output.suffix == ".dcm" and len(raw.images) > 1:
        raise UsageError(
            f"{output}: the scan has {len(raw.images)} images ({raw.images[0]}, ...), and an "
            "enhanced file holds one; write -o image.nii.gz with --dicom FOLDER, or choose one "
            "with --repetitions"
        )
    if written.film is not None and len(raw.images) < 2:
        raise UsageError(
            f"{written.film}: {raw.name} is one image, and a film needs several that follow one "
            "another; omit --film"
        )
    if written.dicom is not None or output.suffix == ".dcm":
        place = check_place(raw.geometry, series, raw.name)
        if series is not None and place is series.geometry:
            check_shape(series, (count, rows, columns), raw.name)
    if written.dicom is not None:
        check_series_folder(written.dicom, raw.images, count, overwrite=written.overwrite)
    if written.bids is not None:
        files = bids_paths(written.bids, raw.images, raw.parameters)
        check_outputs(files, overwrite=written.overwrite)
        if options.map_sets > 1:
            raise UsageError(
                f"{written.bids}: several map sets do not have a single phase; write the magnitude"
            )


def with_maps(reading: ReadOptions, options: ReconstructionOptions) -> ReconstructionOptions:
    """Return the options with the maps of a file, if there is one."""
    from firenet_mri.io import read_maps

    source = reading.maps_file
    assert source is None or isinstance(source, Path)
    return options if source is None else options.replace(maps=read_maps(source))


def _reconstructed(
    raw: RawScan, output: Path, options: ReconstructionOptions, *, quiet: bool
) -> Reconstruction:
    from firenet_mri.cli.progress import progress
    from firenet_mri.reconstruction import reconstruct_with

    kept = _slices_of(output)
    resumes = options.by_readout or math.prod(raw.batch_shape) > 1
    with (
        _told_what_is_kept(kept),
        progress(f"Reconstructing {raw.name}", "layers", quiet=quiet) as on_layer,
    ):
        return reconstruct_with(
            raw, options, on_layer=on_layer, checkpoint=kept if resumes else None
        )


def _save_image(
    result: Reconstruction,
    output: Path,
    written: OutputOptions,
    reference: Tensor | None,
    series: DicomReference | None,
) -> SavedFiles:
    """Write image, picture, certificate and evidence; return where they are."""
    from firenet_mri.report import reports_beside

    return result.save(
        output,
        overwrite=written.overwrite,
        complex_image=written.complex,
        reference=reference,
        dicom_reference=series,
        scanner_matrix=written.scanner_matrix,
        evidence=not written.no_evidence,
        key=written.sign,
        removing=reports_beside(output) if written.overwrite else [],
    )


def _save_others(result: Reconstruction, written: OutputOptions, series: Any) -> list[Path]:
    """Write the other requested files; return their paths."""
    others: list[Path] = []
    grid, overwrite = written.scanner_matrix, written.overwrite
    if written.dicom is not None:
        others += result.save_dicom_series(
            written.dicom, reference=series, scanner_matrix=grid, overwrite=overwrite
        )
    if written.bids is not None:
        others += result.save_bids_pair(written.bids, scanner_matrix=grid, overwrite=overwrite)
    return others


def _save_film(result: Reconstruction, written: OutputOptions) -> str:
    """Write the film if it was requested; return its path and a note on its speed."""
    if written.film is None:
        return ""
    pace = result.save_film(
        written.film, scanner_matrix=written.scanner_matrix, overwrite=written.overwrite
    )
    return f"{written.film}" + (f" ({pace.note.removesuffix('.')})" if pace.note else "")


def _save_report(
    result: Reconstruction, output: Path, written: OutputOptions, reference: Tensor | None
) -> Path | None:
    """Write the page if it was requested, and return its path."""
    from firenet_mri.report import report_path, write_report

    if not written.report:
        return None
    return write_report(
        report_path(output), result, reference=reference, overwrite=written.overwrite
    )


def _slices_of(output: Path) -> Path:
    """Return the folder that keeps finished slices until the image is written."""
    return output.with_name(f".{output.name}.slices")


def _remove_slices(output: Path) -> None:
    from firenet_mri.reconstruction.checkpoint import remove_checkpoint

    remove_checkpoint(_slices_of(output))


@contextmanager
def _told_what_is_kept(folder: Path) -> Iterator[None]:
    """Report, after an interruption, which slices need not be reconstructed again."""
    try:
        yield
    except KeyboardInterrupt:
        count = len(list(folder.glob("*.npz"))) if folder.is_dir() else 0
        if count:
            sys.stderr.write(
                f"{counted(count, 'finished slice')} {by_number(count, 'is', 'are')} kept in "
                f"{folder}; the same command resumes there\n"
            )
        raise


def _tell(
    result: Reconstruction, files: SavedFiles, others: list[Path], page: Path | None, film: str
) -> None:
    """Print where the outputs are and what is proven."""
    console = Console(highlight=False, soft_wrap=True)
    if result.scan.simulated:
        console.print("The scan is simulated.")
    console.print(f"Image:       {files.image}", markup=False)
    console.print(f"Picture:     {files.picture}", markup=False)
    if film:
        console.print(f"Film:        {film}", markup=False)
    if page is not None:
        console.print(f"Report:      {page}", markup=False)
    if files.sensitivity is not None:
        console.print(f"Sensitivity: {files.sensitivity}", markup=False)
    console.print(f"Certificate: {files.certificate}", markup=False)
    if files.evidence is not None:
        console.print(f"Evidence:    {files.evidence}", markup=False)
    if others:
        more = " ..." if len(others) > 1 else ""
        console.print(
            f"Further:     {counted(len(others), 'file')}, {others[0]}{more}", markup=False
        )
    console.print(result.certificate.sentence(), markup=False)
    for line in result.warning_lines:
        console.print(line, markup=False, style="yellow")
    timings = result.timings
    console.print(
        f"Calibration {timings.calibration_s:.1f} s, network {timings.network_s:.1f} s, "
        f"certificate {timings.certificate_s:.1f} s"
    )
    console.print(f"firenet certify {files.certificate} explains the certificate.", markup=False)
