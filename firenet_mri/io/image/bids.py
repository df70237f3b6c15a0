"""Writes images as BIDS has them: NIfTI with a JSON sidecar, magnitude and phase of complex ones.

The names' entities, suffixes and the fields are those of BIDS 1.10, MRI. Echoes are files of their
own (``echo``), and so are other images (``run``) where the suffix is none of a time series. A
sidecar holds field strength, times and flip angle as far as the scan says them, and how the image
was made; no more.
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

from firenet_mri.errors import FileError, ShapeError, UsageError
from firenet_mri.geometry import AcquisitionParameters, Geometry
from firenet_mri.io.image.labels import ImageLabel, labels_of, time_between, times_of
from firenet_mri.io.image.nifti import write_nifti
from firenet_mri.io.outputs import atomic_writes
from firenet_mri.plurals import counted

_log = logging.getLogger(__name__)

#: Which number of a complex image a file holds, as the entity ``part`` calls it.
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
# Their fourth axis is time; other images are volumes.
_TIME_SERIES = ("bold", "cbv", "asl")
# The order that BIDS gives the entities of a name.
_ENTITIES = (
    *("sub", "ses", "sample", "task", "tracksys", "acq", "ce", "trc", "stain", "rec", "dir"),
    *("run", "mod", "echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "split"),
    *("recording", "chunk", "seg", "res", "den", "label", "desc"),
)
_VERSION = "1.10.0"


@dataclass(frozen=True)
class _File:
    """One NIfTI with its sidecar: where, of which images, and what they are."""

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
    """Return the files of an image, ``NAME_part-mag_SUFFIX.nii.gz`` with ``.json`` and so on.

    The suffix, such as T1w, is what follows the last underscore; without one it is MRI.

    Parameters
    ----------
    stem
        Name without extension, such as ``sub-01_T1w``.
    names
        What tells several images apart, see :class:`firenet_mri.scan.RawScan`.
    parameters
        Their echo times.
    parts
        The parts that are written; None is a real image without a part.

    Raises
    ------
    UsageError
        If the name ends in an extension, says a part, echo or run itself where these are told
        apart, or is one of a subject (``sub-``) whose suffix BIDS does not know.
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
    """Write an image with its sidecars; return the files.

    Where the name lies in a study's tree, ``STUDY/sub-01/anat/sub-01_T1w``, the study's
    ``dataset_description.json`` is written, too, if there is none.

    Parameters
    ----------
    stem
        Name without extension, such as ``sub-01_T1w``, see :func:`bids_paths`.
    image
        (y, x), (z, y, x) or (image, z, y, x). Of a complex one magnitude and phase (radians) are
        written.
    geometry
        See :func:`firenet_mri.io.image.nifti.write_nifti`.
    parameters
        For the sidecars.
    names
        What tells several images apart, see :class:`firenet_mri.scan.RawScan`; without them they
        are numbered.
    part
        What a real image is; None leaves it open.
    simulated
        Whether the scan was; the sidecars say it.
    method
        What made the image; None if that is not known.
    weights
        SHA-256 of the weights of a trained network; None without one.
    overwrite
        Replace files that exist.

    Raises
    ------
    UsageError
        As :func:`bids_paths`.
    ShapeError
        If there are not as many names as images.
    FileError
        If a file exists and may not be replaced, or the folder cannot be written.
    """
    stack = image.reshape((1,) * (4 - image.ndim) + image.shape) if image.ndim < 4 else image
    known = parameters or AcquisitionParameters()
    labels = _labels(names, known, len(stack), str(stem))
    parts: Sequence[Part | None] = _PARTS if np.iscomplexobj(image) else (part,)
    shared = _sidecar(known, simulated)
    if method is not None:
        shared["ReconMethodName"] = method
    if weights is not None:
        shared["ReconMethodParameters"] = {"WeightsSHA256": weights}
    files = _files(stem, labels, parts)
    targets = [path for file in files for path in (file.path, file.sidecar)]
    with atomic_writes(targets, overwrite=overwrite) as paths:
        for file, nifti, sidecar in zip(files, paths[::2], paths[1::2], strict=True):
            values = _part_of(stack[list(file.indices)], file.part)
            is_series = len(file.indices) > 1
            shown = [labels[index] for index in file.indices]
            between = _between(shown, known)
            write_nifti(
                nifti,
                # A file of one image has the axes that were given.
                values if is_series else values[0].reshape(image.shape[-min(image.ndim, 3) :]),
                geometry,
                time_between_ms=between,
            )
            fields = {**shared, **_of_image(file, values), **_times(shown, between)}
            fields = {name: value for name, value in fields.items() if value is not None}
            sidecar.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
    description = _study_of(stem)
    if description is not None:
        try:
            write_description(description, simulated=simulated)
        except FileError as error:
            # The images are there; a study that cannot be written to is somebody else's.
            _log.warning("%s", error)
    return targets


