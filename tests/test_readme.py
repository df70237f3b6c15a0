"""The README's lines on DICOM, NIfTI and conversion run on the samples as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import nibabel
import numpy as np
from firenet_command import firenet

from firenet_mri import read
from firenet_mri.io import read_reference

ROOT = Path(__file__).parents[1]


def commands() -> list[list[str]]:
    """Return the commands of the README's blocks that begin with a plain ``firenet``."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [shlex.split(line)[1:] for line in re.findall(r"^    (firenet .*)$", text, re.MULTILINE)]


def test_dicom_and_nifti_samples_become_scans_and_images_again(tmp_path) -> None:
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    lines = commands()
    assert [words[0] for words in lines] == ["convert", "simulate", "simulate", "recon"]
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
