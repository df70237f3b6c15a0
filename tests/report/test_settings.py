"""What a report offers to copy makes the same image again, bit for bit."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import sigpy
import sigpy.mri
from firenet_command import firenet

from firenet_mri.cli.app import make_app
from firenet_mri.cli.options import chosen
from firenet_mri.io import read_certificate
from firenet_mri.io.kspace.options import ReadOptions
from firenet_mri.reconstruction import ReconstructionOptions
from firenet_mri.report.settings import settings_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a small scan and maps."""
    folder = tmp_path_factory.mktemp("scans")
    maps = sigpy.mri.birdcage_maps((4, 24, 32)).astype(np.complex64)
    kspace = sigpy.fft(maps * sigpy.shepp_logan((24, 32)), axes=(-2, -1)).astype(np.complex64)
    kspace[:, 1::3] *= np.abs(np.arange(24) - 12)[1::3, None] < 6
    np.save(folder / "my scan.npy", kspace)
    np.save(folder / "maps.npy", maps)
    return folder


def pixels(path: Path) -> str:
    return read_certificate(path).digests.pixels


@pytest.mark.parametrize(
    "flags",
    [
        ("--preset", "stable", "--layers", 3, "--coils", "90%", "--maps", "lowres"),
        ("--layers", 2, "--sparsifier", "haar", "--lam", 0.01, "--maps-file", "maps.npy"),
    ],
)
def test_command_and_python_lines_make_the_same_image(flags, folder, tmp_path) -> None:
    made = firenet("recon", "my scan.npy", "-o", tmp_path / "a.nii", *flags, folder=folder)
    assert made.status == 0, made.err
    settings = settings_of(json.loads((tmp_path / "a.json").read_text()))
    words = shlex.split(settings.command)
    assert words[:3] == ["firenet", "recon", "my scan.npy"]
    words = ["maps.npy" if word == "MAPS_FILE" else word for word in words]
    words[words.index("image.nii.gz")] = str(tmp_path / "b.nii")
    again = firenet(*words[1:], folder=folder)
    assert again.status == 0, again.err
    assert pixels(tmp_path / "b.json") == pixels(tmp_path / "a.json")
    lines = settings.python.replace("my scan.npy", str(folder / "my scan.npy"))
    lines = lines.replace("MAPS_FILE", str(folder / "maps.npy"))
    names: dict[str, object] = {}
    exec(lines.rsplit("\n", 1)[0], names)
    assert names["result"].certificate.digests.pixels == pixels(tmp_path / "a.json")


EXAMPLES = {
    "read": [
        {},
        {"slices": (0, 2, 3), "repetitions": (1,), "encoding": 1, "group": "data set"},
        {"matrix_size": (64, 48), "calibration_encoding": 2, "fft_sign": 1, "name_by_digest": True},
    ],
    "reconstruction": [
        {},
        {"preset": "stable", "lam": 0.5, "levels": 2, "layers": 7, "sparsifier": "haar"},
        {"preset": "adaptive", "relative_gap": 0.01, "budget": 0.02, "maps": "jsense"},
        {"preset": "paper", "accuracy": 0.015, "coils": 0.985, "compression": "geometric"},
        {"map_sets": 2, "background": "keep", "coils": 8, "by_readout": True, "weights": "learned"},
        {"phase_constraint": 0.3, "reweighting": 2, "no_gap": True, "jacobian": True},
        {"recovery": True},
        {"joint": "repetition"},
    ],
}


def parsed(command: str) -> tuple[ReadOptions, ReconstructionOptions]:
    """Return the options that the command line makes of a command."""
    _, bound, _ = make_app("recon").parse_args(shlex.split(command)[1:])
    return chosen(ReadOptions, bound.kwargs), chosen(ReconstructionOptions, bound.kwargs)


@pytest.mark.parametrize("read", EXAMPLES["read"])
@pytest.mark.parametrize("reconstruction", EXAMPLES["reconstruction"])
def test_the_command_has_the_options_of_the_record(read, reconstruction) -> None:
    wanted = ReadOptions(**read), ReconstructionOptions.from_mapping(reconstruction)
    record = {"read": wanted[0].to_dict(), "reconstruction": wanted[1].key()}
    report = json.loads(json.dumps({"scan": {"name": "-a b.h5"}, "options": record}))
    settings = settings_of(report)
    assert parsed(settings.command) == wanted
    assert "firenet recon './-a b.h5'" in settings.command


def test_no_option_is_missing_in_the_examples() -> None:
    given = {name for examples in EXAMPLES.values() for one in examples for name in one}
    files = {name for name in vars(ReadOptions()) if name.endswith("_file")}
    known = {field.name for field in (*ReadOptions.fields(), *ReconstructionOptions.fields())}
    assert known - given == files | {"mask", "trajectory", "device"}


def test_files_are_named_by_their_digest(tmp_path) -> None:
    np.save(tmp_path / "secret_name.npy", np.ones((4, 4)))
    read = ReadOptions(mask=tmp_path / "secret_name.npy").to_dict()
    report = {"options": {"read": read, "reconstruction": ReconstructionOptions().key()}}
    settings = settings_of(report)
    assert "--mask MASK" in settings.command
    assert 'mask="MASK"' in settings.python
    assert read["mask"]["sha256_of_file"] in settings.files[0]
    assert "secret_name" not in str(settings)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (None, "arrays"),
        ({"arrays": "firenet_mri.sigpy.FIRENETRecon"}, "arrays"),
        ({"read": {}, "reconstruction": {}}, "not in a file"),
        ({"read": {"simulation": {}}, "reconstruction": {}}, "computed from an image"),
        ({"read": {"slices": None}, "reconstruction": {}, "operator": {}}, "encoding operator"),
        (
            {"read": {"slices": None}, "reconstruction": {"maps": {"sha256_of_array": "0"}}},
            "an array given in Python: maps",
        ),
    ],
)
def test_what_cannot_be_made_again_is_said(options, why) -> None:
    settings = settings_of({"options": options})
    assert why in settings.why_not
    assert not settings.command


@pytest.mark.parametrize("name", ["a; rm -rf x", "$(x)`y`", "a'b\"c", "-o", "\x1b[201~\nrm"])
def test_a_forged_name_or_value_stays_one_word(name) -> None:
    record = {"read": {"group": name}, "reconstruction": {"network": {"preset": name}}}
    settings = settings_of({"scan": {"name": name}, "options": record, "device": name})
    words = shlex.split(settings.command)
    assert words[:2] == ["firenet", "recon"]
    assert words[3:5] == ["-o", "image.nii.gz"]
    assert len(words) == 11
    assert words[2].removeprefix("./") == (name if name.isprintable() else "SCAN")
    compile(settings.python, "copied", "exec")
    assert "\x1b" not in settings.python
