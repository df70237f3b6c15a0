"""The comparison on real scans: masks, noise and rows are what they are called."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.networks.nets import BasicUNet

import firenet_benchmark.tuned as tuned
from firenet_benchmark.real import compare_all, lam_curve, make_mask, problems, published_rows
from firenet_benchmark.stability.acquisition import Acquisition
from firenet_benchmark.stability.data import Protocol, images
from firenet_benchmark.stability.published import open_published
from firenet_benchmark.tuned import Peer, tuned_rows
from firenet_mri import RawScan
from firenet_mri.errors import DataError, ShapeError
from firenet_mri.metrics import psnr
from firenet_mri.operators import CartesianFourier


@pytest.fixture
def full() -> RawScan:
    """Return a fully sampled scan of a disc by four coils."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, 64)] * 2, indexing="ij")
    disc = ((y**2 + 1.3 * x**2) < 0.5).to(torch.complex64)
    coils = [torch.exp(-((y - a) ** 2) - (x - b) ** 2) for a in (-1, 1) for b in (-1, 1)]
    kspace = CartesianFourier(None, (64, 64))(torch.stack(coils) * disc)
    noise = torch.randn(4, 64, 64, dtype=torch.complex64, generator=torch.manual_seed(0))
    return RawScan(kspace + 0.01 * noise, torch.ones(64, 64, dtype=torch.bool), 2, name="disc")


def test_masks_sample_the_centre_and_what_they_are_named_after() -> None:
    equispaced = make_mask((128, 96), "equispaced")
    assert equispaced is not None
    lines = equispaced[0, :, 0].numpy()
    assert lines[::4].all()
    assert lines[52:76].all()
    assert lines.sum() == 32 + 18
    random = make_mask((128, 96), "random", seed=3)
    assert random is not None
    assert int(random[0, :, 0].sum()) == 24 + 13
    assert bool((random == random[..., :1]).all())
    points = make_mask((128, 96), "points")
    assert points is not None
    assert 5 < points.numel() / int(points.sum()) < 7
    assert make_mask((64, 64), "points") is None


def test_noise_is_added_to_the_data_only(full) -> None:
    plain, noisy = (list(problems(full, noise=level)) for level in (0.0, 0.1))
    for clean, spoilt in zip(plain, noisy, strict=True):
        mask = clean.scan.mask
        change = spoilt.scan.kspace - clean.scan.kspace
        assert change.norm() / clean.scan.kspace.norm() == pytest.approx(0.1, rel=1e-3)
        assert not change[:, ~mask[0]].any()
    assert [one.name.split()[1] for one in plain] == ["random", "equispaced"]


def test_rows_have_the_lambda_with_the_best_psnr(full) -> None:
    problem = next(iter(problems(full)))
    scales = (4.0, 2.0, 1.0, 0.5)

    def scaled(kspace: torch.Tensor, maps: torch.Tensor, lamda: float) -> torch.Tensor:
        return problem.reference * lamda

    peer = Peer("scaled", "torch", scaled, scales)
    (row,) = tuned_rows(problem.scan.kspace, problem.maps, problem.reference * 1.8, (peer,))
    assert row.tuned_lambda == 2.0
    absent = replace(peer, needs="no_such_module")
    assert not list(tuned_rows(problem.scan.kspace, problem.maps, problem.reference, (absent,)))


def test_ours_is_what_reconstruct_gives_with_its_defaults(full) -> None:
    problem = next(iter(problems(full)))
    ours = {"FIRENET accurate": {}, "FIRENET sharp": {"preset": "sharp"}}
    rows = {row.method: row for row in compare_all(problem, ours, ())}
    curve = lam_curve(problem, (0.5, 1.0, 2.0))
    assert rows["FIRENET accurate"].psnr_db == pytest.approx(curve[1.0].psnr_db, abs=1e-4)
    assert rows["FIRENET accurate"].psnr_db > rows["zero filling"].psnr_db + 3
    assert rows["FIRENET sharp"].psnr_db != rows["FIRENET accurate"].psnr_db


