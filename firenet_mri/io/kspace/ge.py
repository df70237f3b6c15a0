"""GE P-files (.7) of revisions 26 to 31: 2D Cartesian scans.

The data are int16 or int32 pairs in the order coil, slot, echo, view, sample; the first view of
every slot is a baseline, which is left out. Slots are slices in order of acquisition, and a table
in the header gives their numbers and corners. Unless the header says otherwise, the sign of the RF
pulse alternates from view to view (chopping); this would shift the image by half a field of view
and is undone.

Corner 1 to 2 is taken as the readout, corner 1 to 3 as the phase encoding, in R, A, S mm. That fits
the one available file, but no public P-file comes with the scanner's own image, so neither sign is
proven and the image claims no position in the scanner (``Geometry.is_placed`` is False).
``fft_sign=-1`` reverses it.

Only these numbers are read from the header; the tables of examination and series, which hold the
patient's name, are never read.
"""

from __future__ import annotations

import logging
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError, FileError
from firenet_mri.geometry import AcquisitionParameters, Geometry, as_vector
from firenet_mri.plurals import counted

if TYPE_CHECKING:
    from firenet_mri.scan import RawScan

_log = logging.getLogger(__name__)

# Offsets in bytes from the beginning of the file.
_REVISION, _DATA, _SLICE_TABLE, _IMAGE = 0, 4, 16, 40
_LOGO, _OLDER_LOGO = slice(110, 120), slice(34, 44)
_LOGOS = (b"GE_MED_NMR", b"INVALIDNMR")
_COLLECT_TYPE, _PASSES, _SLICES, _ECHOES, _FRAMES = 132, 140, 144, 146, 150
_POINT_SIZE, _SAMPLES, _VIEWS, _FIRST_COIL, _LAST_COIL = 158, 178, 180, 264, 266
# Offset of the number of slices in revision 28.002.
_SLICES_OF_28 = 3200
# Offsets in bytes from the beginning of the image header.
_THICKNESS, _TOP_LEFT, _BOTTOM_RIGHT, _SEQUENCE = 316, 720, 744, slice(1632, 1665)
_TR_US, _TE_US, _FLIP = 1056, 1064, 1412
_ENTRY_BYTES = 72
_LARGEST_THICKNESS_MM = 1e3
_LARGEST_HEADER = 1 << 22
_NO_CHOPPING = 1
_OTHER_SEQUENCES = ("epi", "spiral", "spep", "propeller", "radial", "probe", "press", "3d", "ute")


def is_ge(head: bytes) -> bool:
    """Return whether a file begins like a P-file of any revision."""
    return len(head) >= 200 and any(head[where] in _LOGOS for where in (_LOGO, _OLDER_LOGO))


def read(path: Path) -> RawScan:
    """Return the scan in a P-file: k-space (slice, coil, y, x), slices in order of position.

    Raises
    ------
    FileError
        If it is truncated or damaged, or of another revision.
    DataError
        If it is not a 2D Cartesian scan with the centre of k-space in the middle.
    """
    import torch

    from firenet_mri.scan import RawScan

    raw = path.read_bytes()
    header = _Header.of(raw, path)
    data = _samples(raw, header, path)
    table = _slice_table(raw, header, path)
    kspace = data[:, [entry.slot for entry in table]].swapaxes(0, 1)[:, :, 1:]
    if not header.collect_type & _NO_CHOPPING:
        kspace = kspace * (-1.0) ** np.arange(kspace.shape[2])[:, None]
    kspace = np.ascontiguousarray(kspace, np.complex64)
    _check_chopping(kspace, header, path)
    _check_centred(kspace, path)
    mask = torch.ones((1, 1, *kspace.shape[2:]), dtype=torch.bool)
    geometry = _geometry(raw, header, table, path)
    return RawScan(
        torch.from_numpy(kspace),
        mask,
        2,
        geometry=geometry,
        name=path.name,
        parameters=_parameters(raw[header.image :]),
    )


