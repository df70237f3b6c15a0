"""A complex image with its position in space, combined from the parts in which it was stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError

Component = Literal["magnitude", "phase", "real", "imaginary"]

PARTNERS: dict[Component, Component] = {
    "magnitude": "phase",
    "phase": "magnitude",
    "real": "imaginary",
    "imaginary": "real",
}

# Rounding error of stored phases, relative to a half turn.
_SLACK = 0.01


@dataclass(frozen=True, eq=False)
class ComplexImage:
    """A complex volume.

    Parameters
    ----------
    image
        (x, y, z), or more axes, complex64.
    affine_ras
        (4, 4) float64, index (x, y, z) to RAS mm.
    name
        Name of the file or folder in messages.
    """

    image: NDArray[np.complex64]
    affine_ras: NDArray[np.float64]
    name: str


def from_parts(parts: Mapping[Component, NDArray[np.floating]], name: str) -> NDArray[np.complex64]:
    """Return the complex image from magnitude and phase, or from real and imaginary part.

    Parameters
    ----------
    parts
        The two parts, of the same shape; a phase is in radians.
    name
        Name of the file or folder in messages.

    Raises
    ------
    DataError
        If a part is missing, sizes differ, the phase is not in radians, or values are NaN or
        infinite.
    """
    pairs: tuple[tuple[Component, Component], ...]
    pairs = (("magnitude", "phase"), ("real", "imaginary"))
    for first, second in pairs:
        if first not in parts or second not in parts:
            continue
        a, b = parts[first], parts[second]
        if a.shape != b.shape:
            raise DataError(
                f"{name}: {first} has shape {a.shape}, but {second} has {b.shape}; both must have "
                "the same image"
            )
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise DataError(
                f"{name}: {first} or {second} has NaN or infinite values; export both again"
            )
        if first == "real":
            return (a + 1j * b).astype(np.complex64)
        if float(np.abs(b).max(initial=0)) > np.pi * (1 + _SLACK):
            raise DataError(
                f"{name}: the phase reaches {float(np.abs(b).max()):.4g}, which is not an angle in "
                "radians; give phase_scale in radians per stored unit"
            )
        return (a * np.exp(1j * b)).astype(np.complex64)
    found = ", ".join(parts) or "nothing"
    missing = " and ".join(PARTNERS[part] for part in parts)
    raise DataError(f"{name}: contains only {found}; a complex image also needs {missing}")
