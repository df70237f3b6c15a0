"""Siemens raw data (twix, .dat) of VB, VD, VE and XA software, as an ISMRMRD header and readouts.

A file holds one measurement (VB) or several (VD and later); the last is the scan, and those before
it are adjustments. Noise readouts are taken from any measurement. Every readout's counters, flags,
centre, cut samples, position and orientation are in its own header (MDH); the protocol gives
matrix, fields of view and dwell time. The directions are the columns of the rotation given by the
MDH's quaternion: phase, readout, slice. They require the forward Fourier transform, see
:mod:`firenet_mri.io.kspace.ismrmrd`. In the one available scan, of a phantom in the position of a
supine patient, the air in the phantom then lies anterior, as it must under gravity.

Only numbers about the measurement are read from the protocol: names, dates, serial numbers and the
like never leave this module. twixtools parses the protocol and the MDHs.

Two values are assumed, as in the converter siemens_to_ismrmrd, because no available file contains
them: a noise readout within a measurement has a bandwidth of 130 Hz per pixel, and the receivers'
noise bandwidth is 0.793 of the nominal one.
"""

from __future__ import annotations

import ctypes
import logging
import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from firenet_mri.errors import DataError, FileError
from firenet_mri.extras import require
from firenet_mri.geometry import ImageGrid
from firenet_mri.io.kspace.ismrmrd_writer import encoding_space
from firenet_mri.io.kspace.siemens_pulseq import encoding_of, is_pulseq
from firenet_mri.plurals import by_number, counted

_log = logging.getLogger(__name__)

# Flags of a readout, and their numbers in ISMRMRD.
_FLAGS = {
    "NOISEADJSCAN": 19,
    "PATREFSCAN": 20,
    "PATREFANDIMASCAN": 21,
    "REFLECT": 22,
    "PHASCOR": 24,
    "HPFEEDBACK": 26,
    "RETRO_DUMMYSCAN": 27,
    "RTFEEDBACK": 28,
    "REFPHASESTABSCAN": 30,
    "PHASESTABSCAN": 31,
}
_COUNTERS = {
    "kspace_encode_step_1": "Lin",
    "kspace_encode_step_2": "Par",
    "average": "Ave",
    "slice": "Sli",
    "contrast": "Eco",
    "phase": "Phs",
    "repetition": "Rep",
    "set": "Set",
    "segment": "Seg",
}
# Free counters, in the order in which Siemens' own converter stores them as user counters.
_USER_COUNTERS = ("Ida", "Idb", "Idc", "Idd", "Ide")
# Calibration modes for parallel imaging, by sPat.ucRefScanMode.
_REFERENCE_MODES = {
    2: "embedded",
    4: "separate",
    8: "separate",
    16: "interleaved",
    32: "interleaved",
    64: "interleaved",
    128: "embedded",
}
_TRAJECTORIES = {2: "radial", 4: "spiral", 8: "BLADE (PROPELLER)"}
# Parameters of the scanner's regridding, and their names in ISMRMRD's converter, in us.
_REGRIDDING = {
    "alRegridRampupTime": "rampUpTime",
    "alRegridFlattopTime": "flatTopTime",
    "alRegridRampdownTime": "rampDownTime",
    "alRegridDelaySamplesTime": "acqDelayTime",
    "alRegridDestSamples": "numSamples",
    "alRegridMode": "regridMode",
    "aflRegridADCDuration": "adcDuration",
}
_NO_REGRIDDING, _TRAPEZOID = 1, 2
_NOISE_HZ_PER_PIXEL = 130.0
_NOISE_BANDWIDTH = 0.793
_LARGEST_HEADER = 1 << 26
_MOST_MEASUREMENTS = 64
_MOST_PARTS = 64
# If the counter jumps at more than this share of readouts, it simply counts in another way.
_RARE = 0.1
# Flags of readouts that are neither image lines nor reference lines that fill the image.
_NO_LINES = frozenset(_FLAGS) - {"REFLECT", "PATREFANDIMASCAN"}


def is_siemens(head: bytes) -> bool:
    """Return whether a file begins like Siemens raw data."""
    if len(head) < 32:
        return False
    first, second = struct.unpack_from("<II", head)
    if first < 10_000 and 0 < second <= _MOST_MEASUREMENTS:
        offset = struct.unpack_from("<Q", head, 16)[0]
        return bool(0 < offset < 1 << 20 and offset % 512 == 0)
    return 32 < first < _LARGEST_HEADER and 0 < second < 32 and head[8:15] == b"Config\0"