@dataclass(frozen=True)
class _Header:
    data: int
    slice_table: int
    image: int
    collect_type: int
    slices: int
    frames: int
    views: int
    samples: int
    coils: int
    point_bytes: int

    @staticmethod
    def of(raw: bytes, path: Path) -> _Header:
        """Return the header's values, after checking that such a scan can be read."""
        revision, (data, table, image) = _start_of(raw, path)

        def short(at: int) -> int:
            return int(struct.unpack_from("<h", raw, at)[0])

        (slices,) = (
            (short(_SLICES),) if revision < 28.002 else struct.unpack_from("<i", raw, _SLICES_OF_28)
        )
        header = _Header(
            data=data,
            slice_table=table,
            image=image,
            collect_type=short(_COLLECT_TYPE),
            slices=slices,
            frames=short(_FRAMES),
            views=short(_VIEWS),
            samples=short(_SAMPLES),
            coils=short(_LAST_COIL) - short(_FIRST_COIL) + 1,
            point_bytes=short(_POINT_SIZE),
        )
        header.check(short(_PASSES), short(_ECHOES), path)
        sequence = raw[image:][_SEQUENCE].split(b"\0")[0].decode("ascii", "replace").lower()
        if any(name in sequence for name in _OTHER_SEQUENCES):
            raise DataError(
                f"{path}: is a P-file of the sequence {sequence!r}, which is not 2D Cartesian; "
                "convert it with ge_to_ismrmrd"
            )
        return header

    def check(self, passes: int, echoes: int, path: Path) -> None:
        """Raise FileError if the sizes are impossible, DataError if such a scan cannot be read."""
        sizes = (self.slices, self.frames, self.samples, self.coils)
        if min(sizes) < 1 or self.slices > 2048 or self.point_bytes not in (2, 4):
            raise FileError(
                f"{path}: the P-file's header is damaged: {counted(self.slices, 'slice')}, "
                f"{counted(self.frames, 'view')}, {counted(self.samples, 'sample')}, "
                f"{counted(self.coils, 'coil')}; copy it again"
            )
        if passes != 1 or echoes != 1 or self.views != self.frames + 1:
            raise DataError(
                f"{path}: has {counted(passes, 'pass', 'passes')}, "
                f"{counted(echoes, 'echo', 'echoes')} and {self.views} stored for "
                f"{counted(self.frames, 'view')}; only P-files with one pass and one echo can be "
                "read, so convert it with ge_to_ismrmrd"
            )


def _start_of(raw: bytes, path: Path) -> tuple[float, tuple[int, int, int]]:
    """Return the revision, and the offsets of samples, slice table and image header."""
    if len(raw) < _SLICES_OF_28 + 4:
        raise FileError(f"{path}: the P-file ends in its header; copy it again")
    (revision,) = struct.unpack_from("<f", raw, _REVISION)
    if not 26 <= revision < 32:
        raise FileError(
            f"{path}: is a GE P-file of revision {revision:.3f}; only 26 to 31 can be read, so "
            "convert it with ge_to_ismrmrd"
        )
    (data,), (table,), (image,) = (
        struct.unpack_from("<i", raw, at) for at in (_DATA, _SLICE_TABLE, _IMAGE)
    )
    if not all(0 < offset < _LARGEST_HEADER for offset in (data, table, image)):
        raise FileError(f"{path}: the P-file's header is damaged; copy it again")
    if image + _SEQUENCE.stop > len(raw):
        raise FileError(f"{path}: the P-file ends in its header; copy it again")
    return revision, (data, table, image)


def _samples(raw: bytes, header: _Header, path: Path) -> NDArray[np.complex64]:
    """Return (coil, slot, view, sample), the baseline view first."""
    shape = (header.coils, header.slices, header.views, header.samples)
    count = 2 * math.prod(shape)
    found = (len(raw) - header.data) // header.point_bytes
    if found < count:
        raise FileError(
            f"{path}: the P-file is truncated: {max(found, 0)} of {count} numbers were found; copy "
            "it again"
        )
    if found > count:
        raise FileError(
            f"{path}: the P-file holds {found} numbers, but its header states {count} "
            f"({counted(header.coils, 'coil')}, {counted(header.slices, 'slice')}, "
            f"{counted(header.views, 'view')} of {counted(header.samples, 'sample')}); copy it "
            "again"
        )
    dtype = f"<i{header.point_bytes}"
    numbers = np.frombuffer(raw, dtype, count, header.data).astype(np.float32)
    return numbers.view(np.complex64).reshape(shape)


@dataclass(frozen=True)
class _Slice:
    """A slice's slot in the data and three corners of its plane, LPS mm."""

    slot: int
    corners: NDArray[np.float64]


