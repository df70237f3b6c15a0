"""Checks before decompression whether a file requires far more memory than it has bytes."""

from __future__ import annotations

from firenet_mri.errors import FileError

#: k-space is noise to a compressor: a file that expands by more than this factor is not a scan.
MOST_TIMES = 20
#: Number of bytes to which any file may decompress.
ALWAYS_FINE = 1 << 26


def check_unpacked(
    size: int,
    stored: int,
    what: str,
    *,
    most_times: int = MOST_TIMES,
    always_fine: int = ALWAYS_FINE,
) -> None:
    """Raise an error if data decompress to far more bytes than their file has.

    Parameters
    ----------
    size
        Bytes that the data take in memory, according to the headers.
    stored
        Size of the file in bytes.
    what
        File and its part, for the message.
    most_times, always_fine
        The bound is the larger of ``stored * most_times`` and ``always_fine``.

    Raises
    ------
    FileError
        If the data do so: the file is damaged, or was made to fill the memory.
    """
    if size > max(always_fine, most_times * stored):
        raise FileError(
            f"{what} would take {size / 2**30:.1f} GiB, but the file has {stored / 2**30:.3f} GiB, "
            "so it is damaged or was made to fill the memory; copy or export it again"
        )