def read_acquisitions(path: Path) -> tuple[Any, list[Any]]:
    """Return an ISMRMRD header and the readouts of the file, noise first.

    Raises
    ------
    FileError
        If it is truncated or damaged; the message states how much was found.
    DataError
        If the sequence is not Cartesian, or excites several slices at once.
    UsageError
        If the package twixtools is not installed.
    """
    require("twixtools")
    size = path.stat().st_size
    with path.open("rb") as file:
        *adjustments, scan = _measurements(path, file, size)
        protocol = _protocol(path, file, scan)
        lines = list(_lines(path, file, scan, size))
        is_foreign = is_pulseq(protocol.yaps)
        if not is_foreign:
            _check_sequence(protocol, path)
            _check_counts(protocol, lines, path)
        dwell_us = _dwell_us(protocol, path)
        acquisitions = [_acquisition(line, dwell_us) for line in lines]
        channels = _channels(lines)
        noise: list[Any] = []
        for measurement in adjustments:
            found = [
                line
                for line in _lines(path, file, measurement, size)
                if "NOISEADJSCAN" in line.flags
            ]
            if found and _channels(found) != channels:
                _log.warning("%s: the noise of other coils is not used", path.name)
            elif found:
                dwell = _dwell_us(_protocol(path, file, measurement), path)
                noise += [_acquisition(line, dwell, is_adjustment=True) for line in found]
    _check_has_image(lines, path)
    encoding = encoding_of(acquisitions) if is_foreign else _encoding(protocol, path)
    header = _header(protocol, encoding, len(lines[-1].channels))
    return header if is_foreign else _with_times(header, protocol), noise + acquisitions


@dataclass(frozen=True)
class _Measurement:
    """Position of a measurement in the file, in bytes."""

    start: int
    stop: int
    is_vd: bool


@dataclass(frozen=True)
class _Protocol:
    """Parameters of the sequence, those for DICOM files, and those of the regridding."""

    yaps: dict[str, Any]
    dicom: dict[str, Any]
    regridding: dict[str, float] = field(default_factory=dict)

    def number(self, *names: str, default: float = 0.0) -> float:
        """Return a number from the sequence's parameters; the default if it is missing."""
        return _as_number(_of(self.yaps, *names), default)

    def numbers(self, name: str, *, group: str | None = None) -> list[float]:
        """Return a list of numbers from the sequence's parameters."""
        values = _of(self.yaps, *([] if group is None else [group]), name)
        return [_as_number(value) for value in values] if isinstance(values, list) else []


def _as_number(value: Any, default: float = 0.0) -> float:
    is_number = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if is_number else default


@dataclass(frozen=True, eq=False)
class _Line:
    """A readout: header (MDH), names of the flags, channels and samples."""

    mdh: Any
    flags: frozenset[str]
    channels: tuple[int, ...]
    data: np.ndarray


def _measurements(path: Path, file: BinaryIO, size: int) -> list[_Measurement]:
    head = file.read(8)
    first, count = struct.unpack("<II", head) if len(head) == 8 else (0, 0)
    if first >= 10_000:
        return [_Measurement(0, size, is_vd=False)]
    entries = file.read(152 * count)
    if len(entries) < 152 * count or not 0 < count <= _MOST_MEASUREMENTS:
        raise FileError(
            f"{path}: the Siemens raw file ends within its table of measurements; copy it again"
        )
    found = []
    for index in range(count):
        start, length = struct.unpack_from("<QQ", entries, 152 * index + 8)
        # Some files with a single measurement do not give its length.
        stop = start + length if length or count > 1 else size
        if stop > size or start >= stop:
            raise FileError(
                f"{path}: the Siemens raw file is truncated: measurement {index + 1} of {count} "
                f"should end at byte {stop}, but the file has {size}; copy it again"
            )
        found.append(_Measurement(start, stop, is_vd=True))
    return found


