"""Which part of a complex image DICOM pixels are, and the unit of a phase, as vendors write it.

Read, never guessed: Complex Image Component (0008,9208), else the third and later values of Image
Type, else GE's private (0043,102F). Siemens stores a phase in units of pi/4096 from -4096 to 4094,
Philips and GE in thousandths of a radian.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from firenet_mri.errors import DataError
from firenet_mri.io.image.complex_image import Component

_WORDS: dict[str, Component] = {
    "MAGNITUDE": "magnitude",
    "PHASE": "phase",
    "REAL": "real",
    "IMAGINARY": "imaginary",
    "PHASE MAP": "phase",
    "M": "magnitude",
    "P": "phase",
    "R": "real",
    "I": "imaginary",
}
# With the kind of sequence behind the letter: Philips, Canon and UIH.
_LETTER = re.compile(r"(M|P|R|I|MAGNITUDE|PHASE|REAL|IMAGINARY)[_ ](FFE|SE|IR|GRE|FE|IMAGE)")
# Maps that Philips stores as the real part of nothing.
_NO_PARTS = {"FIELD_MAP", "B0", "B1", "B0 MAP", "B1 MAP", "VELOCITY MAP", "T1 MAP", "T2 MAP"}
# One picture of all slices side by side: Siemens and UIH.
_TILED = {"MOSAIC", "VFRAME"}
_GE_COMPONENTS: tuple[Component, ...] = ("magnitude", "phase", "real", "imaginary")
_GE_COMPONENT = (0x0043, 0x102F)
# Our own classic series: magnitudes, which the standard's Image Type has no word for.
_OURS = "firenet_mri"
# Rescale Type (0028,1054).
_UNITS = {"RAD": 1.0, "MRAD": 1e-3, "DEG": math.pi / 180, "DEGREES": math.pi / 180}


def component_of(dataset: Any, frame_type: Any = None) -> Component | None:
    """Return which part of a complex image a data set, or a frame of it, holds.

    Parameters
    ----------
    dataset
        The pydicom data set.
    frame_type
        The frame's item of MR Image Frame Type Sequence, in an enhanced image.

    Returns
    -------
    Component or None
        None if it does not say.

    Raises
    ------
    DataError
        If it holds something else: a mosaic of slices.
    """
    tokens = image_type(dataset, frame_type)
    if _TILED.intersection(tokens):
        raise DataError(
            f"Image Type {'/'.join(tokens)}: one picture holds all slices side by side; convert "
            "it to NIfTI (dcm2niix), or export one image per slice"
        )
    source = dataset if frame_type is None else frame_type
    stated = str(source.get("ComplexImageComponent") or "").upper()
    if stated in _WORDS:
        return _WORDS[stated]
    found = {part for part in map(_part, tokens) if part}
    if len(found) == 1:
        return found.pop()
    private = dataset.get(_GE_COMPONENT)
    if private is not None:
        first = np.atleast_1d(np.asarray(private.value))[0]
        if 0 <= int(first) < len(_GE_COMPONENTS):
            return _GE_COMPONENTS[int(first)]
    return "magnitude" if not found and dataset.get("Manufacturer") == _OURS else None


def is_map(dataset: Any, frame_type: Any = None) -> bool:
    """Return whether it holds a map, such as of the field, which is not part of an image."""
    return bool(_NO_PARTS.intersection(image_type(dataset, frame_type)))


def image_type(dataset: Any, frame_type: Any = None) -> list[str]:
    """Return the third and later values of Image Type, or of a frame's Frame Type."""
    source = dataset if frame_type is None else frame_type
    types = source.get("FrameType" if frame_type is not None else "ImageType") or []
    return [str(value).upper() for value in list(types)[2:]]


def radians_per_unit(
    manufacturer: str, rescale_type: str, phase_scale: float | None, name: str
) -> float:
    """Return the radians of a unit of the rescaled phase.

    Parameters
    ----------
    manufacturer, rescale_type
        As the file says.
    phase_scale
        What the user says, which counts.
    name
        File or folder for messages.

    Raises
    ------
    DataError
        If it is not known.
    """
    if phase_scale is not None:
        return phase_scale
    maker = manufacturer.upper()
    if rescale_type.upper() in _UNITS:
        return _UNITS[rescale_type.upper()]
    if maker.startswith("SIEMENS"):
        return math.pi / 4096
    if maker.startswith(("PHILIPS", "GE")):
        return 1e-3
    raise DataError(
        f"{name}: the unit of the phase of {manufacturer or 'an unknown manufacturer'} is not "
        "known; give --phase-scale (phase_scale), radians per unit of the rescaled phase"
    )


def _part(token: str) -> Component | None:
    match = _LETTER.fullmatch(token)
    return _WORDS.get(match[1] if match else token)
