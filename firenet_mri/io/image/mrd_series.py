"""Reads MRD images: HDF5 files with groups of images, as Gadgetron, FIRE and our server write them.

Streams of image messages are read, too. Images of one group, series number, type, size and
orientation are one series: slices in the order of their positions, and counters that vary tell
several images apart. Of the attributes an allow-list is looked at: directions of rows and columns,
rescaling, times of echo and repetition, and whether the scan was simulated. Nothing else leaves
this module.

The place is the header's: the pixel N//2 of rows and columns lies at ``position``, as in raw data.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError, FileError, UsageError
from firenet_mri.geometry import AcquisitionParameters, Geometry
from firenet_mri.io.kspace import mrd2
from firenet_mri.io.kspace.hdf5 import check_size
from firenet_mri.io.kspace.ismrmrd import is_simulated, parameters_of, placed_images
from firenet_mri.io.kspace.ismrmrd_header import parse_header
from firenet_mri.io.kspace.ismrmrd_stream import is_stream, messages
from firenet_mri.io.kspace.recognise import HDF5_SIGNATURE, describe_foreign, read_head
from firenet_mri.io.mrd_messages import Kind

_log = logging.getLogger(__name__)

#: What the numbers of an image are.
Component = Literal["magnitude", "phase", "real", "imaginary", "complex"]

_COMPONENTS: dict[int, Component] = {
    1: "magnitude",
    2: "phase",
    3: "real",
    4: "imaginary",
    5: "complex",
}
_RGB = 6
_SAME_PLACE_MM = 0.05
# In the order in which the names of scans have them.
_COUNTERS = ("repetition", "contrast", "phase", "set", "average")
_PLACE = ("position", "read_dir", "phase_dir", "slice_dir", "field_of_view")
_ECHO_TIMES = ("GADGETRON_TE", "TE", "EchoTime")
_UNREADABLE = (OSError, RuntimeError, KeyError, IndexError, ValueError, TypeError, EOFError)


@dataclass(frozen=True, eq=False)
class ImageSeries:
    """Images that belong together.

    Parameters
    ----------
    number, name
        What it is called in its file: number from 1, and name.
    image
        (z, y, x), or (image, z, y, x) where there are several; complex64 or float32.
    component
        What its numbers are.
    geometry
        Where it lies; None if the file does not say it, or no one place fits all slices.
    names
        What tells several images apart, see :class:`firenet_mri.scan.RawScan`.
    parameters
        Field strength and times, as far as the file has a header.
    simulated
        Whether the file says that the scan was.
    """

    number: int
    name: str
    image: NDArray[Any]
    component: Component
    geometry: Geometry | None
    names: tuple[str, ...] = ()
    parameters: AcquisitionParameters = AcquisitionParameters()
    simulated: bool = False


@dataclass(eq=False)
class _Image:
    """One image of the file: what its header says, allowed attributes, pixels (channel, z, y, x).

    ``position`` and the directions are those of an ``ismrmrd`` header, as readers of raw data use.
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
            # What turns the pixels says so there, and leaves the header as it was.
            self.read_dir, self.phase_dir = rows, columns

    @property
    def component(self) -> Component:
        """What the pixels are; an unknown type is told by their numbers."""
        if np.iscomplexobj(self.pixels):
            return "complex"
        stated = _COMPONENTS.get(int(self.head["image_type"]), "magnitude")
        return "real" if stated == "complex" else stated

    @property
    def key(self) -> tuple[object, ...]:
        """What images of one series have in common."""
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
        return tuple(int(self.head[name]) for name in _COUNTERS)

    def rescaled(self) -> NDArray[Any]:
        """Return the pixels as the attributes have them shown, complex64 or float32."""
        slope = _positive(self.attributes, "RescaleSlope") or 1.0
        intercept = _float(self.attributes.get("RescaleIntercept")) or 0.0
        dtype = np.complex64 if np.iscomplexobj(self.pixels) else np.float32
        return np.asarray(self.pixels * slope + intercept, dtype)


