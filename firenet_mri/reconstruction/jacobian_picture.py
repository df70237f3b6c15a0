"""The picture beside an image that shows where it is most sensitive to a change of the data."""

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
    """Write a reconstruction beside the change that its data's most amplified change makes.

    Parameters
    ----------
    magnitude
        Of the reconstruction, (..., *spatial).
    sensitive
        Of the change of the image for a change of the data of size 1, of the same shape.
    certificate
        The reconstruction's, with entries "jacobian_at_data".
    geometry
        Of the image, see :func:`firenet_mri.io.write_picture`.
    name
        Of the scan.
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
    """Return how bright an image is, of all its slices together."""
    return float(np.percentile(image.numpy(force=True), WINDOW_PERCENTILE))


def _range(values: Collection[float]) -> str:
    """Return the smallest and the largest of numbers in words."""
    low, high = min(values), max(values)
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
