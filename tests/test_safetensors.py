"""Files of tensors are those of the format's description, and a damaged one is refused."""

from __future__ import annotations

import json
import pickle
import struct

import pytest
import torch

from firenet_mri.errors import FileError
from firenet_mri.safetensors import read_tensors, write_tensors

TENSORS = {
    "b": torch.tensor([[1.5, -2.0, 3.25]], dtype=torch.float64),
    "a": torch.tensor([7, -1]),
    "scalar": torch.tensor(0.5),
    "none": torch.zeros(0, 3),
}


def packed(header: object, data: bytes = b"") -> bytes:
    """A file written by hand, as the format's description has it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_tensors_and_text_come_back(tmp_path) -> None:
    write_tensors(tmp_path / "x.safetensors", TENSORS, {"note": "ä"})
    tensors, metadata = read_tensors(tmp_path / "x.safetensors")
    assert metadata == {"note": "ä"}
    assert set(tensors) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert torch.equal(tensors[name], tensor)
        assert tensors[name].dtype == tensor.dtype
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_written_file_is_read_by_the_description(tmp_path) -> None:
    write_tensors(tmp_path / "x", TENSORS, {"note": "n"})
    data = (tmp_path / "x").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    assert length % 8 == 0
    header = json.loads(data[8 : 8 + length])
    assert header.pop("__metadata__") == {"note": "n"}
    first, last = header["b"]["data_offsets"]
    assert header["b"]["dtype"] == "F64"
    assert header["b"]["shape"] == [1, 3]
    assert struct.unpack("<3d", data[8 + length :][first:last]) == (1.5, -2.0, 3.25)


def test_a_file_written_by_hand_is_read(tmp_path) -> None:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    (tmp_path / "x").write_bytes(packed({"w": entry}, struct.pack("<2f", 1.0, -0.5)))
    assert read_tensors(tmp_path / "x").tensors["w"].tolist() == [1.0, -0.5]


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
DAMAGED = {
    "empty": b"",
    "short": b"abc",
    "a pickle": pickle.dumps({"w": 1}),
    "a header longer than the file": struct.pack("<Q", 1 << 40) + b"{}",
    "no JSON": packed(b"{w}"),
    "a list": packed([1, 2]),
    "no dtype": packed({"w": {"shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
    "another dtype": packed({"w": {**ENTRY, "dtype": "U3"}}, bytes(8)),
    "a cut": packed({"w": ENTRY}, bytes(7)),
    "more": packed({"w": ENTRY}, bytes(9)),
    "another shape": packed({"w": {**ENTRY, "shape": [3]}}, bytes(8)),
    "a negative shape": packed({"w": {**ENTRY, "shape": [-2]}}, bytes(8)),
    "a hole": packed({"w": {**ENTRY, "data_offsets": [4, 12]}}, bytes(12)),
    "an overlap": packed({"v": ENTRY, "w": ENTRY}, bytes(8)),
    "metadata that are no text": packed({"__metadata__": {"a": 1}, "w": ENTRY}, bytes(8)),
    "a deep nest": packed(b"[" * 100_000),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_damaged_and_foreign_files_are_refused_in_one_line(what, tmp_path) -> None:
    (tmp_path / "x").write_bytes(DAMAGED[what])
    with pytest.raises(FileError, match="safetensors file") as caught:
        read_tensors(tmp_path / "x")
    assert "\n" not in str(caught.value)


def test_what_cannot_be_read_or_written_is_refused(tmp_path) -> None:
    with pytest.raises(FileError, match="cannot be read"):
        read_tensors(tmp_path / "none")
    with pytest.raises(FileError, match="cannot be written"):
        write_tensors(tmp_path / "none" / "x", TENSORS, {})