def _protocol(path: Path, file: BinaryIO, measurement: _Measurement) -> _Protocol:
    """Return the two parts of the protocol that are needed, as twixtools parses them."""
    from twixtools.twixprot import parse_buffer

    length = _header_length(path, file, measurement)
    file.seek(measurement.start)
    text = file.read(length)
    (count,) = struct.unpack_from("<I", text, 4)
    parts = {}
    position = 8
    for _ in range(min(count, _MOST_PARTS)):
        end = text.find(b"\0", position, position + 64)
        if end < 0 or end + 5 > length:
            break
        name = text[position:end].decode("latin1")
        (size,) = struct.unpack_from("<I", text, end + 1)
        if name in ("Meas", "MeasYaps", "Dicom"):
            parts[name] = text[end + 5 : end + 5 + size].decode("latin1")
        position = end + 5 + size
    # Such a large index would create an array that no protocol has.
    if not {"MeasYaps", "Dicom"} <= set(parts) or re.search(r"\[\d{5}", parts["MeasYaps"]):
        raise _unreadable(path)
    try:
        yaps, dicom = parse_buffer(parts["MeasYaps"]), parse_buffer(parts["Dicom"])
        return _Protocol(yaps, dicom, _regridding(parts.get("Meas", "")))
    # The parser's own messages may quote the header.
    except Exception:
        raise _unreadable(path) from None


def _regridding(text: str) -> dict[str, float]:
    """Return the first number of each parameter of the scanner's regridding, by name."""
    found = {}
    for name in _REGRIDDING:
        match = re.search(rf'"{name}">\s*\{{([^{{}}]*)\}}', text)
        numbers = re.sub(r"<\w+>\s*\S+", " ", match[1]).split() if match else []
        if numbers:
            found[name] = float(numbers[0])
    return found


def _unreadable(path: Path) -> FileError:
    return FileError(f"{path}: the protocol of the Siemens raw file is damaged; copy it again")


def _header_length(path: Path, file: BinaryIO, measurement: _Measurement) -> int:
    file.seek(measurement.start)
    head = file.read(4)
    length = struct.unpack("<I", head)[0] if len(head) == 4 else 0
    if not 32 < length < min(_LARGEST_HEADER, measurement.stop - measurement.start):
        raise FileError(
            f"{path}: the Siemens raw file is truncated or damaged in its protocol; copy it again"
        )
    return int(length)


def _lines(path: Path, file: BinaryIO, measurement: _Measurement, size: int) -> Iterator[_Line]:
    """Yield the readouts of a measurement up to its end mark."""
    from twixtools import mdh_def

    header = mdh_def.Scan_header if measurement.is_vd else mdh_def.VB17_header
    channel = mdh_def.Channel_header if measurement.is_vd else mdh_def.VB17_header
    header_size, channel_size = ctypes.sizeof(header), ctypes.sizeof(channel)
    position = measurement.start + _header_length(path, file, measurement)
    count = 0
    while position + header_size <= measurement.stop:
        file.seek(position)
        mdh = header.from_buffer_copy(file.read(header_size))
        flags = frozenset(name for name in (*_FLAGS, *_MARKS) if mdh_def.is_flag_set(mdh, name))
        if "ACQEND" in flags:
            _check_is_end(path, file, measurement, position, count)
            return
        count += 1
        if "SYNCDATA" in flags:
            length = int(mdh_def.get_dma_len(mdh))
        else:
            samples, coils = int(mdh.SamplesInScan), int(mdh.UsedChannels)
            block = channel_size + 8 * samples
            length = coils * block + (header_size if measurement.is_vd else 0)
            if samples < 1 or coils < 1:
                raise _damaged(path, count, position, size)
        if length < header_size or position + length > measurement.stop:
            raise _damaged(path, count, position, size)
        # VB gives the length of one channel's block, newer versions that of all channels.
        if measurement.is_vd and length != int(mdh_def.get_dma_len(mdh)):
            raise FileError(
                f"{path}: readout {count} of the Siemens raw file has {counted(coils, 'channel')} "
                f"of {counted(samples, 'sample')}, which need {length} bytes, but its header "
                f"states {int(mdh_def.get_dma_len(mdh))}; copy the file again"
            )
        if "SYNCDATA" not in flags:
            file.seek(position + (header_size if measurement.is_vd else 0))
            dtype = np.dtype([("header", f"V{channel_size}"), ("data", "<c8", samples)])
            blocks = np.frombuffer(file.read(coils * block), dtype=dtype)
            ids = [channel.from_buffer_copy(one.tobytes()).ChannelId for one in blocks["header"]]
            yield _Line(mdh, flags, tuple(ids), blocks["data"])
        position += length
    raise _damaged(path, count, position, size)


