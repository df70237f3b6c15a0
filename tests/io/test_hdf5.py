"""HDF5 files are read whole and by themselves: nothing of other files, nothing out of size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import ismrmrd
import numpy as np
import pytest
from ismrmrd.hdf5 import acquisition_dtype
from mrd_scans import make_header, make_readouts

from firenet_mri.errors import FileError
from firenet_mri.io import read
from firenet_mri.io.evidence import read_evidence
from firenet_mri.io.hdf5 import open_hdf5, read_records, read_texts, read_whole
from firenet_mri.io.hdf5_heaps import has_damaged_heap

SHAPE = (1, 2, 8, 8)


def _external_storage(file: h5py.File, other: Path) -> None:
    other.write_bytes(np.ones(SHAPE, np.complex64).tobytes())
    file.create_dataset(
        "kspace", SHAPE, np.complex64, external=[(str(other), 0, h5py.h5f.UNLIMITED)]
    )


def _external_link(file: h5py.File, other: Path) -> None:
    with h5py.File(other, "w") as there:
        there["kspace"] = np.ones(SHAPE, np.complex64)
    file["kspace"] = h5py.ExternalLink(str(other), "kspace")


def _virtual(file: h5py.File, other: Path) -> None:
    layout = h5py.VirtualLayout(SHAPE, np.complex64)
    # The file is missing: HDF5 would give zeros.
    layout[0] = h5py.VirtualSource(str(other), "kspace", SHAPE[1:])
    file.create_virtual_dataset("kspace", layout)


def _hidden(file: h5py.File, other: Path) -> None:
    _external_link(file.create_group("far/away"), other)
    file["kspace"] = h5py.SoftLink("/far/away/kspace")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_external_storage, "/kspace is in external storage"),
        (_external_link, "/kspace is an external link"),
        (_virtual, "/kspace is a virtual dataset"),
        (_hidden, "/far/away/kspace is an external link"),
    ],
)
def test_what_lies_in_another_file_is_refused_by_name(
    make: Callable[[h5py.File, Path], None], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        make(file, tmp_path / "other.h5")
    for reader in (read, read_evidence):
        with pytest.raises(FileError, match=rf"scan\.h5: {words}, but only"):
            reader(path)


def test_readouts_of_another_file_are_refused(tmp_path: Path) -> None:
    kspace = np.ones((2, 8, 8), np.complex64)
    for name in ("other.h5", "scan.h5"):
        with ismrmrd.File(tmp_path / name, "w") as file:
            file["dataset"].header = make_header((8, 8, 1))
            file["dataset"].acquisitions = make_readouts(kspace)
    with h5py.File(tmp_path / "scan.h5", "a") as file:
        del file["dataset/data"]
        file["dataset/data"] = h5py.ExternalLink("other.h5", "dataset/data")
    with pytest.raises(FileError, match="/dataset/data is an external link"):
        read(tmp_path / "scan.h5")


def test_links_within_the_file_are_followed(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["there"] = (rng.normal(size=(*SHAPE, 2)) @ [1, 1j]).astype(np.complex64)
        file["kspace"] = h5py.SoftLink("/there")
    assert read(path).coils == 2


@pytest.mark.parametrize("name", ["kspace", "mask", "ismrmrd_header"])
def test_a_dataset_that_unpacks_to_far_more_than_the_file_is_not_read(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        if name != "kspace":
            file["kspace"] = np.ones(SHAPE, np.complex64)
        file.create_dataset(name, (1 << 31,), "u1", chunks=(1 << 28,), compression="gzip")
    with pytest.raises(
        FileError, match=rf"scan\.h5: /{name} would take 2\.0 GiB, but the file has"
    ):
        read(path)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_readouts_that_share_their_bytes_are_counted_one_by_one(
    compression: str | None, tmp_path: Path
) -> None:
    """A vlen element is 16 bytes wherever its samples lie: here all lie at one place."""
    path = tmp_path / "scan.h5"
    count, samples = 400, 1 << 18
    with ismrmrd.File(path, "w") as file:
        file["dataset"].header = make_header((8, 8, 1))
    with h5py.File(path, "a") as file:
        made = file.create_dataset(
            "dataset/data", (count,), acquisition_dtype, chunks=(count,), compression=compression
        )
        record = np.zeros(1, acquisition_dtype)
        record[0]["traj"], record[0]["data"] = np.zeros(0, "f4"), np.ones(samples, "f4")
        made[:1] = record
        made.id.flush()
        if compression is None:
            raw = bytearray(made.id.read_direct_chunk((0,))[1])
            size = len(raw) // count
            made.id.write_direct_chunk((0,), bytes(raw[:size]) * count)
    with open_hdf5(path) as file:
        records = read_records(file["dataset/data"], path)
        if compression is None:
            with pytest.raises(FileError, match=r"/dataset/data would take 0\.4 GiB"):
                next(records)
        else:
            assert len(next(records)["data"]) == samples
    with pytest.raises(FileError, match=r"scan\.h5"):
        read(path)


def test_texts_that_share_their_bytes_are_counted_one_by_one(tmp_path: Path) -> None:
    path, count = tmp_path / "images.h5", 80
    with h5py.File(path, "w") as file:
        made = file.create_dataset("texts", (count,), h5py.string_dtype(), chunks=(count,))
        made[0], made[1] = "one", "x" * (1 << 20)
        made.id.flush()
        assert read_texts(made, path)[:2] == [b"one", b"x" * (1 << 20)]
        raw = made.id.read_direct_chunk((0,))[1]
        size = len(raw) // count
        made.id.write_direct_chunk((0,), raw[size : 2 * size] * count)
    with open_hdf5(path) as file, pytest.raises(FileError, match=r"/texts would take 0\.1 GiB"):
        read_texts(file["texts"], path)


def test_readouts_that_share_samples_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    rng = np.random.default_rng(0)
    with ismrmrd.File(path, "w") as file:
        file["dataset"].header = make_header((8, 8, 1))
        file["dataset"].acquisitions = make_readouts(rng.normal(size=(2, 8, 8)) + 1j)
    assert read(path).coils == 2
    with h5py.File(path, "a") as file:
        data = file["dataset/data"]
        raw = bytearray(data.id.read_direct_chunk((0,))[1])
        size = len(raw) // data.chunks[0]
        # The last part of a record is where its samples are.
        raw[4 * size - 16 : 4 * size] = raw[3 * size - 16 : 3 * size]
        data.id.write_direct_chunk((0,), bytes(raw))
    with pytest.raises(FileError, match="1 readout of /dataset/data has the samples of another"):
        read(path)


def test_parts_that_were_never_written_are_no_zeros(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        made = file.create_dataset("kspace", (4, 2, 8, 8), np.complex64, chunks=(1, 2, 8, 8))
        made[:3] = 1
        file.create_dataset("whole", (4,), np.float32)
    with pytest.raises(FileError, match="3 of 4 parts of /kspace were written"):
        read(path)
    with (
        open_hdf5(path) as file,
        pytest.raises(FileError, match="/whole was never written"),
    ):
        read_whole(file["whole"], path)


def test_a_list_of_texts_is_no_mask(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["kspace"] = np.ones(SHAPE, np.complex64)
        file["mask"] = ["a"] * 8
    with pytest.raises(FileError, match="/mask contains 8 elements of varying length"):
        read(path)


def test_a_heap_that_the_library_would_read_for_ever_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["kspace"] = np.ones(SHAPE, np.complex64)
        file["ismrmrd_header"] = "<x/>"
    content = bytearray(path.read_bytes())
    start = content.index(b"GCOL")
    # Behind the one text is the free space: its size is what the library steps by.
    free = start + 16 + 16 + 8
    assert content[free : free + 8] == bytes(8)
    assert content[free + 8 : free + 16] != bytes(8)
    content[free + 8 : free + 16] = bytes(8)
    assert not has_damaged_heap(path)
    path.write_bytes(content)
    # Asked by itself first: the library would not come back.
    assert has_damaged_heap(path)
    with pytest.raises(FileError, match="truncated or damaged"):
        read(path)
