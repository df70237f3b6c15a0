"""The single entry point for reading HDF5 files: no other files, no excessive sizes.

HDF5 can refer to other files by name. External storage takes bytes from any readable file; external
links and virtual datasets take datasets from other files, and virtual datasets give zeros where
these are missing. A file of unknown origin must not do this, so all three are refused by name,
wherever they are in the file. The size of what is read is first compared with the size of the file.
Elements of varying length may share their bytes, so they are counted one by one.
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

# No scan has this many parts.
_MOST_LINKS = 100_000
# An element of varying length on disk: its length, then heap and object that hold its bytes.
_PLACE = np.dtype("V12")
_PART = np.dtype([("length", "<u4"), ("place", _PLACE)])


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Open a file for reading, after checking that it refers to no other file.

    Yields
    ------
    h5py.File

    Raises
    ------
    FileError
        If a part of it lies in another file, or its content cannot be listed.
    OSError
        If it is not HDF5, or is damaged.
    """
    import h5py

    with h5py.File(path, "r") as file:
        if has_damaged_heap(path):
            raise _damaged(path)
        _check_contained(file, path)
        yield file


def read_whole(dataset: Any, path: Path) -> NDArray[Any]:
    """Return a whole dataset of numbers, or of a single text, after checking its size.

    Raises
    ------
    FileError
        If it decompresses to far more bytes than its file has, or was not written completely.
    """
    _check_numbers(dataset, path)
    found: NDArray[Any] = dataset[()]
    return found


def read_records(dataset: Any, path: Path) -> Iterator[Any]:
    """Yield the records, such as readouts, of a one-axis dataset with parts of varying length.

    Raises
    ------
    FileError
        As for :func:`read_whole`.
    """
    _check_records(dataset, path)
    check_size(dataset, path)
    step = _records_at_once(dataset, path)
    for start in range(0, len(dataset), step):
        yield from dataset[start : start + step]


def read_texts(dataset: Any, path: Path) -> list[Any]:
    """Return the texts of a dataset, after counting all bytes, which the texts may share.

    Raises
    ------
    FileError
        As for :func:`read_whole`.
    """
    check_size(dataset, path)
    found: list[Any] = []
    stored, total = path.stat().st_size, 0
    # Texts are read one by one, because each states its own length.
    for place in np.ndindex(dataset.shape):
        found.append(dataset[place])
        total += len(found[-1])
        check_unpacked(total, stored, f"{path}: {dataset.name}")
    return found


def check_size(dataset: Any, path: Path) -> None:
    """Raise an error if a dataset would take far more bytes than its file has, or has gaps.

    Raises
    ------
    FileError
        If so. Elements of varying length are not checked here, see :func:`read_records`.
    """
    # In a damaged file the name may belong to another kind of object.
    size, stored = int(getattr(dataset, "nbytes", 0)), path.stat().st_size
    check_unpacked(size, stored, f"{path}: {dataset.name}")
    if size and hasattr(dataset, "id"):
        _check_written(dataset, path)


def _check_numbers(dataset: Any, path: Path) -> None:
    check_size(dataset, path)
    if getattr(dataset, "size", 1) not in (None, 1) and dataset.dtype.hasobject:
        raise FileError(
            f"{path}: {dataset.name} contains {dataset.size} elements of varying length, but "
            "numbers are needed; export the scan again"
        )


def _check_written(dataset: Any, path: Path) -> None:
    """Refuse a dataset with parts that were never written, which HDF5 reads as zeros."""
    if dataset.chunks is None:
        # A compact dataset is stored in its header.
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
    """Refuse a file if part of it lies in another one."""
    try:
        refused = next((why for why in _elsewhere(file) if why), "")
    # Damaged files raise exceptions of many kinds, some of them in the library's own locks.
    except Exception:
        raise _damaged(path) from None
    if refused:
        raise FileError(
            f"{path}: {refused}, but only the content of the file itself is read; write it again "
            "as one file (h5repack, or h5py)"
        )


def _damaged(path: Path) -> FileError:
    return FileError(f"{path}: the HDF5 file is truncated or damaged; copy or export it again")


def _elsewhere(file: Any) -> Iterator[str]:
    """Yield for each part of a file why it lies in another one; "" if it does not."""
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
            # A group may contain itself.
            if isinstance(found, h5py.Group):
                address = h5py.h5o.get_info(found.id).addr
                if address not in known:
                    groups.append(found)
                    known.add(address)


def _behind(group: Any, name: str) -> tuple[Any, str]:
    """Return the target of a link, None if outside this file, and the reason for refusing it."""
    import h5py

    place = f"{group.name.rstrip('/')}/{name}"
    try:
        link = group.get(name, getlink=True)
    # Only user code can follow a link of a kind that the library does not know.
    except TypeError:
        return None, f"{place} is a link of an unknown kind"
    if isinstance(link, h5py.ExternalLink):
        return None, f"{place} is an external link"
    # The target of a soft link is listed elsewhere in the file.
    if not isinstance(link, h5py.HardLink):
        return None, ""
    found = group[name]
    if isinstance(found, h5py.Dataset) and found.is_virtual:
        return None, f"{place} is a virtual dataset"
    if isinstance(found, h5py.Dataset) and found.external:
        return None, f"{place} is in external storage"
    return found, ""


def _records_at_once(dataset: Any, path: Path) -> int:
    """Return how many records can be read at once, after counting the bytes of all records."""
    stored = path.stat().st_size
    parts = _parts_as_stored(dataset)
    if parts is None:
        # A record has two parts of varying length, and neither is longer than the file.
        return max(1, ALWAYS_FINE // max(1, 2 * stored))
    sizes, places = parts
    check_unpacked(int(sizes.sum()), stored, f"{path}: {dataset.name}")
    places = places[sizes > 0]
    shared = len(places) - len(np.unique(places))
    if shared:
        raise FileError(
            f"{path}: {counted(shared, 'readout')} of {dataset.name} "
            f"{by_number(shared, 'has', 'have')} the samples of another one; the file is damaged, "
            "so copy or export it again"
        )
    return max(1, len(dataset))


def _parts_as_stored(dataset: Any) -> tuple[NDArray[np.int64], NDArray[np.void]] | None:
    """Return the bytes and locations of the records' parts of varying length.

    The stored records give both, and can be read only if no filter compresses them; otherwise
    return None.
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
    """Refuse datasets other than records of numbers or of variable-length numbers."""
    names = dataset.dtype.names or ()
    varying = {name for name in names if dataset.dtype[name].hasobject}
    if dataset.ndim != 1 or not names or varying != _varying_parts(dataset.dtype).keys():
        raise FileError(f"{path}: {dataset.name} is not a list of readouts; export the scan again")


def _varying_parts(records: np.dtype[Any]) -> dict[str, int]:
    """Return the names of variable-length parts, and the bytes per number of each."""
    import h5py

    numbers = {name: h5py.check_vlen_dtype(records[name]) for name in records.names or ()}
    return {
        name: kind.itemsize
        for name, kind in numbers.items()
        if isinstance(kind, np.dtype) and not kind.hasobject
    }
