"""The comparison of accuracy: same data for all, figures that are those of the images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import firenet_benchmark.accuracy as module
import firenet_benchmark.tuned as tuned
import firenet_mri
from firenet_benchmark.accuracy import compare, undersample
from firenet_benchmark.tuned import PEERS
from firenet_mri import RawScan
from firenet_mri.calibration import sensitivity_maps
from firenet_mri.errors import DataError, UsageError
from firenet_mri.metrics import psnr
from firenet_mri.operators import CartesianFourier


@pytest.fixture
def full() -> RawScan:
    """Return a fully sampled scan of a disc by four coils."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, 48)] * 2, indexing="ij")
    disc = ((y**2 + 1.3 * x**2) < 0.5).to(torch.complex64)
    coils = [torch.exp(-((y - a) ** 2) - (x - b) ** 2) for a in (-1, 1) for b in (-1, 1)]
    kspace = CartesianFourier(None, (48, 48))(torch.stack(coils) * disc)
    noise = torch.randn(4, 48, 48, dtype=torch.complex64, generator=torch.manual_seed(0))
    return RawScan(kspace + 0.002 * noise, torch.ones(48, 48, dtype=torch.bool), 2, simulated=True)


def test_every_method_gets_its_row_and_ours_is_what_reconstruct_gives(full, monkeypatch) -> None:
    few = tuple(replace(peer, lambdas=(1e-2, 1e-3)) for peer in PEERS if peer.needs == "sigpy")
    monkeypatch.setattr(tuned, "PEERS", few)
    monkeypatch.setattr(tuned, "ITERATIONS", 5)
    scan = undersample(full, 3, calibration=16, seed=0)
    assert float(scan.mask.float().mean()) == pytest.approx(1 / 3, abs=0.05)
    rows = {row.method: row for row in compare(scan, full)}
    assert len(rows) == 16
    maps = sensitivity_maps(scan, "espirit")
    result = firenet_mri.reconstruct(scan)
    unitary = CartesianFourier(None, (48, 48))
    target = (maps.conj() * unitary.adjoint(full.kspace)).sum(0).abs()
    assert rows["FIRENET accurate"].psnr_db == pytest.approx(psnr(target, result.image.abs()), 1e-5)
    assert rows["FIRENET accurate"].psnr_db > rows["zero filling"].psnr_db
    assert rows["SigPy L1WaveletRecon"].tuned_lambda in (1e-3, 1e-2)


def test_an_undersampled_scan_is_not_undersampled_again(full) -> None:
    scan = undersample(full, 3, calibration=16, seed=0)
    with pytest.raises(DataError, match="fully sampled"):
        undersample(scan, 3, calibration=16, seed=0)


def test_command_takes_a_speed_problem_and_says_that_it_is_simulated(
    firenet, monkeypatch, capsys
) -> None:
    def two(scan, target, *, maps):
        assert scan.simulated
        assert target.shape == scan.spatial_shape == (256, 256)
        yield module.Row("zero filling", 30.0, 0.5, 0.6, 0.0)

    monkeypatch.setattr(module, "compare", two)
    assert firenet("benchmark", "accuracy", "A") == 0
    assert "problem A: simulated data" in capsys.readouterr().out


OPERATOR = """
import numpy as np
import sigpy.mri


def make(scan):
    maps = sigpy.mri.birdcage_maps((scan.coils, *scan.spatial_shape))
    return sigpy.mri.linop.Sense(maps.astype(np.complex64))


def broken(scan):
    return 1 / 0
"""


def test_command_takes_an_operator_from_a_file(
    full, firenet, monkeypatch, capsys, tmp_path
) -> None:
    monkeypatch.setattr(module, "_CHOICES", {"FIRENET, short": {"layers": 3}})
    monkeypatch.setattr(tuned, "ITERATIONS", 2)
    (tmp_path / "own.py").write_text(OPERATOR)
    scan = undersample(full, 3, calibration=16, seed=0)
    np.save(tmp_path / "scan.npy", (scan.kspace * scan.mask).numpy())
    np.save(tmp_path / "truth.npy", np.ones((48, 48), np.float32))
    common = "benchmark", "accuracy", str(tmp_path / "scan.npy")
    truth = "--reference", str(tmp_path / "truth.npy")
    assert firenet(*common, *truth, "--encoding", f"{tmp_path}/own.py:make") == 0
    printed = capsys.readouterr().out
    assert "operator" in printed
    assert "FIRENET, short" in printed
    assert "SigPy L1 of wavelets" in printed
    wrong = {
        "own.py": "name the file and its function",
        f"{tmp_path}/no.py:make": "no such file",
        f"{tmp_path}/own.py:broken": "ZeroDivisionError",
        f"{tmp_path}/own.py:absent": "AttributeError",
    }
    for source, message in wrong.items():
        assert firenet(*common, *truth, "--encoding", source) != 0
        assert message in capsys.readouterr().err
    with pytest.raises(UsageError, match="give a reference image"):
        list(compare(scan, full, encoding=CartesianFourier(None, (48, 48))))