def _slice_table(raw: bytes, header: _Header, path: Path) -> list[_Slice]:
    end = header.slice_table + _ENTRY_BYTES * header.slices
    table = []
    if end <= len(raw):
        for start in range(header.slice_table, end, _ENTRY_BYTES):
            _, number, *points = struct.unpack_from("<hh9f", raw, start)
            corners = np.array(points, dtype=float).reshape(3, 3) * [-1, -1, 1]
            table.append(_Slice(number - 1, corners))
    if sorted(entry.slot for entry in table) != list(range(header.slices)):
        raise FileError(
            f"{path}: the P-file's table of {counted(header.slices, 'slice')} is damaged; copy it "
            "again"
        )
    return table


def _check_chopping(kspace: NDArray[np.complex64], header: _Header, path: Path) -> None:
    """Warn if the image's centre of mass lies nearer to the edge than to the middle.

    From view to view the phase of the samples advances by 2 pi times the distance of the centre of
    mass from the middle, in fields of view. Neighbouring views therefore oppose each other where
    that distance exceeds a quarter.
    """
    product = np.vdot(kspace[:, :, :-1], kspace[:, :, 1:])
    if product.real < 0:
        said = "not alternate" if header.collect_type & _NO_CHOPPING else "alternate"
        _log.warning(
            "%s: the header says that the sign of the pulse does %s, which puts the image at the "
            "edge of the field of view; otherwise it would be in the middle, so the header may be "
            "wrong",
            path.name,
            said,
        )


def _check_centred(kspace: NDArray[np.complex64], path: Path) -> None:
    """Refuse partial Fourier, because the known part of the header does not give the centre."""
    energy = np.square(np.abs(kspace)).sum(axis=(0, 1, 3))
    rows = len(energy)
    if abs(int(energy.argmax()) - rows // 2) > max(2, rows // 16):
        raise DataError(
            f"{path}: the strongest of {rows} views is number {int(energy.argmax())} and not the "
            "middle one, which indicates partial Fourier; convert the P-file with ge_to_ismrmrd"
        )


def _geometry(raw: bytes, header: _Header, table: list[_Slice], path: Path) -> Geometry | None:
    """Return sizes and the best guess of the position; None if the corners do not span a plane."""
    corners = np.stack([entry.corners for entry in table])
    along_read, along_phase = corners[0, 1] - corners[0, 0], corners[0, 2] - corners[0, 0]
    centres = (corners[:, 1] + corners[:, 2]) / 2
    sizes = np.linalg.norm(along_read), np.linalg.norm(along_phase)
    if not np.isfinite(corners).all() or min(sizes) <= 0:
        return None
    normal = np.cross(along_read, along_phase) / (sizes[0] * sizes[1])
    step = float(np.linalg.norm(centres[1] - centres[0])) if len(centres) > 1 else 0.0
    if len(centres) > 1 and step > 0:
        normal = (centres[1] - centres[0]) / step
    image = raw[header.image :]
    (thickness,) = struct.unpack_from("<f", image, _THICKNESS)
    if not 0 < thickness < _LARGEST_THICKNESS_MM:
        thickness = step
    # The image's own corners include the table's position; those of the slice table do not.
    top, bottom = (
        np.array(struct.unpack_from("<3f", image, at)) * [-1, -1, 1]
        for at in (_TOP_LEFT, _BOTTOM_RIGHT)
    )
    shifts = (top + bottom) / 2 - centres
    centres = centres + shifts[np.linalg.norm(shifts, axis=1).argmin()]
    try:
        return Geometry(
            (float(thickness) or 1.0, float(sizes[1]), float(sizes[0])),
            tuple(as_vector(centre) for centre in centres),
            as_vector(along_read / sizes[0]),
            as_vector(along_phase / sizes[1]),
            as_vector(normal),
            is_placed=False,
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _parameters(image: bytes) -> AcquisitionParameters:
    (repetition,), (echo,) = (struct.unpack_from("<i", image, at) for at in (_TR_US, _TE_US))
    (flip,) = struct.unpack_from("<h", image, _FLIP)
    return AcquisitionParameters(
        repetition_time_ms=repetition / 1000 if repetition > 0 else None,
        echo_times_ms=(echo / 1000,) if echo > 0 else (),
        flip_angle_deg=float(flip) if flip > 0 else None,
    )
