"""Makes small ISMRMRD scans with the ismrmrd package, and the transforms to check them by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import ismrmrd
import numpy as np

READ = (0.0, 1.0, 0.0)
PHASE = (0.0, 0.0, 1.0)
SLICE = (1.0, 0.0, 0.0)


def centred_fft(image: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """Return the unitary transform with the zero at index N//2 of each axis."""
    shifted = np.fft.ifftshift(image, axes=axes)
    return np.fft.fftshift(np.fft.fftn(shifted, axes=axes, norm="ortho"), axes=axes)


def centred_ifft(kspace: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """Return the inverse of :func:`centred_fft`."""
    shifted = np.fft.ifftshift(kspace, axes=axes)
    return np.fft.fftshift(np.fft.ifftn(shifted, axes=axes, norm="ortho"), axes=axes)


def make_header(
    encoded: tuple[int, int, int],
    *,
    recon_columns: int | None = None,
    encoded_fov: tuple[float, float, float] | None = None,
    recon_fov_x: float | None = None,
    centre: tuple[int, int] | None = None,
    encodings: int = 1,
    trajectory: str = "cartesian",
    calibration_mode: str | None = None,
    bandwidth: float | None = None,
    vendor: str | None = None,
    subject: Any = None,
) -> Any:
    """Return a header; sizes are (x, y, z), ``centre`` is that of steps 1 and 2."""
    xsd = ismrmrd.xsd
    nx, ny, nz = encoded
    fov = encoded_fov or (2.0 * nx, 3.0 * ny, 5.0 * nz)
    step1, step2 = centre or (ny // 2, nz // 2)

    def space(columns: int, fov_x: float) -> Any:
        return xsd.encodingSpaceType(
            matrixSize=xsd.matrixSizeType(x=columns, y=ny, z=nz),
            fieldOfView_mm=xsd.fieldOfViewMm(x=fov_x, y=fov[1], z=fov[2]),
        )

    parallel = None
    if calibration_mode is not None:
        parallel = xsd.parallelImagingType(
            accelerationFactor=xsd.accelerationFactorType(
                kspace_encoding_step_1=2, kspace_encoding_step_2=1
            ),
            calibrationMode=xsd.calibrationModeType(calibration_mode),
        )
    encoding = xsd.encodingType(
        encodedSpace=space(nx, fov[0]),
        reconSpace=space(recon_columns or nx, recon_fov_x or fov[0]),
        encodingLimits=xsd.encodingLimitsType(
            kspace_encoding_step_1=xsd.limitType(minimum=0, maximum=ny - 1, center=step1),
            kspace_encoding_step_2=xsd.limitType(minimum=0, maximum=nz - 1, center=step2),
        ),
        trajectory=xsd.trajectoryType(trajectory),
        parallelImaging=parallel,
    )
    return xsd.ismrmrdHeader(
        subjectInformation=subject,
        acquisitionSystemInformation=xsd.acquisitionSystemInformationType(
            systemVendor=vendor, relativeReceiverNoiseBandwidth=bandwidth
        ),
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=63_500_000),
        encoding=[encoding] * encodings,
    )


def make_readout(
    samples: np.ndarray,
    *,
    row: int = 0,
    partition: int = 0,
    flags: Iterable[int] = (),
    position: Sequence[float] = (0.0, 0.0, 0.0),
    directions: Sequence[Sequence[float]] = (READ, PHASE, SLICE),
    counters: dict[str, int] | None = None,
    **fields: Any,
) -> Any:
    """Return a readout of (coil, n) samples; the centre is n//2 unless ``fields`` say otherwise."""
    fields = {"center_sample": samples.shape[1] // 2, **fields}
    readout = ismrmrd.Acquisition.from_array(
        np.ascontiguousarray(samples, dtype=np.complex64), **fields
    )
    readout.idx.kspace_encode_step_1 = row
    readout.idx.kspace_encode_step_2 = partition
    for name, value in (counters or {}).items():
        setattr(readout.idx, name, value)
    readout.position[:] = position
    readout.read_dir[:], readout.phase_dir[:], readout.slice_dir[:] = directions
    for flag in flags:
        readout.set_flag(flag)
    return readout


def make_readouts(kspace: np.ndarray, **options: Any) -> list[Any]:
    """Return one readout for each row of (coil, y, x)."""
    return [make_readout(kspace[:, row], row=row, **options) for row in range(kspace.shape[1])]
