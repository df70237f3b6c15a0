"""The proof of a learned network's Lipschitz constant, from its weights as they are now."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from firenet_mri.firenet.learned import bound
from firenet_mri.firenet.learned.bound import StageBound, combined_bound, stage_bounds
from firenet_mri.firenet.learned.layers import Stage

#: Polynomial, filters and firmness of a stage as bytes, and the shape of the filters.
_Key = tuple[tuple[float, ...], bytes, tuple[int, ...], bytes]


@dataclass(frozen=True)
class LearnedProof:
    """A proven Lipschitz constant of data -> image for ||A|| <= 1 and fixed thresholds.

    Parameters
    ----------
    stages
        m, L, S and S_rho of every stage.
    value
        The constant that follows from them.
    """

    stages: tuple[StageBound, ...]
    value: float

    #: How it is proven, and what it follows from.
    method: ClassVar[str] = "constants of the layers, combined in rational arithmetic"
    follows_from: ClassVar[str] = "It follows from the layers, whatever their weights."
    #: There is no performance estimation.
    multipliers: ClassVar[None] = None
    data_share: ClassVar[None] = None

    def to_dict(self) -> dict[str, Any]:
        """Return the proof as plain data for JSON."""
        return {"bound": self.value, "stages": [one._asdict() for one in self.stages]}


def prove(stages: Sequence[Stage], sizes: Sequence[int]) -> LearnedProof:
    """Return the proof of the constant that stages have.

    Takes a millisecond per stage at the first call, and almost nothing for the same weights.

    Parameters
    ----------
    stages
        The weights.
    sizes
        Filters of each group.

    Raises
    ------
    UsageError
        If nothing can be proven; the message names the stage.
    """
    return _prove(tuple(_key(stage, sizes) for stage in stages))


def _key(stage: Stage, sizes: Sequence[int]) -> _Key:
    a, b = (float(value) for value in stage.coefficients)
    filters = stage.filters.detach().cpu().double().numpy()
    firmness = np.repeat(stage.firmness.detach().cpu().double().numpy(), sizes)
    return (a, -b), filters.tobytes(), filters.shape, firmness.tobytes()


@functools.lru_cache(maxsize=16)
def _prove(keys: tuple[_Key, ...]) -> LearnedProof:
    bounds = stage_bounds(
        [
            bound.Stage(
                coefficients, np.frombuffer(filters).reshape(shape), np.frombuffer(firmness)
            )
            for coefficients, filters, shape, firmness in keys
        ]
    )
    return LearnedProof(bounds, combined_bound(bounds))
