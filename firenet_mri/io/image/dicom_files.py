"""The door through which DICOM files are read: the data sets of files, their pixels, their places.

What is packed, a deflated data set or compressed pixels, is first compared with the size of its
file. Warnings of pydicom quote what stands in the file and are not shown.
"""

from __future__ import annotations

import logging
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError, FileError
from firenet_mri.io.sizes import ALWAYS_FINE, MOST_TIMES, check_unpacked

POSITION_SLACK_MM = 0.05

_DEFLATED = "1.2.840.10008.1.2.1.99"
_DIRECTORY = "1.2.840.10008.1.3.10"
_PIXELS, _PADDING, _BEHIND = 0x7FE00010, 0xFFFCFFFC, 0x7FE1
_PIECE = 1 << 16

_log = logging.getLogger(__name__)


def datasets_of(
    path: Path | Sequence[Path], name: str, *, with_pixels: bool = True
) -> Iterator[Any]:
    """Yield the DICOM data sets of files; of a folder, files that are no DICOM are left out.

    Raises
    ------
    FileError
        If there is none, or a file is damaged, or, given by itself, no DICOM.
    """
    is_folder = isinstance(path, Path) and path.is_dir()
    files: Iterable[Path] = (path,) if isinstance(path, Path) else path
    if is_folder and isinstance(path, Path):
        files = sorted(file for file in path.iterdir() if file.is_file())
    others: list[Path] = []
    suffixes: set[str] = set()
    for file in files:
        dataset = read_dataset(file, with_pixels=with_pixels)
        if dataset is None and not is_folder:
            raise FileError(f"{file}: is no DICOM file")
        if dataset is None:
            others.append(file)
        elif not is_folder or not _is_directory(dataset):
            suffixes.add(file.suffix)
            yield dataset
    if not suffixes:
        raise FileError(f"{name}: holds no DICOM file")
    _check_others(others, suffixes)


def _is_directory(dataset: Any) -> bool:
    """Return whether a data set is the table of contents of a medium, which has no pixels."""
    try:
        with quietly():
            return bool(dataset.file_meta.get("MediaStorageSOPClassUID") == _DIRECTORY)
    # A damaged value fails when it is asked for.
    except Exception:
        return False


def _check_others(others: Sequence[Path], suffixes: set[str]) -> None:
    """Refuse a folder in which a file is called as the DICOM files are and is none.

    It may have been a slice: one at the edge would be missed by nobody.
    """
    alike = [file.name for file in others if file.suffix in suffixes]
    if alike:
        raise FileError(
            f"{others[0].parent}: {alike[0]} is called as the DICOM files there are and is none; "
            "it is a damaged slice or does not belong there: copy it again or take it away"
        )