@pytest.mark.parametrize(("pattern", "acceleration"), [("lines", 4.0), ("points", 6.0)])
def test_total_variation_of_sigpy_has_converged(pattern, acceleration) -> None:
    """Three times the iterations give the same image; of SigPy's own step size 100 do not."""
    protocol = Protocol(pattern=pattern, acceleration=acceleration)
    acquisition = Acquisition(protocol, size=(64, 64))
    one = acquisition.scans(acquisition.sized(images("test")[3:4]), "one")
    kspace, maps = one.kspace[0], one.maps[0]
    longer = tuned._sigpy("TotalVariationRecon", 3 * tuned.TV_ITERATIONS, tuned.TV_SIGMA)
    end = longer(kspace, maps, 1e-3)

    def distance(image: torch.Tensor) -> float:
        return float((image - end).norm() / end.norm())

    peers = {peer.name: peer for peer in tuned.PEERS}
    found = peers["SigPy TotalVariationRecon"].run(kspace, maps, 1e-3)
    assert distance(found) < 0.005
    assert distance(tuned._sigpy("TotalVariationRecon", 100)(kspace, maps, 1e-3)) > 0.02


def test_bart_and_sigpy_reconstruct_the_disc(full) -> None:
    problem = next(iter(problems(full)))
    for peer in tuned.PEERS:
        if not peer.is_installed():
            continue
        # Each has its own scale of lambda.
        lamda = 2e-3 if peer.needs == "sigpy" else 4e-3
        image = peer.run(problem.scan.kspace, problem.maps, lamda)
        assert psnr(problem.reference, image.abs()) > 28, peer.name


def test_an_undersampled_scan_is_refused(full) -> None:
    mask = torch.ones(1, 64, 64, dtype=torch.bool)
    mask[:, 3] = False
    with pytest.raises(DataError, match="fully sampled"):
        next(problems(replace(full, kspace=full.kspace * mask, mask=mask)))


def test_command_prints_losses_and_writes_all_numbers(
    full, firenet, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr("firenet_benchmark.cli.scans._SHARES", (0.7, 1.0))
    np.save(tmp_path / "disc.npy", full.kspace.numpy())
    output = tmp_path / "found.json"
    arguments = ["benchmark", "scans", str(tmp_path / "disc.npy"), "--lam", "--output", str(output)]
    assert firenet(*arguments) == 0
    assert "Loss of the default lam" in capsys.readouterr().out
    assert [len(result["rows"]) for result in json.loads(output.read_text())] == [2, 2]
    assert firenet(*arguments) != 0


def test_published_networks_have_rows_where_they_can_take_the_mask(full, tmp_path) -> None:
    network = BasicUNet(2, 1, 1, features=(2, 2, 2, 2, 2, 2))
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    torch.save(network.state_dict(), tmp_path / "unet.pt")
    opened = open_published("monai-unet", tmp_path / "unet.pt")
    problem = next(iter(problems(full)))

    class Refusing(torch.nn.Module):
        def forward(self, kspace, mask, maps):
            raise ShapeError("no points")

    said: list[str] = []
    (row,) = published_rows(problem, {"u": opened, "other": Refusing()}, said.append)
    assert said == [f"other, {problem.name}: no points"]
    # All weights are 0: the mean of the zero-filled image, where there are maps.
    coils = np.fft.ifft2(np.fft.ifftshift(problem.scan.kspace, (-2, -1)), norm="ortho")
    mean = np.linalg.norm(coils.reshape(4, 64, 64), axis=0).mean()
    inside = torch.linalg.vector_norm(problem.maps, dim=0) > 0
    assert row.method == "u"
    assert row.psnr_db == pytest.approx(psnr(problem.reference, float(mean) * inside), abs=0.01)


def test_the_command_wants_weights_for_each_published_network(full, firenet, tmp_path, capsys):
    np.save(tmp_path / "disc.npy", full.kspace.numpy())
    arguments = ["benchmark", "scans", str(tmp_path / "disc.npy"), "--network", "monai-unet"]
    assert firenet(*arguments) != 0
    assert "0 --weights for 1 published --network; give pairs" in capsys.readouterr().err
