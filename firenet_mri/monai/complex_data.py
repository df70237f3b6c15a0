"""Finds the transforms of MONAI that would drop the imaginary part of k-space, before they do."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose, MapTransform

from firenet_mri.errors import DataError
from firenet_mri.monai.transforms.dictionary import (
    CompressCoilsd,
    EstimateSensitivityd,
    FIRENETReconstructd,
    FixedKspaceMaskd,
    WhitenCoilsd,
)
from firenet_mri.monai.transforms.simulate_dictionary import (
    ImageToKspaced,
    RandSimulateKspaced,
    SimulateKspaced,
)

# What returned float32 for complex64 in MONAI 1.6, without an error.
DROPS_IMAGINARY_PART = frozenset(
    {
        "GaussianSharpen",
        "GaussianSmooth",
        "GibbsNoise",
        "MedianSmooth",
        "NormalizeIntensity",
        "RandAffine",
        "RandGaussianNoise",
        "RandGibbsNoise",
        "RandRicianNoise",
        "RandRotate",
        "RandScaleIntensity",
        "RandZoom",
        "ResampleToMatch",
        "Resize",
        "Rotate",
        "ScaleIntensity",
        "ScaleIntensityRange",
        "Spacing",
        "SpatialResample",
        "StdShiftIntensity",
        "Zoom",
    }
)

_NEEDS_COMPLEX = (
    CompressCoilsd,
    EstimateSensitivityd,
    FIRENETReconstructd,
    FixedKspaceMaskd,
    ImageToKspaced,
    WhitenCoilsd,
)
# Of magnitudes, too.
_MAKES_KSPACE = (RandSimulateKspaced, SimulateKspaced)


def check_keeps_complex(pipeline: Compose) -> None:
    """Raise an error if a dictionary transform drops the imaginary part before FIRENET needs it.

    Parameters
    ----------
    pipeline
        Nested pipelines are searched. The check finds the transforms of ``DROPS_IMAGINARY_PART``,
        and ``LoadImaged``, ``CastToTyped`` and ``EnsureTyped`` with a real ``dtype``, on the keys
        of k-space, anywhere before the last transform that takes k-space there. Other transforms
        that return real data are refused when k-space arrives. What precedes ``SimulateKspaced``
        acts on images, which may be real.

    Raises
    ------
    DataError
        If there is one; the message names it, the key, and what needs complex data.

    Examples
    --------
    >>> from monai.transforms import Compose, ScaleIntensityd
    >>> from firenet_mri.monai import FIRENETReconstructd, check_keeps_complex
    >>> check_keeps_complex(Compose([FIRENETReconstructd("kspace"), ScaleIntensityd("kspace")]))
    """
    flat: Any = pipeline.flatten()  # type: ignore[no-untyped-call]
    steps = [step for step in flat.transforms if isinstance(step, MapTransform)]
    for index, step in enumerate(steps):
        if not isinstance(step, _NEEDS_COMPLEX):
            continue
        for key in step.keys:
            for before in steps[_first_on_kspace(steps[:index], key) : index]:
                if key in before.keys and _drops_imaginary_part(before, key):
                    raise DataError(
                        f"{key!r}: {type(before).__name__} drops the imaginary part that "
                        f"{type(step).__name__} needs; {_advice(before)}"
                    )


def _first_on_kspace(steps: Sequence[MapTransform], key: Hashable) -> int:
    """Return the first step that may see k-space: what precedes a simulation sees an image."""
    made = [
        i for i, step in enumerate(steps) if isinstance(step, _MAKES_KSPACE) and key in step.keys
    ]
    return made[-1] + 1 if made else 0


def _drops_imaginary_part(step: Any, key: Hashable) -> bool:
    name = _array_name(step)
    if name == "LoadImage":
        return _is_real(step._loader.dtype)
    if name in ("CastToType", "EnsureType"):
        return _is_real(step.dtype[step.keys.index(key)])
    return name in DROPS_IMAGINARY_PART


def _array_name(step: MapTransform) -> str:
    """Return the name of the array form: all of MONAI's aliases are one class that ends in d."""
    return type(step).__name__.removesuffix("d")


def _is_real(dtype: Any) -> bool:
    """Return whether a torch or NumPy dtype is real; None leaves the data as they are."""
    if dtype is None:
        return False
    if isinstance(dtype, torch.dtype):
        return not dtype.is_complex
    return np.dtype(dtype).kind != "c"


def _advice(step: MapTransform) -> str:
    if _array_name(step) in ("LoadImage", "CastToType", "EnsureType"):
        return "give it dtype=numpy.complex64 or leave the data type alone"
    return "use it on the image, after the reconstruction"
