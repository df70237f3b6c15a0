"""Converts one raw scan to another format: reads, whitens, compresses coils, writes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from firenet_mri.calibration import compress_coils, whiten
from firenet_mri.conversion.options import ConversionOptions
from firenet_mri.errors import UsageError
from firenet_mri.io.kspace.fastmri_writer import PhaseAxis
from firenet_mri.io.kspace.formats import Format, recognise
from firenet_mri.io.kspace.reading import read_with
from firenet_mri.io.kspace.targets import target_of
from firenet_mri.io.kspace.writing import check_conversion, write_scan
from firenet_mri.scan import RawScan

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class Converted:
    """Result of a conversion.

    Parameters
    ----------
    files
        All files, the scan first.
    coils, spatial_shape, slices, images
        Sizes of the scan in these files.
    sampled_fraction
        Share of the k-space grid that was sampled; samples per pixel along a trajectory.
    simulated
        True if the scan was computed from an image.
    notes
        Parts of the scan that the format cannot store, one sentence each.
    """

    files: tuple[Path, ...]
    coils: int
    spatial_shape: tuple[int, ...]
    slices: int
    images: int
    sampled_fraction: float
    simulated: bool
    notes: tuple[str, ...]


def convert_scan(
    source: PathLike,
    output: PathLike,
    options: ConversionOptions | None = None,
    *,
    overwrite: bool = False,
) -> Converted:
    """Write a raw scan in another format, without anything about the patient.

    Parameters
    ----------
    source
        A scan in any format that :func:`firenet_mri.read` reads.
    output
        The file to write; files next to it, such as a noise measurement, are named after it.
    options
        What to read, do and write; None takes all defaults.
    overwrite
        Replace files that exist.

    Raises
    ------
    FirenetError
        If the scan cannot be read, or the format cannot store it; then nothing is written.
    """
    options = options or ConversionOptions()
    source, output = Path(source), Path(output)
    if options.series is not None:
        raise UsageError(
            "A series can be chosen only among MRD images; omit it, or write NIfTI, DICOM or BIDS"
        )
    if options.frame_rate is not None:
        raise UsageError("A frame rate applies only to a film (.gif or .mp4) of images; omit it")
    if options.read.maps_file is not None:
        raise UsageError("A conversion does not use sensitivity maps; omit maps_file")
    target = target_of(output, options.to)
    check_conversion(source, output, to=target, overwrite=overwrite)
    scan = read_with(source, options.read)
    scan = whiten(scan) if options.whiten else scan
    if options.coils is not None:
        scan = compress_coils(scan, options.coils, options.compression)
    files = write_scan(
        output, scan, to=target, overwrite=overwrite, phase_axis=_phase_axis(source, options)
    )
    notes = _notes(scan, target == "fastmri", target in ("bart", "npy"))
    is_2d = scan.spatial_ndim == 2
    return Converted(
        files=tuple(files),
        coils=scan.coils,
        spatial_shape=scan.spatial_shape,
        slices=scan.batch_shape[-1] if is_2d and len(scan.batch_shape) > bool(scan.images) else 1,
        images=max(1, len(scan.images)),
        sampled_fraction=scan.sampled_fraction,
        simulated=scan.simulated,
        notes=notes,
    )


def _phase_axis(source: Path, options: ConversionOptions) -> PhaseAxis | None:
    """Return the phase-encoding axis of a fastMRI file; None derives it from the sampled lines."""
    is_fastmri = options.read.trajectory is None and recognise(source) is Format.FASTMRI
    return -1 if is_fastmri else None


def _notes(scan: RawScan, is_fastmri: bool, is_array: bool) -> tuple[str, ...]:
    """Return notes on parts of the scan that are not in the files."""
    found = []
    if is_fastmri and scan.noise is not None:
        found.append(
            "The noise measurement is omitted, since fastMRI files cannot store it; "
            "--whiten uses it."
        )
    if scan.reference is not None and (is_fastmri or is_array):
        found.append(
            "The reference lines for the sensitivity maps are omitted, since the format cannot "
            "store them."
        )
    placed = scan.geometry is not None and scan.geometry.is_placed
    if placed and (is_fastmri or is_array):
        found.append("The position of the image is omitted, since the format cannot store it.")
    if scan.simulated and is_array:
        found.append("The scan is simulated, which these files cannot state.")
    return tuple(found)
