"""Reads MRD images: HDF5 files with groups of images, as from Gadgetron, FIRE and our server.

Streams of image messages are read, too. Images with the same group, series number, type, size and
orientation form one series, with slices in the order of their positions; counters that vary tell
several images apart. Only an allow-list of attributes is read: directions of rows and columns,
rescaling, times of echo, repetition and trigger, and whether the scan was simulated. Nothing else
leaves this module.

The header gives the position: pixel N//2 of rows and columns lies at ``position``, as in raw data.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError, UsageError
from firenet_mri.geometry import AcquisitionParameters, Geometry, Moment
from firenet_mri.io.image.mrd_image_files import (
    COUNTERS,
    Component,
    MrdImage,
    images_of,
    number_of,
    positive,
)
from firenet_mri.io.image.mrd_images import FROM_FIRST, FROM_TRIGGER
from firenet_mri.io.kspace.ismrmrd import is_simulated, parameters_of, placed_images
from firenet_mri.io.kspace.ismrmrd_times import moments_of
from firenet_mri.plurals import counted

_log = logging.getLogger(__name__)

_RGB = 6
_SAME_PLACE_MM = 0.05
_ECHO_TIMES = ("GADGETRON_TE", "TE", "EchoTime")


@dataclass(frozen=True, eq=False)
class ImageSeries:
    """Images that belong together.

    Parameters
    ----------
    number, name
        Number, from 1, and name of the series in its file.
    image
        (z, y, x), or (image, z, y, x) if there are several images; complex64 or float32.
    component
        What the pixels are.
    geometry
        Where the image lies; None if the file does not state it, or if no single geometry fits all
        slices.
    names
        Names that tell several images apart, see :class:`firenet_mri.scan.RawScan`.
    parameters
        Field strength and times, if the file has a header.
    simulated
        Whether the file states that the scan was simulated.
    """

    number: int
    name: str
    image: NDArray[Any]
    component: Component
    geometry: Geometry | None
    names: tuple[str, ...] = ()
    parameters: AcquisitionParameters = AcquisitionParameters()
    simulated: bool = False


def read_mrd_images(path: Path, series: str | None = None) -> ImageSeries:
    """Return one series of the images in a file.

    Parameters
    ----------
    path
        HDF5 file or stream.
    series
        Name of the series, or its number from 1; None takes the only series.

    Raises
    ------
    FileError
        If the file is missing, truncated, or contains no MRD images.
    UsageError
        If there are several series and none was chosen, or the chosen one does not exist.
    DataError
        If slices of an image are missing, or pixels are colours, NaN or infinite.
    """
    images, headers = images_of(path)
    groups: dict[tuple[object, ...], list[MrdImage]] = defaultdict(list)
    for image in images:
        groups[image.key].append(image)
    names = _names(list(groups))
    chosen = _chosen(path, names, list(groups.values()), series)
    found = list(groups.values())[chosen]
    header = headers.get(found[0].group.rpartition("/")[0])
    return _series(chosen + 1, names[chosen], found, header, path)


def _names(keys: Sequence[tuple[object, ...]]) -> list[str]:
    """Return a name for each series: that of its group, and what tells it from others there."""
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
    path: Path, names: Sequence[str], groups: Sequence[Sequence[MrdImage]], wanted: str | None
) -> int:
    """Return the index of the chosen series."""
    listed = "; ".join(
        f"{number + 1}: {name} ({group[0].component}, {counted(len(group), 'image')})"
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
    raise UsageError(
        f"{path}: series {wanted!r} was requested, but the file contains only {listed}"
    )


def _series(
    number: int, name: str, images: Sequence[MrdImage], header: Any, path: Path
) -> ImageSeries:
    """Return the series that the images form."""
    if any(int(image.head["image_type"]) == _RGB for image in images):
        raise DataError(
            f"{path}: {name} contains coloured pictures, which are not MR images; choose another "
            "series"
        )
    keys, slices, labels = _layout(images, path, name)
    first = images[0]
    channels, depth = first.pixels.shape[:2]
    if depth > 1 and len(slices) > 1:
        raise DataError(f"{path}: {name} contains {len(slices)} slabs of volumes; split the file")
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
        _log.warning("%s: the images have several positions; that of the first is used", path.name)
    order = [next(key for key, one in slices.items() if one is image) for image in ordered]
    stack = np.stack([np.concatenate([one[key].rescaled() for key in order], 1) for one in keys])
    if not np.isfinite(stack).all():
        raise DataError(f"{path}: {name} has NaN or infinite pixels; export it again")
    # (image, channel, z, y, x): each coil's image becomes a separate image.
    values = stack.reshape(-1, *stack.shape[2:])
    labels = _with_channels(labels, channels)
    # Images of different coils were acquired at the same time.
    every = [list(one.values()) for one in keys for _ in range(channels)]
    known = AcquisitionParameters() if header is None else parameters_of(header)
    return ImageSeries(
        number,
        name,
        values if len(values) > 1 else values[0],
        first.component,
        geometry,
        tuple(labels) if len(values) > 1 else (),
        replace(_with_own_times(known, images), moments=_moments(every, labels, header, name)),
        _is_simulated(images, header),
    )


def _moments(
    every: Sequence[Sequence[MrdImage]], labels: Sequence[str], header: Any, name: str
) -> tuple[Moment, ...]:
    """Return when each image was acquired, by its attributes or the stamps of its slices."""
    if len(labels) < 2:
        return ()
    told = [
        tuple(number_of(one[0].attributes.get(key)) for key in (FROM_FIRST, FROM_TRIGGER))
        for one in every
    ]
    if any(time is not None for times in told for time in times):
        return tuple(Moment(label, *times) for label, times in zip(labels, told, strict=True))
    stamped = ((slice_, image) for image, one in enumerate(every) for slice_ in one)
    return moments_of(header, stamped, labels, name)


def _with_channels(labels: Sequence[str], channels: int) -> list[str]:
    """Return the names of the images of all channels."""
    if channels == 1:
        return list(labels)
    return [
        ", ".join(word for word in (label, f"channel {i}") if word)
        for label in labels
        for i in range(channels)
    ]


_Slices = dict[tuple[object, ...], MrdImage]


def _layout(
    images: Sequence[MrdImage], path: Path, name: str
) -> tuple[list[_Slices], _Slices, list[str]]:
    """Return the slices of each image, those of the first, and what tells the images apart."""
    for key_of in (_by_number, _by_place):
        found = _grouped(images, key_of, depth=False)
        if found is not None:
            break
    else:
        found = _grouped(images, _by_number, depth=True)
        assert found is not None
    counters = [*COUNTERS, "measurement"]
    keys = sorted(found)
    slices = found[keys[0]]
    for key in keys:
        if set(found[key]) != set(slices):
            raise DataError(
                f"{path}: {name}: its images have {len(slices)} and "
                f"{counted(len(found[key]), 'slice')}, so some are missing, or occur twice with "
                "the same counters; export the images again"
            )
    varying = [i for i in range(len(counters)) if len({key[i] for key in keys}) > 1]
    labels = [", ".join(f"{counters[i]} {key[i]}" for i in varying) for key in keys]
    return [found[key] for key in keys], slices, labels


def _by_number(image: MrdImage) -> tuple[object, ...]:
    return (int(image.head["slice"]),)


def _by_place(image: MrdImage) -> tuple[object, ...]:
    """Return what tells slices without counters apart."""
    return (int(image.head["slice"]), *np.round(image.position, 2).tolist())


def _grouped(
    images: Sequence[MrdImage], key_of: Any, *, depth: bool
) -> dict[tuple[int, ...], _Slices] | None:
    """Return slices by image; None if a slice occurs twice, unless repeats are separate images."""
    found: dict[tuple[int, ...], _Slices] = defaultdict(dict)
    for image in images:
        number, key = 0, key_of(image)
        while key in found[(*image.counters, number)]:
            if not depth:
                return None
            number += 1
        found[(*image.counters, number)][key] = image
    return dict(found)


def _extent(first: MrdImage, slices: Iterable[MrdImage]) -> tuple[float, float, float]:
    """Return the extent (z, y, x) in mm; a missing slice thickness is taken from the distance."""
    x, y, z = first.field_of_view
    positions = np.array([one.position for one in slices])
    if z <= 0 and len(positions) > 1:
        heights = np.sort(positions @ first.slice_dir)
        z = float(np.median(np.diff(heights)))
    return float(z), float(y), float(x)


def _with_own_times(
    known: AcquisitionParameters, images: Sequence[MrdImage]
) -> AcquisitionParameters:
    """Return the parameters with the images' repetition time, and one echo time per contrast."""
    repetition = {positive(image.attributes, "RepetitionTime") for image in images}
    if known.repetition_time_ms is None and len(repetition) == 1:
        known = replace(known, repetition_time_ms=repetition.pop())
    times: dict[int, set[float]] = defaultdict(set)
    for image in images:
        value = next(filter(None, (positive(image.attributes, key) for key in _ECHO_TIMES)), None)
        if value is None:
            return known
        times[int(image.head["contrast"])].add(value)
    if any(len(values) > 1 for values in times.values()) or sorted(times) != [*range(len(times))]:
        return known
    return replace(known, echo_times_ms=tuple(min(times[i]) for i in range(len(times))))


def _is_simulated(images: Sequence[MrdImage], header: Any) -> bool:
    told = (image.attributes.get("ImageProcessingHistory") or () for image in images)
    words = {word for one in told for word in ([one] if isinstance(one, str) else one)}
    return "simulated" in words or (header is not None and is_simulated(header))
