"""The examples of docs/sigpy.md run and show the figures that the page states."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sigpy.md").read_text(encoding="utf-8")


def test_examples_run_in_their_order(monkeypatch, capsys) -> None:
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(blocks) == 6
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/sigpy.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "(proven)" in printed
    assert "adjoint" in printed
    assert "(8, 180, 216)" in printed.replace("torch.Size([8, 180, 216])", "(8, 180, 216)")
    # The page: the residual norm is about the square root of the number of samples.
    samples = float((names["kspace"] != 0).sum())
    expected = names["app"].lamda * samples**0.5
    assert names["app"].sigpy_lamda == pytest.approx(expected, rel=0.1)


def test_figures_of_the_table_are_those_of_the_sample(monkeypatch) -> None:
    import numpy as np
    import torch

    import firenet_mri
    from firenet_mri.calibration import sensitivity_maps, whiten
    from firenet_mri.metrics import psnr
    from firenet_mri.sigpy import FIRENETRecon

    monkeypatch.chdir(ROOT)
    scan = whiten(firenet_mri.read("sample_data/brain_8coil.h5"))
    maps = sensitivity_maps(scan, "espirit")[0].numpy()
    kspace = (scan.kspace * scan.mask)[0].numpy()
    image = FIRENETRecon(kspace, maps, show_pbar=False).run()
    path = Path("sample_data/brain_8coil_reference.nii.gz")
    reference = firenet_mri.io.read_reference(path, shape=scan.kspace[:, 0].shape)
    stated = float(re.search(r"`FIRENETRecon`, with its defaults \| ([\d.]+) dB", PAGE)[1])
    found = psnr(reference, torch.from_numpy(np.abs(image))[None])
    assert found == pytest.approx(stated, abs=0.1)
