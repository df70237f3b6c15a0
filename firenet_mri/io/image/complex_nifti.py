"""Reads complex NIfTI images: one complex file, or two real ones with BIDS names.

Names follow the entity ``part`` of BIDS 1.10: ``part-mag`` with ``part-phase``, ``part-real`` with
``part-imag``. The unit of a phase, "rad" or "arbitrary", is in the JSON file next to it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError, FileError
from firenet_mri.io.image.complex_image import PARTNERS, ComplexImage, Component, from_parts
from firenet_mri.io.image.nifti_files import load_nifti, voxels_of

_ENTITIES: dict[str, Component] = {
    "mag": "magnitude",
    "phase": "phase",
    "real": "real",
    "imag": "imaginary",
}


def read_complex_nifti(path: Path, *, phase_scale: float | None = None) -> ComplexImage:
    """Return the complex image in a NIfTI file, or in this file and the one of the other part.

    Parameters
    ----------
    path
        .nii or .nii.gz; if there are two files, either of them.
    phase_scale
        Radians per stored unit of phase; None takes the unit from the JSON file of the phase.

    Raises
    ------
    FileError
        If a file is missing, damaged or not NIfTI.
    DataError
        If the part of a real image is not known, the other part is missing or has another position,
        or the phase has no known unit.
    """
    image, affine = _load(path)
    if np.iscomplexobj(image):
        if not np.isfinite(image).all():
            raise DataError(f"{path}: has NaN or infinite values")
        return ComplexImage(image.astype(np.complex64), affine, str(path))
    entity = re.search(r"_part-(mag|phase|real|imag)(?=[_.])", path.name)
    if entity is None:
        raise DataError(
            f"{path}: holds {image.dtype} numbers, not complex ones, and its name does not state "
            "which part they are; name the two files ..._part-mag... and ..._part-phase..., or "
            "..._part-real... and ..._part-imag..."
        )
    own = _ENTITIES[entity[1]]
    other = PARTNERS[own]
    word = next(word for word, part in _ENTITIES.items() if part == other)
    partner = path.with_name(
        path.name[: entity.start()] + f"_part-{word}" + path.name[entity.end() :]
    )
    if not partner.is_file():
        raise FileError(
            f"{path}: is only the {own}, and there is no {partner.name} with the {other}; put it "
            "next to this file"
        )
    second, second_affine = _load(partner)
    if not np.allclose(affine, second_affine, atol=1e-3):
        raise DataError(
            f"{path} and {partner.name} have different positions, so they do not belong together; "
            "give two parts of one image"
        )
    parts = {own: image.astype(np.float64), other: second.astype(np.float64)}
    if "phase" in parts:
        parts["phase"] *= _radians(path if own == "phase" else partner, phase_scale)
    return ComplexImage(from_parts(parts, str(path)), affine, str(path))


def _load(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return the array, scaled but not cast, and the affine matrix."""
    nifti = load_nifti(path)
    # get_fdata would drop the imaginary part.
    return voxels_of(nifti, path), np.asarray(nifti.affine, dtype=np.float64)


def _radians(path: Path, phase_scale: float | None) -> float:
    """Return the radians of one stored unit of the phase in a file."""
    if phase_scale is not None:
        return phase_scale
    sidecar = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    units = None
    if sidecar.is_file():
        try:
            units = json.loads(sidecar.read_text("utf-8")).get("Units")
        except (ValueError, AttributeError):
            raise FileError(f"{sidecar}: is not a JSON object; write it again") from None
    if units == "rad":
        return 1.0
    found = f"Units {units!r} in {sidecar.name}" if units else f"no Units in {sidecar.name}"
    raise DataError(
        f"{path}: {found}; give phase_scale in radians per stored unit (pi/4096 for Siemens' -4096 "
        "to 4095), or Units rad"
    )
