"""What a network is trained on: files of scans and of images, and a part held out of them.

What is held out are whole files, since neighbouring slices of one are nearly the same image. Where
there is one file only, it is the last slices of it, with one left out between.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from firenet_mri.calibration.methods import MapMethod
from firenet_mri.digests import digest_of_data, digest_of_file, digest_of_tensor
from firenet_mri.errors import DataError, FileError, UsageError
from firenet_mri.io.image.grey import is_grey, read_grey
from firenet_mri.io.image.reading import read_image
from firenet_mri.io.kspace import npy
from firenet_mri.io.kspace.options import ReadOptions
from firenet_mri.io.kspace.reading import read_with
from firenet_mri.io.kspace.recognise import NPY_SIGNATURE, read_head
from firenet_mri.training.certified import FIRST_VALIDATION
from firenet_mri.training.scan_cases import (
    MeasuredSlice,
    measured_slices,
    scan_case,
    validation_case,
)
from firenet_mri.training.simulated_cases import TrainingCase, simulated_case

# Share of the files, or of the slices of a single file, that is held out.
_HELD_OUT = 0.1
_LEAST_SLICES = 5
_VALIDATION_CASES = 24
_VALIDATION_SIZES = (128,)
_SMALLEST_PIXELS = 16
# Slices of a volume darker than this share of its brightest show nothing.
_DARK_SLICE = 0.1
_LEAST_CONTRAST = 0.01
# Of a few slices that stand on both sides, the report says how many; more are refused.
_MOST_SHARED = 0.5


@dataclass(frozen=True, eq=False)
class Source:
    """A file, or a DICOM series: slices of a scan, or pictures to simulate scans from.

    Parameters
    ----------
    kind
        "scan" or "image".
    sha256
        Of the file; of a folder, of the digests of its files.
    items
        Measured slices, or magnitudes (y, x) in [0, 1].
    simulated
        Whether the file itself says that it is a simulated scan.
    """

    kind: str
    sha256: str
    items: tuple[MeasuredSlice, ...] | tuple[Tensor, ...]
    simulated: bool = False

    def digests(self) -> list[str]:
        """Return the digest of every slice or picture."""
        return [
            digest_of_tensor(one.images if isinstance(one, MeasuredSlice) else one)
            for one in self.items
        ]


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a network is trained on, and what chooses its weights.

    Parameters
    ----------
    train, validation
        Files.
    held_out
        In words, where the validation data come from.
    record
        How scans were read, as plain data.
    shared
        Number of validation slices that are among the training's.
    """

    train: tuple[Source, ...]
    validation: tuple[Source, ...]
    held_out: str
    record: Mapping[str, object] = field(default_factory=dict)
    shared: int = field(init=False)

    def __post_init__(self) -> None:
        if not self.train:
            raise UsageError("Neither scans nor images to train on; give some")
        if not any(one.items for one in self.validation):
            raise DataError("The validation is empty; give files with --validation")
        seen = {digest for source in self.train for digest in source.digests()}
        found = [digest for source in self.validation for digest in source.digests()]
        shared = sum(digest in seen for digest in found)
        object.__setattr__(self, "shared", shared)
        if shared > _MOST_SHARED * len(found):
            raise DataError(
                f"{shared} of {len(found)} validation slices are among the training's; give other "
                "files with --validation"
            )

    def case(self, number: int) -> TrainingCase:
        """Return a training case; where there are scans and images, they take turns."""
        slices, pictures = self._train
        if slices and (number % 2 == 0 or not pictures):
            return scan_case(slices, number)
        return simulated_case(pictures, number)

    @functools.cached_property
    def _train(self) -> tuple[list[MeasuredSlice], list[Tensor]]:
        return measured(self.train), pictures_of(self.train)

    def validation_cases(self) -> list[TrainingCase]:
        """Return the cases that choose which weights are kept."""
        slices, pictures = measured(self.validation), pictures_of(self.validation)
        cases = []
        for i in range(_VALIDATION_CASES):
            seed = FIRST_VALIDATION + i
            if slices and (i % 2 == 0 or not pictures):
                cases.append(validation_case(slices, i // 2 if pictures else i, seed))
            else:
                cases.append(simulated_case(pictures, seed, sizes=_VALIDATION_SIZES))
        return cases

    def digest(self) -> str:
        """Return what tells these data from any others."""
        files = [[one.sha256 for one in part] for part in (self.train, self.validation)]
        return digest_of_data([files, dict(self.record)])


def measured(sources: Iterable[Source]) -> list[MeasuredSlice]:
    """Return all slices of scans."""
    return [one for source in sources for one in source.items if isinstance(one, MeasuredSlice)]


def pictures_of(sources: Iterable[Source]) -> list[Tensor]:
    """Return all pictures."""
    return [one for source in sources for one in source.items if isinstance(one, Tensor)]


def gather(
    scans: Sequence[Path],
    images: Sequence[Path],
    validation: Sequence[Path],
    reading: ReadOptions,
    maps: MapMethod,
    seed: int,
    on_file: Callable[[int, int], None] = lambda done, total: None,
) -> TrainingData:
    """Read all files, and hold a part out where no validation is given.

    Parameters
    ----------
    scans, images
        Files to train on; of images also folders, which are searched.
    validation
        Files of either kind, and folders of images.
    reading, maps
        How scans are read, and how their maps are estimated.
    seed
        Of what is held out.
    on_file
        Called with the number of files read, and of all.

    Raises
    ------
    FirenetError
        If a file cannot be used, or there are too few.
    """
    wanted = [("scan", path, True) for path in scans]
    wanted += [("image", path, True) for path in _images_in(images)]
    both = _validation_files(validation, has_scans=bool(scans))
    wanted += [(kind, path, False) for kind, path in both]
    sources: dict[bool, list[Source]] = {True: [], False: []}
    for done, (kind, path, trains) in enumerate(wanted):
        on_file(done, len(wanted))
        source = _scan(path, reading, maps) if kind == "scan" else _image(path)
        sources[trains].append(source)
    on_file(len(wanted), len(wanted))
    for what, found in (("training", sources[True]), ("validation", sources[False])):
        pictures = pictures_of(found)
        if pictures and not any(float(one.std()) > _LEAST_CONTRAST for one in pictures):
            raise DataError(f"The {what} images show nothing: each is of one value; give others")
    if validation:
        words = "files of their own"
        return TrainingData(tuple(sources[True]), tuple(sources[False]), words, reading.to_dict())
    return replace(_held_out(sources[True], seed), record=reading.to_dict())


def _scan(path: Path, reading: ReadOptions, maps: MapMethod) -> Source:
    scan = read_with(path, reading)
    items = tuple(measured_slices(scan, maps))
    return Source("scan", _digest_of_path(path), items, scan.simulated)


def _image(path: Path) -> Source:
    if path.is_file() and is_grey(path):
        pictures = [read_grey(path)]
    else:
        volume = read_image(path)[0].abs()
        brightest = volume.amax()
        pictures = [
            one / brightest for one in volume if float(one.amax()) > _DARK_SLICE * float(brightest)
        ]
    for one in pictures:
        if min(one.shape) < _SMALLEST_PIXELS:
            raise DataError(
                f"{path}: the image has {tuple(one.shape)} pixels; training needs at least "
                f"{_SMALLEST_PIXELS} along each axis"
            )
    return Source("image", _digest_of_path(path), tuple(pictures))


def _images_in(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the images that files and folders name; a folder of DICOM files is one image."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = list(_images_below(path))
        if not found:
            raise FileError(f"{path}: holds no image; give NIfTI, DICOM, PNG, JPEG or .npy files")
        yield from found


def _images_below(folder: Path) -> Iterator[Path]:
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    has_dicom = any(_is_dicom(path) for path in files)
    if has_dicom:
        yield folder
    for path in files:
        if path.is_dir():
            yield from _images_below(path)
        elif not _is_dicom(path) and _is_image(path):
            yield path


def _is_dicom(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0 and read_head(path)[128:132] == b"DICM"


def _is_image(path: Path) -> bool:
    """Return whether a file in a folder is an image; others are left out."""
    if not path.is_file() or path.stat().st_size == 0:
        return False
    head = read_head(path)
    return (
        is_grey(path) or path.name.endswith((".nii", ".nii.gz")) or head.startswith(NPY_SIGNATURE)
    )


def _validation_files(paths: Sequence[Path], *, has_scans: bool) -> list[tuple[str, Path]]:
    """Return the files of the validation with their kind."""
    found: list[tuple[str, Path]] = []
    for path in paths:
        if path.is_dir() and list(_images_below(path)):
            found += [("image", one) for one in _images_below(path)]
        elif path.is_file() and (_is_dicom(path) or _is_image(path)):
            found.append(("scan" if has_scans and _is_kspace(path) else "image", path))
        else:
            found.append(("scan", path))
    return found


def _is_kspace(path: Path) -> bool:
    """Return whether a NumPy file holds complex coil data."""
    if not read_head(path).startswith(NPY_SIGNATURE):
        return False
    array = npy.read_array(path)
    return array.dtype.kind == "c" and array.ndim > 2


def _digest_of_path(path: Path) -> str:
    """Return the SHA-256 of a file; of a folder, or a pair of files, of the digests of all."""
    if path.is_file():
        return digest_of_file(path)
    files = sorted(path.rglob("*")) if path.is_dir() else sorted(path.parent.glob(f"{path.name}.*"))
    return digest_of_data([digest_of_file(file) for file in files if file.is_file()])


def _held_out(sources: Sequence[Source], seed: int) -> TrainingData:
    """Return the files with a part of them held out."""
    train: list[Source] = []
    validation: list[Source] = []
    words = []
    for kind in ("scan", "image"):
        own = [source for source in sources if source.kind == kind]
        if len(own) > 1:
            count = max(1, round(_HELD_OUT * len(own)))
            generator = torch.Generator().manual_seed(seed)
            chosen = set(torch.randperm(len(own), generator=generator)[:count].tolist())
            validation += [source for i, source in enumerate(own) if i in chosen]
            train += [source for i, source in enumerate(own) if i not in chosen]
            words.append(f"{count} of {len(own)} {kind} files")
        elif own:
            first, last = _split(own[0])
            train.append(first)
            validation.append(last)
            words.append(f"the last {len(last.items)} of {len(own[0].items)} slices of one {kind}")
    return TrainingData(tuple(train), tuple(validation), "held out: " + " and ".join(words))


def _split(source: Source) -> tuple[Source, Source]:
    """Return the first and the last slices of a file, with one left out between."""
    count = len(source.items)
    if count < _LEAST_SLICES:
        raise DataError(
            f"One {source.kind} with {count} {'slice' if count == 1 else 'slices'} is too little "
            "to hold a part out for validation; give more files, or some with --validation"
        )
    last = max(1, round(_HELD_OUT * count))
    first = source.items[: count - last - 1]
    return replace(source, items=first), replace(source, items=source.items[count - last :])
