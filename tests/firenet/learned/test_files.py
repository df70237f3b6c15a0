"""Files of trained weights: the same content is the same bytes, and a damaged one is refused."""

from __future__ import annotations

import json
import pickle
import struct
import subprocess
import sys

import pytest
import torch
from learned_networks import frame_file, weights_file
from safetensors.torch import load_file, save_file

from firenet_mri.errors import FileError
from firenet_mri.firenet.learned import formats
from firenet_mri.firenet.learned.files import read_tensors, write_tensors
from firenet_mri.firenet.learned.formats import FRAME, LAYERS, format_of
from firenet_mri.firenet.learned.frame import LearnedFrameWeights
from firenet_mri.firenet.learned.network import LearnedNetwork
from firenet_mri.firenet.networks import load_weights

TENSORS = {
    "b": torch.tensor([[1.5, -2.0, 3.25]], dtype=torch.float64),
    "a": torch.tensor([7, -1]),
    "scalar": torch.tensor(0.5),
    "none": torch.zeros(0, 3),
}
TEXTS = {str(k): "ä" for k in range(12)}


def test_tensors_and_text_come_back(tmp_path) -> None:
    write_tensors(tmp_path / "x", TENSORS, TEXTS)
    tensors, metadata = read_tensors(tmp_path / "x")
    assert metadata == TEXTS
    for found in (tensors, load_file(tmp_path / "x")):
        assert set(found) == set(TENSORS)
        for name, tensor in TENSORS.items():
            assert torch.equal(found[name], tensor)
            assert found[name].dtype == tensor.dtype
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_the_same_content_makes_the_same_bytes_with_numbers_at_multiples_of_8(tmp_path) -> None:
    files = [tmp_path / name for name in "abc"]
    for path in files:
        write_tensors(path, TENSORS, TEXTS)
    assert len({path.read_bytes() for path in files}) == 1
    (length,) = struct.unpack("<Q", files[0].read_bytes()[:8])
    assert length % 8 == 0


def packed(header: object, data: bytes = b"") -> bytes:
    """A file written by hand, as the format's description has it."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
DAMAGED = {
    "empty": b"",
    "a pickle": pickle.dumps({"w": 1}),
    "a header longer than the file": struct.pack("<Q", 1 << 40) + b"{}",
    "a cut": packed({"w": ENTRY}, bytes(7)),
    "more": packed({"w": ENTRY}, bytes(9)),
    "a large shape": packed({"w": {**ENTRY, "shape": [1 << 40]}}, bytes(8)),
    "an overlap": packed({"v": ENTRY, "w": ENTRY}, bytes(8)),
    "another dtype": packed({"w": {**ENTRY, "dtype": "U3"}}, bytes(8)),
    "metadata that are no text": packed({"__metadata__": {"a": 1}, "w": ENTRY}, bytes(8)),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_damaged_and_foreign_files_are_refused_in_one_line(what, tmp_path) -> None:
    (tmp_path / "x").write_bytes(DAMAGED[what])
    assert format_of(tmp_path / "x") is None
    with pytest.raises(FileError, match="is not a safetensors file, or is damaged") as caught:
        load_weights(tmp_path / "x")
    assert "\n" not in str(caught.value)


def test_what_cannot_be_read_or_written_is_refused(tmp_path) -> None:
    with pytest.raises(FileError, match="cannot be read"):
        read_tensors(tmp_path / "none")
    with pytest.raises(FileError, match="cannot be written"):
        write_tensors(tmp_path / "none" / "x", TENSORS, {})


def test_what_is_too_large_is_not_read(tmp_path, monkeypatch) -> None:
    path = frame_file(tmp_path)
    monkeypatch.setattr(formats, "_LARGEST_FILE", path.stat().st_size - 1)
    assert format_of(path) is None
    with pytest.raises(FileError, match="is too large for weights"):
        load_weights(path)


def test_kinds_of_weights_are_told_apart_by_their_files(tmp_path) -> None:
    layers, frame = weights_file(tmp_path), frame_file(tmp_path)
    assert (format_of(layers), format_of(frame)) == (LAYERS, FRAME)
    assert isinstance(load_weights(layers), LearnedNetwork)
    assert isinstance(load_weights(frame), LearnedFrameWeights)
    save_file({"w": torch.zeros(2)}, tmp_path / "other", {"format": json.dumps(["pt"])})
    for path in (tmp_path / "other", tmp_path / "none", tmp_path):
        assert format_of(path) is None
        with pytest.raises(FileError):
            load_weights(path)


def test_the_kind_of_a_file_is_known_without_torch(tmp_path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from firenet_mri.firenet.options import NetworkOptions\n"
        f"NetworkOptions(weights=Path({str(frame_file(tmp_path))!r}), lam=0.1)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
