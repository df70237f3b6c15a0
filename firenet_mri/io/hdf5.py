"""The door through which HDF5 files are read: nothing outside of the file, nothing out of size.

HDF5 can point to other files by name: external storage takes bytes of any file that may be read,
external links and virtual datasets take datasets of other files, and where these are missing give
zeros. A file that came from elsewhere has no business there, so that all three are refused by name,
wherever in the file they are. What is read is first compared with the size of the file; elements
of varying length may share their bytes, so that they are counted one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import FileError
from firenet_mri.io.hdf5_heaps import has_damaged_heap
from firenet_mri.io.sizes import ALWAYS_FINE, check_unpacked
from firenet_mri.plurals import by_number, counted

# No scan has as many parts.
_MOST_LINKS = 100_000
# An element of varying length on disk: its length, then the heap and the object of its bytes.
_PLACE = np.dtype("V12")
_PART = np.dtype([("length", "<u4"), ("place", _PLACE)])


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Open a file to read, after checking that it points to no other file.

    Yields
    ------
    h5py.File

    Raises
    ------
    FileError
        If a part of it lies in another file, or what it holds cannot be listed.
    OSError
        If it is not HDF5, or damaged.
    """
    import h5py

    with h5py.File(path, "r") as file:
        if has_damaged_heap(path):
            raise _damaged(path)
        _check_contained(file, path)
        yield file


def read_whole(dataset: Any, path: Path) -> NDArray[Any]:
    """Return all of a dataset of numbers, or of a single text, after checking its size.

    Raises
    ------
    FileError
        If it unpacks to far more bytes than its file has, or was not written whole.
    """
    _check_numbers(dataset, path)
    found: NDArray[Any] = dataset[()]
    return found


def read_records(dataset: Any, path: Path) -> Iterator[Any]:
    """Yield the records of a dataset of one axis with parts of varying length, such as readouts.

    Raises
    ------
    FileError
        As :func:`read_whole`.
    """
    _check_records(dataset, path)
    check_size(dataset, path)
    step = _records_at_once(dataset, path)
    for start in range(0, len(dataset), step):
        yield from dataset[start : start + step]


def read_texts(dataset: Any, path: Path) -> list[Any]:
    """Return the texts of a dataset, which may share their bytes, after counting those of all.

    Raises
    ------
    FileError
        As :func:`read_whole`.
    """
    check_size(dataset, path)
    found: list[Any] = []
    stored, total = path.stat().st_size, 0
    # One by one: each states its own length.
    for place in np.ndindex(dataset.shape):
        found.append(dataset[place])
        total += len(found[-1])
        check_unpacked(total, stored, f"{path}: {dataset.name}")
    return found


def check_size(dataset: Any, path: Path) -> None:
    """Raise an error if a dataset would take far more bytes than its file has, or has holes.

    Raises
    ------
    FileError
        If it does. Of elements of varying length it says nothing, see :func:`read_records`.
    """
    # A damaged file may have something else under the name.
    size, stored = int(getattr(dataset, "nbytes", 0)), path.stat().st_size
    check_unpacked(size, stored, f"{path}: {dataset.name}")
    if size and hasattr(dataset, "id"):
        _check_written(dataset, path)


def _check_numbers(dataset: Any, path: Path) -> None:
    check_size(dataset, path)
    if getattr(dataset, "size", 1) not in (None, 1) and dataset.dtype.hasobject:
        raise FileError(
            f"{path}: {dataset.name} holds {dataset.size} elements of varying length, and numbers "
            "are needed; export the scan again"
        )


def _check_written(dataset: Any, path: Path) -> None:
    """Refuse a dataset of which parts were never written, which HDF5 reads as zeros."""
    if dataset.chunks is None:
        # A compact dataset lies in its header.
        if dataset.id.get_storage_size() == 0:
            raise FileError(f"{path}: {dataset.name} was never written; copy the file again")
        return
    counts = (-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))
    expected, found = int(np.prod(list(counts), dtype=np.int64)), dataset.id.get_num_chunks()
    if found < expected:
        raise FileError(
            f"{path}: {found} of {expected} parts of {dataset.name} were written, and the rest "
            "would be zeros; copy or export the file again"
        )


def _check_contained(file: Any, path: Path) -> None:
    """Refuse a file of which a part lies in another one."""
    try:
        refused = next((why for why in _elsewhere(file) if why), "")
    # Damaged files fail in many ways, some of them in the library's own locks.
    except Exception:
        raise _damaged(path) from None
    if refused:
        raise FileError(
            f"{path}: {refused}, and only the content of the file itself is read; write it again "
            "as one file (h5repack, or h5py)"
        )


