"""A complex image with its place in space, put together of the parts in which it was stored."""

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

# Rounding of stored phases, relative to a half turn.
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
        File or folder for messages.
    """

    image: NDArray[np.complex64]
    affine_ras: NDArray[np.float64]
    name: str


def from_parts(parts: Mapping[Component, NDArray[np.floating]], name: str) -> NDArray[np.complex64]:
    """Return the complex image of magnitude and phase, or of real and imaginary part.

    Parameters
    ----------
    parts
        The two, of the same shape, the phase in radians.
    name
        File or folder for messages.

    Raises
    ------
    DataError
        If a part is missing, sizes differ, the phase is not one, or there are NaN.
    """
    pairs: tuple[tuple[Component, Component], ...]
    pairs = (("magnitude", "phase"), ("real", "imaginary"))
    for first, second in pairs:
        if first not in parts or second not in parts:
            continue
        a, b = parts[first], parts[second]
        if a.shape != b.shape:
            raise DataError(
                f"{name}: {first} has shape {a.shape}, {second} {b.shape}; they must be of one "
                "image"
            )
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise DataError(f"{name}: {first} or {second} have NaN or infinite values")
        if first == "real":
            return (a + 1j * b).astype(np.complex64)
        if float(np.abs(b).max(initial=0)) > np.pi * (1 + _SLACK):
            raise DataError(
                f"{name}: the phase reaches {float(np.abs(b).max()):.4g}, which is not an angle in "
                "radians; give phase_scale, radians per stored unit"
            )
        return (a * np.exp(1j * b)).astype(np.complex64)
    found = ", ".join(parts) or "nothing"
    missing = " and ".join(PARTNERS[part] for part in parts)
    raise DataError(f"{name}: holds {found} only; a complex image needs {missing} too")
