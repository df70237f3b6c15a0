"""Options are checked once, and read from text, from Python and from their own record alike."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from firenet_mri import NetworkOptions, ReadOptions, ReconstructionOptions, reconstruct
from firenet_mri.digests import digest_of_tensor
from firenet_mri.errors import FileError, UsageError
from firenet_mri.options import Options, documented, option, takes_options
from firenet_mri.simulation.options import SimulationOptions


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("coils", "8", 8),
        ("coils", "99%", 0.99),
        ("budget", "2%", 0.02),
        ("budget", "0.02", 0.02),
        ("layers", "12", 12),
        ("layers", "none", None),
        ("lam", "auto", "auto"),
        ("lam", "1e-3", 1e-3),
        ("by_readout", "true", True),
        ("by_readout", "False", False),
        ("maps", "jsense", "jsense"),
    ],
)
def test_text_stands_for_what_it_says(name, text, value) -> None:
    assert ReconstructionOptions.from_mapping({name: text}).flat()[name] == value


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("slices", "2-5,8", (2, 3, 4, 5, 8)),
        ("repetitions", "3", (3,)),
        ("matrix_size", "256X192", (256, 192)),
        ("mask", "mask.npy", Path("mask.npy")),
        ("fft_sign", "-1", -1),
    ],
)
def test_text_of_reading_stands_for_what_it_says(name, text, value) -> None:
    assert ReadOptions.from_mapping({name: text}).flat()[name] == value


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"presett": "stable"}, "Unknown option 'presett'; did you mean preset?"),
        (
            {"preset": "best"},
            "Unknown preset 'best'; use one of accurate, sharp, stable, paper, adaptive",
        ),
        ({"maps": "magic"}, "Unknown maps 'magic'; use one of espirit, jsense, lowres, none"),
        ({"layers": "many"}, "layers is 'many'; it must be a whole number"),
        ({"layers": 2.5}, "layers is 2.5; it must be a whole number"),
        ({"layers": True}, "layers is True"),
        ({"layers": 0}, "layers is 0; it must be at least 1"),
        ({"lam": 0}, "lam is 0; it must be a positive number"),
        ({"lam": float("nan")}, "lam is nan"),
        ({"lam": 1e300}, "lam is 1e+300; it must be a positive number, from 1e-30"),
        ({"coils": "few"}, "give one such as 8, or a share such as 99%"),
        ({"coils": 1.5}, "a share of the energy lies in"),
        ({"coils": 0}, "coils is 0; it must be at least 1"),
        ({"budget": "5 m"}, "give one such as 2% or 0.02"),
        ({"budget": 0.5}, "budget is 0.5; give a relative size in"),
        ({"jacobian": "maybe"}, "jacobian is 'maybe'; it must be true or false"),
        ({"reweighting": -1}, "use 0 or more"),
        ({"relative_gap": 0.1}, "only the adaptive preset stops on one"),
        ({"budget": 0.01, "lam": 0.1}, "a budget chooses the automatic lam"),
        ({"map_sets": 2, "preset": "paper"}, "a preset other than paper"),
        ({"maps": torch.ones(1, 2, 2), "coils": 2}, "Given maps are for the original coils"),
        ({"phase_constraint": 0.3, "map_sets": 2}, "single map set"),
    ],
)
def test_what_is_wrong_is_said_by_name(options, said) -> None:
    with pytest.raises(UsageError) as raised:
        ReconstructionOptions.from_mapping(options)
    assert said in str(raised.value)


@pytest.mark.parametrize("cls", [ReconstructionOptions, ReadOptions, SimulationOptions])
def test_empty_text_is_no_value_of_any_option(cls) -> None:
    for field in cls.fields():
        for text in ("", "  "):
            with pytest.raises(UsageError, match=rf"^{field.name} is '{text}'; give a value, or"):
                cls.from_mapping({field.name: text})
    with pytest.raises(UsageError, match=r"^joint is ''; give a value, or omit it"):
        ReconstructionOptions(joint="")


def test_a_face_refuses_by_name_what_means_nothing_there() -> None:
    with pytest.raises(UsageError, match="device: not possible here; leave it out"):
        ReconstructionOptions.from_mapping({"device": "cpu"}, without=["device"])
    names = {field.name for field in ReconstructionOptions.fields(without=["device"])}
    assert "device" not in names
    assert {"preset", "maps"} < names


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "preset": st.sampled_from(["accurate", "stable", "paper"]),
            "lam": st.one_of(st.just("auto"), st.floats(1e-6, 10)),
            "layers": st.one_of(st.none(), st.integers(1, 100)),
            "coils": st.one_of(st.none(), st.integers(1, 32), st.floats(0.1, 1)),
            "reweighting": st.integers(0, 3),
            "jacobian": st.booleans(),
        },
    )
)
def test_a_record_gives_the_options_back(values) -> None:
    options = ReconstructionOptions.from_mapping(values)
    record = json.loads(json.dumps(options.to_dict()))
    assert ReconstructionOptions.from_mapping(record) == options
    assert ReconstructionOptions.from_mapping(options.flat()) == options
    assert options.replace() == options
    assert {name: options.flat()[name] for name in values} == values


def test_arrays_and_files_enter_by_their_digest(tmp_path) -> None:
    maps = torch.ones(2, 4, 4, dtype=torch.complex64)
    options = ReconstructionOptions(maps=maps)
    assert options.to_dict()["maps"] == {"sha256_of_array": digest_of_tensor(maps)}
    assert options == ReconstructionOptions(maps=maps.clone())
    assert options != ReconstructionOptions(maps=2 * maps)
    assert hash(options) == hash(ReconstructionOptions(maps=maps.clone()))
    assert digest_of_tensor(maps.numpy()) == digest_of_tensor(maps)
    np.save(tmp_path / "mask.npy", np.ones((4, 4)))
    first = ReadOptions.from_mapping({"mask": str(tmp_path / "mask.npy")}).to_dict()
    np.save(tmp_path / "mask.npy", np.zeros((4, 4)))
    assert ReadOptions(mask=tmp_path / "mask.npy").to_dict() != first
    assert str(tmp_path) not in json.dumps(first)
    with pytest.raises(FileError, match=r"missing\.npy: cannot be read"):
        ReadOptions(mask=tmp_path / "missing.npy").to_dict()


def test_what_only_says_where_the_work_is_done_is_recorded_but_no_key() -> None:
    one, other = ReconstructionOptions(), ReconstructionOptions(device="cuda")
    assert one.to_dict() != other.to_dict()
    assert one.key() == other.key()
    assert one.key() != ReconstructionOptions(compression="geometric").key()


def test_functions_show_all_options_that_they_take() -> None:
    parameters = inspect.signature(reconstruct).parameters
    for field in ReconstructionOptions.fields():
        assert parameters[field.name].default == field.default
    assert "options" not in parameters
    assert "preset" in (NetworkOptions.__doc__ or "")


@documented
@dataclass(frozen=True, eq=False)
class MoreOptions(NetworkOptions):
    """The network's options, and one that is new."""

    temperature: float = option(0.5, "Temperature in kelvin.")


@documented
@dataclass(frozen=True, eq=False)
class Whole(Options):
    """A class with a group."""

    network: MoreOptions = option(MoreOptions(), "The network.")
    other: int = option(1, "Another number.")


def test_an_option_that_is_added_is_there_for_every_face() -> None:
    assert [field.name for field in Whole.fields()][-2:] == ["temperature", "other"]
    assert Whole.from_mapping({"temperature": "0.7"}).network.temperature == 0.7
    assert Whole(MoreOptions(temperature=0.7)).to_dict()["network"]["temperature"] == 0.7

    @takes_options(Whole, without=["other"])
    def face(x: int, **options: object) -> None: ...

    assert "temperature" in inspect.signature(face).parameters
    assert "other" not in inspect.signature(face).parameters


def test_options_load_no_torch() -> None:
    code = (
        "import sys, firenet_mri; "
        "firenet_mri.ReconstructionOptions(), firenet_mri.ReadOptions(); "
        "print([m for m in ('torch', 'numpy') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]"
