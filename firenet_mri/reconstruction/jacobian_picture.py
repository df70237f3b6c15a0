"""The picture beside an image that shows where the image is most sensitive to the data."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
from torch import Tensor

from firenet_mri.firenet.certificate import Certificate
from firenet_mri.io import Panel, write_picture
from firenet_mri.io.image.display import WINDOW_PERCENTILE
from firenet_mri.scan import Geometry


def write_jacobian_picture(
    path: Path,
    magnitude: Tensor,
    sensitive: Tensor,
    certificate: Certificate,
    *,
    geometry: Geometry | None,
    name: str,
) -> None:
    """Write a reconstruction beside the effect of its data's most amplified change.

    Parameters
    ----------
    magnitude
        Magnitude of the reconstruction, (..., *spatial).
    sensitive
        Magnitude of the image's change for a change of the data of size 1, of the same shape.
    certificate
        The reconstruction's certificate, with entries "jacobian_at_data".
    geometry
        Geometry of the image, see :func:`firenet_mri.io.write_picture`.
    name
        Name of the scan.
    """
    bright = _brightness(sensitive)
    factor = _brightness(magnitude) / bright if bright > 0 else 1.0
    lower = certificate.lookup("jacobian_at_data", "lower").values()
    upper = certificate.lookup("jacobian_at_data", "upper").values()
    panels = [Panel("FIRENET", magnitude), Panel("Most sensitive", factor * sensitive)]
    # Lines that fit two panels.
    caption = (
        f"{name}: right, the effect of the most amplified small change of the data,\n"
        f"{_range(lower)} times as large as the change (at most {_range(upper)} is possible),\n"
        f"shown {factor:.3g} times as bright as for a change of size 1"
    )
    write_picture(path, panels, geometry=geometry, caption=caption)


def _brightness(image: Tensor) -> float:
    """Return the brightness of an image, over all its slices."""
    return float(np.percentile(image.numpy(force=True), WINDOW_PERCENTILE))


def _range(values: Collection[float]) -> str:
    """Return the smallest and the largest number in words."""
    low, high = min(values), max(values)
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
