"""Reads complex DICOM series: magnitude and phase, or real and imaginary part, of any MR class.

:mod:`firenet_mri.io.image.dicom_parts` finds the part that a frame holds, and the unit of a phase.
The affine follows DICOM PS3.3 C.7.6.2.1.1, converted from LPS to RAS.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError
from firenet_mri.io.image.complex_image import ComplexImage, Component, from_parts
from firenet_mri.io.image.dicom_files import POSITION_SLACK_MM, images_of, step_between
from firenet_mri.io.image.dicom_frames import Frame, pixels_of
from firenet_mri.io.image.dicom_parts import radians_per_unit
from firenet_mri.io.image.dicom_selection import chosen_frames
from firenet_mri.io.image.options import ImageReadOptions
from firenet_mri.plurals import by_number

_log = logging.getLogger(__name__)
_DIRECTION_SLACK = 1e-3
_TO_RAS = np.diag([-1.0, -1, 1, 1])


def read_complex_dicom(
    path: Path | Sequence[Path],
    *,
    phase_scale: float | None = None,
    options: ImageReadOptions | None = None,
) -> ComplexImage:
    """Return the complex image of a DICOM series, or of two series that belong together.

    Parameters
    ----------
    path
        A folder, a DICOMDIR, a file, or files. Files other than MR images are skipped and logged.
    phase_scale
        Radians per unit of the rescaled phase, instead of the value in ``options``.
    options
        Series, echo and repetition to read, if there are several.

    Raises
    ------
    FileError
        If no MR image is found, or one is damaged or compressed in a way that cannot be read.
    DataError
        If a frame does not state which part it is, a part or slice is missing, the options do not
        choose among several images, or the two parts have different positions.
    UsageError
        If the chosen series, echo or repetition does not exist.
    """
    name = _name_of(path)
    options = options or ImageReadOptions()
    volumes = _volumes(path, options, name)
    return _complex(volumes, phase_scale or options.phase_scale, name)


def read_dicom_image(
    path: Path | Sequence[Path], options: ImageReadOptions | None = None
) -> ComplexImage:
    """Return the image of a DICOM series: complex if it has both parts, else its magnitude.

    Pixels of an unknown part are taken for a magnitude if none is negative, which is logged.
    Parameters and errors are those of :func:`read_complex_dicom`, except that the phase may be
    missing.
    """
    name = _name_of(path)
    options = options or ImageReadOptions()
    volumes = _volumes(path, options, name)
    if set(volumes) == {None}:
        volumes = {"magnitude": _as_magnitude(volumes[None], name)}
    if set(volumes) != {"magnitude"}:
        return _complex(volumes, options.phase_scale, name)
    volume = volumes["magnitude"]
    return ComplexImage(volume.values.astype(np.complex64), _TO_RAS @ volume.affine_lps, name)


@dataclass(frozen=True, eq=False)
class _Volume:
    """The slices of one part, sorted along their normal: (x, y, z) with the affine."""

    values: NDArray[np.float64]
    affine_lps: NDArray[np.float64]
    first: Frame

    @classmethod
    def of(cls, frames: list[Frame], name: str) -> _Volume:
        first = frames[0]
        what = first.part or "image"
        if not all(_is_alike(frame, first) for frame in frames):
            raise DataError(
                f"{name}: slices of the {what} differ in size, direction or frame of reference; "
                "give the files of one image"
            )
        _check_rescale(frames, name)
        normal = np.cross(*first.orientation)
        ordered = sorted(frames, key=lambda frame: float(normal @ frame.position))
        positions = [frame.position for frame in ordered]
        try:
            step = step_between(positions, normal * first.thickness, what)
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
        values = np.stack([pixels.T for pixels in pixels_of(ordered)], axis=-1)
        return cls(values, affine, first)


def _check_rescale(frames: list[Frame], name: str) -> None:
    """Refuse a mixture of rescaled and other slices; log if a few are rescaled differently."""
    what = frames[0].part or "image"
    unsaid = sum(not frame.says_rescale for frame in frames)
    if 0 < unsaid < len(frames):
        raise DataError(
            f"{name}: {unsaid} of {len(frames)} slices of the {what} "
            f"{by_number(unsaid, 'has', 'have')} no rescale slope, but the others have one; export "
            "the series again"
        )
    usual, count = Counter(frame.rescale for frame in frames).most_common(1)[0]
    if len(frames) > 2 and 0 < len(frames) - count <= max(1, len(frames) // 10):
        _log.warning(
            "%s: %d of %d slices of the %s %s another rescale slope or intercept than the "
            "others, %s; it may be wrong",
            name,
            len(frames) - count,
            len(frames),
            what,
            by_number(len(frames) - count, "has", "have"),
            usual,
        )


def _volumes(
    path: Path | Sequence[Path], options: ImageReadOptions, name: str
) -> dict[Component | None, _Volume]:
    """Return the parts of the chosen image."""
    parts: dict[Component | None, list[Frame]] = defaultdict(list)
    for frame in chosen_frames(images_of(path, name), options, name):
        parts[frame.part].append(frame)
    return {part: _Volume.of(found, name) for part, found in parts.items()}


def _complex(
    volumes: dict[Component | None, _Volume], phase_scale: float | None, name: str
) -> ComplexImage:
    if None in volumes:
        raise DataError(f"{name}: {_unsaid(volumes[None])}")
    parts = {part: volume.values for part, volume in volumes.items() if part is not None}
    if set(parts) == {"magnitude"}:
        raise DataError(
            f"{name}: contains only the magnitude; a complex image also needs the phase, so give "
            "both series, or read the magnitude alone with firenet simulate or "
            "ComplexDicomReader(magnitude=True)"
        )
    if "phase" in parts:
        first = volumes["phase"].first
        scale = radians_per_unit(first.manufacturer, first.rescale_type, phase_scale, name)
        parts["phase"] = parts["phase"] * scale
    image = from_parts(parts, name)
    affines = [volume.affine_lps for volume in volumes.values()]
    references = {volume.first.reference for volume in volumes.values()}
    is_alike = all(np.allclose(one, affines[0], atol=POSITION_SLACK_MM) for one in affines)
    if len(references) > 1 or not is_alike:
        raise DataError(
            f"{name}: the two parts have different positions, so they do not belong together; give "
            "two parts of one image"
        )
    return ComplexImage(image, _TO_RAS @ affines[0], name)


def _as_magnitude(volume: _Volume, name: str) -> _Volume:
    if (volume.values < 0).any():
        raise DataError(f"{name}: {_unsaid(volume)}; a magnitude has no negative values")
    _log.warning("%s: is taken for a magnitude, although %s", name, _unsaid(volume))
    return volume


def _unsaid(volume: _Volume) -> str:
    return (
        f"Image Type {volume.first.kind or '(empty)'} does not state whether it is magnitude, "
        "phase, real or imaginary part, and Complex Image Component (0008,9208) is missing"
    )


def _is_alike(frame: Frame, first: Frame) -> bool:
    return (
        frame.shape == first.shape
        and np.allclose(frame.orientation, first.orientation, atol=_DIRECTION_SLACK)
        and np.allclose(frame.spacing, first.spacing, rtol=1e-4)
        and frame.reference == first.reference
    )


def _name_of(path: Path | Sequence[Path]) -> str:
    return str(path) if isinstance(path, Path) else str(path[0])
