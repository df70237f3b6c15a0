"""Parses an ISMRMRD header as converters write it: small faults are corrected and logged.

Every element is looked up in the standard's schema, as it is in the ismrmrd package:

- elements that the schema does not know and values that cannot be read are ignored;
- numbers may have a fraction ("64.0"), surrounding blanks or a unit ("10 ms", "0.3 m");
- enumerated words, such as the trajectory's, may be written in capitals;
- elements that the schema requires but a reconstruction does not need may be missing;
- a field of view in metres is converted to millimetres.

Messages name elements, never the values of ignored elements.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import re
import threading
import warnings
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from enum import Enum
from typing import Any, get_args, get_type_hints

from firenet_mri.errors import FileError, shortened
from firenet_mri.plurals import by_number, counted

_log = logging.getLogger(__name__)

_MOST_NOTES, _LONGEST_NOTE = 20, 200
# Warning filters belong to the whole process, so only one thread at a time may change them.
_QUIET = threading.Lock()
_NAMESPACE = "{http://www.ismrm.org/ISMRMRD}"
_KEPT = (
    "version",
    "acquisitionSystemInformation",
    "experimentalConditions",
    "encoding",
    "sequenceParameters",
)
_NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\s\d]*)\s*")
_MS = {"": 1.0, "ms": 1.0, "s": 1e3, "us": 1e-3, "µs": 1e-3}
_MM = {"": 1.0, "mm": 1.0, "cm": 10.0, "m": 1e3}
_DEGREES = {"": 1.0, "deg": 1.0, "degree": 1.0, "degrees": 1.0, "°": 1.0, "rad": 180 / math.pi}
# Factors of the units that may follow a number, by the name of the element or its parent.
_UNITS = {
    "TR": _MS,
    "TE": _MS,
    "TI": _MS,
    "echo_spacing": _MS,
    "flipAngle_deg": _DEGREES,
    "fieldOfView_mm": _MM,
    "systemFieldStrength_T": {"": 1.0, "T": 1.0, "t": 1.0, "tesla": 1.0, "Tesla": 1.0},
    "H1resonanceFrequency_Hz": {"": 1.0, "Hz": 1.0, "kHz": 1e3, "MHz": 1e6},
}
# A smaller extent and pixel indicate a field of view in metres.
_SMALLEST_EXTENT_MM, _SMALLEST_PIXEL_MM = 1.0, 0.05


def parse_header(xml: bytes, name: str) -> Any:
    """Return the ``ismrmrdHeader``, without patient, study and the rest.

    Parameters
    ----------
    xml
        The text of the header.
    name
        Name of the file in messages.

    Raises
    ------
    FileError
        If the text is not XML, or lacks the encoded matrix or field of view.
    """
    from ismrmrd import xsd

    try:
        root = ElementTree.fromstring(xml.strip(b"\0 \r\n\t"))
        _keep_what_is_needed(root)
        notes: list[str] = []
        _Mender(notes).mend(root, xsd.ismrmrdHeader)
        _complete(root, notes)
        # The parser's warnings quote the header.
        with _QUIET, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = xsd.CreateFromDocument(ElementTree.tostring(root))
    except _MissingError as missing:
        raise FileError(
            f"{name}: its ISMRMRD header has no {missing}; export the scan again"
        ) from None
    # The XML library's own messages may quote the header.
    except Exception:
        raise FileError(
            f"{name}: its ISMRMRD header is not valid XML of the standard; export the scan again"
        ) from None
    _say(list(dict.fromkeys(notes)), name.rpartition("/")[2])
    return header


def _say(notes: list[str], name: str) -> None:
    """Log what was corrected, up to a readable number of notes."""
    for note in notes[:_MOST_NOTES]:
        _log.warning("%s: header: %s", name, shortened(note, _LONGEST_NOTE))
    if len(notes) > _MOST_NOTES:
        more = len(notes) - _MOST_NOTES
        verb = by_number(more, "was", "were")
        _log.warning("%s: header: %s %s corrected", name, counted(more, "further fault"), verb)


class _MissingError(Exception):
    """An element without which the scan cannot be read."""


def _keep_what_is_needed(root: ElementTree.Element) -> None:
    """Remove elements that are not needed, and give the others the standard's names."""
    by_name: dict[str, list[ElementTree.Element]] = defaultdict(list)
    for child in list(root):
        by_name[_local(child)].append(child)
        root.remove(child)
    root.extend(child for tag in _KEPT for child in by_name[tag])
    for element in root.iter():
        element.tag = _NAMESPACE + _local(element)
        element.attrib.clear()


def _local(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]


class _Mender:
    """Makes elements fit the classes of the schema, and adds corrections to ``notes``."""

    def __init__(self, notes: list[str]) -> None:
        self._notes = notes

    def mend(self, element: ElementTree.Element, cls: type) -> None:
        """Correct the children of an element that a class of the schema describes."""
        hints = get_type_hints(cls)
        names = {
            field.metadata.get("name", field.name): hints[field.name]
            for field in dataclasses.fields(cls)
        }
        for child in list(element):
            name = _local(child)
            if name not in names:
                self._notes.append(f"{name} is not in the standard and is ignored")
                element.remove(child)
                continue
            kind = _plain_type(names[name])
            if dataclasses.is_dataclass(kind):
                self.mend(child, kind)
            elif not self._mend_value(child, kind, _local(element)):
                self._notes.append(f"{name} has a value that cannot be read and is ignored")
                element.remove(child)

    def _mend_value(self, element: ElementTree.Element, kind: type, parent: str) -> bool:
        """Correct a value in place; return False if it cannot be read."""
        text, name = (element.text or "").strip(), _local(element)
        if issubclass(kind, Enum):
            found = next((one for one in kind if one.value.lower() == text.lower()), None)
            # Nothing may be assumed for an unknown word, such as a Cartesian trajectory.
            found = found or next((one for one in kind if one.value == "other"), None)
            if found is None:
                return False
            if found.value != text:
                self._notes.append(f"{name} is read as {found.value}")
            element.text = found.value
        elif kind in (int, float):
            number = _number(text, _UNITS.get(name, _UNITS.get(parent, {"": 1.0})))
            if number is None or (kind is int and number != round(number)):
                return False
            mended = str(round(number)) if kind is int else repr(number)
            if not _is_number(text, kind):
                self._notes.append(f"{name} is read as {number:g}")
            element.text = mended
        else:
            element.text = text
        return True


