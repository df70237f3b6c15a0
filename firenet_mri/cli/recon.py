"""``firenet recon``: a raw scan in, image, picture and certificate out."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

import firenet_mri
from firenet_mri.cli.app import app
from firenet_mri.cli.scans import numbers, progress
from firenet_mri.errors import UsageError
from firenet_mri.reconstruction import Reconstruction, SavedFiles, output_paths


@app.command()
def recon(
    scan: Annotated[
        Path,
        typer.Argument(
            help="ISMRMRD or fastMRI (.h5), Siemens (.dat), GE (.7), BART (.cfl) or NumPy (.npy, "
            "coils first) scan."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="Image to write: .nii.gz, .nii, .dcm, .h5 or .mrd."),
    ],
    preset: Annotated[
        str,
        typer.Option(help="accurate (default), stable, adaptive or paper (the published network)."),
    ] = "accurate",
    lam: Annotated[
        float | None, typer.Option(help="Weight of the sparsity; default: from the scan's size.")
    ] = None,
    sparsifier: Annotated[
        str | None,
        typer.Option(help="undecimated-haar, haar, db2 ... db38, sym4; default: the preset's."),
    ] = None,
    levels: Annotated[int | None, typer.Option(help="Wavelet levels.")] = None,
    layers: Annotated[int | None, typer.Option(help="Number of layers.")] = None,
    relative_gap: Annotated[
        float | None, typer.Option(help="Adaptive preset: stop at this certified relative gap.")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Choose lam so that the image bears perturbations of this size best, such as 2% "
            "of the samples' norm; measured, not proven."
        ),
    ] = None,
    reweighting: Annotated[
        int, typer.Option(help="Further passes with weights from the image; not proven stable.")
    ] = 0,
    maps: Annotated[
        str, typer.Option(help="Sensitivity maps: espirit, jsense, lowres, or none (single coil).")
    ] = "espirit",
    maps_file: Annotated[
        Path | None, typer.Option(help="Use these maps, .npy or .cfl, coils first.")
    ] = None,
    map_sets: Annotated[
        int, typer.Option(help="Sets of maps: 2 for a field of view smaller than the object.")
    ] = 1,
    mask: Annotated[
        Path | None, typer.Option(help="Sampling mask, .npy or .cfl; default: found in the data.")
    ] = None,
    trajectory: Annotated[
        Path | None,
        typer.Option(help="Points of k-space of non-Cartesian data, .npy or .cfl, cycles/FOV."),
    ] = None,
    matrix_size: Annotated[
        str | None,
        typer.Option(help="Image size with a trajectory, such as 256x256; default: it decides."),
    ] = None,
    slices: Annotated[
        str | None, typer.Option(help="Slices to reconstruct, from 0, such as 3 or 2-5,8.")
    ] = None,
    repetitions: Annotated[
        str | None, typer.Option(help="Repetitions to reconstruct, as --slices.")
    ] = None,
    encoding: Annotated[
        int | None, typer.Option(help="Encoding to take, where a scan has several.")
    ] = None,
    coils: Annotated[
        str | None,
        typer.Option(help="Compress the coils: to a number such as 8, or a share such as 99%."),
    ] = None,
    compression: Annotated[
        str, typer.Option(help="How --coils compresses: svd, or geometric, pixel by pixel.")
    ] = "svd",
    by_readout: Annotated[
        bool,
        typer.Option(help="Take a volume apart into planes across its readout: less memory."),
    ] = False,
    phase_constraint: Annotated[
        float | None,
        typer.Option(
            help="Take the phase from the low resolution; the imaginary part behind it counts this "
            "much, 0 to 1, such as 0.3. For images of smooth phase."
        ),
    ] = None,
    noise_file: Annotated[
        Path | None,
        typer.Option(help="Noise measurement, .npy or .cfl, coils first, to whiten with."),
    ] = None,
    fft_sign: Annotated[
        int | None,
        typer.Option(
            help="Exponent's sign from k-space to the image: 1 inverse transform, -1 forward, "
            "which turns the image about its centre. Default: the vendor's."
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="Reference magnitude image, .nii.gz or .npy, for an error map."),
    ] = None,
    dicom: Annotated[
        Path | None, typer.Option(help="Write a DICOM series, too, into this folder.")
    ] = None,
    dicom_reference: Annotated[
        Path | None,
        typer.Option(help="DICOM series of the scan, whose patient and study DICOM images get."),
    ] = None,
    bids: Annotated[
        Path | None,
        typer.Option(help="Write magnitude and phase for BIDS, too, such as sub-01_T1w."),
    ] = None,
    scanner_matrix: Annotated[
        bool,
        typer.Option(help="Write on the scanner's own grid: cropped, padded and interpolated."),
    ] = False,
    complex_image: Annotated[
        bool, typer.Option("--complex", help="Keep the phase: write a complex image.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    jacobian: Annotated[
        bool,
        typer.Option(help="Measure the amplification of small changes too; 20 times the work."),
    ] = False,
    recovery: Annotated[
        bool,
        typer.Option(help="Verify where the optimum and the truth can lie; takes minutes."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the certificate and the paths as JSON.")
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace outputs that exist.")] = False,
    debug: Annotated[bool, typer.Option(help="Show a traceback on errors.")] = False,
) -> None:
    """Reconstruct a multi-coil scan; write image, picture and certificate."""
    from firenet_mri.io import read, read_maps, read_noise, read_reference
    from firenet_mri.io.image.dicom import check_place, read_dicom_reference
    from firenet_mri.reconstruction.checkpoint import remove_checkpoint
    from firenet_mri.scan import select

    output_paths(output, overwrite=overwrite)
    raw = read(
        scan,
        mask=mask,
        trajectory=trajectory,
        matrix_size=_sizes(matrix_size),
        encoding=encoding,
        repetitions=numbers(repetitions),
        fft_sign=fft_sign,
    )
    if noise_file is not None:
        raw = replace(raw, noise=read_noise(noise_file))
    raw = select(raw, slices=numbers(slices)) if slices is not None else raw
    series = None if dicom_reference is None else read_dicom_reference(dicom_reference)
    if dicom is not None or output.suffix == ".dcm":
        check_place(raw.geometry, series, raw.name)
    shape = (*raw.batch_shape, *raw.spatial_shape)
    target = None if reference is None else read_reference(reference, shape=shape)
    sensitivity: Any = maps if maps_file is None else read_maps(maps_file)
    kept = output.with_name(f".{output.name}.slices")
    with (
        _told_what_is_kept(kept),
        progress(f"Reconstructing {raw.name}", "layers", quiet=as_json) as on_layer,
    ):
        result = firenet_mri.reconstruct(
            raw,
            preset=preset,
            lam="auto" if lam is None else lam,
            sparsifier=sparsifier,
            levels=levels,
            layers=layers,
            relative_gap=relative_gap,
            budget=_share(budget),
            reweighting=reweighting,
            maps=sensitivity,
            map_sets=map_sets,
            coils=_coils(coils),
            compression=compression,
            by_readout=by_readout,
            phase_constraint=phase_constraint,
            device=device,
            jacobian=jacobian,
            recovery=recovery,
            on_layer=on_layer,
            checkpoint=kept if by_readout or math.prod(raw.batch_shape) > 1 else None,
        )
    files = result.save(
        output,
        overwrite=overwrite,
        complex_image=complex_image,
        reference=target,
        dicom_reference=series,
        scanner_matrix=scanner_matrix,
    )
    others = []
    if dicom is not None:
        others += result.save_dicom_series(
            dicom, reference=series, scanner_matrix=scanner_matrix, overwrite=overwrite
        )
    if bids is not None:
        others += result.save_bids_pair(bids, scanner_matrix=scanner_matrix, overwrite=overwrite)
    remove_checkpoint(kept)
    if as_json:
        sys.stdout.write(files.certificate.read_text(encoding="utf-8"))
    else:
        _tell(result, files, others)


@contextmanager
def _told_what_is_kept(folder: Path) -> Iterator[None]:
    """Say after an interruption which slices need not be made again."""
    try:
        yield
    except KeyboardInterrupt:
        count = len(list(folder.glob("*.npz"))) if folder.is_dir() else 0
        if count:
            sys.stderr.write(
                f"{count} finished slices are kept in {folder}; the same command goes on there\n"
            )
        raise


def _sizes(text: str | None) -> tuple[int, ...] | None:
    """Return the numbers of a size such as 256x256."""
    if text is None:
        return None
    parts = text.lower().split("x")
    if not all(part.isdigit() for part in parts):
        raise UsageError(f"Matrix size {text!r} is no size; give one such as 256x256")
    return tuple(int(part) for part in parts)


def _coils(text: str | None) -> int | float | None:
    """Return a number of coils, or the share of energy that a percentage stands for."""
    if text is None:
        return None
    digits = text.removesuffix("%")
    try:
        return float(digits) / 100 if text.endswith("%") else int(digits)
    except ValueError:
        raise UsageError(
            f"{text!r} is no number of coils; give one such as 8, or a share such as 99%"
        ) from None


def _share(text: str | None) -> float | None:
    """Return the number that a percentage, or a number, stands for."""
    if text is None:
        return None
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise UsageError(f"{text!r} is no size; give one such as 2% or 0.02") from None


def _tell(result: Reconstruction, files: SavedFiles, others: list[Path]) -> None:
    """Say where the outputs are and what is proven."""
    console = Console(highlight=False, soft_wrap=True)
    if result.scan.simulated:
        console.print("The scan is simulated.")
    console.print(f"Image:       {files.image}", markup=False)
    console.print(f"Picture:     {files.picture}", markup=False)
    console.print(f"Certificate: {files.certificate}", markup=False)
    if others:
        console.print(f"Further:     {len(others)} files, {others[0]} ...", markup=False)
    console.print(result.certificate.sentence(), markup=False)
    timings = result.timings
    console.print(
        f"Calibration {timings.calibration_s:.1f} s, network {timings.network_s:.1f} s, "
        f"certificate {timings.certificate_s:.1f} s"
    )
    console.print(f"firenet certify {files.certificate} explains the certificate.", markup=False)