def _damaged(path: Path) -> FileError:
    return FileError(f"{path}: the HDF5 file is truncated or damaged; copy or export it again")


def _elsewhere(file: Any) -> Iterator[str]:
    """Yield for every part of a file what makes it lie in another one, "" if nothing does."""
    import h5py

    groups, known, count = [file], set(), 0
    while groups:
        group = groups.pop()
        for name in group:
            count += 1
            if count > _MOST_LINKS:
                yield f"it has more than {_MOST_LINKS} parts"
                return
            found, why = _behind(group, name)
            yield why
            # A group may hold itself.
            if isinstance(found, h5py.Group):
                address = h5py.h5o.get_info(found.id).addr
                if address not in known:
                    groups.append(found)
                    known.add(address)


def _behind(group: Any, name: str) -> tuple[Any, str]:
    """Return what a link leads to, None if not to a part of this file; and why it may not."""
    import h5py

    place = f"{group.name.rstrip('/')}/{name}"
    try:
        link = group.get(name, getlink=True)
    # A link of a kind that the library does not know: only a user's own code follows it.
    except TypeError:
        return None, f"{place} is a link of an unknown kind"
    if isinstance(link, h5py.ExternalLink):
        return None, f"{place} is an external link"
    # What a soft link names is elsewhere in the file.
    if not isinstance(link, h5py.HardLink):
        return None, ""
    found = group[name]
    if isinstance(found, h5py.Dataset) and found.is_virtual:
        return None, f"{place} is a virtual dataset"
    if isinstance(found, h5py.Dataset) and found.external:
        return None, f"{place} is in external storage"
    return found, ""


def _records_at_once(dataset: Any, path: Path) -> int:
    """Return how many records can be read together, after counting the bytes of all."""
    stored = path.stat().st_size
    parts = _parts_as_stored(dataset)
    if parts is None:
        # Two parts of a record are of varying length, and none is longer than the file.
        return max(1, ALWAYS_FINE // max(1, 2 * stored))
    sizes, places = parts
    check_unpacked(int(sizes.sum()), stored, f"{path}: {dataset.name}")
    places = places[sizes > 0]
    shared = len(places) - len(np.unique(places))
    if shared:
        raise FileError(
            f"{path}: {counted(shared, 'readout')} of {dataset.name} "
            f"{by_number(shared, 'has', 'have')} the samples of another one; the file is damaged, "
            "copy or export it again"
        )
    return max(1, len(dataset))


def _parts_as_stored(dataset: Any) -> tuple[NDArray[np.int64], NDArray[np.void]] | None:
    """Return the bytes of the records' parts of varying length, and where these lie.

    They stand in the records as stored, which can be looked at where no filter packs them; else
    None.
    """
    if dataset.chunks is None or dataset.id.get_create_plist().get_nfilters():
        return None
    stored = dataset.id.get_type()
    record = stored.get_size()
    sizes, places = [np.zeros(0, np.int64)], [np.zeros(0, _PLACE)]
    for index in range(dataset.id.get_num_chunks()):
        start = dataset.id.get_chunk_info(index).chunk_offset
        raw = np.frombuffer(dataset.id.read_direct_chunk(start)[1], np.uint8)
        rows = raw.reshape(-1, record)[: len(dataset) - start[0]]
        for name, item in _varying_parts(dataset.dtype).items():
            offset = stored.get_member_offset(stored.get_member_index(name.encode()))
            part = rows[:, offset : offset + _PART.itemsize].copy().view(_PART)[:, 0]
            sizes.append(part["length"].astype(np.int64) * item)
            places.append(part["place"])
    return np.concatenate(sizes), np.concatenate(places)


def _check_records(dataset: Any, path: Path) -> None:
    """Refuse anything but records whose parts are numbers, or numbers of varying length."""
    names = dataset.dtype.names or ()
    varying = {name for name in names if dataset.dtype[name].hasobject}
    if dataset.ndim != 1 or not names or varying != _varying_parts(dataset.dtype).keys():
        raise FileError(f"{path}: {dataset.name} is not a list of readouts; export the scan again")


def _varying_parts(records: np.dtype[Any]) -> dict[str, int]:
    """Return the names of the parts that are numbers of varying length, and bytes of a number."""
    import h5py

    numbers = {name: h5py.check_vlen_dtype(records[name]) for name in records.names or ()}
    return {
        name: kind.itemsize
        for name, kind in numbers.items()
        if isinstance(kind, np.dtype) and not kind.hasobject
    }
