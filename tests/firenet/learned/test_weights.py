from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from learned_networks import REPORT, SMALL, small_network, weights_file
from torch import Tensor

from firenet_mri.errors import DataError, FileError
from firenet_mri.firenet.learned import files
from firenet_mri.firenet.learned.files import Content, read_tensors, write_tensors
from firenet_mri.firenet.learned.formats import SHIPPED, weights_path
from firenet_mri.firenet.learned.report import TrainingReport
from firenet_mri.firenet.learned.weights import load_network, save_network
from firenet_mri.operators import LinearOperator, encoding_operator


def data_of(size: int = 12) -> tuple[Tensor, LinearOperator]:
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(2, size, size, dtype=torch.complex64, generator=generator)
    maps = maps / torch.linalg.vector_norm(maps, dim=0)
    mask = torch.rand(1, size, size, generator=generator) < 0.5
    y = torch.randn(2, size, size, dtype=torch.complex64, generator=generator) * mask
    return y, encoding_operator(mask, maps, 2)


def forge(path: Path, change: Callable[[dict[str, Tensor], dict[str, str]], None]) -> None:
    """Change what a file holds, and make its digest anew."""
    tensors, texts = read_tensors(path)
    del texts["digest"]
    change(tensors, texts)
    texts["digest"] = files.digest_of(Content(tensors, texts))
    write_tensors(path, tensors, texts)


def test_a_network_comes_back_from_its_file_bit_by_bit(tmp_path):
    net = small_network()
    save_network(tmp_path / "net.safetensors", net, REPORT)
    again = load_network(tmp_path / "net.safetensors")
    y, encoding = data_of()
    assert torch.equal(net(y, encoding), again(y, encoding))
    assert again.report == REPORT
    assert again.architecture == SMALL
    save_network(tmp_path / "again.safetensors", again, again.report)
    whole = (tmp_path / "net.safetensors").read_bytes()
    assert (tmp_path / "again.safetensors").read_bytes() == whole


def test_a_file_of_the_first_version_makes_the_same_image(tmp_path):
    path = weights_file(tmp_path)

    def as_first(tensors, texts):
        texts["version"] = "1"
        tensors["slopes"] = tensors["slopes"][..., :3].contiguous()

    y, encoding = data_of()
    image = load_network(path)(y, encoding)
    forge(path, as_first)
    assert torch.equal(load_network(path)(y, encoding), image)


def test_a_report_comes_back_from_plain_data():
    plain = json.loads(json.dumps(REPORT.to_dict()))
    assert TrainingReport.from_dict(plain).digest == REPORT.digest
    with pytest.raises(DataError, match="least and largest"):
        replace(REPORT, noise=(0.2, float("nan")))
    with pytest.raises(DataError, match="report is damaged"):
        TrainingReport.from_dict({**plain, "coils": 3})


def raise_bound(tensors, texts):
    proof = json.loads(texts["proof"])
    proof["bound"] *= 0.99
    texts["proof"] = json.dumps(proof)


def raise_stage(tensors, texts):
    proof = json.loads(texts["proof"])
    proof["stages"][1]["layer"] *= 1 + 1e-6
    texts["proof"] = json.dumps(proof)


def change_weights(tensors, texts):
    tensors["firmness"][1, 2] *= 3


def make_nan(tensors, texts):
    tensors["filters"][0, 0, 0, 0] = float("nan")


def make_negative(tensors, texts):
    tensors["coefficients"][1, 0] *= -1


def make_too_long(tensors, texts):
    tensors["coefficients"][1] *= 9


def rename(tensors, texts):
    texts["format"] = json.dumps("pt")


def rename_version(tensors, texts):
    texts["version"] = "3"


def leave_out(tensors, texts):
    del tensors["slopes"]


def grow(tensors, texts):
    texts["architecture"] = json.dumps({**json.loads(texts["architecture"]), "stages": 10**9})


def grow_singles(tensors, texts):
    texts["architecture"] = json.dumps({**json.loads(texts["architecture"]), "singles": 10**12})


def lose_report(tensors, texts):
    del texts["training"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (raise_bound, "states the Lipschitz constant .* do not follow from its weights"),
        (raise_stage, "states the Lipschitz constant"),
        (change_weights, "states the Lipschitz constant"),
        (make_nan, "filters are NaN or infinite"),
        (make_negative, "is not positive"),
        (make_too_long, "stage 2: .* take a smaller step"),
        (rename, "weights of another program"),
        (rename_version, "has version 3; this version of firenet_mri reads 1 and 2"),
        (leave_out, "its architecture needs"),
        (grow, "architecture is .* which no network has"),
        (grow_singles, "architecture is .* which no network has"),
        (lose_report, "has no training"),
    ],
)
def test_what_does_not_follow_from_the_weights_is_refused_even_with_a_digest_that_fits(
    tmp_path, change, message
):
    path = weights_file(tmp_path)
    forge(path, change)
    with pytest.raises(FileError, match=message) as caught:
        load_network(path)
    assert str(caught.value).startswith(str(path))
    assert str(caught.value).endswith("give a file that firenet train wrote")
    assert "\n" not in str(caught.value)


def test_every_changed_byte_is_noticed(tmp_path):
    path = weights_file(tmp_path)
    whole = path.read_bytes()
    for place in range(3, len(whole), 97):
        data = bytearray(whole)
        data[place] ^= 1
        path.write_bytes(bytes(data))
        with pytest.raises(FileError, match=r"net0\.safetensors: .*; give a file"):
            load_network(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not a safetensors file"),
        (b"PK\x03\x04" + bytes(100), "is not a safetensors file"),
        (b"\x02\x00\x00\x00\x00\x00\x00\x00{}", "weights of another program"),
    ],
)
def test_files_of_other_programs_are_refused(tmp_path, data, message):
    path = tmp_path / "other.bin"
    path.write_bytes(data)
    with pytest.raises(FileError, match=message):
        load_network(path)


def test_a_truncated_file_is_refused(tmp_path):
    path = weights_file(tmp_path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(FileError, match="is damaged"):
        load_network(path)


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(FileError, match=r"none\.safetensors: no such file; .* or learned"):
        load_network(tmp_path / "none.safetensors")
    with pytest.raises(FileError, match="is a folder"):
        load_network(tmp_path)


def test_a_file_replaces_another_only_when_it_is_complete(tmp_path, monkeypatch):
    path = weights_file(tmp_path)
    before = path.read_bytes()
    with pytest.raises(FileError, match="cannot be written"):
        save_network(tmp_path / "no" / "net.safetensors", small_network(), REPORT)

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(FileError, match="cannot be written"):
        save_network(path, small_network(1), REPORT)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(("name", "constant"), [("learned", 16.1), ("learned-stable", 9.7)])
def test_what_ships_is_read_by_its_name_and_has_the_constant_of_its_card(name, constant) -> None:
    assert name in SHIPPED
    net = load_network(name)
    encoding = encoding_operator(None, torch.ones(1, 32, 32, dtype=torch.complex64))
    assert constant - 0.2 < net.proven_bound(encoding).value < constant
    assert net.report is not None
    assert weights_path(name).stat().st_size < 150_000
