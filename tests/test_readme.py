"""The README and the page about the command line say what is so, and their code runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import nibabel
import numpy as np
import torch
from firenet_command import firenet

import firenet_mri
from firenet_mri import read
from firenet_mri.cli.app import COMMANDS
from firenet_mri.io import read_reference

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[list[str]]:
    """Return the commands of the block of the command line's page that use the samples."""
    page = (ROOT / "docs/command_line.md").read_text(encoding="utf-8")
    text = page[page.index("## Look, convert, simulate") : page.index("## Many scans")]
    return [shlex.split(line)[1:] for line in re.findall(r"^    (firenet .*)$", text, re.MULTILINE)]


def test_dicom_and_nifti_samples_become_scans_and_images_again(tmp_path) -> None:
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    lines = commands()
    assert [words[0] for words in lines] == ["convert", "simulate", "simulate", "recon"]
    assert f"    firenet {shlex.join(lines[1])}\n" in README
    for words in lines:
        result = firenet(*words, folder=tmp_path)
        assert result.status == 0, result.err
    scans = [read(tmp_path / name) for name in ("from_dicom.h5", "from_nifti.h5")]
    assert all(scan.simulated for scan in scans)
    # Both are made of one image with one seed; DICOM stores it with 16 bits.
    scale = float(scans[0].kspace.abs().max())
    np.testing.assert_allclose(scans[0].kspace, scans[1].kspace, atol=1e-4 * scale)
    image = nibabel.load(tmp_path / "brain.nii.gz")
    sample = ROOT / "sample_data/brain_8coil_reference.nii.gz"
    np.testing.assert_allclose(image.affine, nibabel.load(sample).affine, atol=1e-3)
    found, truth = read_reference(tmp_path / "brain.nii.gz"), read_reference(sample)
    assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] > 0.98
    assert (tmp_path / "sub-01_part-phase_T1w.nii.gz").is_file()
    assert list((tmp_path / "brain_series").iterdir())


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    assert len(README.splitlines()) < 120
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert len(links) > 15
    for link in links:
        assert link.startswith("https://") or (ROOT / link.partition("#")[0]).exists(), link


def test_the_badges_are_true() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    versions = re.findall(r"Python :: (3\.\d+)", text)
    assert f"badge/python-{versions[0]}_to_{versions[-1]}-" in README
    assert f'requires-python = ">={versions[0]}"' in text
    assert 'license = "Apache-2.0"' in text
    assert "badge/licence-Apache--2.0-" in README


def test_the_readmes_python_runs_as_it_stands(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(first, "README.md", "exec"), {})
    assert {"brain.nii.gz", "brain.png", "brain.json"} <= {path.name for path in tmp_path.iterdir()}
    names: dict[str, torch.nn.Module] = {}
    exec(compile(second, "README.md", "exec"), names)
    scan = firenet_mri.sample()
    image = names["model"](torch.view_as_real(scan.kspace[:1]), scan.mask[:1])
    assert image.shape == (1, 90, 108)


def test_the_readmes_commands_and_extras_exist() -> None:
    used = set(re.findall(r"^    firenet (\w+)", README, re.MULTILINE))
    assert {"demo", "recon", "info", "certify"} <= used <= {one.name for one in COMMANDS}
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for extra in re.findall(r"`(?:firenet_mri)?\[(\w+)\]`", README):
        assert f"\n{extra} = [" in text
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^    make (\w+)", README, re.MULTILINE):
        assert f"\n{target}:" in makefile
