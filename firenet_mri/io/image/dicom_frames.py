"""Slices of DICOM files, described from their headers: part, position, echo and order.

A classic file is one frame, an enhanced file has many (DICOM PS3.3, C.7.6.16). Only the pixels of
chosen frames are read, when a volume is assembled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError, FileError
from firenet_mri.io.image.complex_image import Component
from firenet_mri.io.image.dicom_door import DAMAGED, quiet, read_dataset, stored_pixels
from firenet_mri.io.image.dicom_parts import component_of, image_type, is_map


@dataclass(frozen=True, eq=False)
class Frame:
    """One slice of one part.

    Parameters
    ----------
    file, index
        File of the pixels, and index of the frame in it.
    part
        Part of a complex image; None if the file does not state it.
    kind
        Third and later values of Image Type, for messages.
    is_map
        Whether the frame is a map, such as a field map, which is not part of an image.
    shape
        Numbers of rows and columns.
    orientation
        Directions of a row and of a column, LPS, (2, 3).
    position
        Centre of the first pixel, LPS mm.
    spacing
        Spacing of rows and of columns, mm.
    thickness
        Distance from one slice to the next, or thickness of the slice, mm.
    rescale
        Slope and intercept of the stored values.
    says_rescale
        Whether the file states slope and intercept.
    rescale_type
        Unit of the rescaled values; "" if the file does not state it.
    echo
        Echo time in ms; 0 if the file does not state it.
    order
        Sort key: later images at the same position have larger ones.
    reference, manufacturer
        Frame of reference and manufacturer, as in the file.
    """

    file: Path
    index: int
    part: Component | None
    kind: str
    is_map: bool
    shape: tuple[int, int]
    orientation: NDArray[np.float64]
    position: NDArray[np.float64]
    spacing: tuple[float, float]
    thickness: float
    rescale: tuple[float, float]
    says_rescale: bool
    rescale_type: str
    echo: float
    order: tuple[float, ...]
    reference: str
    manufacturer: str


def series_of(dataset: Any, file: Path) -> tuple[str, str]:
    """Return number and identifier of a data set's series; "" if missing.

    Raises
    ------
    FileError
        If number or identifier is damaged.
    """
    try:
        with quiet():
            return _text(dataset, "SeriesNumber"), _text(dataset, "SeriesInstanceUID")
    except Exception:
        raise FileError(f"{file}: {DAMAGED}") from None


def frames_of(dataset: Any, file: Path) -> list[Frame]:
    """Return the slices of a data set, for which its header is enough.

    Raises
    ------
    DataError
        If a frame has no position, contains several slices, or has an intercept without a slope.
    """
    try:
        with quiet():
            return [
                _frame(dataset, file, index, groups)
                for index, groups in enumerate(_groups_of(dataset))
            ]
    except DataError as error:
        raise type(error)(f"{file}: {error}") from None
    # Elements are decoded on access, and damaged ones raise exceptions of many kinds.
    except Exception:
        raise DataError(
            f"{file}: a frame has no readable position, orientation or pixel spacing, so it cannot "
            "be placed; export the series again"
        ) from None


def pixels_of(frames: Sequence[Frame]) -> Iterator[NDArray[np.float64]]:
    """Yield the rescaled values (row, column) of frames; consecutive frames share one reading.

    Raises
    ------
    FileError
        If a file is damaged, or compressed in a way that cannot be read.
    """
    file, planes = None, np.empty(0)
    for frame in frames:
        if frame.file != file:
            file, planes = frame.file, _decoded(frame.file)
        slope, intercept = frame.rescale
        yield planes[frame.index] * slope + intercept


def _groups_of(dataset: Any) -> Sequence[_Classic | _Enhanced]:
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    if per_frame is not None:
        shared = (dataset.get("SharedFunctionalGroupsSequence") or [{}])[0]
        return [_Enhanced(groups, shared) for groups in per_frame]
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise DataError(
            "contains several frames without their positions; export it again as enhanced MR"
        )
    return [_Classic(dataset)]


class _Classic:
    """A data set that is one frame, which has all its attributes."""

    type_item: Any = None

    def __init__(self, dataset: Any) -> None:
        self.item = dataset

    def get(self, sequence: str) -> Any:
        """Return the item that has the attributes of a functional group."""
        return self.item


class _Enhanced:
    """One frame of many, whose attributes are its own or shared ones."""

    def __init__(self, groups: Any, shared: Any) -> None:
        self.groups, self.shared = groups, shared
        self.type_item = self.get("MRImageFrameTypeSequence")

    def get(self, sequence: str) -> Any:
        """Return the item that has the attributes of a functional group."""
        found = self.groups.get(sequence) or self.shared.get(sequence)
        return found[0] if found else {}


def _frame(dataset: Any, file: Path, index: int, groups: _Classic | _Enhanced) -> Frame:
    measures = groups.get("PixelMeasuresSequence")
    rows, columns = _floats(measures, "PixelSpacing")
    part = component_of(dataset, groups.type_item)
    manufacturer = str(dataset.get("Manufacturer", ""))
    orientation = _floats(groups.get("PlaneOrientationSequence"), "ImageOrientationPatient")
    position = _floats(groups.get("PlanePositionSequence"), "ImagePositionPatient")
    values = groups.get("PixelValueTransformationSequence")
    return Frame(
        file=file,
        index=index,
        part=part,
        kind="/".join(image_type(dataset, groups.type_item)),
        is_map=is_map(dataset, groups.type_item),
        shape=(int(dataset.Rows), int(dataset.Columns)),
        orientation=np.array(orientation).reshape(2, 3),
        position=np.array(position).reshape(3),
        spacing=(rows, columns),
        thickness=_number(measures, "SpacingBetweenSlices")
        or _number(measures, "SliceThickness")
        or 1.0,
        rescale=_rescale(values, part, manufacturer),
        says_rescale="RescaleSlope" in values,
        rescale_type=str(values.get("RescaleType", "")),
        echo=_number(groups.get("MREchoSequence"), "EffectiveEchoTime", "EchoTime"),
        order=(*_order(dataset, groups), index),
        reference=str(dataset.get("FrameOfReferenceUID", "")),
        manufacturer=manufacturer,
    )


def _order(dataset: Any, groups: _Classic | _Enhanced) -> tuple[float, ...]:
    """Return a key that sorts images at the same position in the order of measurement."""
    content = groups.get("FrameContentSequence")
    return (
        _number(content, "TemporalPositionIndex", "TemporalPositionIdentifier"),
        _number(content, "FrameAcquisitionNumber") or _number(dataset, "AcquisitionNumber"),
        _number(dataset, "InstanceNumber"),
    )


def _rescale(item: Any, part: Component | None, manufacturer: str) -> tuple[float, float]:
    if "RescaleSlope" in item:
        return float(item.get("RescaleSlope")), float(item.get("RescaleIntercept") or 0)
    if "RescaleIntercept" in item:
        raise DataError("a frame has a rescale intercept but no slope; export the series again")
    is_siemens_phase = part == "phase" and manufacturer.upper().startswith("SIEMENS")
    return (2.0, -4096.0) if is_siemens_phase else (1.0, 0.0)


def _number(item: Any, *keywords: str) -> float:
    """Return the first of several attributes that is a number, else 0."""
    for keyword in keywords:
        value = item.get(keyword)
        is_list = isinstance(value, Sequence) and not isinstance(value, str)
        first: Any = next(iter(value), None) if is_list else value
        try:
            number = float(first)
        except (TypeError, ValueError):
            continue
        if math.isfinite(number):
            return number
    return 0.0


def _text(item: Any, keyword: str) -> str:
    """Return an attribute as text; "" if it is missing or empty."""
    value = item.get(keyword)
    return "" if value is None else str(value)


def _floats(item: Any, keyword: str) -> list[float]:
    """Return the numbers of an attribute; TypeError if it is missing."""
    return [float(value) for value in item.get(keyword)]


def _decoded(file: Path) -> NDArray[np.float64]:
    """Return the stored values (frame, row, column) of a file."""
    dataset = read_dataset(file, with_pixels=True)
    pixels = stored_pixels(dataset, str(file)).astype(np.float64)
    return pixels.reshape(-1, *pixels.shape[-2:])
