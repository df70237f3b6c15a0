"""Complex NIfTI images: one complex file, or two real ones named as BIDS names them.

BIDS 1.10, entity ``part``: ``part-mag`` with ``part-phase``, ``part-real`` with ``part-imag``; the
unit of a phase is in the JSON file next to it, "rad" or "arbitrary".
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
    """Return the complex image in a NIfTI file, or in it and its partner of the other part.

    Parameters
    ----------
    path
        .nii or .nii.gz; of two files either.
    phase_scale
        Radians for one stored unit of phase; None takes the unit from the phase's JSON file.

    Raises
    ------
    FileError
        If a file is missing, damaged or no NIfTI.
    DataError
        If the image is real and nothing says which part it is, its partner is missing or lies
        elsewhere, or the phase has no known unit.
    """
    image, affine = _load(path)
    if np.iscomplexobj(image):
        if not np.isfinite(image).all():
            raise DataError(f"{path}: has NaN or infinite values")
        return ComplexImage(image.astype(np.complex64), affine, str(path))
    entity = re.search(r"_part-(mag|phase|real|imag)(?=[_.])", path.name)
    if entity is None:
        raise DataError(
            f"{path}: holds {image.dtype} numbers, not complex ones, and its name does not say "
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
        raise FileError(f"{path}: is the {own} only; its {other} was looked for in {partner.name}")
    second, second_affine = _load(partner)
    if not np.allclose(affine, second_affine, atol=1e-3):
        raise DataError(
            f"{path} and {partner.name} are at different positions; they do not belong together"
        )
    parts = {own: image.astype(np.float64), other: second.astype(np.float64)}
    if "phase" in parts:
        parts["phase"] *= _radians(path if own == "phase" else partner, phase_scale)
    return ComplexImage(from_parts(parts, str(path)), affine, str(path))


def _load(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return the array, scaled but not cast, and the affine."""
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
        f"{path}: {found}; give phase_scale, radians per stored unit (pi/4096 for Siemens' -4096 "
        "to 4095), or Units rad"
    )