def _plain_type(hint: Any) -> type:
    """Return the class of ``None | T`` and ``list[T]``."""
    inner = [one for one in get_args(hint) if one is not type(None)]
    return _plain_type(inner[0]) if inner else hint


def _number(text: str, units: dict[str, float]) -> float | None:
    found = _NUMBER.fullmatch(text)
    if found is None or found[2] not in units:
        return None
    value = float(found[1]) * units[found[2]]
    return value if math.isfinite(value) else None


def _is_number(text: str, kind: type) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


def _complete(root: ElementTree.Element, notes: list[str]) -> None:
    """Add what the schema requires but nothing uses, and complete the encodings."""
    if _child(root, "experimentalConditions") is None:
        _add(root, "experimentalConditions")
    conditions = _child(root, "experimentalConditions")
    if conditions is not None and _child(conditions, "H1resonanceFrequency_Hz") is None:
        _add(conditions, "H1resonanceFrequency_Hz", "0")
    encodings = [child for child in root if _local(child) == "encoding"]
    if not encodings:
        raise _MissingError("encoding")
    for encoding in encodings:
        _complete_encoding(encoding, notes)


def _complete_encoding(encoding: ElementTree.Element, notes: list[str]) -> None:
    encoded = _child(encoding, "encodedSpace")
    if encoded is None:
        raise _MissingError("encodedSpace")
    _check_space(encoded, notes)
    shown = _child(encoding, "reconSpace")
    if shown is None or not _is_complete(shown):
        notes.append("reconSpace is missing; that of the encoding is used")
        if shown is not None:
            encoding.remove(shown)
        copy = ElementTree.fromstring(ElementTree.tostring(encoded))
        copy.tag = _NAMESPACE + "reconSpace"
        encoding.append(copy)
    else:
        _check_space(shown, notes)
    limits = _child(encoding, "encodingLimits")
    limits = _add(encoding, "encodingLimits") if limits is None else limits
    for step in ("kspace_encoding_step_1", "kspace_encoding_step_2"):
        limit = _child(limits, step)
        # Without this element the schema would put the centre at 0.
        if limit is not None and _child(limit, "center") is None:
            notes.append(f"{step}.center is missing; the middle of the matrix is used")
            limits.remove(limit)
    if _child(encoding, "trajectory") is None:
        notes.append("trajectory is missing; the scan is read as Cartesian")
        _add(encoding, "trajectory", "cartesian")
    parallel = _child(encoding, "parallelImaging")
    if parallel is not None:
        factor = _child(parallel, "accelerationFactor")
        factor = _add(parallel, "accelerationFactor") if factor is None else factor
        for step in ("kspace_encoding_step_1", "kspace_encoding_step_2"):
            if _child(factor, step) is None:
                _add(factor, step, "1")


def _check_space(space: ElementTree.Element, notes: list[str]) -> None:
    """Raise an error if a space lacks its matrix or extent; convert metres to millimetres."""
    for part in ("matrixSize", "fieldOfView_mm"):
        whole = _child(space, part)
        missing = [axis for axis in "xyz" if whole is None or _child(whole, axis) is None]
        if whole is not None and missing == ["z"]:
            notes.append(f"{_local(space)}.{part}.z is missing and read as 1")
            _add(whole, "z", "1")
        elif missing:
            raise _MissingError(f"{_local(space)}.{part}.{missing[0]}")
    matrix, extent = _numbers(space, "matrixSize"), _numbers(space, "fieldOfView_mm")
    pixels = [mm / max(n, 1) for mm, n in zip(extent, matrix, strict=True)]
    if 0 < max(extent[:2]) <= _SMALLEST_EXTENT_MM and max(pixels[:2]) < _SMALLEST_PIXEL_MM:
        notes.append(
            f"{_local(space)}.fieldOfView_mm is {extent[0]:g} x {extent[1]:g} x {extent[2]:g}, "
            "which is read as metres"
        )
        for axis, value, pixel in zip("xyz", extent, pixels, strict=True):
            element = _child(_child(space, "fieldOfView_mm"), axis)
            # Sometimes only the slice thickness is in millimetres.
            if element is not None and pixel < _SMALLEST_PIXEL_MM:
                element.text = repr(1e3 * value)


def _is_complete(space: ElementTree.Element) -> bool:
    parts = (_child(space, part) for part in ("matrixSize", "fieldOfView_mm"))
    return all(
        part is not None and _child(part, axis) is not None for part in parts for axis in "xy"
    )


def _numbers(space: ElementTree.Element, part: str) -> list[float]:
    whole = _child(space, part)
    return [float(_text(_child(whole, axis))) for axis in "xyz"]


def _text(element: ElementTree.Element | None) -> str:
    return "" if element is None else element.text or ""


def _child(element: ElementTree.Element | None, name: str) -> ElementTree.Element | None:
    return None if element is None else element.find(_NAMESPACE + name)


def _add(element: ElementTree.Element, name: str, text: str | None = None) -> ElementTree.Element:
    child = ElementTree.SubElement(element, _NAMESPACE + name)
    child.text = text
    return child
