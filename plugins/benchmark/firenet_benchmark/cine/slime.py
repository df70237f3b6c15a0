"""The heart of the package ``mrphantom``: a phantom that others made, in addition to our own.

Its body of five tissues breathes and beats; contrast is that of its balanced steady state at 1.5 T,
and phase and coils are the package's, too. It draws tissues without partial volume. A grid that is
finer by four is therefore drawn and averaged; otherwise motion of less than a pixel would be lost.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import torch

from firenet_benchmark.cine.phantom import Series, where_it_changes

_FINER = 4
# Tesla, and seconds of the series: one heartbeat, and a third of a breath.
_FIELD, _BEAT, _BREATH = 1.5, 1.0, 3.0


def is_installed() -> bool:
    """Return whether the package is installed."""
    return find_spec("mrphantom") is not None


def slime_series(frames: int, size: int, coils: int, seed: int) -> Series:
    """Return the phantom over a heartbeat and a third of a breath.

    Parameters
    ----------
    frames, size, coils
        Numbers of images, pixels along both axes, and coils.
    seed
        Of the phases of image and coils, and of when breath and beat begin.
    """
    import mrphantom

    # The package draws from the global generator.
    np.random.seed(seed)  # noqa: NPY002
    mrphantom.initSS_bSSFP(_FIELD)
    phase = mrphantom.genPhMap((size, size), mean=0.0)
    maps = torch.from_numpy(mrphantom.genCsm((size, size), coils)).to(torch.complex64)
    begin = np.random.default_rng(seed).random(2)
    images = []
    for time in np.arange(frames) / frames * _BEAT:
        # The amplitudes of genResAmp and genCarAmp, without the noise in their periods.
        breath = 20e-3 * np.sin(2 * np.pi * (time / _BREATH + begin[0]))
        beat = 10e-3 * np.sin(2 * np.pi * (time / _BEAT + begin[1]))
        tissues = mrphantom.genPhant((_FINER * size,) * 2, float(breath), float(beat))
        fine = mrphantom.Enum2SS(tissues).reshape(size, _FINER, size, _FINER)
        images.append(fine.mean((1, 3)) * phase)
    series = torch.from_numpy(np.stack(images)).to(torch.complex64)
    series = series / series.abs().max()
    maps = maps / torch.linalg.vector_norm(maps, dim=0)
    return Series(series, where_it_changes(series.abs()), (), maps)
