"""Writes images as in BIDS: NIfTI with a JSON sidecar, and complex ones as magnitude and phase.

The entities and suffixes of names, and the fields, are those of BIDS 1.10, MRI. Each echo is a
separate file (``echo``), and so is each other image (``run``) unless the suffix is that of a time
series. A sidecar holds only field strength, times and flip angle, as far as the scan gives them,
and how the image was made.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import FileError, UsageError
from firenet_mri.geometry import AcquisitionParameters, Geometry
from firenet_mri.io.image.labels import ImageLabel, labels_of, labels_of_all, time_between, times_of
from firenet_mri.io.image.nifti import write_nifti
from firenet_mri.io.outputs import atomic_writes

_log = logging.getLogger(__name__)

#: The part of a complex image that a file holds, in the words of the entity ``part``.
Part = Literal["mag", "phase", "real", "imag"]

_PARTS: tuple[Part, ...] = ("mag", "phase")
_SUFFIXES = {
    "anat": (
        *("T1w", "T2w", "PDw", "T2starw", "FLAIR", "inplaneT1", "inplaneT2", "PDT2", "angio"),
        *("UNIT1", "VFA", "IRT1", "MP2RAGE", "MESE", "MEGRE", "MPM", "MTS", "MTR"),
    ),
    "func": ("bold", "cbv", "sbref"),
    "dwi": ("dwi",),
    "fmap": ("magnitude", "magnitude1", "magnitude2", "phasediff", "phase1", "phase2", "epi"),
    "perf": ("asl", "m0scan"),
}
# Suffixes of series whose fourth axis is time; other images are volumes.
_TIME_SERIES = ("bold", "cbv", "asl")
# The order of a name's entities in BIDS.
_ENTITIES = (
    *("sub", "ses", "sample", "task", "tracksys", "acq", "ce", "trc", "stain", "rec", "dir"),
    *("run", "mod", "echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "split"),
    *("recording", "chunk", "seg", "res", "den", "label", "desc"),
)
_VERSION = "1.10.0"


@dataclass(frozen=True)
class _File:
    """A NIfTI file with its sidecar: its path, its images, and what they are."""

    path: Path
    indices: tuple[int, ...]
    part: Part | None
    label: ImageLabel
    entities: Mapping[str, str]

    @property
    def sidecar(self) -> Path:
        return self.path.with_name(self.path.name.removesuffix(".nii.gz") + ".json")


def bids_paths(
    stem: Path,
    names: Sequence[str] = (),
    parameters: AcquisitionParameters | None = None,
    parts: Sequence[Part | None] = _PARTS,
) -> list[Path]:
    """Return the files of an image, ``NAME_part-mag_SUFFIX.nii.gz``, ``.json`` and so on.

    The suffix, such as T1w, follows the last underscore; without an underscore it is MRI.

    Parameters
    ----------
    stem
        Name without suffix, such as ``sub-01_T1w``.
    names
        Names that tell several images apart, see :class:`firenet_mri.scan.RawScan`.
    parameters
        Acquisition parameters of the images, which give their echo times.
    parts
        The parts that are written; None is a real image without a part.

    Raises
    ------
    UsageError
        If the name ends in a file suffix, contains a part, echo or run that this function must set,
        or is that of a subject (``sub-``) with a suffix that BIDS does not know.
    """
    files = _files(stem, labels_of(names, parameters), parts)
    return [path for file in files for path in (file.path, file.sidecar)]


def write_bids(
    stem: Path,
    image: NDArray[np.generic],
    geometry: Geometry | None = None,
    *,
    parameters: AcquisitionParameters | None = None,
    names: Sequence[str] = (),
    part: Part | None = None,
    simulated: bool = False,
    method: str | None = "FIRENET",
    weights: str | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write an image with its sidecars, and return the files.

    If the name lies in a study's tree, ``STUDY/sub-01/anat/sub-01_T1w``, the study's
    ``dataset_description.json`` is also written, unless it exists.

    Parameters
    ----------
    stem
        Name without suffix, such as ``sub-01_T1w``, see :func:`bids_paths`.
    image
        (y, x), (z, y, x) or (image, z, y, x). A complex image is written as magnitude and phase
        (radians).
    geometry
        See :func:`firenet_mri.io.image.nifti.write_nifti`.
    parameters
        Acquisition parameters for the sidecars.
    names
        Names that tell several images apart, see :class:`firenet_mri.scan.RawScan`; without names
        the images are numbered.
    part
        The part that a real image is; None if unknown.
    simulated
        Whether the scan was simulated, which the sidecars then state.
    method
        The method that made the image; None if unknown.
    weights
        SHA-256 of the weights of a trained network; None without such a network.
    overwrite
        Replace files that exist.

    Raises
    ------
    UsageError
        As for :func:`bids_paths`.
    ShapeError
        If the numbers of names and images differ.
    FileError
        If a file exists and may not be replaced, or the folder cannot be written.
    """
    stack = image.reshape((1,) * (4 - image.ndim) + image.shape) if image.ndim < 4 else image
    known = parameters or AcquisitionParameters()
    labels = labels_of_all(names, known, len(stack), str(stem))
    parts: Sequence[Part | None] = _PARTS if np.iscomplexobj(image) else (part,)
    shared = {**_sidecar(known, simulated), **_made_by(method, weights)}
    files = _files(stem, labels, parts)
    targets = [path for file in files for path in (file.path, file.sidecar)]
    with atomic_writes(targets, overwrite=overwrite) as paths:
        for file, nifti, sidecar in zip(files, paths[::2], paths[1::2], strict=True):
            values = _part_of(stack[list(file.indices)], file.part)
            shown = [labels[index] for index in file.indices]
            between = _between(shown, known)
            # A file of one image keeps the axes of the array.
            single = values[0].reshape(image.shape[-min(image.ndim, 3) :])
            written = values if len(file.indices) > 1 else single
            write_nifti(nifti, written, geometry, time_between_ms=between)
            fields = {**shared, **_of_image(file, values), **_times(shown, between)}
            fields = {name: value for name, value in fields.items() if value is not None}
            sidecar.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
    _describe_study(stem, simulated=simulated)
    return targets


