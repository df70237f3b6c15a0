"""Makes echo trains of made coil images, with the ismrmrd package, and measures ghosts."""

from __future__ import annotations

from typing import Any

import ismrmrd
import numpy as np
from mrd_scans import centred_fft, make_header, make_readout

from firenet_mri.io.kspace.readout_gridding import trapezoid_places

COILS, NY, NX = 3, 20, 24
TRAPEZOID = {"rampUpTime": 100, "flatTopTime": 120, "rampDownTime": 100, "acqDelayTime": 30}
SAMPLES, DWELL = 40, 6.5
X = np.arange(NX) - NX // 2
EVEN = X.astype(float)
RAMP = trapezoid_places(100, 120, 100, 30, SAMPLES * DWELL, SAMPLES, NX)
NAVIGATION = (True, False, True)


def phantom(seed: int = 0, coils: int = COILS) -> np.ndarray:
    """Return coil images that leave the borders free, (coil, y, x)."""
    generator = np.random.default_rng(seed)
    image = np.zeros((coils, NY, NX), complex)
    inner = generator.standard_normal((coils, NY - 6, NX - 8, 2)) @ [0.3, 0.3j]
    image[:, 3:-3, 4:-4] = 1 + inner
    return image


def phase(coils: int = COILS, slope: float = 0.15) -> np.ndarray:
    """Return phi, another line for every coil, (coil, x)."""
    coil = np.arange(coils)[:, None]
    return 0.4 + 0.3 * coil + (slope + 0.05 * coil) * X


def sampled(line: np.ndarray, places: np.ndarray, phi: np.ndarray, backward: bool) -> np.ndarray:
    """Return samples (coil, n), in the order of time, of the image (coil, x) along a readout."""
    image = line * np.exp((-0.5j if backward else 0.5j) * phi)
    if backward:
        # On even samples the last one is not the first one's opposite.
        places = places[::-1] if len(places) == NX else -places
    return image @ np.exp(-2j * np.pi * np.outer(X, places) / NX) / np.sqrt(NX)


def trains(
    image: np.ndarray, phi: np.ndarray, places: np.ndarray = EVEN, *, drift: float = 0.3, **idx: int
) -> list[Any]:
    """Return three navigator lines, the phase of which drifts, and the lines of an echo train."""

    def readout(samples: np.ndarray, row: int, backward: bool, *flags: int) -> Any:
        flags = (*flags, ismrmrd.ACQ_IS_REVERSE) if backward else flags
        # Where k is 0, counted in the order of time.
        centre = NX // 2 - backward if len(places) == NX else len(places) // 2
        return make_readout(samples, row=row, flags=flags, center_sample=centre, counters=idx)

    line = image.sum(1) / np.sqrt(NY)
    found = [
        readout(
            sampled(line, places, phi, way) * np.exp(1j * drift * i),
            NY // 2,
            way,
            ismrmrd.ACQ_IS_PHASECORR_DATA,
        )
        for i, way in enumerate(NAVIGATION)
    ]
    rows = centred_fft(image, (1,))
    for row in range(NY):
        way = row % 2 == 1
        found.append(readout(sampled(rows[:, row], places, phi, way), row, way))
    return found


def epi_header(**options: Any) -> Any:
    return make_header((NX, NY, 1), trajectory="epi", **options)


def with_times(header: Any) -> Any:
    xsd = ismrmrd.xsd
    header.encoding[0].trajectoryDescription = xsd.trajectoryDescriptionType(
        identifier="ConventionalEPI",
        userParameterLong=[
            xsd.userParameterLongType(name=name, value=value)
            for name, value in (*TRAPEZOID.items(), ("numSamples", SAMPLES))
        ],
        userParameterDouble=[xsd.userParameterDoubleType(name="dwellTime", value=DWELL)],
    )
    return header


def ghost_level(image: np.ndarray, inside: np.ndarray) -> float:
    """Return the mean energy half a field of view from the object, over that of the object."""
    wide = np.zeros_like(inside)
    for dy, dx in np.ndindex(5, 5):
        wide |= np.roll(inside, (dy - 2, dx - 2), (0, 1))
    ghost = np.roll(inside, len(image) // 2, 0) & ~wide
    return float(np.mean(image[ghost] ** 2) / np.mean(image[inside] ** 2))