def read_mrd_images(path: Path, series: str | None = None) -> ImageSeries:
    """Return one series of the images in a file.

    Parameters
    ----------
    path
        HDF5 file or stream.
    series
        Its name, or its number from 1; None takes the only one.

    Raises
    ------
    FileError
        If the file is missing, truncated, or holds no MRD images.
    UsageError
        If there are several series and none was chosen, or none of that name.
    DataError
        If slices of an image are missing, or its pixels are colours, NaN or infinite.
    """
    images, header = _images_of(path)
    groups: dict[tuple[object, ...], list[_Image]] = defaultdict(list)
    for image in images:
        groups[image.key].append(image)
    names = _names(list(groups))
    chosen = _chosen(path, names, list(groups.values()), series)
    found = list(groups.values())[chosen]
    return _series(chosen + 1, names[chosen], found, header, path)


def _images_of(path: Path) -> tuple[list[_Image], Any]:
    """Return all images of a file, and its header if it has one."""
    head = read_head(path)
    if head.startswith(HDF5_SIGNATURE):
        images, xml = _of_hdf5(path)
    elif is_stream(head):
        images, xml = _of_stream(path)
    elif head.startswith(mrd2.SIGNATURE):
        found, header = mrd2.read_images(path)
        return _some([_of_version_2(one) for one in found], path), header
    else:
        raise FileError(f"{path}: holds no MRD images; it is {describe_foreign(head, path)}")
    return _some(images, path), None if xml is None else parse_header(xml, str(path))


def _some(images: list[_Image], path: Path) -> list[_Image]:
    if not images:
        raise FileError(f"{path}: holds no MRD images; a scan becomes an image with firenet recon")
    return images


def _of_hdf5(path: Path) -> tuple[list[_Image], bytes | None]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            groups = _image_groups(file)
            images = [image for name in groups for image in _of_group(file[name], name, path)]
            parents = {name.rpartition("/")[0] for name in groups}
            xmls = [bytes(file[f"{one}/xml"][0]) for one in sorted(parents) if f"{one}/xml" in file]
    except DataError:
        raise
    except _UNREADABLE:
        raise FileError(
            f"{path}: the file of MRD images is truncated or damaged; copy or export it again"
        ) from None
    # Headers of several scans may differ.
    return images, xmls[0] if len(xmls) == 1 == len(parents) else None


def _image_groups(file: Any) -> list[str]:
    """Return the groups that hold images, in the order of numbers at their ends."""
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


def _of_group(group: Any, name: str, path: Path) -> Iterator[_Image]:
    for part in ("header", "data"):
        check_size(group[part], path)
    heads = np.asarray(group["header"]).ravel()
    pixels = np.asarray(group["data"])
    if pixels.dtype.names == ("real", "imag"):
        pixels = pixels["real"] + 1j * pixels["imag"]
    texts: Sequence[Any] = [b""] * len(heads)
    if "attributes" in group:
        texts = np.asarray(group["attributes"]).ravel().tolist()
    if not len(heads) == len(pixels) == len(texts):
        raise FileError(
            f"{path}: /{name} has {len(heads)} headers, {len(pixels)} images and {len(texts)} "
            "attributes; export it again"
        )
    for head, text, values in zip(heads, texts, pixels, strict=True):
        axes = (1,) * (4 - values.ndim) + values.shape
        yield _Image(name, head, _attributes(text), values.reshape(axes[-4:]))


def _of_stream(path: Path) -> tuple[list[_Image], bytes | None]:
    images: list[_Image] = []
    headers: list[str] = []
    for message in messages(path):
        if message.kind is Kind.HEADER:
            headers.append(message.value)
        elif message.kind is Kind.IMAGE:
            found = message.value
            name = f"image_{found.image_series_index}"
            images.append(_Image(name, _Head(found), dict(found.meta), found.data))
    return images, headers[0].encode() if len(headers) == 1 else None


def _of_version_2(found: Any) -> _Image:
    """Return an image of MRD 2, whose counters may be missing."""
    head = found.head
    numbers = {name: getattr(head, name, None) or 0 for name in (*_COUNTERS, "slice")}
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
    return _Image(f"image_{series}", fields, meta, np.asarray(found.data))


