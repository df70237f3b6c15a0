"""Finds the part of a complex image that DICOM pixels are, and the unit of a phase, by vendor.

The part is read, never guessed, from Complex Image Component (0008,9208), else from the third and
later values of Image Type, else from GE's private (0043,102F). Siemens stores a phase in units of
pi/4096 from -4096 to 4094, Philips and GE in thousandths of a radian.
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
# The kind of sequence follows the letter in files of Philips, Canon and UIH.
_LETTER = re.compile(r"(M|P|R|I|MAGNITUDE|PHASE|REAL|IMAGINARY)[_ ](FFE|SE|IR|GRE|FE|IMAGE)")
# Maps that Philips marks as a real part without an imaginary one.
_NO_PARTS = {"FIELD_MAP", "B0", "B1", "B0 MAP", "B1 MAP", "VELOCITY MAP", "T1 MAP", "T2 MAP"}
# Siemens and UIH mark a picture of all slices side by side with this word.
_TILED = {"MOSAIC", "VFRAME"}
_GE_COMPONENTS: tuple[Component, ...] = ("magnitude", "phase", "real", "imaginary")
_GE_COMPONENT = (0x0043, 0x102F)
# Classic series of this package: magnitudes, for which the standard's Image Type has no word.
_OURS = "firenet_mri"
# Values of Rescale Type (0028,1054).
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
        None if the data set does not state it.

    Raises
    ------
    DataError
        If the data set is not a part but a mosaic of slices.
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
    """Return whether a data set is a map, such as a field map, which is not part of an image."""
    return bool(_NO_PARTS.intersection(image_type(dataset, frame_type)))


def image_type(dataset: Any, frame_type: Any = None) -> list[str]:
    """Return the third and later values of Image Type, or of a frame's Frame Type."""
    source = dataset if frame_type is None else frame_type
    types = source.get("FrameType" if frame_type is not None else "ImageType") or []
    return [str(value).upper() for value in list(types)[2:]]


def radians_per_unit(
    manufacturer: str, rescale_type: str, phase_scale: float | None, name: str
) -> float:
    """Return the radians per unit of the rescaled phase.

    Parameters
    ----------
    manufacturer, rescale_type
        As in the file.
    phase_scale
        The user's value, which takes precedence.
    name
        Name of the file or folder in messages.

    Raises
    ------
    DataError
        If the unit is not known.
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
        "known; give --phase-scale (phase_scale) in radians per unit of the rescaled phase"
    )


def _part(token: str) -> Component | None:
    match = _LETTER.fullmatch(token)
    return _WORDS.get(match[1] if match else token)
