"""The absence of an optional package is told in one line that names the extra."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from firenet_command import firenet
from test_floors import PACKAGE, imports, sources

from firenet_mri import extras

ROOT = Path(__file__).parents[1]
GRE = ROOT / "sample_data/brain_3slices.h5"
# Packages whose distribution has another name.
DISTRIBUTIONS = {"mrd": "mrd-python", "imageio_ffmpeg": "imageio-ffmpeg"}
SIEMENS_HEAD = (10_240).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"Config\0".ljust(64)


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    # The system's own encoder.
    monkeypatch.setenv("PATH", "")


def one_line(*arguments: object) -> str:
    """Return the one line with which a command ends, with the status of a wrong usage."""
    result = firenet(*arguments)
    assert result.status == 2, result.err
    assert result.out == ""
    assert result.err.count("\n") == 1
    return result.err


@pytest.mark.usefixtures("absent")
def test_each_absence_is_one_line_that_names_the_extra(tmp_path) -> None:
    (tmp_path / "scan.dat").write_bytes(SIEMENS_HEAD)
    (tmp_path / "scan.mrd").write_bytes(b"yardl\1\0\0\0")
    (tmp_path / "gre.seq").write_text("[VERSION]\n")
    (tmp_path / "bruker").mkdir()
    for name in ("method", "acqp", "fid"):
        (tmp_path / "bruker" / name).write_bytes(b"1")
    (tmp_path / "cine.nii").write_bytes(b"")
    image, key = tmp_path / "a.nii", tmp_path / "key.pem"
    said = {
        "siemens": one_line("recon", tmp_path / "scan.dat", "-o", image),
        "bruker": one_line("info", tmp_path / "bruker"),
        "batch": one_line("batch", tmp_path, "-o", tmp_path / "out"),
        "sign": one_line("recon", "a.npy", "-o", image, "--sign", key),
        "mrd2": one_line("recon", tmp_path / "scan.mrd", "-o", image),
        "film": one_line("convert", tmp_path / "cine.nii", tmp_path / "cine.mp4"),
        "pulseq": one_line("recon", GRE, "-o", image, "--pulseq", tmp_path / "gre.seq"),
    }
    for extra, line in said.items():
        assert f"pip install 'firenet_mri[{extra}]'" in line
    assert set(said) == {extra for _, extra in extras.EXTRAS.values()}


def test_every_extra_that_is_named_is_in_pyproject_and_in_all() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = dict(re.findall(r"^(\w+) = \[(.*?)\]", text, re.MULTILINE | re.DOTALL))
    everything = re.search(r"firenet_mri\[(.+?)\]", text[text.index("\nall = ") :])[1].split(",")
    for package, (_, extra) in extras.EXTRAS.items():
        assert f'"{DISTRIBUTIONS.get(package, package)}>=' in found[extra]
        assert extra in everything


def test_every_module_that_imports_an_optional_package_asks_for_it_first() -> None:
    for path in sources():
        source = (PACKAGE / path).read_text(encoding="utf-8")
        for package in extras_in(source):
            assert f'require("{package}")' in source, f"{path}: {package}"


def extras_in(source: str) -> set[str]:
    """Return the optional packages that a module imports when it runs."""
    code = [wanted.name.partition(".")[0] for wanted in imports(ast.parse(source))]
    return set(code) & set(extras.EXTRAS)


def test_an_import_of_an_optional_package_is_found() -> None:
    assert extras_in("def f():\n    from twixtools import mdh_def") == {"twixtools"}
