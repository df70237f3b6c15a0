"""Options for reading a scan: the part of a file to read, and what other files supply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from firenet_mri.errors import UsageError
from firenet_mri.options import Options, documented, indices, option, sizes

if TYPE_CHECKING:
    from torch import Tensor


def _not_negative(value: int | tuple[int, ...]) -> str | None:
    numbers = value if isinstance(value, tuple) else (value,)
    return None if numbers and min(numbers) >= 0 else "numbers are counted from 0"


def _sign(value: int) -> str | None:
    return None if value in (1, -1) else "use 1 or -1"


def _positive(value: tuple[int, ...]) -> str | None:
    return None if min(value, default=0) >= 1 else "sizes must be at least 1"


@documented
@dataclass(frozen=True, eq=False)
class ReadOptions(Options):
    """The part of a raw scan to read, and the files that belong to it."""

    panel = "Input"

    mask: Path | Tensor | None = option(
        None,
        "Sampling mask, a .npy or .cfl file or an array; nonzero means sampled. Derived "
        "from the data by default.",
    )
    trajectory: Path | Tensor | None = option(
        None,
        "k-space points of non-Cartesian data, a .npy or .cfl file or an array, in cycles "
        "per field of view; with a matrix size also in cycles or radians per pixel, "
        "which is then reported.",
    )
    matrix_size: tuple[int, ...] | None = option(
        None,
        "Image size with a trajectory, such as 256x256; derived from the trajectory by default.",
        parse=sizes,
        check=_positive,
    )
    slices: tuple[int, ...] | None = option(
        None,
        "Slices to reconstruct, counted from 0, such as 3 or 2-5,8; all by default.",
        parse=indices,
        check=_not_negative,
    )
    repetitions: tuple[int, ...] | None = option(
        None,
        "Repetitions to reconstruct, counted from 0, such as 3 or 2-5,8; all by default.",
        parse=indices,
        check=_not_negative,
    )
    encoding: int | None = option(
        None,
        "Encoding to read, counted from 0, if a scan has several.",
        check=_not_negative,
    )
    group: str | None = option(
        None,
        "Group of an ISMRMRD file to read, or measurement of an MRD stream, counted from "
        "1, if several contain scans; the only one by default.",
    )
    noise_file: Path | Tensor | None = option(
        None, "Noise measurement for whitening, a .npy or .cfl file or an array, coils first."
    )
    maps_file: Path | Tensor | None = option(
        None, "Sensitivity maps to use, a .npy or .cfl file or an array, coils first."
    )
    calibration_file: Path | Tensor | None = option(
        None,
        "Scan from which the sensitivity maps are made instead of this one, measured with "
        "the same coils: a file in any readable format, or an array of k-space, coils "
        "first.",
        flag="calibration",
    )
    calibration_encoding: int | None = option(
        None,
        "Encoding from which the sensitivity maps are made, counted from 0, of "
        "--calibration or of the scan itself.",
        check=_not_negative,
    )
    pulseq_file: Path | None = option(
        None,
        "Pulseq sequence (.seq) of the scan, which supplies k-space points, labels and "
        "field of view; needs pypulseq.",
        flag="pulseq",
    )
    phase_correction_file: Path | None = option(
        None,
        "Scan of the same echo-planar sequence without phase encoding, for correcting the "
        "phase of forward and backward readouts; the scan's own navigator lines by "
        "default.",
        flag="phase-correction",
    )
    fft_sign: int | None = option(
        None,
        "Sign of the exponent from k-space to the image: 1 for the inverse Fourier "
        "transform, -1 for the forward one, which reflects the image about its centre. "
        "The vendor's by default.",
        check=_sign,
    )
    name_by_digest: bool = option(
        False,
        "Call the scan by a digest of its bytes in certificates, captions, labels and summaries, "
        "because its file name may reveal who was measured.",
        changes_image=False,
    )


#: Reading options whose one file cannot be used for many scans.
OF_ONE_SCAN = (
    "mask",
    "trajectory",
    "matrix_size",
    "noise_file",
    "maps_file",
    "calibration_file",
    "phase_correction_file",
)


def check_serves_many(options: ReadOptions, refused: Sequence[str] = OF_ONE_SCAN) -> None:
    """Raise UsageError if an option is given whose one file cannot be used for many scans."""
    given = [name for name in refused if getattr(options, name) is not None]
    if given:
        raise UsageError(
            f"{', '.join(given)}: one file cannot be used for all scans of a folder; omit it"
        )