def write_description(study: Path, *, simulated: bool = False) -> None:
    """Write ``dataset_description.json`` into the folder of a study, unless there is one."""
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
    """Return the folder of a subject in which images of a suffix lie; None of an unknown one."""
    return next((folder for folder, known in _SUFFIXES.items() if suffix in known), None)


def suffixes() -> tuple[str, ...]:
    """Return the suffixes of MR images that BIDS knows."""
    return tuple(suffix for known in _SUFFIXES.values() for suffix in known)


def _labels(
    names: Sequence[str], known: AcquisitionParameters, count: int, name: str
) -> list[ImageLabel]:
    if names and len(names) != count:
        raise ShapeError(f"{name}: {counted(len(names), 'name')} for {counted(count, 'image')}")
    numbered = [f"image {i}" for i in range(count)] if count > 1 else []
    return labels_of(names or numbered, known)


def _files(stem: Path, labels: Sequence[ImageLabel], parts: Sequence[Part | None]) -> list[_File]:
    """Return the files of images, in the order of the images, and of the parts of each."""
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
            f"{stem}: give the name without extension and part, such as sub-01_T1w; two images "
            "with sidecars are written"
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
        raise UsageError(f"{stem}: the images are told apart by {key}-; leave it out of the name")
    entities[key] = value


def _in_order(entities: dict[str, str]) -> list[str]:
    """Return the words of a name, those that BIDS does not know in front."""
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
    """Return the fields of one sidecar alone."""
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

    Where nothing was measured it is the header's repetition time: only a name of a functional
    series, such as bold, puts several volumes into one file, and such sequences excite each slice
    once per volume.
    """
    if len(shown) < 2:
        return None
    return time_between(shown) if times_of(shown) else known.repetition_time_ms


def _times(shown: Sequence[ImageLabel], between_ms: float | None) -> dict[str, Any]:
    """Return what a sidecar says of time, in seconds; what is None there is left out."""
    if len(shown) == 1:
        trigger = shown[0].from_trigger_ms
        return {} if trigger is None else {"TriggerTime": trigger / 1000}
    if between_ms is not None:
        return {"RepetitionTime": between_ms / 1000}
    times = times_of(shown)
    if len(times) < len(shown):
        return {}
    # BIDS knows either, never both.
    return {"VolumeTiming": [time / 1000 for time in times], "RepetitionTime": None}


def _sidecar(known: AcquisitionParameters, simulated: bool) -> dict[str, Any]:
    """Return the fields of all sidecars, times in seconds."""
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
    """Return the folder of the study in whose tree a name lies, if it is one of a subject."""
    folders = stem.resolve().parent
    if folders.name not in _SUFFIXES or not stem.name.startswith("sub-"):
        return None
    folder = folders.parent
    folder = folder.parent if folder.name.startswith("ses-") else folder
    is_subject = re.fullmatch(r"sub-[0-9A-Za-z]+", folder.name) is not None
    return folder.parent if is_subject else None