def _check_is_end(
    path: Path, file: BinaryIO, measurement: _Measurement, position: int, count: int
) -> None:
    """Refuse an end mark that is followed by further readouts, or by another one."""
    from twixtools import mdh_def

    header = mdh_def.Scan_header if measurement.is_vd else mdh_def.VB17_header
    channel = mdh_def.Channel_header if measurement.is_vd else mdh_def.VB17_header
    mark = _mdh_at(file, header, position, measurement)
    block = int(mark.UsedChannels) * (ctypes.sizeof(channel) + 8 * int(mark.SamplesInScan))
    own = block + ctypes.sizeof(header) if measurement.is_vd else max(block, ctypes.sizeof(header))
    after = _mdh_at(file, header, position + own, measurement)
    if after is None or int(after.SamplesInScan) == 0 or int(after.UsedChannels) == 0:
        return
    following = int(after.UsedChannels) * (ctypes.sizeof(channel) + 8 * int(after.SamplesInScan))
    if position + own + following <= measurement.stop:
        raise FileError(
            f"{path}: the end mark comes after {counted(count, 'readout')} of the Siemens raw "
            "file, but further readouts follow; the file is damaged, so copy it again"
        )


def _mdh_at(file: BinaryIO, header: Any, position: int, measurement: _Measurement) -> Any:
    """Return the header of a block; None if the measurement ends before the header does."""
    size = ctypes.sizeof(header)
    if position + size > measurement.stop:
        return None
    file.seek(position)
    return header.from_buffer_copy(file.read(size))


# Flags of blocks that are not readouts: the end of the measurement, and other data.
_MARKS = ("ACQEND", "SYNCDATA")


def _damaged(path: Path, count: int, position: int, size: int) -> FileError:
    return FileError(
        f"{path}: the Siemens raw file is truncated or damaged: {counted(count, 'readout')} "
        f"{by_number(count, 'was', 'were')} found up to byte {position} of {size}, but no end "
        "mark; copy it again"
    )


def _check_sequence(protocol: _Protocol, path: Path) -> None:
    """Refuse scans that are not Cartesian, and slices that are excited at once."""
    trajectory = _TRAJECTORIES.get(int(protocol.number("sKSpace", "ucTrajectory")))
    if trajectory is not None:
        raise DataError(
            f"{path}: is a {trajectory} scan, whose k-space points are not in the file; convert it "
            "to ISMRMRD with its trajectory"
        )
    bands = protocol.number("sSliceAcceleration", "lMultiBandFactor")
    if bands > 1:
        raise DataError(
            f"{path}: {bands:.0f} slices are excited at once (SMS); separate the slices first"
        )


def _check_counts(protocol: _Protocol, lines: list[_Line], path: Path) -> None:
    """Log where the readouts contradict the protocol or each other.

    Raises
    ------
    DataError
        If the readouts have different channels.
    """
    image = [line for line in lines if not line.flags & _NO_LINES]
    channels = {line.channels for line in image}
    if len(channels) > 1:
        raise DataError(
            f"{path}: the readouts have {len(channels)} different sets of channels; the file is "
            "damaged, so copy it again"
        )
    stated = round(protocol.number("sSliceArray", "lSize"))
    found = len({int(line.mdh.Counter.Sli) for line in image})
    if image and stated not in (0, found):
        _log.warning(
            "%s: the protocol has %s, but the readouts belong to %d",
            path.name,
            counted(stated, "slice"),
            found,
        )
    _say_short_readouts(protocol, image, path)
    steps = np.diff([int(line.mdh.ScanCounter) for line in lines])
    odd = steps != 1
    # If the counter is in use, it counts every readout.
    if odd.any() and odd.mean() < _RARE:
        where = int(np.flatnonzero(odd)[0])
        _log.warning(
            "%s: the scanner's counter jumps at %s, first by %d after readout %d; readouts "
            "are missing, doubled or out of order",
            path.name,
            counted(int(odd.sum()), "place"),
            int(steps[where]),
            where + 1,
        )


def _say_short_readouts(protocol: _Protocol, image: list[_Line], path: Path) -> None:
    """Log if complete echoes have fewer samples than the protocol has columns."""
    base = protocol.number("sKSpace", "lBaseResolution")
    columns = round(base * _as_number(protocol.dicom.get("flReadoutOSFactor"), 2.0))
    shapes = {(line.data.shape[1], int(line.mdh.CenterCol)) for line in image}
    if len(shapes) == 1:
        ((samples, centre),) = shapes
        if samples < columns and centre == samples // 2:
            _log.warning(
                "%s: the readouts have %s, but the protocol states %d columns; the image may have "
                "another field of view",
                path.name,
                counted(samples, "sample"),
                columns,
            )


