"""The single entry point for reading DICOM files: their elements, and their pixels as stored.

The decompressed size of a deflated data set or of compressed pixels is first compared with the
file's size. Files without preamble (DICOM PS3.10, 7.1) can be read, too. Warnings of pydicom quote
the file's content and are not shown.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import FileError
from firenet_mri.io.kspace.recognise import HEAD_BYTES, is_dicom
from firenet_mri.io.sizes import ALWAYS_FINE, MOST_TIMES, check_unpacked
from firenet_mri.memory import refuse_shortage

DAMAGED = "is truncated or damaged; copy or export it again"

_log = logging.getLogger(__name__)
_DEFLATED = "1.2.840.10008.1.2.1.99"
_PIXELS, _PADDING, _BEHIND = 0x7FE00010, 0xFFFCFFFC, 0x7FE1
_PIECE = 1 << 16


def is_dicom_file(file: Path) -> bool:
    """Return whether a file is DICOM, with or without preamble.

    Raises
    ------
    FileError
        If it cannot be read.
    """
    try:
        with file.open("rb") as opened:
            return is_dicom(opened.read(HEAD_BYTES))
    except FileNotFoundError:
        raise FileError(f"{file}: no such file; check the path") from None
    except OSError as error:
        raise FileError(f"{file}: cannot be read ({error.strerror}); check the path") from None


def read_dataset(file: Path, *, with_pixels: bool) -> Any:
    """Return the pydicom data set of a DICOM file, with or without preamble.

    Raises
    ------
    FileError
        If it is missing, damaged, not DICOM, or decompresses to far more bytes than it has.
    """
    import pydicom

    has_data = is_dicom_file(file)
    try:
        # Without preamble pydicom must be forced, and then reads any file.
        with quiet():
            _check_deflated(file, force=has_data)
            dataset = pydicom.dcmread(file, stop_before_pixels=not with_pixels, force=has_data)
            _ = [element.value for element in dataset.file_meta]
            if with_pixels:
                say_disorder(dataset, file)
    except pydicom.errors.InvalidDicomError:
        raise FileError(f"{file}: is not a DICOM file") from None
    except FileError:
        raise
    # Damaged files raise exceptions of many kinds.
    except Exception as error:
        refuse_shortage(file, error)
        raise FileError(f"{file}: {DAMAGED}") from None
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = _transfer_syntax(dataset)
    return dataset


def stored_pixels(dataset: Any, name: str) -> NDArray[Any]:
    """Return the stored values of a data set, after checking that their size fits the file.

    Raises
    ------
    FileError
        If the size does not fit, or the values cannot be decoded.
    """
    try:
        with quiet():
            _check_pixels(dataset, name)
            return np.asarray(dataset.pixel_array)
    except FileError:
        raise
    except Exception as error:
        refuse_shortage(name, error)
        raise FileError(
            f"{name}: the pixels cannot be decoded ({type(error).__name__}), because the file is "
            "truncated or compressed; export it uncompressed"
        ) from None


def say_disorder(dataset: Any, file: Path) -> None:
    """Log if elements are out of order, or are where none can be, which indicates damage."""
    tags = [int(tag) for tag in dataset.keys()]  # noqa: SIM118 - iterating sorts them
    pixels = dataset.get_item(_PIXELS) if _PIXELS in tags else None
    behind = [tag for tag in tags if tag > _PIXELS]
    # Scanners only put one private group of GE there, and padding comes last.
    strange = [tag for tag in behind if tag != _PADDING and tag >> 16 != _BEHIND]
    rest = 0
    if pixels is not None and not behind and getattr(pixels, "value_tell", None):
        is_plain = pixels.length != 0xFFFFFFFF
        rest = file.stat().st_size - pixels.value_tell - pixels.length if is_plain else 0
    if tags != sorted(tags) or strange or rest > 0:
        _log.warning(
            "%s: its elements are out of order, or further elements follow its pixels; bytes may "
            "have been lost or doubled",
            file.name,
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress pydicom's warnings, which quote values of the file that may concern a patient."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _check_pixels(dataset: Any, name: str) -> None:
    """Refuse pixels that decompress to far more bytes than the file has; log surplus bytes.

    Exceptions raised by damaged elements are left to the caller.
    """
    stored = Path(dataset.filename).stat().st_size
    frames, samples = (int(dataset.get(key) or 1) for key in ("NumberOfFrames", "SamplesPerPixel"))
    plane = int(dataset.Rows) * int(dataset.Columns) * -(-int(dataset.BitsAllocated) // 8)
    wanted = frames * samples * plane
    check_unpacked(wanted, stored, f"{name}: the pixels")
    found = len(dataset.get("PixelData", b""))
    # A value of odd length is padded by one byte.
    if not dataset.file_meta.TransferSyntaxUID.is_compressed and found > wanted + wanted % 2:
        _log.warning(
            "%s: contains %d bytes of pixels, but its sizes need %d; bytes may have been doubled",
            name,
            found,
            wanted,
        )


def _check_deflated(file: Path, *, force: bool) -> None:
    """Refuse a deflated data set that decompresses to far more bytes than its file has."""
    from pydicom.filereader import read_dataset as read_elements
    from pydicom.filereader import read_preamble

    with file.open("rb") as stream:
        read_preamble(stream, force)
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
        # A padding byte may follow the stream.
        while not unpacker.eof and (piece := stream.read(_PIECE)):
            while piece and not unpacker.eof:
                size += len(unpacker.decompress(piece, 1 << 20))
                piece = unpacker.unconsumed_tail
                if size > max(ALWAYS_FINE, MOST_TIMES * stored):
                    check_unpacked(size, stored, f"{file}: the data set", always_fine=ALWAYS_FINE)


def _transfer_syntax(dataset: Any) -> Any:
    """Return the transfer syntax that was found for a file that does not state it."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    is_implicit, is_little = dataset.original_encoding
    if is_implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian
