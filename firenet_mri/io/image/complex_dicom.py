"""Complex DICOM series: magnitude with phase, or real with imaginary part, classic or enhanced MR.

Which part a frame holds is read, never guessed: Complex Image Component (0008,9208), else the third
and later values of Image Type, else GE's private (0043,102F). Phases are brought to radians by what
the vendors store: Siemens pi/4096 for a unit of -4096 to 4094 (Rescale Slope 2 and Intercept -4096,
which are taken where the file leaves them out), Philips and GE thousandths of a radian. Affine:
DICOM PS3.3 C.7.6.2.1.1, then LPS to RAS.
"""

from __future__ import annotations

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError
from firenet_mri.io.image.complex_image import ComplexImage, Component, from_parts
from firenet_mri.io.image.dicom_files import (
    POSITION_SLACK_MM,
    datasets_of,
    pixels_of,
    quietly,
    step_between,
)

_log = logging.getLogger(__name__)

_COMPONENTS: dict[str, Component] = {
    "MAGNITUDE": "magnitude",
    "PHASE": "phase",
    "REAL": "real",
    "IMAGINARY": "imaginary",
}
# Values of Image Type after the second: Siemens, Philips, GE.
_TOKENS: dict[str, Component] = {
    "M": "magnitude",
    "M_FFE": "magnitude",
    "M_SE": "magnitude",
    "M_IR": "magnitude",
    "MAGNITUDE": "magnitude",
    "P": "phase",
    "PHASE": "phase",
    "PHASE MAP": "phase",
    "P_FFE": "phase",
    "R": "real",
    "R_FFE": "real",
    "REAL": "real",
    "I": "imaginary",
    "I_FFE": "imaginary",
    "IMAGINARY": "imaginary",
}
# Maps that Philips stores as the real part of nothing.
_NO_PARTS = {"FIELD_MAP", "B0", "B1", "B0 MAP", "B1 MAP", "VELOCITY MAP", "T1 MAP", "T2 MAP"}
_GE_COMPONENTS: tuple[Component, ...] = ("magnitude", "phase", "real", "imaginary")
_GE_COMPONENT = (0x0043, 0x102F)

_DIRECTION_SLACK = 1e-3


@dataclass(frozen=True, eq=False)
class _Frame:
    """One slice of one part.

    Parameters
    ----------
    values
        (row, column), rescaled.
    orientation
        Directions of a row and of a column, LPS, (2, 3).
    position
        Centre of the first pixel, LPS mm.
    spacing
        Between rows, and between columns, mm.
    thickness
        From a slice to the next, or of the slice, mm.
    scaling
        Slope and intercept as the file states them; None if it states none.
    """

    component: Component
    values: NDArray[np.float64]
    orientation: NDArray[np.float64]
    position: NDArray[np.float64]
    spacing: tuple[float, float]
    thickness: float
    reference: str
    manufacturer: str
    scaling: tuple[float, float] | None


def read_complex_dicom(
    path: Path | Sequence[Path], *, phase_scale: float | None = None
) -> ComplexImage:
    """Return the complex image of a DICOM series, or of two series that belong together.

    Parameters
    ----------
    path
        A folder (files that are not DICOM are left out), a file, or files: one image, that is one
        frame for every slice and part.
    phase_scale
        Radians for one unit of the rescaled phase; None goes by the manufacturer.

    Raises
    ------
    FileError
        If there is no DICOM file, or one is damaged or compressed in a way that cannot be read.
    DataError
        If a frame does not say which part it is, a part or slice is missing, frames of several
        echoes or times are mixed, or the two parts do not lie at the same place.
    """
    name = str(path) if isinstance(path, Path) else str(path[0])
    volumes = _volumes(path, name)
    parts = {part: volume.values for part, volume in volumes.items()}
    if "phase" in parts:
        maker = volumes["phase"].manufacturer
        parts["phase"] = parts["phase"] * _radians(maker, phase_scale, name)
    image = from_parts(parts, name)
    affines = [volume.affine_lps for volume in volumes.values()]
    references = {volume.reference for volume in volumes.values()}
    if len(references) > 1 or not np.allclose(affines[0], affines[1], atol=POSITION_SLACK_MM):
        raise DataError(f"{name}: the two parts lie at different places; they are no pair")
    return ComplexImage(image, np.diag([-1.0, -1, 1, 1]) @ affines[0], name)


