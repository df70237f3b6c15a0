"""Says before anything is unpacked whether a file asks for far more memory than it has bytes."""

from __future__ import annotations

from firenet_mri.errors import FileError

#: k-space is noise to a compressor: a file that unpacks to more times its size is not a scan.
MOST_TIMES = 20
#: Bytes that any file may unpack to.
ALWAYS_FINE = 1 << 26


def check_unpacked(
    size: int,
    stored: int,
    what: str,
    *,
    most_times: int = MOST_TIMES,
    always_fine: int = ALWAYS_FINE,
) -> None:
    """Raise an error if something unpacks to far more bytes than its file has.

    Parameters
    ----------
    size
        Bytes that it takes in memory, as far as the headers say it.
    stored
        Bytes of the file.
    what
        File and part of it, for the message.
    most_times, always_fine
        The bound is ``stored`` times the one, or the other where that is more.

    Raises
    ------
    FileError
        If it does: the file is damaged, or made to fill the memory.
    """
    if size > max(always_fine, most_times * stored):
        raise FileError(
            f"{what} would take {size / 2**30:.1f} GiB, the file has {stored / 2**30:.3f} GiB; it "
            "is damaged, or made to fill the memory: copy or export it again"
        )
