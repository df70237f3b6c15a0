"""What a learned network was trained on, as its maker says: written into the file of its weights.

Nobody can check it, and the proven constant does not depend on it. It informs the reader, and the
warnings about scans that are unlike those of the training use it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from firenet_mri.digests import digest_of_data
from firenet_mri.errors import DataError

Range = tuple[float, float]

#: How k-space may have been sampled.
SAMPLING = ("lines", "points", "trajectory")


@dataclass(frozen=True)
class TrainingReport:
    """What a network was trained on.

    Parameters
    ----------
    acceleration
        Least and largest number of points of the grid for one sample.
    coils
        Least and largest number of coils.
    noise
        Least and largest ||n|| / ||y||: expected norm of the noise over the norm of the samples.
    sampling
        What the masks were: "lines" along an axis, "points"; "trajectory" is no mask.
    data
        What the images were, entry by entry: package or kind, number of images, SHA-256, licence.
        No names of people and no names of files.
    recipe
        How it was trained, as plain data: options, seeds, versions, minutes, figures.
    """

    acceleration: Range
    coils: Range
    noise: Range
    sampling: tuple[str, ...] = ("lines", "points")
    data: Sequence[Mapping[str, Any]] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("acceleration", "coils", "noise"):
            low, high = getattr(self, name)
            # Written so that NaN fails.
            if not 0 <= low <= high < math.inf:
                raise DataError(f"the range of {name} is {low} to {high}; give least and largest")
        if not set(self.sampling) <= set(SAMPLING):
            raise DataError(f"the sampling is {self.sampling}; it is among {', '.join(SAMPLING)}")

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data for JSON."""
        return {
            "acceleration": list(map(float, self.acceleration)),
            "coils": list(map(float, self.coils)),
            "noise": list(map(float, self.noise)),
            "sampling": list(self.sampling),
            "data": [dict(one) for one in self.data],
            "recipe": dict(self.recipe),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrainingReport:
        """Return the report that :meth:`to_dict` has turned into plain data.

        Raises
        ------
        DataError
            If it is not one.
        """
        try:
            low_high = {
                name: (float(data[name][0]), float(data[name][1]))
                for name in ("acceleration", "coils", "noise")
            }
            entries = tuple(dict(one) for one in data["data"])
            sampling = tuple(map(str, data["sampling"]))
            return cls(**low_high, sampling=sampling, data=entries, recipe=dict(data["recipe"]))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            raise DataError("its training report is damaged") from None

    @property
    def digest(self) -> str:
        """SHA-256 of the report."""
        return digest_of_data(self.to_dict())
