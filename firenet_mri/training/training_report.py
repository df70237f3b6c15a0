"""What a network was trained on, as plain data without names of files or people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from firenet_mri.digests import digest_of_data
from firenet_mri.firenet.learned.report import TrainingReport
from firenet_mri.training.inputs import TrainingData
from firenet_mri.training.learner import Frozen
from firenet_mri.training.sources import Source
from firenet_mri.training.timed import FIRST_VALIDATION, Training

_SIMULATED_SCANS = "sampling masks, further noise, contrast, phase, details, resolution"
_SIMULATED_IMAGES = (
    "scans of the images: coils, sensitivity maps with errors of up to 2 %, phase, noise, masks; "
    "a fifth of these cases show made-up phantoms"
)
_DIGITS = 4


def training_report(
    training: Training, data: TrainingData, frozen: Frozen, *, written_psnr: float, ended: str
) -> TrainingReport:
    """Return the report that goes into the file of the weights.

    Parameters
    ----------
    training, data
        What was done, and with what.
    frozen
        The weights as they are written.
    written_psnr
        Of the validation cases with these weights, in dB.
    ended
        Why the training ended, in words.
    """
    progress = training.progress
    ranges = progress.ranges
    recipe = {
        "options": training.options.to_dict(),
        "versions": {
            "firenet_mri": version("firenet_mri"),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "cases": {
            "training": f"seeds 0 to {training.options.cases - 1}",
            "validation": len(training.validation),
            "validation_from_seed": FIRST_VALIDATION,
            "validation_is": data.held_out,
            "validation_slices_among_the_training": data.shared,
        },
        "simulated": simulated_parts(data.train),
        "pixels_along_an_axis": ranges["pixels_along_an_axis"],
        "steps": progress.step,
        "steps_not_finite": progress.not_finite,
        "minutes": round(progress.seconds / 60, _DIGITS),
        "ended": ended,
        "validation_psnr_db": {
            "best": round(progress.best, _DIGITS),
            "of_the_weights_as_written": round(written_psnr, _DIGITS),
        },
        "lipschitz_constant": frozen.record(),
        "curve": [_rounded(look) for look in progress.curve],
    }
    return TrainingReport(
        acceleration=_range(ranges["acceleration"]),
        coils=_range(ranges["coils"]),
        noise=_range(ranges["noise"]),
        data=tuple(_entries(data)),
        recipe=recipe,
    )


def simulated_parts(sources: Iterable[Source]) -> list[str]:
    """Return in words what of the training cases was simulated."""
    kinds = {source.kind for source in sources}
    found = []
    if "scan" in kinds:
        found.append(f"of scans: {_SIMULATED_SCANS}")
    if "image" in kinds:
        found.append(_SIMULATED_IMAGES)
    if any(source.simulated for source in sources):
        found.append("some of the scans, as their files say")
    return found


def inputs_of(data: TrainingData) -> dict[str, list[str]]:
    """Return the SHA-256 of every file; being many, they are only in the report."""
    return {
        "training": [one.sha256 for one in data.train],
        "validation": [one.sha256 for one in data.validation],
    }


def _entries(data: TrainingData) -> Iterable[Mapping[str, Any]]:
    for purpose, sources in (("training", data.train), ("validation", data.validation)):
        counts = Counter(source.kind for source in sources)
        for kind, files in sorted(counts.items()):
            own = [source for source in sources if source.kind == kind]
            yield {
                "purpose": purpose,
                "kind": kind,
                "files": files,
                "slices": sum(len(source.items) for source in own),
                "sha256_of_their_sha256": digest_of_data(sorted(one.sha256 for one in own)),
            }


def _range(pair: Sequence[float]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])


def _rounded(look: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, _DIGITS) for name, value in look.items()}
