"""MRD 2 streams, read with the package mrd-python and converted to ISMRMRD / MRD 1.

Version 2 has the content of version 1 in another encoding (yardl): counters and times may be
missing, which means 0 or unknown, and each readout may have its own order of coils. Only what a
reconstruction needs is read from the header.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError, FileError
from firenet_mri.extras import require
from firenet_mri.memory import refuse_shortage

SIGNATURE = b"yardl"

_COUNTERS = (
    *("kspace_encode_step_1", "kspace_encode_step_2", "average", "slice", "contrast", "phase"),
    *("repetition", "set", "segment"),
)
_LIMITS = (
    *("kspace_encoding_step_0", "kspace_encoding_step_1", "kspace_encoding_step_2", "average"),
    *("slice", "contrast", "phase", "repetition", "set", "segment"),
)
_PLACE = ("position", "read_dir", "phase_dir", "slice_dir")
# Numbers of version 1 have 16 bits.
_LARGEST = (1 << 16) - 1


def read_acquisitions(path: Path) -> tuple[Any, list[Any]]:
    """Return header and readouts of an MRD 2 stream in ISMRMRD's form.

    Raises
    ------
    FileError
        If mrd-python is not installed or of another version, or the stream is truncated, damaged,
        or lacks a header or readouts.
    DataError
        If a number is too large for version 1.
    """
    header: Any = None
    readouts: list[Any] = []
    others: set[str] = set()
    for kind, value in _items(path):
        if kind == "Header":
            header = value
        elif kind == "Acquisition":
            readouts.append(_acquisition(value, path))
        else:
            others.add(kind)
    if header is None:
        raise FileError(f"{path}: the MRD 2 stream has no header; convert the scan again")
    if not readouts:
        found = f"only {', '.join(sorted(others))}" if others else "no data"
        is_image = any(kind.startswith("Image") for kind in others)
        advice = "firenet convert writes images" if is_image else "convert the scan again"
        raise FileError(f"{path}: the MRD 2 stream holds no readouts, {found}; {advice}")
    return _header(header, path), readouts


def read_images(path: Path) -> tuple[list[Any], Any]:
    """Return the images of an MRD 2 stream, as in mrd-python, and the header of version 1.

    Raises
    ------
    FileError
        As for :func:`read_acquisitions`, except that a missing header is returned as None.
    """
    header: Any = None
    images: list[Any] = []
    for kind, value in _items(path):
        if kind == "Header":
            header = value
        elif kind.startswith("Image") and hasattr(value, "head"):
            images.append(value)
    return images, None if header is None else _header(header, path)


def _items(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield ("Header", header), if there is one, then the kind and value of every item."""
    require("mrd")
    import mrd

    try:
        with path.open("rb") as file, mrd.BinaryMrdReader(file) as reader:
            header = reader.read_header()
            if header is not None:
                yield "Header", header
            for item in reader.read_data():
                # Version 2.2 writes a small initial where 2.1 had a capital.
                yield item.tag[:1].upper() + item.tag[1:], item.value
    except DataError:
        raise
    # The package lets exceptions of any kind escape from its decoder.
    except Exception as error:
        refuse_shortage(path, error)
        if "schema" in str(error).lower():
            raise FileError(
                f"{path}: was written by a version of MRD 2 that mrd-python {_version()} does not "
                "read; install the version that wrote it"
            ) from None
        raise FileError(
            f"{path}: the MRD 2 stream is truncated or damaged; copy or convert the scan again"
        ) from None


def _version() -> str:
    try:
        return version("mrd-python")
    except PackageNotFoundError:
        return "of unknown version"


def _acquisition(found: Any, path: Path) -> Any:
    """Return a readout of version 1."""
    import ismrmrd

    head = found.head
    data = np.asarray(found.data, np.complex64)
    points = np.asarray(found.trajectory, np.float32)
    if data.ndim != 2 or max(data.shape) > _LARGEST:
        raise DataError(f"{path}: a readout has shape {data.shape}; (coil, sample) is needed")
    data = _in_order_of_coils(data, list(head.channel_order))
    if points.size:
        # Version 2 stores (axis, sample).
        made = ismrmrd.Acquisition.from_array(data, np.ascontiguousarray(points.T))
    else:
        made = ismrmrd.Acquisition.from_array(data)
    made.flags = int(head.flags)
    for name in _COUNTERS:
        setattr(made.idx, name, _small(getattr(head.idx, name, None), name, path))
    for index, value in enumerate(list(head.idx.user)[:8]):
        made.idx.user[index] = _small(value, "user", path)
    samples = data.shape[1]
    centre = samples // 2 if head.center_sample is None else head.center_sample
    made.center_sample = _small(centre, "center_sample", path)
    for name in ("discard_pre", "discard_post", "encoding_space_ref"):
        setattr(made, name, _small(getattr(head, name), name, path))
    made.sample_time_us = _sample_time_us(head)
    _stamp(made, head)
    for name in _PLACE:
        getattr(made, name)[:] = np.asarray(getattr(head, name), float).tolist()
    return made