def read_dicom_image(path: Path) -> ComplexImage:
    """Return the image of a DICOM series: complex if it has both parts, else its magnitude.

    Parameters and errors are those of :func:`read_complex_dicom`, but for a missing phase.
    """
    volumes = _volumes(path, str(path))
    if set(volumes) != {"magnitude"}:
        return read_complex_dicom(path)
    volume = volumes["magnitude"]
    affine = np.diag([-1.0, -1, 1, 1]) @ volume.affine_lps
    return ComplexImage(volume.values.astype(np.complex64), affine, str(path))


def _volumes(path: Path | Sequence[Path], name: str) -> dict[Component, _Volume]:
    """Return the parts that the files hold."""
    frames: dict[Component, list[_Frame]] = defaultdict(list)
    for dataset in datasets_of(path, name):
        with quietly():
            for frame in _frames(dataset, name):
                frames[frame.component].append(frame)
    return {part: _Volume.of(found, name) for part, found in frames.items()}


@dataclass(frozen=True, eq=False)
class _Volume:
    """The slices of one part, sorted along their normal: (x, y, z) with its affine."""

    values: NDArray[np.float64]
    affine_lps: NDArray[np.float64]
    reference: str
    manufacturer: str

    @classmethod
    def of(cls, frames: list[_Frame], name: str) -> _Volume:
        first = frames[0]
        for frame in frames[1:]:
            is_alike = (
                frame.values.shape == first.values.shape
                and np.allclose(frame.orientation, first.orientation, atol=_DIRECTION_SLACK)
                and np.allclose(frame.spacing, first.spacing, rtol=1e-4)
                and frame.reference == first.reference
            )
            if not is_alike:
                raise DataError(
                    f"{name}: slices of the {first.component} differ in size, direction or frame "
                    "of reference; give the files of one image"
                )
        _check_scaling(frames, name)
        normal = np.cross(*first.orientation)
        ordered = sorted(frames, key=lambda frame: float(normal @ frame.position))
        positions = [frame.position for frame in ordered]
        try:
            step = step_between(positions, normal * first.thickness, first.component)
        except DataError as error:
            raise DataError(f"{name}: {error}") from None
        affine = np.eye(4)
        row_spacing, column_spacing = first.spacing
        affine[:3] = np.stack(
            [
                first.orientation[0] * column_spacing,
                first.orientation[1] * row_spacing,
                step,
                ordered[0].position,
            ],
            axis=1,
        )
        values = np.stack([frame.values.T for frame in ordered], axis=-1)
        return cls(values, affine, first.reference, first.manufacturer)