@contextmanager
def quietly() -> Iterator[None]:
    """Show no warnings: pydicom's quote the values that it finds odd, when they are asked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_dataset(file: Path, *, with_pixels: bool = True) -> Any:
    """Return the pydicom data set of a file; None if it is no DICOM file.

    Raises
    ------
    FileError
        If it is missing, damaged, or unpacks to far more bytes than it has.
    """
    import pydicom

    try:
        with quietly():
            _check_deflated(file)
            dataset = pydicom.dcmread(file, stop_before_pixels=not with_pixels)
            _say_disorder(dataset, file)
            return dataset
    except FileNotFoundError:
        raise FileError(f"{file}: no such file; check the path") from None
    except pydicom.errors.InvalidDicomError:
        return None
    except FileError:
        raise
    # Damaged files fail in many ways.
    except Exception:
        raise FileError(f"{file}: is truncated or damaged; copy or export it again") from None


def _say_disorder(dataset: Any, file: Path) -> None:
    """Say if elements are out of order, or stand where none can: something came in between."""
    tags = [int(tag) for tag in dataset.keys()]  # noqa: SIM118 - iterating sorts them
    pixels = dataset.get_item(_PIXELS) if _PIXELS in tags else None
    behind = [tag for tag in tags if tag > _PIXELS]
    # A private group of GE's is the only one that scanners put there, and padding comes last.
    strange = [tag for tag in behind if tag != _PADDING and tag >> 16 != _BEHIND]
    rest = 0
    if pixels is not None and not behind and getattr(pixels, "value_tell", None):
        is_plain = pixels.length != 0xFFFFFFFF
        rest = file.stat().st_size - pixels.value_tell - pixels.length if is_plain else 0
    if tags != sorted(tags) or strange or rest > 0:
        _log.warning(
            "%s: its elements are out of order, or more follows its pixels; bytes may have been "
            "lost or doubled",
            file.name,
        )


def pixels_of(dataset: Any, name: str) -> NDArray[Any]:
    """Return the pixels of a data set, after checking that their size fits the file.

    Raises
    ------
    FileError
        If it does not, or they cannot be decoded.
    """
    try:
        stored = Path(dataset.filename).stat().st_size
        frames, samples = (
            int(dataset.get(key) or 1) for key in ("NumberOfFrames", "SamplesPerPixel")
        )
        plane = int(dataset.Rows) * int(dataset.Columns) * -(-int(dataset.BitsAllocated) // 8)
        wanted = frames * samples * plane
        check_unpacked(wanted, stored, f"{name}: the pixels")
        found = len(dataset.get("PixelData", b""))
        # A value of odd length has one byte more.
        if not dataset.file_meta.TransferSyntaxUID.is_compressed and found > wanted + wanted % 2:
            _log.warning(
                "%s: holds %d bytes of pixels, its sizes ask for %d; bytes may have been doubled",
                name,
                found,
                wanted,
            )
        with quietly():
            return np.asarray(dataset.pixel_array)
    except FileError:
        raise
    except Exception as error:
        raise FileError(
            f"{name}: the pixels cannot be decoded ({type(error).__name__}); the file is "
            "truncated, or compressed: export it uncompressed"
        ) from None


def _check_deflated(file: Path) -> None:
    """Refuse a deflated data set that unpacks to far more bytes than its file has."""
    from pydicom.filereader import read_dataset as read_elements
    from pydicom.filereader import read_preamble

    with file.open("rb") as stream:
        read_preamble(stream, False)
        meta = read_elements(
            stream,
            is_implicit_VR=False,
            is_little_endian=True,
            stop_when=lambda tag, vr, length: tag >> 16 != 2,
        )
        if meta.get("TransferSyntaxUID") != _DEFLATED:
            return
        stored, size = file.stat().st_size, 0
        unpacker = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        # Behind the stream there may be a byte that makes its length even.
        while not unpacker.eof and (piece := stream.read(_PIECE)):
            while piece and not unpacker.eof:
                size += len(unpacker.decompress(piece, 1 << 20))
                piece = unpacker.unconsumed_tail
                if size > max(ALWAYS_FINE, MOST_TIMES * stored):
                    check_unpacked(size, stored, f"{file}: the data set", always_fine=ALWAYS_FINE)


def step_between(
    positions: Sequence[NDArray[np.float64]], alone: NDArray[np.float64], what: str
) -> NDArray[np.float64]:
    """Return the vector from a slice to the next.

    Parameters
    ----------
    positions
        Of all slices, LPS mm, in the order of their normal.
    alone
        The step of a single slice: its normal times its thickness.
    what
        What the slices are, for messages.

    Raises
    ------
    DataError
        If two slices lie at one place, or they are not evenly spaced.
    """
    if len(positions) == 1:
        return alone
    steps = np.diff(positions, axis=0)
    if np.linalg.norm(steps, axis=1).min() < 1e-3:
        raise DataError(
            f"several {what} frames lie at one place (echoes, times, or series); give the files of "
            "one image"
        )
    if not np.allclose(steps, steps[:1], atol=POSITION_SLACK_MM):
        raise DataError(f"the {what}'s slices are not evenly spaced; a slice may be missing")
    step: NDArray[np.float64] = (positions[-1] - positions[0]) / (len(positions) - 1)
    return step
