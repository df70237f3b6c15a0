"""The kinds of networks that ``firenet train`` makes, by the name of their family."""

from __future__ import annotations

from collections.abc import Callable

from firenet_mri.training.frame_learner import FrameLearner
from firenet_mri.training.learner import CertifiedLearner, Family
from firenet_mri.training.options import FamilyName, TrainingOptions

_LEARNERS: dict[FamilyName, Callable[[TrainingOptions], Family]] = {
    "layers": CertifiedLearner,
    "frame": FrameLearner,
}


def learner_of(options: TrainingOptions) -> Family:
    """Return the kind of network that options ask for.

    Raises
    ------
    UsageError
        If its sizes lie outside their ranges.
    """
    return _LEARNERS[options.family](options)