def _made_by(method: str | None, weights: str | None) -> dict[str, object]:
    """Return the fields of sidecars about the method and its trained weights."""
    fields: dict[str, object] = {}
    if method is not None:
        fields["ReconMethodName"] = method
    if weights is not None:
        fields["ReconMethodParameters"] = {"WeightsSHA256": weights}
    return fields


def _describe_study(stem: Path, *, simulated: bool) -> None:
    """Write the description of the study in whose tree a name lies, if it lies in one."""
    study = _study_of(stem)
    if study is None:
        return
    try:
        write_description(study, simulated=simulated)
    except FileError as error:
        # The images are already written, and a read-only study belongs to somebody else.
        _log.warning("%s", error)


def write_description(study: Path, *, simulated: bool = False) -> None:
    """Write ``dataset_description.json`` into the folder of a study, unless it exists."""
    path = study / "dataset_description.json"
    if path.exists():
        return
    fields = {
        "Name": "Simulated scans" if simulated else "Reconstructed scans",
        "BIDSVersion": _VERSION,
        "DatasetType": "raw",
        "GeneratedBy": _generated_by(),
    }
    with atomic_writes([path]) as (file,):
        file.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")


def folder_of(suffix: str) -> str | None:
    """Return the subject's subfolder for images of a suffix; None for an unknown suffix."""
    return next((folder for folder, known in _SUFFIXES.items() if suffix in known), None)


def suffixes() -> tuple[str, ...]:
    """Return the suffixes of MR images that BIDS knows."""
    return tuple(suffix for known in _SUFFIXES.values() for suffix in known)


def _files(stem: Path, labels: Sequence[ImageLabel], parts: Sequence[Part | None]) -> list[_File]:
    """Return the files of images, in the order of the images and, for each, of its parts."""
    entities, suffix = _parsed(stem)
    echoes = {label.echo for label in labels}
    is_series = suffix in _TIME_SERIES
    groups: dict[tuple[int | None, int], list[int]] = {}
    runs: dict[tuple[object, ...], int] = {}
    for index, label in enumerate(labels):
        key = () if is_series else (label.repetition, label.phase, *label.others.items())
        run = runs.setdefault(key, len(runs) + 1)
        groups.setdefault((label.echo, run), []).append(index)
    found = []
    for (echo, run), indices in groups.items():
        told = dict(entities)
        if len(echoes) > 1 and echo is not None:
            _tell(told, "echo", str(echo), stem)
        if len(runs) > 1:
            _tell(told, "run", str(run), stem)
        for part in parts:
            whole = {**told, "part": part} if part is not None else told
            name = "_".join([*_in_order(whole), suffix])
            path = stem.with_name(f"{name}.nii.gz")
            found.append(_File(path, tuple(indices), part, labels[indices[0]], whole))
    return found