def _acquisition(line: _Line, dwell_us: float, *, is_adjustment: bool = False) -> Any:
    """Return a readout in ISMRMRD's form."""
    import ismrmrd

    mdh = line.mdh
    columns = line.data.shape[1]
    if "NOISEADJSCAN" in line.flags and not is_adjustment:
        dwell_us = 1e6 / (columns * _NOISE_HZ_PER_PIXEL)
    acquisition = ismrmrd.Acquisition.from_array(
        line.data,
        center_sample=int(mdh.CenterCol),
        sample_time_us=dwell_us,
    )
    acquisition.acquisition_time_stamp = int(mdh.TimeStamp)
    acquisition.physiology_time_stamp[0] = int(mdh.PMUTimeStamp)
    acquisition.scan_counter = int(mdh.ScanCounter)
    acquisition.discard_pre, acquisition.discard_post = int(mdh.CutOff.Pre), int(mdh.CutOff.Post)
    position = mdh.SliceData.SlicePos
    acquisition.position[:] = position.Sag, position.Cor, position.Tra
    phase, read, slice_ = _directions(mdh.SliceData.Quaternion)
    acquisition.phase_dir[:], acquisition.read_dir[:] = phase, read
    acquisition.slice_dir[:] = slice_
    for counter, name in _COUNTERS.items():
        setattr(acquisition.idx, counter, getattr(mdh.Counter, name))
    for index, name in enumerate(_USER_COUNTERS):
        acquisition.idx.user[index] = getattr(mdh.Counter, name)
    acquisition.idx.user[5], acquisition.idx.user[6] = mdh.CenterLin, mdh.CenterPar
    for flag in line.flags:
        acquisition.setFlag(_FLAGS[flag])
    return acquisition


def _directions(quaternion: Any) -> tuple[list[float], list[float], list[float]]:
    """Return the columns of the rotation of a unit quaternion (w, x, y, z)."""
    w, x, y, z = (float(value) for value in quaternion)
    return (
        [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)],
        [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)],
        [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)],
    )


def _channels(lines: list[_Line]) -> set[tuple[int, ...]]:
    return {line.channels for line in lines if not line.flags & {"PATREFSCAN"}}


def _check_has_image(lines: list[_Line], path: Path) -> None:
    others = {"REFLECT", "PATREFSCAN", "PATREFANDIMASCAN"}
    if not any(not line.flags - others for line in lines):
        raise DataError(
            f"{path}: the last measurement has no imaging readouts and is not a scan; export the "
            "scan again"
        )


def _header(protocol: _Protocol, encoding: Any, channels: int) -> Any:
    """Return the ISMRMRD header with encoding, vendor and field strength only."""
    from ismrmrd import xsd

    return xsd.ismrmrdHeader(
        acquisitionSystemInformation=xsd.acquisitionSystemInformationType(
            systemVendor="SIEMENS",
            systemFieldStrength_T=protocol.number("sProtConsistencyInfo", "flNominalB0") or None,
            relativeReceiverNoiseBandwidth=_NOISE_BANDWIDTH,
            receiverChannels=channels,
        ),
        experimentalConditions=xsd.experimentalConditionsType(
            H1resonanceFrequency_Hz=round(_as_number(protocol.dicom.get("lFrequency")))
        ),
        encoding=[encoding],
    )


def _with_times(header: Any, protocol: _Protocol) -> Any:
    """Return the header with the times and the flip angle of the protocol."""
    from ismrmrd import xsd

    contrasts = int(protocol.number("lContrasts", default=1))
    header.sequenceParameters = xsd.sequenceParametersType(
        TR=[time / 1000 for time in protocol.numbers("alTR")[:1]],
        TE=[time / 1000 for time in protocol.numbers("alTE")[:contrasts]],
        flipAngle_deg=protocol.numbers("adFlipAngleDegree"),
    )
    return header


def _encoding(protocol: _Protocol, path: Path) -> Any:
    """Return the ISMRMRD encoding that the protocol describes."""
    from ismrmrd import xsd

    encoded, shown = _grids(protocol, path)
    is_epi = protocol.number("sFastImaging", "lEPIFactor") > 1
    return xsd.encodingType(
        encodedSpace=encoding_space(encoded),
        reconSpace=encoding_space(shown),
        # The readouts themselves give the centre; the protocol does not.
        encodingLimits=xsd.encodingLimitsType(),
        trajectory=xsd.trajectoryType("epi" if is_epi else "cartesian"),
        trajectoryDescription=_ramps(protocol, path) if is_epi else None,
        parallelImaging=_parallel_imaging(protocol),
    )


