"""MONAI's engines, metrics and savers run with FIRENET, from files to images."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from monai.data import DataLoader, decollate_batch
from monai.metrics import PSNRMetric, SSIMMetric

import firenet_mri.monai as fm
from firenet_mri.errors import UsageError

EXAMPLES = Path(__file__).parents[2] / "docs/examples"


def test_the_engines_tutorial_evaluates_saves_and_trains(monkeypatch, capsys, tmp_path) -> None:
    pytest.importorskip("ignite")
    monkeypatch.setattr(sys, "argv", ["engines", "-o", str(tmp_path), "--steps", "3"])
    runpy.run_path(str(EXAMPLES / "monai_engines.py"), run_name="__main__")
    printed = capsys.readouterr().out
    psnr = [float(value) for value in re.findall(r"PSNR ([\d.]+) dB", printed)]
    assert 20 < psnr[0] < psnr[1]
    first, last = (float(value) for value in re.findall(r"(\d\.\d+e-\d+)", printed)[-2:])
    assert last < first
    assert float(re.search(r"proven: ([\d.]+)", printed)[1]) < 20
    image = nibabel.load(tmp_path / "scan1/scan1_trans.nii.gz")
    series = pydicom.dcmread(tmp_path / "scan1/scan1_dicom/01_0001.dcm")
    pixels = series.pixel_array.T * float(series.RescaleSlope)
    np.testing.assert_allclose(pixels, image.get_fdata()[..., 0], atol=1e-4)
    corner = image.affine[:3, 3] * [-1, -1, 1]
    np.testing.assert_allclose(np.array(series.ImagePositionPatient, float), corner, atol=1e-3)


def test_the_models_xyz_image_is_the_one_of_the_transform_with_its_affine() -> None:
    path = "sample_data/brain_8coil.h5"
    kspace = fm.LoadKspace()(path)
    kspace.meta["noise"] = ""  # The model does not whiten.
    options = {"maps": "lowres", "layers": 1, "sparsifier": "undecimated-haar"}
    wanted = fm.FIRENETReconstruct(**options)(kspace)
    model = fm.FIRENETModel(output="magnitude", image_axes="xyz", **options)
    (batch,) = DataLoader([{"kspace": kspace[0]}], batch_size=1)
    (found,) = decollate_batch(model(batch["kspace"]))
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max()) <= 1e-5 * float(wanted.max())
    assert torch.equal(found.affine, wanted.affine)
    for metric in (PSNRMetric(max_val=1.0), SSIMMetric(spatial_dims=2)):
        value = metric(found[None, ..., 0], wanted[None, ..., 0])
        assert value.shape == (1, 1)
    volume = fm.FIRENETModel(3, maps="none", output="complex", image_axes="xyz", layers=1)
    assert volume(torch.randn(2, 1, 4, 6, 8, dtype=torch.complex64)).shape == (2, 1, 8, 6, 4)
    with pytest.raises(UsageError, match="Unknown image_axes"):
        fm.FIRENETModel(image_axes="zyx")