def _parsed(stem: Path) -> tuple[dict[str, str], str]:
    """Return the entities of a name and its suffix; a word that is not an entity is its own key."""
    if stem.suffix or "_part-" in stem.name:
        raise UsageError(
            f"{stem}: give the name without suffix and part, such as sub-01_T1w, because two "
            "images with sidecars are written"
        )
    name, _, suffix = stem.name.rpartition("_")
    name, suffix = (name, suffix) if name else (suffix, "MRI")
    if name.startswith("sub-") and folder_of(suffix) is None:
        raise UsageError(
            f"{stem}: {suffix} is not a BIDS suffix; end the name of a subject's image in one of "
            f"{', '.join(suffixes())}"
        )
    entities: dict[str, str] = {}
    for word in name.split("_"):
        key, dash, value = word.partition("-")
        entities[key if dash else word] = value if dash else ""
    return entities, suffix


def _tell(entities: dict[str, str], key: str, value: str, stem: Path) -> None:
    if key in entities:
        raise UsageError(
            f"{stem}: the name contains {key}-, which tells the images apart; omit it from the name"
        )
    entities[key] = value


def _in_order(entities: dict[str, str]) -> list[str]:
    """Return the words of a name, beginning with those that BIDS does not know."""
    ranks = {key: rank for rank, key in enumerate(_ENTITIES)}
    ordered = sorted(entities, key=lambda key: ranks.get(key, -1))
    return [f"{key}-{entities[key]}" if key in ranks else _word(key, entities) for key in ordered]


def _word(key: str, entities: dict[str, str]) -> str:
    return f"{key}-{entities[key]}" if entities[key] else key


def _part_of(values: NDArray[Any], part: Part | None) -> NDArray[Any]:
    if not np.iscomplexobj(values):
        return values
    return np.angle(values) if part == "phase" else np.abs(values)


def _of_image(file: _File, values: NDArray[Any]) -> dict[str, Any]:
    """Return the fields that only this sidecar has."""
    label, fields = file.label, dict[str, Any]()
    if label.echo_time_ms is not None:
        fields["EchoTime"] = label.echo_time_ms / 1000
    if label.echo is not None:
        fields["EchoNumber"] = label.echo
    if len(file.indices) == 1 and label.name:
        fields["SeriesDescription"] = label.name
    if "task" in file.entities:
        fields["TaskName"] = file.entities["task"]
    if file.part == "phase":
        fields["Units"] = "rad" if float(np.abs(values).max(initial=0)) < 3.2 else "arbitrary"
    return fields


def _between(shown: Sequence[ImageLabel], known: AcquisitionParameters) -> float | None:
    """Return the time between the volumes of a file in ms.

    If no time was measured, this is the header's repetition time. That holds because several
    volumes are in one file only if the name is that of a functional series, such as bold, and such
    sequences excite each slice once per volume.
    """
    if len(shown) < 2:
        return None
    return time_between(shown) if times_of(shown) else known.repetition_time_ms


def _times(shown: Sequence[ImageLabel], between_ms: float | None) -> dict[str, Any]:
    """Return a sidecar's fields about time, in seconds; None marks fields to omit."""
    if len(shown) == 1:
        trigger = shown[0].from_trigger_ms
        return {} if trigger is None else {"TriggerTime": trigger / 1000}
    if between_ms is not None:
        return {"RepetitionTime": between_ms / 1000}
    times = times_of(shown)
    if len(times) < len(shown):
        return {}
    # BIDS allows only one of these fields.
    return {"VolumeTiming": [time / 1000 for time in times], "RepetitionTime": None}


def _sidecar(known: AcquisitionParameters, simulated: bool) -> dict[str, Any]:
    """Return the fields that all sidecars share, with times in seconds."""
    fields: dict[str, Any] = {
        "MagneticFieldStrength": known.field_strength_t,
        "RepetitionTime": _seconds(known.repetition_time_ms),
        "InversionTime": _seconds(known.inversion_time_ms),
        "FlipAngle": known.flip_angle_deg,
        "GeneratedBy": _generated_by(),
        "Simulated": True if simulated else None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _generated_by() -> list[dict[str, str]]:
    return [{"Name": "firenet_mri", "Version": version("firenet_mri")}]


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _study_of(stem: Path) -> Path | None:
    """Return the folder of the study whose tree contains a name, if it is that of a subject."""
    folders = stem.resolve().parent
    if folders.name not in _SUFFIXES or not stem.name.startswith("sub-"):
        return None
    folder = folders.parent
    folder = folder.parent if folder.name.startswith("ses-") else folder
    is_subject = re.fullmatch(r"sub-[0-9A-Za-z]+", folder.name) is not None
    return folder.parent if is_subject else None
