"""What a network is trained on: files of scans and images, a part of which is held out.

Whole files are held out, since neighbouring slices of one file are nearly the same image. If there
is only one file, its last slices are held out, and one slice before them is unused.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from firenet_mri.calibration.methods import MapMethod
from firenet_mri.digests import digest_of_data
from firenet_mri.errors import DataError, UsageError
from firenet_mri.io.kspace.options import ReadOptions
from firenet_mri.plurals import by_number, counted
from firenet_mri.training.options import USUAL, Simulation
from firenet_mri.training.scan_cases import (
    MeasuredSlice,
    scan_case,
    validation_case,
)
from firenet_mri.training.simulated_cases import TrainingCase, simulated_case
from firenet_mri.training.sources import (
    Source,
    images_in,
    measured,
    pictures_of,
    read_image_source,
    read_scan_source,
    validation_files,
)
from firenet_mri.training.timed import FIRST_VALIDATION

# Share of the files, or of the slices of a single file, that is held out.
_HELD_OUT = 0.1
_LEAST_SLICES = 5
_VALIDATION_CASES = 24
# Validation costs time; for usual sizes one is enough.
_VALIDATION_SIZES = (128,)
_LEAST_CONTRAST = 0.01
# The report counts slices that are on both sides; more than this share of them is refused.
_MOST_SHARED = 0.5


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
    simulation
        What simulated scans are like.
    shared
        Number of validation slices that are also training slices.
    """

    train: tuple[Source, ...]
    validation: tuple[Source, ...]
    held_out: str
    record: Mapping[str, object] = field(default_factory=dict)
    simulation: Simulation = USUAL
    shared: int = field(init=False)

    def __post_init__(self) -> None:
        if not self.train:
            raise UsageError("There are neither scans nor images to train on; give some")
        if not any(one.items for one in self.validation):
            raise DataError("The validation is empty; give files with --validation")
        seen = {digest for source in self.train for digest in source.digests()}
        found = [digest for source in self.validation for digest in source.digests()]
        shared = sum(digest in seen for digest in found)
        object.__setattr__(self, "shared", shared)
        if shared > _MOST_SHARED * len(found):
            raise DataError(
                f"{shared} of {counted(len(found), 'validation slice')} "
                f"{by_number(shared, 'is', 'are')} among the training's; give other files with "
                "--validation"
            )

    def case(self, number: int) -> TrainingCase:
        """Return a training case; where there are scans and images, they take turns."""
        slices, pictures = self._train
        if slices and (number % 2 == 0 or not pictures):
            return scan_case(slices, number, self.simulation)
        return simulated_case(pictures, number, self.simulation)

    @functools.cached_property
    def _train(self) -> tuple[list[MeasuredSlice], list[Tensor]]:
        return measured(self.train), pictures_of(self.train)

    def validation_cases(self) -> list[TrainingCase]:
        """Return the cases by which the best weights are chosen."""
        slices, pictures = measured(self.validation), pictures_of(self.validation)
        is_usual = self.simulation.sizes == USUAL.sizes
        sizes = _VALIDATION_SIZES if is_usual else tuple(sorted(set(self.simulation.sizes)))
        simulation = replace(self.simulation, sizes=sizes)
        cases = []
        for i in range(_VALIDATION_CASES):
            seed = FIRST_VALIDATION + i
            if slices and (i % 2 == 0 or not pictures):
                cases.append(validation_case(slices, i // 2 if pictures else i, seed))
            else:
                cases.append(simulated_case(pictures, seed, simulation))
        return cases

    def digest(self) -> str:
        """Return what distinguishes these data from all others."""
        files = [[one.sha256 for one in part] for part in (self.train, self.validation)]
        return digest_of_data([files, dict(self.record)])


def gather(
    scans: Sequence[Path],
    images: Sequence[Path],
    validation: Sequence[Path],
    reading: ReadOptions,
    maps: MapMethod,
    seed: int,
    on_file: Callable[[int, int], None] = lambda done, total: None,
    simulation: Simulation = USUAL,
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
    simulation
        What simulated scans are like.

    Raises
    ------
    FirenetError
        If a file cannot be used, or there are too few.
    """
    wanted = [("scan", path, True) for path in scans]
    wanted += [("image", path, True) for path in images_in(images)]
    both = validation_files(validation, has_scans=bool(scans))
    wanted += [(kind, path, False) for kind, path in both]
    sources: dict[bool, list[Source]] = {True: [], False: []}
    for done, (kind, path, trains) in enumerate(wanted):
        on_file(done, len(wanted))
        source = (
            read_scan_source(path, reading, maps) if kind == "scan" else read_image_source(path)
        )
        sources[trains].append(source)
    on_file(len(wanted), len(wanted))
    for what, found in (("training", sources[True]), ("validation", sources[False])):
        pictures = pictures_of(found)
        if pictures and not any(float(one.std()) > _LEAST_CONTRAST for one in pictures):
            raise DataError(f"The {what} images show nothing: each is of one value; give others")
    if validation:
        words = "files of their own"
        data = TrainingData(tuple(sources[True]), tuple(sources[False]), words)
    else:
        data = _held_out(sources[True], seed)
    return replace(data, record=reading.to_dict(), simulation=simulation)


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
    held = {digest for source in validation for digest in source.digests()}
    others = [source for source in train if held.isdisjoint(source.digests())]
    if len(others) < len(train):
        words.append(f"{len(train) - len(others)} left out, which show the same")
    return TrainingData(tuple(others), tuple(validation), "held out: " + ", ".join(words))


def _split(source: Source) -> tuple[Source, Source]:
    """Return the first and the last slices of a file, with one unused slice between."""
    count = len(source.items)
    if count < _LEAST_SLICES:
        raise DataError(
            f"One {source.kind} with {counted(count, 'slice')} is too little "
            "to hold a part out for validation; give more files, or some with --validation"
        )
    last = max(1, round(_HELD_OUT * count))
    first = source.items[: count - last - 1]
    return replace(source, items=first), replace(source, items=source.items[count - last :])
