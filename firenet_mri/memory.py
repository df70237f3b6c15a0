"""Detects that memory ran out, and returns freed memory that the C library would keep.

Layers are faster where freed blocks are kept (:mod:`firenet_mri.operators.cartesian_residual`). For
a volume, the memory kept by one stage adds to what the next stage needs.

Libraries report in many ways that memory ran out: torch by a RuntimeError, the loader of shared
libraries by an ImportError, C code that sets no exception by a SystemError.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import sys
from collections.abc import Callable
from pathlib import Path

from firenet_mri.errors import DataError, FileError

#: Bytes of an item's data above which returning memory is worth its milliseconds.
LARGE = 1 << 24

# What the messages of libraries contain when memory ran out.
_WORDS = (
    "allocate memory",
    "not enough memory",
    "out of memory",
    "bad_alloc",
    "unable to allocate",
    "failed to map segment",
    "memory allocation failed",
)
_KINDS = (RuntimeError, ImportError, OSError)
# Address space for loading torch; with less, its C++ code terminates the process.
_LOADING = 600 << 20


def memory_ran_out(error: BaseException | None) -> bool:
    """Return whether an error, or one of its causes, means that memory ran out.

    A SystemError gives no reason; with a limited address space, memory is assumed to be the reason.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError) or _says_so(error):
            return True
        if isinstance(error, SystemError) and limit_bytes() is not None:
            return True
        error = error.__cause__ or error.__context__
    return False


def shortage() -> str:
    """Return the message for when memory ran out: whether it is limited, and what to do."""
    limit = limit_bytes()
    where, raised = "", ""
    if limit is not None:
        where = f" (the limit, ulimit -v, is {limit / 2**20:.0f} MiB)"
        raised = "raise the limit, "
    return (
        f"memory ran out{where}; {raised}take fewer slices or coils or a smaller image, close "
        "other programs, or use a larger machine"
    )


def check_limit() -> None:
    """Refuse a limit of the address space with which torch cannot even be loaded.

    Raises
    ------
    DataError
        If there is such a limit.
    """
    limit = limit_bytes()
    if limit is not None and limit < _LOADING:
        raise DataError(
            f"the memory is limited to {limit / 2**20:.0f} MiB (ulimit -v), and loading torch "
            f"alone takes {_LOADING / 2**20:.0f}; raise the limit"
        )


def limit_bytes() -> int | None:
    """Return the limit of this process's address space in bytes; None if there is no limit."""
    try:
        import resource
    except ImportError:
        # Windows has no such limit.
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def refuse_shortage(path: Path | str, error: Exception) -> None:
    """Raise FileError if memory ran out while a file was read.

    Readers treat every error of a library as damage, but a good file need not be copied again.
    """
    if memory_ran_out(error):
        raise FileError(f"{path}: while the file was read, {shortage()}") from None


def _says_so(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return isinstance(error, _KINDS) and any(word in str(error).lower() for word in _WORDS)


def give_back_freed_memory(data_bytes: int) -> None:
    """Return freed memory to the system after a stage, if its data were large.

    This has no effect if the C library has no ``malloc_trim``, which only glibc has.

    Parameters
    ----------
    data_bytes
        Size of the data, in bytes.
    """
    if data_bytes >= LARGE:
        _trim()(0)


@functools.cache
def _trim() -> Callable[[int], object]:
    if not sys.platform.startswith("linux"):
        return lambda _: None
    found: Callable[[int], object] = getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)
    return found
