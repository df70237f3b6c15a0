"""Writes a complex image as BIDS has it: magnitude and phase, each NIfTI with a JSON sidecar.

The names' entity ``part`` and the fields are those of BIDS 1.10, MRI. A sidecar holds field
strength, times and flip angle as far as the scan says them, and how the image was made; no more.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError, UsageError
from firenet_mri.io.image.nifti import write_nifti
from firenet_mri.io.outputs import atomic_writes
from firenet_mri.scan import AcquisitionParameters, Geometry

_PARTS = ("mag", "phase")


def bids_paths(stem: Path) -> list[Path]:
    """Return the four files of a pair, ``NAME_part-mag_SUFFIX`` and so on.

    The suffix, such as T1w, is what stands behind the last underscore; without one it is MRI.

    Raises
    ------
    UsageError
        If the name ends in an extension, or says a part itself.
    """
    if stem.suffix or "_part-" in stem.name:
        raise UsageError(
            f"{stem}: give the name without extension and part, such as sub-01_T1w; two images "
            "with sidecars are written"
        )
    name, _, suffix = stem.name.rpartition("_")
    name, suffix = (name, suffix) if name else (suffix, "MRI")
    return [
        stem.with_name(f"{name}_part-{part}_{suffix}{extension}")
        for part in _PARTS
        for extension in (".nii.gz", ".json")
    ]


def write_bids_pair(
    stem: Path,
    image: NDArray[np.complexfloating],
    geometry: Geometry | None = None,
    *,
    parameters: AcquisitionParameters | None = None,
    simulated: bool = False,
    method: str = "FIRENET",
    weights: str | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write magnitude and phase (radians) of an image with their sidecars; return the files.

    Parameters
    ----------
    stem
        Name without extension, such as ``sub-01_T1w``, see :func:`bids_paths`.
    image
        (y, x), (z, y, x) or (image, z, y, x) complex.
    geometry
        See :func:`firenet_mri.io.image.nifti.write_nifti`.
    parameters
        For the sidecars.
    simulated
        Whether the scan was; the sidecars say it.
    method
        What made the image.
    weights
        SHA-256 of the weights of a trained network; None if there was none.
    overwrite
        Replace files that exist.

    Raises
    ------
    UsageError
        If the name ends in an extension.
    DataError
        If the image is real.
    FileError
        If a file exists and may not be replaced, or the folder cannot be written.
    """
    if not np.iscomplexobj(image):
        raise DataError(f"{stem}: the image is {image.dtype}; a pair needs a complex one")
    files = bids_paths(stem)
    shared = _sidecar(parameters or AcquisitionParameters(), simulated)
    shared["ReconMethodName"] = method
    if weights is not None:
        shared["ReconMethodParameters"] = {"WeightsSHA256": weights}
    with atomic_writes(files, overwrite=overwrite) as (mag, mag_json, phase, phase_json):
        write_nifti(mag, np.abs(image), geometry)
        write_nifti(phase, np.angle(image), geometry)
        mag_json.write_text(json.dumps(shared, indent=2) + "\n", encoding="utf-8")
        with_unit = {**shared, "Units": "rad"}
        phase_json.write_text(json.dumps(with_unit, indent=2) + "\n", encoding="utf-8")
    return files


def _sidecar(known: AcquisitionParameters, simulated: bool) -> dict[str, Any]:
    """Return the fields of both sidecars, times in seconds."""
    echoes = [time / 1000 for time in known.echo_times_ms]
    fields: dict[str, Any] = {
        "MagneticFieldStrength": known.field_strength_t,
        "RepetitionTime": _seconds(known.repetition_time_ms),
        "EchoTime": echoes[0] if len(echoes) == 1 else echoes or None,
        "InversionTime": _seconds(known.inversion_time_ms),
        "FlipAngle": known.flip_angle_deg,
        "GeneratedBy": [{"Name": "firenet_mri", "Version": version("firenet_mri")}],
        "Simulated": True if simulated else None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
