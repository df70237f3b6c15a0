"""Writes small made-up Siemens raw files (VB and VD), byte by byte, to read them back."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

# Bits of the evaluation mask of an MDH.
BITS = {
    "ACQEND": 0,
    "RTFEEDBACK": 1,
    "SYNCDATA": 5,
    "PHASCOR": 21,
    "PATREFSCAN": 22,
    "PATREFANDIMASCAN": 23,
    "REFLECT": 24,
    "NOISEADJSCAN": 25,
}
COUNTERS = ("Lin", "Ave", "Sli", "Par", "Eco", "Phs", "Rep", "Set", "Seg")
FREE_COUNTERS = ("Ida", "Idb", "Idc", "Idd", "Ide")


@dataclass
class Line:
    """A readout; ``data`` is (coil, sample)."""

    data: np.ndarray
    counters: dict[str, int] = field(default_factory=dict)
    flags: Sequence[str] = ()
    centre: tuple[int, int, int] = (0, 0, 0)  # column, line, partition
    cut: tuple[int, int] = (0, 0)
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    quaternion: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    first_channel: int = 0


def protocol(
    columns: int,
    rows: int,
    *,
    partitions: int = 1,
    fov: tuple[float, float, float] = (200.0, 200.0, 4.0),
    dwell_ns: int = 10_000,
    trajectory: int = 1,
    epi_factor: int = 1,
    bands: int = 1,
    extra: str = "",
    meas: str = "",
) -> bytes:
    """Return a measurement's header: the sequence's parameters and a made-up patient."""
    yaps = (
        "### ASCCONV BEGIN ###\n"
        f"sKSpace.lBaseResolution = {columns}\n"
        f"sKSpace.lPhaseEncodingLines = {rows}\n"
        f"sKSpace.lPartitions = {partitions}\n"
        f"sKSpace.lImagesPerSlab = {partitions}\n"
        f"sKSpace.ucDimension = {4 if partitions > 1 else 2}\n"
        f"sKSpace.ucTrajectory = {trajectory}\n"
        f"sFastImaging.lEPIFactor = {epi_factor}\n"
        f"sSliceAcceleration.lMultiBandFactor = {bands}\n"
        f"sSliceArray.asSlice[0].dReadoutFOV = {fov[0]}\n"
        f"sSliceArray.asSlice[0].dPhaseFOV = {fov[1]}\n"
        f"sSliceArray.asSlice[0].dThickness = {fov[2]}\n"
        f"sRXSPEC.alDwellTime[0] = {dwell_ns}\n"
        "sProtConsistencyInfo.flNominalB0 = 2.89\n"
        "alTR[0] = 10000\nalTE[0] = 3000\nlContrasts = 1\nadFlipAngleDegree[0] = 15\n"
        f"{extra}### ASCCONV END ###\n"
    )
    dicom = (
        '<ParamString."tPatientName">  { "Made^Up" }\n'
        '<ParamString."InstitutionName">  { "Nowhere Hospital" }\n'
        '<ParamDouble."flReadoutOSFactor">  { <Precision> 16  2.0 }\n'
        '<ParamLong."lFrequency">  { 123263034 }\n'
    )
    named = [("Config", "none " * 2000), ("Dicom", dicom), ("MeasYaps", yaps)]
    named += [("Meas", meas)] * bool(meas)
    parts = b"".join(
        name.encode() + b"\0" + struct.pack("<I", len(text)) + text.encode()
        # No real protocol is shorter than 10,000 bytes, by which the versions are told apart.
        for name, text in named
    )
    length = 8 + len(parts)
    padding = -length % 32
    return struct.pack("<II", length + padding, len(named)) + parts + bytes(padding)


def twix_vd(measurements: Iterable[tuple[bytes, Sequence[Line]]]) -> bytes:
    """Return a VD file of several measurements."""
    bodies = [header + b"".join(map(_vd_line, lines)) + _vd_end() for header, lines in measurements]
    table = struct.pack("<II", 0, len(bodies))
    offset, blocks = 10_240, []
    for number, body in enumerate(bodies):
        table += struct.pack("<IIQQ64s64s", number, number, offset, len(body), b"Made^Up", b"gre")
        body += bytes(-len(body) % 512)
        offset += len(body)
        blocks.append(body)
    return table + bytes(10_240 - len(table)) + b"".join(blocks)


def twix_vb(header: bytes, lines: Sequence[Line]) -> bytes:
    """Return a VB file, in which every channel has a whole header."""
    blocks = [
        _vb_header(line, coil) + samples.astype("<c8").tobytes()
        for line in lines
        for coil, samples in enumerate(line.data)
    ]
    end = Line(np.zeros((1, 16)), flags=("ACQEND",))
    return header + b"".join(blocks) + _vb_header(end, 0) + bytes(128)


def _mask(flags: Sequence[str]) -> int:
    return sum(1 << BITS[flag] for flag in flags)


def _counters(line: Line) -> bytes:
    return struct.pack("<14H", *(line.counters.get(name, 0) for name in COUNTERS + FREE_COUNTERS))


def _vd_line(line: Line) -> bytes:
    coils, samples = line.data.shape
    column, row, partition = line.centre
    length = 192 + coils * (32 + 8 * samples)
    header = struct.pack("<IiIII", length, 1, 1, 0, 0) + bytes(20)
    header += struct.pack("<QHH", _mask(line.flags), samples, coils) + _counters(line)
    header += struct.pack("<HHHHfIHH", *line.cut, column, 0, 0.0, 0, row, partition)
    header += struct.pack("<7f", *line.position, *line.quaternion)
    header += bytes(192 - len(header))
    channels = b"".join(
        struct.pack("<IiIIIIHHI", 0, 1, 1, 0, 0, 0, line.first_channel + coil, 0, 0)
        + line.data[coil].astype("<c8").tobytes()
        for coil in range(coils)
    )
    return header + channels


def _vd_end() -> bytes:
    return _vd_line(Line(np.zeros((1, 16)), flags=("ACQEND",)))


def _vb_header(line: Line, coil: int) -> bytes:
    coils, samples = line.data.shape
    column, row, partition = line.centre
    header = struct.pack("<IiIII", 128 + 8 * samples, 1, 1, 0, 0)
    header += struct.pack("<QHH", _mask(line.flags), samples, coils) + _counters(line)
    header += struct.pack("<HHHHfIHH", *line.cut, column, 0, 0.0, 0, row, partition)
    header += bytes(16) + struct.pack("<7f", *line.position, *line.quaternion)
    return header + struct.pack("<HH", line.first_channel + coil, 0)