def _in_order_of_coils(data: NDArray[np.complex64], order: list[int]) -> NDArray[np.complex64]:
    """Return the rows in the order of the coils' numbers."""
    if len(order) != len(data) or len(set(order)) != len(order):
        return np.ascontiguousarray(data)
    return np.ascontiguousarray(data[np.argsort(order)])


def _small(value: Any, name: str, path: Path) -> int:
    number = 0 if value is None else int(value)
    if not 0 <= number <= _LARGEST:
        raise DataError(f"{path}: a readout's {name} is {number}; at most {_LARGEST} can be read")
    return number


def _sample_time_us(head: Any) -> float:
    """Return the dwell time; version 2.2 counts nanoseconds, 2.1 microseconds."""
    if getattr(head, "sample_time_ns", None):
        return float(head.sample_time_ns) / 1000
    return float(getattr(head, "sample_time_us", None) or 0)


def _stamp(made: Any, head: Any) -> None:
    """Copy the time stamps of version 2.1, which count in the vendor's steps as version 1's do."""
    made.acquisition_time_stamp = getattr(head, "acquisition_time_stamp", None) or 0
    for index, value in enumerate((getattr(head, "physiology_time_stamp", None) or [])[:3]):
        made.physiology_time_stamp[index] = value


def _header(found: Any, path: Path) -> Any:
    """Return the header of version 1, without patient and study."""
    from ismrmrd import xsd

    if not found.encoding:
        raise FileError(f"{path}: its MRD 2 header has no encoding; export the scan again")
    system, sequence = found.acquisition_system_information, found.sequence_parameters
    return xsd.ismrmrdHeader(
        acquisitionSystemInformation=None
        if system is None
        else xsd.acquisitionSystemInformationType(
            systemVendor=system.system_vendor,
            systemFieldStrength_T=system.system_field_strength_t,
            relativeReceiverNoiseBandwidth=system.relative_receiver_noise_bandwidth,
        ),
        experimentalConditions=xsd.experimentalConditionsType(
            H1resonanceFrequency_Hz=int(found.experimental_conditions.h1resonance_frequency_hz)
        ),
        encoding=[_encoding(one) for one in found.encoding],
        sequenceParameters=None
        if sequence is None
        else xsd.sequenceParametersType(
            TR=list(sequence.t_r),
            TE=list(sequence.t_e),
            TI=list(sequence.t_i),
            flipAngle_deg=list(sequence.flip_angle_deg),
        ),
    )


def _encoding(found: Any) -> Any:
    from ismrmrd import xsd

    limits = {
        name: xsd.limitType(minimum=one.minimum, maximum=one.maximum, center=one.center)
        for name in _LIMITS
        if (one := getattr(found.encoding_limits, name, None)) is not None
    }
    return xsd.encodingType(
        encodedSpace=_space(found.encoded_space),
        reconSpace=_space(found.recon_space),
        encodingLimits=xsd.encodingLimitsType(**limits),
        trajectory=xsd.trajectoryType(_word(found.trajectory, xsd.trajectoryType)),
        parallelImaging=_parallel(found.parallel_imaging),
    )


def _space(found: Any) -> Any:
    from ismrmrd import xsd

    size, extent = found.matrix_size, found.field_of_view_mm
    return xsd.encodingSpaceType(
        matrixSize=xsd.matrixSizeType(x=int(size.x), y=int(size.y), z=int(size.z)),
        fieldOfView_mm=xsd.fieldOfViewMm(x=float(extent.x), y=float(extent.y), z=float(extent.z)),
    )


def _parallel(found: Any) -> Any:
    from ismrmrd import xsd

    if found is None:
        return None
    factor, mode = found.acceleration_factor, found.calibration_mode
    word = None if mode is None else _word(mode, xsd.calibrationModeType)
    return xsd.parallelImagingType(
        accelerationFactor=xsd.accelerationFactorType(
            kspace_encoding_step_1=int(factor.kspace_encoding_step_1),
            kspace_encoding_step_2=int(factor.kspace_encoding_step_2),
        ),
        calibrationMode=None if word is None else xsd.calibrationModeType(word),
    )


def _word(value: Any, known: Any) -> str:
    """Return the word of version 1 for a value; "other" if it has none."""
    word = str(getattr(value, "name", "")).lower()
    return word if word in {one.value for one in known} else "other"
