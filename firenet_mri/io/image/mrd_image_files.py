"""Reads all images of a file: HDF5 with groups of MRD images, MRD streams, and MRD 2."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError, FileError
from firenet_mri.io.hdf5 import open_hdf5, read_texts, read_whole
from firenet_mri.io.kspace import mrd2
from firenet_mri.io.kspace.ismrmrd_header import parse_header
from firenet_mri.io.kspace.ismrmrd_stream import is_stream, messages
from firenet_mri.io.kspace.recognise import HDF5_SIGNATURE, describe_foreign, read_head
from firenet_mri.io.mrd_messages import Kind
from firenet_mri.memory import refuse_shortage
from firenet_mri.plurals import counted

_log = logging.getLogger(__name__)

#: What the values of an image are.
Component = Literal["magnitude", "phase", "real", "imaginary", "complex"]
#: Counters that tell the images of a series apart, in their order in the names of scans.
COUNTERS = ("repetition", "contrast", "phase", "set", "average")

_COMPONENTS: dict[int, Component] = {
    1: "magnitude",
    2: "phase",
    3: "real",
    4: "imaginary",
    5: "complex",
}
_PLACE = ("position", "read_dir", "phase_dir", "slice_dir", "field_of_view")


def images_of(path: Path) -> tuple[list[MrdImage], dict[str, Any]]:
    """Return all images of a file, and its headers by parent group, without patient and study.

    Raises
    ------
    FileError
        If the file is missing, truncated or damaged, or contains no MRD images.
    """
    head = read_head(path)
    if head.startswith(HDF5_SIGNATURE):
        images, texts = _of_hdf5(path)
    elif is_stream(head):
        images, texts = _of_stream(path)
    elif head.startswith(mrd2.SIGNATURE):
        found, header = mrd2.read_images(path)
        headers = {} if header is None else {"": header}
        return _some([_of_version_2(one) for one in found], path), headers
    else:
        raise FileError(f"{path}: contains no MRD images; it is {describe_foreign(head, path)}")
    headers = {group: _header_of(text, path) for group, text in texts.items()}
    return _some(images, path), headers


def _header_of(xml: bytes, path: Path) -> Any:
    """Return a header; if it cannot be read, log that and return None: images do not need it."""
    try:
        return parse_header(xml, str(path))
    except FileError as error:
        _log.warning("%s; the images are read without it", error)
        return None


def _some(images: list[MrdImage], path: Path) -> list[MrdImage]:
    if not images:
        raise FileError(
            f"{path}: contains no MRD images; use firenet recon to make an image from a scan"
        )
    return images


def _of_hdf5(path: Path) -> tuple[list[MrdImage], dict[str, bytes]]:
    try:
        with open_hdf5(path) as file:
            groups = _image_groups(file)
            images = [image for name in groups for image in _of_group(file[name], name, path)]
            parents = {name.rpartition("/")[0] for name in groups}
            texts = {one: bytes(file[f"{one}/xml"][0]) for one in parents if f"{one}/xml" in file}
    except (DataError, FileError):
        raise
    # Damaged files raise exceptions of many kinds.
    except Exception as error:
        refuse_shortage(path, error)
        raise FileError(
            f"{path}: the file of MRD images is truncated or damaged; copy or export it again"
        ) from None
    return images, texts


def _image_groups(file: Any) -> list[str]:
    """Return the groups that contain images, in the order of the numbers in their names."""
    found: list[str] = []

    def visit(name: str, item: Any) -> None:
        if hasattr(item, "keys") and {"header", "data"} <= set(item):
            fields = getattr(item["header"].dtype, "names", None) or ()
            if {"image_type", "matrix_size"} <= set(fields):
                found.append(name)

    file.visititems(visit)
    return sorted(found, key=_natural)


def _natural(name: str) -> tuple[str, int, str]:
    stem = name.rstrip("0123456789")
    number = name[len(stem) :]
    return stem, int(number) if number else -1, name


def _of_group(group: Any, name: str, path: Path) -> Iterator[MrdImage]:
    heads = read_whole(group["header"], path).ravel()
    pixels = read_whole(group["data"], path)
    if pixels.dtype.names == ("real", "imag"):
        pixels = pixels["real"] + 1j * pixels["imag"]
    texts: Sequence[Any] = [b""] * len(heads)
    if "attributes" in group:
        texts = read_texts(group["attributes"], path)
    if not len(heads) == len(pixels) == len(texts):
        raise FileError(
            f"{path}: /{name} has {counted(len(heads), 'header')}, "
            f"{counted(len(pixels), 'image')} and {counted(len(texts), 'attribute')}; export it "
            "again"
        )
    for head, text, values in zip(heads, texts, pixels, strict=True):
        axes = (1,) * (4 - values.ndim) + values.shape
        yield MrdImage(name, head, _attributes(text), values.reshape(axes[-4:]))


def _of_stream(path: Path) -> tuple[list[MrdImage], dict[str, bytes]]:
    images: list[MrdImage] = []
    headers: list[str] = []
    for message in messages(path):
        if message.kind is Kind.HEADER:
            headers.append(message.value)
        elif message.kind is Kind.IMAGE:
            found = message.value
            name = f"image_{found.image_series_index}"
            images.append(MrdImage(name, _Head(found), dict(found.meta), found.data))
    # With several headers it is not known which images belong to which.
    return images, {"": headers[0].encode()} if len(headers) == 1 else {}


def _of_version_2(found: Any) -> MrdImage:
    """Return an image of MRD 2, whose counters may be missing."""
    head = found.head
    numbers = {name: getattr(head, name, None) or 0 for name in (*COUNTERS, "slice")}
    series = head.image_series_index or 0
    fields = {
        **numbers,
        "image_series_index": series,
        "image_type": int(getattr(head.image_type, "value", head.image_type)),
        "position": head.position,
        "read_dir": head.col_dir,
        "phase_dir": head.line_dir,
        "slice_dir": head.slice_dir,
        "field_of_view": head.field_of_view,
    }
    meta = {
        name: words[0] if len(words) == 1 else words
        for name, values in dict(found.meta).items()
        if (words := [getattr(value, "value", value) for value in values])
    }
    return MrdImage(f"image_{series}", fields, meta, np.asarray(found.data))


class _Head:
    """The header of an ``ismrmrd.Image``, accessed by name as in HDF5."""

    def __init__(self, image: Any) -> None:
        self._head = image.getHead()

    def __getitem__(self, name: str) -> Any:
        value = getattr(self._head, name)
        return list(value) if hasattr(value, "_length_") else value


def _attributes(text: Any) -> Mapping[str, Any]:
    """Return the attributes of an image; none if they are not valid MRD."""
    from ismrmrd import Meta

    xml = text if isinstance(text, str) else bytes(text).decode("utf-8", "replace")
    try:
        return dict(Meta.deserialize(xml.rstrip("\0 \r\n\t")))
    # The XML library raises exceptions of many kinds.
    except Exception:
        return {}


@dataclass(eq=False)
class MrdImage:
    """One image of the file: its header, allowed attributes, and pixels (channel, z, y, x).

    ``position`` and the directions are those of an ``ismrmrd`` header, as for raw data.
    """

    group: str
    head: Any
    attributes: Mapping[str, Any]
    pixels: NDArray[Any]
    position: NDArray[np.float64] = field(init=False)
    read_dir: NDArray[np.float64] = field(init=False)
    phase_dir: NDArray[np.float64] = field(init=False)
    slice_dir: NDArray[np.float64] = field(init=False)
    field_of_view: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        for name in _PLACE:
            setattr(self, name, np.array(_number_or_vector(self.head, name), dtype=float))
        rows, columns = (_vector(self.attributes, key) for key in ("ImageRowDir", "ImageColumnDir"))
        if rows is not None and columns is not None and abs(rows @ columns) < 1e-3:
            # Software that rotates the pixels changes only the attributes, not the header.
            self.read_dir, self.phase_dir = rows, columns

    @property
    def component(self) -> Component:
        """What the pixels are; for an unknown type, decided by their values."""
        if np.iscomplexobj(self.pixels):
            return "complex"
        stated = _COMPONENTS.get(int(self.head["image_type"]), "magnitude")
        return "real" if stated == "complex" else stated

    @property
    def key(self) -> tuple[object, ...]:
        """Values that images of one series have in common."""
        directions = np.concatenate([self.read_dir, self.phase_dir, self.slice_dir])
        return (
            self.group,
            int(self.head["image_series_index"]),
            self.component,
            self.pixels.shape,
            tuple((np.round(directions, 3) + 0.0).tolist()),
        )

    @property
    def counters(self) -> tuple[int, ...]:
        """The counters that tell images apart."""
        return tuple(int(self.head[name]) for name in COUNTERS)

    @property
    def acquisition_time_stamp(self) -> int:
        """Time of measurement in the vendor's steps; 0 if unknown."""
        return self._stamps("acquisition_time_stamp")[0]

    @property
    def physiology_time_stamp(self) -> list[int]:
        """Times after triggers, the ECG's first, in the vendor's steps; 0 if unknown."""
        return self._stamps("physiology_time_stamp")

    def _stamps(self, name: str) -> list[int]:
        try:
            return [int(value) for value in np.asarray(self.head[name]).ravel()] or [0]
        # Headers of MRD 2 have their times in other fields.
        except (KeyError, AttributeError, ValueError):
            return [0]

    def rescaled(self) -> NDArray[Any]:
        """Return the pixels, rescaled as the attributes state, complex64 or float32."""
        slope = positive(self.attributes, "RescaleSlope") or 1.0
        intercept = number_of(self.attributes.get("RescaleIntercept")) or 0.0
        dtype = np.complex64 if np.iscomplexobj(self.pixels) else np.float32
        return np.asarray(self.pixels * slope + intercept, dtype)


def _number_or_vector(head: Any, name: str) -> Any:
    return np.asarray(head[name]).ravel()


def number_of(value: Any) -> float | None:
    """Return an attribute that is a finite number; None for any other."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def positive(attributes: Mapping[str, Any], name: str) -> float | None:
    """Return a positive number among the attributes, or None."""
    value = number_of(attributes.get(name))
    return value if value is not None and value > 0 else None


def _vector(attributes: Mapping[str, Any], name: str) -> NDArray[np.float64] | None:
    """Return a unit vector among the attributes, or None."""
    values = attributes.get(name)
    if not isinstance(values, list) or len(values) != 3:
        return None
    numbers = [number_of(value) for value in values]
    if None in numbers:
        return None
    vector = np.array(numbers, dtype=float)
    return vector if abs(np.linalg.norm(vector) - 1) < 1e-3 else None