class _Head:
    """The header of an ``ismrmrd.Image``, by name as HDF5 has it."""

    def __init__(self, image: Any) -> None:
        self._head = image.getHead()

    def __getitem__(self, name: str) -> Any:
        value = getattr(self._head, name)
        return list(value) if hasattr(value, "_length_") else value


def _attributes(text: Any) -> Mapping[str, Any]:
    """Return the attributes of an image; none if they are not those of MRD."""
    from ismrmrd import Meta

    xml = text if isinstance(text, str) else bytes(text).decode("utf-8", "replace")
    try:
        return dict(Meta.deserialize(xml.rstrip("\0 \r\n\t")))
    # The XML library's own errors are of many kinds.
    except Exception:
        return {}


def _names(keys: Sequence[tuple[object, ...]]) -> list[str]:
    """Return a name for each series: the group's, and what tells it from others of the group."""
    groups = [str(key[0]) for key in keys]
    parents = {group.rpartition("/")[0] for group in groups}
    plain = [group.rpartition("/")[2] if len(parents) == 1 else group for group in groups]
    names: list[str] = []
    for key, name in zip(keys, plain, strict=True):
        same = [other for other in keys if other[0] == key[0]]
        words = [name]
        if len({other[1] for other in same}) > 1:
            words.append(f"series {key[1]}")
        if len({other[2] for other in same}) > 1:
            words.append(str(key[2]))
        alike = [other for other in same if other[1:3] == key[1:3]]
        if len(alike) > 1:
            words.append(f"stack {alike.index(key) + 1}")
        names.append(" ".join(words))
    return names


def _chosen(
    path: Path, names: Sequence[str], groups: Sequence[Sequence[_Image]], wanted: str | None
) -> int:
    """Return the index of the series that is read."""
    listed = "; ".join(
        f"{number + 1}: {name} ({group[0].component}, {len(group)} images)"
        for number, (name, group) in enumerate(zip(names, groups, strict=True))
    )
    if wanted is None:
        if len(names) > 1:
            raise UsageError(
                f"{path}: holds {len(names)} series of images ({listed}); choose one with "
                "--series (series= in Python)"
            )
        return 0
    if wanted in names:
        return list(names).index(wanted)
    if wanted.isdecimal() and 1 <= int(wanted) <= len(names):
        return int(wanted) - 1
    raise UsageError(f"{path}: series {wanted!r} asked for; there are {listed}")


def _series(
    number: int, name: str, images: Sequence[_Image], header: Any, path: Path
) -> ImageSeries:
    """Return the series that images make."""
    if any(int(image.head["image_type"]) == _RGB for image in images):
        raise DataError(f"{path}: {name} holds coloured pictures, which are no MR images")
    keys, slices, labels = _layout(images, path, name)
    first = images[0]
    channels, depth = first.pixels.shape[:2]
    if depth > 1 and len(slices) > 1:
        raise DataError(f"{path}: {name} holds {len(slices)} slabs of volumes; split the file")
    try:
        ordered, geometry = placed_images(
            list(slices.values()), _extent(first, slices.values()), path.name
        )
    except DataError as error:
        raise DataError(f"{path}: {name}: {error}") from None
    if any(
        not np.allclose(one[key].position, image.position, atol=_SAME_PLACE_MM)
        for one in keys
        for key, image in slices.items()
    ):
        _log.warning("%s: the images lie at several places; that of the first is told", path.name)
    order = [next(key for key, one in slices.items() if one is image) for image in ordered]
    stack = np.stack([np.concatenate([one[key].rescaled() for key in order], 1) for one in keys])
    if not np.isfinite(stack).all():
        raise DataError(f"{path}: {name} has NaN or infinite pixels; export it again")
    # (image, channel, z, y, x): images of coils are images of their own.
    values = stack.reshape(-1, *stack.shape[2:])
    if channels > 1:
        several = [label or "" for label in labels]
        labels = [
            ", ".join(word for word in (label, f"channel {i}") if word)
            for label in several
            for i in range(channels)
        ]
    known = AcquisitionParameters() if header is None else parameters_of(header)
    return ImageSeries(
        number,
        name,
        values if len(values) > 1 else values[0],
        first.component,
        geometry,
        tuple(labels) if len(values) > 1 else (),
        _with_own_times(known, images),
        _is_simulated(images, header),
    )