def _check_scaling(frames: list[_Frame], name: str) -> None:
    """Refuse slices of which some are rescaled and others not; say if few are so in another way."""
    first = frames[0]
    found = Counter(frame.scaling for frame in frames)
    if None in found and len(found) > 1:
        raise DataError(
            f"{name}: {found[None]} of {len(frames)} slices of the {first.component} have no "
            "rescale slope, the others have one; export the series again"
        )
    usual, count = found.most_common(1)[0]
    if len(frames) > 2 and 0 < len(frames) - count <= max(1, len(frames) // 10):
        _log.warning(
            "%s: %d of %d slices of the %s have another rescale slope or intercept than the "
            "others, %s; it may be wrong",
            name,
            len(frames) - count,
            len(frames),
            first.component,
            usual,
        )


def component_of(dataset: Any, frame_type: Any = None) -> Component:
    """Return which part of a complex image a data set, or a frame of it, holds.

    Parameters
    ----------
    dataset
        The pydicom data set.
    frame_type
        The frame's item of MR Image Frame Type Sequence, in an enhanced image.

    Raises
    ------
    DataError
        If it does not say, or holds something else, such as a field map.
    """
    source = dataset if frame_type is None else frame_type
    types = source.get("FrameType" if frame_type is not None else "ImageType") or []
    tokens = [str(value).upper() for value in list(types)[2:]]
    if _NO_PARTS.intersection(tokens):
        raise DataError(f"holds {'/'.join(tokens)}, which is no part of a complex image")
    stated = str(source.get("ComplexImageComponent") or "").upper()
    if stated in _COMPONENTS:
        return _COMPONENTS[stated]
    found = {_TOKENS[token] for token in tokens if token in _TOKENS}
    if len(found) == 1:
        return found.pop()
    private = dataset.get(_GE_COMPONENT)
    if private is not None:
        first = np.atleast_1d(np.asarray(private.value))[0]
        if 0 <= int(first) < len(_GE_COMPONENTS):
            return _GE_COMPONENTS[int(first)]
    raise DataError(
        f"Image Type {'/'.join(tokens) or '(empty)'} does not say whether it is magnitude, phase, "
        "real or imaginary part; set Complex Image Component (0008,9208)"
    )


def _frames(dataset: Any, name: str) -> Iterator[_Frame]:
    """Yield the slices of a data set."""
    pixels = pixels_of(dataset, name).astype(np.float64)
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    try:
        if per_frame is None:
            yield _frame(dataset, component_of(dataset), dataset, dataset, dataset, pixels)
            return
        shared = dataset.SharedFunctionalGroupsSequence[0]
        planes = pixels.reshape(len(per_frame), *pixels.shape[-2:])
        for groups, values in zip(per_frame, planes, strict=True):

            def item(sequence: str, groups: Any = groups) -> Any:
                found = groups.get(sequence) or shared.get(sequence)
                return found[0] if found else {}

            position = item("PlanePositionSequence").get("ImagePositionPatient")
            orientation = item("PlaneOrientationSequence").get("ImageOrientationPatient")
            place = {
                "ImagePositionPatient": position,
                "ImageOrientationPatient": orientation,
            }
            component = component_of(dataset, item("MRImageFrameTypeSequence"))
            rescale = item("PixelValueTransformationSequence")
            measures = item("PixelMeasuresSequence")
            yield _frame(dataset, component, place, measures, rescale, values)
    except DataError as error:
        raise type(error)(f"{name}: {error}") from None
    # Values are decoded when they are asked for, and damaged ones fail in many ways.
    except Exception:
        raise DataError(
            f"{name}: a frame has no position, orientation or pixel spacing; it cannot be placed"
        ) from None


def _frame(
    dataset: Any,
    component: Component,
    place: Mapping[str, Any] | Any,
    measures: Any,
    rescale: Any,
    pixels: NDArray[np.float64],
) -> _Frame:
    orientation = np.array(_floats(place, "ImageOrientationPatient")).reshape(2, 3)
    position = np.array(_floats(place, "ImagePositionPatient"))
    rows, columns = _floats(measures, "PixelSpacing")
    thickness = measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 1
    manufacturer = str(dataset.get("Manufacturer", ""))
    is_siemens_phase = component == "phase" and manufacturer.upper().startswith("SIEMENS")
    slope, intercept = (2.0, -4096.0) if is_siemens_phase else (1.0, 0.0)
    if "RescaleSlope" not in rescale and "RescaleIntercept" in rescale:
        raise DataError("a frame has a rescale intercept and no slope; export the series again")
    if "RescaleSlope" in rescale:
        slope = float(rescale.get("RescaleSlope"))
        intercept = float(rescale.get("RescaleIntercept", 0))
    return _Frame(
        component,
        pixels * slope + intercept,
        orientation,
        position,
        (rows, columns),
        float(thickness),
        str(dataset.get("FrameOfReferenceUID", "")),
        manufacturer,
        (slope, intercept) if "RescaleSlope" in rescale else None,
    )


def _floats(item: Any, keyword: str) -> list[float]:
    """Return the numbers of an attribute; TypeError if it is not there."""
    return [float(value) for value in item.get(keyword)]


def _radians(manufacturer: str, phase_scale: float | None, name: str) -> float:
    """Return the radians of a unit of the rescaled phase."""
    if phase_scale is not None:
        return phase_scale
    maker = manufacturer.upper()
    if maker.startswith("SIEMENS"):
        return math.pi / 4096
    if maker.startswith(("PHILIPS", "GE")):
        return 1e-3
    raise DataError(
        f"{name}: the unit of the phase of {manufacturer or 'an unknown manufacturer'} is not "
        "known; give phase_scale, radians per unit of the rescaled phase"
    )