def _ramps(protocol: _Protocol, path: Path) -> Any:
    """Return the times of the readout's gradient in ISMRMRD's form, none for even samples.

    Return None if the protocol does not give them.

    Raises
    ------
    DataError
        If the gradient is not a trapezoid.
    """
    from ismrmrd import xsd

    times = {_REGRIDDING[name]: value for name, value in protocol.regridding.items()}
    mode = times.get("regridMode")
    if mode is not None and mode <= _NO_REGRIDDING:
        return xsd.trajectoryDescriptionType(identifier="ConventionalEPI")
    if mode is None or not set(_REGRIDDING.values()) <= set(times):
        return None
    if mode != _TRAPEZOID:
        raise DataError(
            f"{path}: the gradient of the echo-planar readouts is not a trapezoid; convert the "
            "scan to ISMRMRD with the points of its readouts"
        )
    whole = ("rampUpTime", "flatTopTime", "rampDownTime", "acqDelayTime", "numSamples")
    dwell = times["adcDuration"] / max(times["numSamples"], 1.0)
    return xsd.trajectoryDescriptionType(
        identifier="ConventionalEPI",
        userParameterLong=[
            xsd.userParameterLongType(name=name, value=round(times[name])) for name in whole
        ],
        userParameterDouble=[xsd.userParameterDoubleType(name="dwellTime", value=dwell)],
    )


def _grids(protocol: _Protocol, path: Path) -> tuple[ImageGrid, ImageGrid]:
    """Return the encoded grid and the grid on which the scanner shows the image."""
    slices = _of(protocol.yaps, "sSliceArray", "asSlice")
    first = slices[0] if isinstance(slices, list) and slices else {}
    read, phase, thick = (
        _as_number(_of(first, name)) for name in ("dReadoutFOV", "dPhaseFOV", "dThickness")
    )
    base = round(protocol.number("sKSpace", "lBaseResolution"))
    rows = round(protocol.number("sKSpace", "lPhaseEncodingLines"))
    is_3d = protocol.number("sKSpace", "ucDimension") == 4
    partitions = round(protocol.number("sKSpace", "lPartitions", default=1)) if is_3d else 1
    images = round(protocol.number("sKSpace", "lImagesPerSlab", default=1)) if is_3d else 1
    sizes = (base, rows, partitions, images)
    if not all(1 <= size < 1 << 16 for size in sizes) or min(read, phase, thick) <= 0:
        raise FileError(
            f"{path}: the protocol lacks the matrix or the field of view; copy the file again"
        )
    factor = _as_number(protocol.dicom.get("flReadoutOSFactor"), 2.0)
    phase_factor, slice_factor = (
        1 + protocol.number("sKSpace", name)
        for name in ("dPhaseOversamplingForDialog", "dSliceOversamplingForDialog")
    )
    encoded = ImageGrid(
        (partitions, rows, round(base * factor)),
        (thick * slice_factor, phase * phase_factor, read * factor),
    )
    zoom = 2 if protocol.number("sKSpace", "uc2DInterpolation") else 1
    shown = ImageGrid(
        (images, zoom * round(base * phase / read), zoom * base), (thick, phase, read)
    )
    return encoded, shown


def _parallel_imaging(protocol: _Protocol) -> Any:
    """Return the factors of parallel imaging and how its reference lines were measured."""
    from ismrmrd import xsd

    factors = (
        max(1, int(protocol.number("sPat", name, default=1)))
        for name in ("lAccelFactPE", "lAccelFact3D")
    )
    mode = _REFERENCE_MODES.get(int(protocol.number("sPat", "ucRefScanMode")), "other")
    return xsd.parallelImagingType(
        accelerationFactor=xsd.accelerationFactorType(
            kspace_encoding_step_1=next(factors), kspace_encoding_step_2=next(factors)
        ),
        calibrationMode=xsd.calibrationModeType(mode),
    )


def _of(tree: Any, *names: str) -> Any:
    for name in names:
        tree = tree.get(name) if hasattr(tree, "get") else None
    return tree


def _dwell_us(protocol: _Protocol, path: Path) -> float:
    """Return the time between two samples, oversampling included."""
    dwell_ns = next(iter(protocol.numbers("alDwellTime", group="sRXSPEC")), 0.0)
    if dwell_ns <= 0:
        raise FileError(f"{path}: the protocol has no dwell time; copy the file again")
    return dwell_ns / 1000
