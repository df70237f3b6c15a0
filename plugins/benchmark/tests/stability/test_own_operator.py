"""The stability benchmark with an encoding operator of the user's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sigpy.mri
import torch

from firenet_benchmark.stability import hashes
from firenet_benchmark.stability.criteria import Attack
from firenet_benchmark.stability.custom_networks import custom_method
from firenet_benchmark.stability.evaluation_data import EvaluationData, from_operator
from firenet_benchmark.stability.hard_attacks import HardAttack
from firenet_benchmark.stability.methods import (
    PHASE,
    STABLE,
    firenets,
    trained_method,
    zero_filling,
)
from firenet_benchmark.stability.run import StabilityBenchmark, compare
from firenet_benchmark.stability.summary import overview
from firenet_mri import RawScan
from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.sigpy import from_sigpy

SHAPE, COILS = (16, 20), 3
MAPS = sigpy.mri.birdcage_maps((COILS, *SHAPE)).astype(np.complex64)
NETWORKS = """
from torch import nn


def same():
    return nn.Identity()
"""


def linop(phase: float = 1.0) -> sigpy.linop.Linop:
    """Return coils and Fourier transform behind a phase and a crop: images of 18 x 22 pixels."""
    turn = np.exp(1j * phase * np.linspace(0, 1, 18))[:, None] * np.ones((18, 22))
    crop = sigpy.linop.Resize(SHAPE, (18, 22))
    return sigpy.mri.linop.Sense(MAPS) * crop * sigpy.linop.Multiply((18, 22), turn)


@pytest.fixture(scope="module")
def scan() -> RawScan:
    mask = torch.arange(20) % 2 == 0
    mask[7:13] = True
    image = torch.from_numpy(sigpy.shepp_logan((18, 22))).cfloat()
    kspace = torch.stack([from_sigpy(linop())(factor * image) for factor in (1, 2, 3)])
    return RawScan(kspace * mask, mask.expand(1, *SHAPE), 2, simulated=True, name="mine")


@pytest.fixture(scope="module")
def data(scan) -> EvaluationData:
    return from_operator(scan, linop(), 1, 1)


@pytest.mark.slow
def test_every_question_is_asked_with_the_operator(data, tmp_path) -> None:
    (tmp_path / "own.py").write_text(NETWORKS)
    source = f"{tmp_path}/own.py:same"
    methods = [
        zero_filling(),
        *(method for method in firenets() if method.name in (STABLE, PHASE)),
        trained_method("MoDL"),
        custom_method(source, takes="complex"),
        replace(custom_method(source, takes="maps"), name="same with maps"),
    ]
    questions = ("worst-case", "jacobian", "noise", "scale", "transfer", "hard-attacks")
    settings = StabilityBenchmark(
        1,
        1,
        1,
        (),
        (),
        Attack((0.01,), 2, 1, 0),
        questions,
        1,
        replace(HardAttack.smoke(), slices=1),
    )
    found = compare(methods, settings, tmp_path / "kept", data=data)
    assert not found.failures
    assert set(found.notes) == {PHASE, "MoDL", "same with maps"}
    assert all("sensitivity maps" in note for note in found.notes.values())
    rows = {(row.method, row.test, row.metric): row.value for row in found.rows}
    bounds = {method.name: method.lipschitz_bound for method in found.methods}
    for name in ("zero filling", STABLE, "same"):
        reached = rows[name, "worst case", "amplification"]
        assert reached > 0
        assert rows[name, "jacobian", "lower"] <= rows[name, "jacobian", "upper"]
        if bounds[name] is not None:
            assert max(reached, rows[name, "jacobian", "lower"]) <= bounds[name] * (1 + 1e-4)
    assert bounds["same"] is None
    # The user's network returns the zero-filled image.
    exact = rows["zero filling", "jacobian", "lower"]
    assert rows["same", "jacobian", "lower"] == pytest.approx(exact, rel=0.05)


def test_the_bound_is_that_of_the_operator_or_none(data, scan) -> None:
    (stable,) = (method for method in firenets() if method.name == STABLE)
    wide = from_operator(scan, from_sigpy(3 * linop()), 1, 1)
    assert stable.for_operator(None) is stable
    own = stable.for_operator(data.test.encoding).lipschitz_bound
    assert stable.for_operator(wide.test.encoding).lipschitz_bound == pytest.approx(own, rel=1e-3)
    stated = from_operator(scan, from_sigpy(linop(), norm_bound=1.01), 1, 1)
    assert stable.for_operator(stated.test.encoding).lipschitz_bound is None
    assert "as it was stated" in stated.description


def test_what_was_kept_of_one_operator_is_not_taken_for_another(scan, data) -> None:
    first, again, other = (
        hashes.of_data(one)["attacked"]
        for one in (data, from_operator(scan, linop(), 1, 1), from_operator(scan, linop(2.0), 1, 1))
    )
    assert first == again != other


def test_operators_that_do_not_fit_are_refused(scan) -> None:
    with pytest.raises(UsageError, match="is a int; give"):
        from_operator(scan, 3, 1, 1)
    with pytest.raises(ShapeError, match="samples of all coils"):
        from_operator(scan, from_sigpy(sigpy.linop.FFT((4, 4))), 1, 1)
    with pytest.raises(UsageError, match="norm bound"):
        from_operator(scan, from_sigpy(linop(), norm_bound=0.1), 1, 1)
    masks = scan.mask.clone()
    masks[0] = masks[0].roll(1, -1)
    with pytest.raises(UsageError, match="masks that differ"):
        from_operator(replace(scan, mask=masks), linop(), 1, 1)
    assert from_operator(scan, linop(), 1, 1).test.names == ("mine 1",)


def test_methods_that_take_maps_are_left_out_by_name(data, tmp_path) -> None:
    methods = [zero_filling(), *(method for method in firenets() if method.name == PHASE)]
    attack = Attack((0.01,), 1, 1, 0)
    settings = StabilityBenchmark(1, 1, 1, (), (), attack, ("scale", "worst-case"))
    found = compare(methods, settings, tmp_path, data=data)
    assert "sensitivity maps" in found.notes.pop(PHASE)
    assert not found.notes
    assert not found.failures
    assert max(row.value for row in found.rows if row.test == "scale") < 1e-5
    heads, rows = overview(found)
    assert heads == ["method", "amplified 1 %", "proven"]
    assert float(rows[0][1]) <= float(rows[0][2])


def test_the_command_wants_a_scan_and_its_own_sampling(firenet, capsys, tmp_path) -> None:
    common = "benchmark", "stability", "-o", tmp_path / "report", "--encoding", "own.py:make"
    for words in ((), ("--data", "scan.npy", "--acceleration", "3")):
        assert firenet(*common, *words) == 2
        assert "--encoding describes the samples of one scan" in capsys.readouterr().err