_Slices = dict[tuple[object, ...], _Image]


def _layout(
    images: Sequence[_Image], path: Path, name: str
) -> tuple[list[_Slices], _Slices, list[str]]:
    """Return the slices of every image, those of the first, and what tells the images apart."""
    for key_of in (_by_number, _by_place):
        found = _grouped(images, key_of, depth=False)
        if found is not None:
            break
    else:
        found = _grouped(images, _by_number, depth=True)
        assert found is not None
    counters = [*_COUNTERS, "measurement"]
    keys = sorted(found)
    slices = found[keys[0]]
    for key in keys:
        if set(found[key]) != set(slices):
            raise DataError(
                f"{path}: {name}: its images have {len(slices)} and {len(found[key])} slices; some "
                "are missing, or come twice with the same counters"
            )
    varying = [i for i in range(len(counters)) if len({key[i] for key in keys}) > 1]
    labels = [", ".join(f"{counters[i]} {key[i]}" for i in varying) for key in keys]
    return [found[key] for key in keys], slices, labels


def _by_number(image: _Image) -> tuple[object, ...]:
    return (int(image.head["slice"]),)


def _by_place(image: _Image) -> tuple[object, ...]:
    """Return what tells slices apart that are not counted."""
    return (int(image.head["slice"]), *np.round(image.position, 2).tolist())


def _grouped(
    images: Sequence[_Image], key_of: Any, *, depth: bool
) -> dict[tuple[int, ...], _Slices] | None:
    """Return slices by image; None if one comes twice, unless these are images of their own."""
    found: dict[tuple[int, ...], _Slices] = defaultdict(dict)
    for image in images:
        number, key = 0, key_of(image)
        while key in found[(*image.counters, number)]:
            if not depth:
                return None
            number += 1
        found[(*image.counters, number)][key] = image
    return dict(found)


def _extent(first: _Image, slices: Iterable[_Image]) -> tuple[float, float, float]:
    """Return the extent (z, y, x) in mm; slices without a thickness have that of their distance."""
    x, y, z = first.field_of_view
    positions = np.array([one.position for one in slices])
    if z <= 0 and len(positions) > 1:
        heights = np.sort(positions @ first.slice_dir)
        z = float(np.median(np.diff(heights)))
    return float(z), float(y), float(x)


def _with_own_times(
    known: AcquisitionParameters, images: Sequence[_Image]
) -> AcquisitionParameters:
    """Return the parameters with the images' own times: of repetition, and an echo a contrast."""
    repetition = {_positive(image.attributes, "RepetitionTime") for image in images}
    if known.repetition_time_ms is None and len(repetition) == 1:
        known = replace(known, repetition_time_ms=repetition.pop())
    times: dict[int, set[float]] = defaultdict(set)
    for image in images:
        value = next(filter(None, (_positive(image.attributes, key) for key in _ECHO_TIMES)), None)
        if value is None:
            return known
        times[int(image.head["contrast"])].add(value)
    if any(len(values) > 1 for values in times.values()) or sorted(times) != [*range(len(times))]:
        return known
    return replace(known, echo_times_ms=tuple(min(times[i]) for i in range(len(times))))


def _is_simulated(images: Sequence[_Image], header: Any) -> bool:
    told = (image.attributes.get("ImageProcessingHistory") or () for image in images)
    words = {word for one in told for word in ([one] if isinstance(one, str) else one)}
    return "simulated" in words or (header is not None and is_simulated(header))


def _number_or_vector(head: Any, name: str) -> Any:
    return np.asarray(head[name]).ravel()


def _float(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _positive(attributes: Mapping[str, Any], name: str) -> float | None:
    value = _float(attributes.get(name))
    return value if value is not None and value > 0 else None


def _vector(attributes: Mapping[str, Any], name: str) -> NDArray[np.float64] | None:
    """Return a unit vector among the attributes; None if there is none."""
    values = attributes.get(name)
    if not isinstance(values, list) or len(values) != 3:
        return None
    numbers = [_float(value) for value in values]
    if None in numbers:
        return None
    vector = np.array(numbers, dtype=float)
    return vector if abs(np.linalg.norm(vector) - 1) < 1e-3 else None
