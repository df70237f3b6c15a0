"""The training loop: it resumes to the same end, keeps perturbations, and survives NaN."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from training_scans import TINY, scan_data

from firenet_mri.errors import FileError
from firenet_mri.training import timed
from firenet_mri.training.checkpoint import Checkpoint
from firenet_mri.training.learner import CertifiedLearner
from firenet_mri.training.problem import psnr_db
from firenet_mri.training.timed import Diverged, Training

DATA = scan_data()


def training(options=TINY, *, data=DATA, case=None) -> Training:
    """Return a training whose clock moves .5 s at every look, so that every step takes as long."""
    ticks = itertools.count()
    validation = data.validation_cases()[:2]
    return Training(
        CertifiedLearner(options),
        options,
        case or data.case,
        validation,
        clock=lambda: 0.5 * next(ticks),
    )


def test_a_training_that_was_stopped_ends_with_the_same_weights() -> None:
    whole = training()
    whole.run()
    assert whole.progress.step == 12
    part = training()
    part.run(should_stop=lambda: part.progress.step == 5)
    resumed = training()
    resumed.load_state(part.state())
    resumed.run()
    assert vars(resumed.progress) == vars(whole.progress)
    for one, other in zip(
        whole.trainable.parameters(), resumed.trainable.parameters(), strict=True
    ):
        assert torch.equal(one, other)
    assert set(whole.perturbations.kept) == set(resumed.perturbations.kept)
    assert all(
        torch.equal(kept, resumed.perturbations.kept[i])
        for i, kept in whole.perturbations.kept.items()
    )


def test_a_checkpoint_from_before_an_option_existed_resumes_with_its_default(tmp_path) -> None:
    stopped = training()
    stopped.run(should_stop=lambda: stopped.progress.step == 2)
    key = TINY.key()
    older = {name: value for name, value in key.items() if name not in ("soft", "tied")}
    path = tmp_path / ".net.training"
    Checkpoint(path, older, "a").save(stopped)
    resumed = training()
    assert Checkpoint(path, key, "a").resume(resumed)
    assert resumed.progress.step == 2
    with pytest.raises(FileError, match="soft is False there and True here"):
        Checkpoint(path, TINY.replace(soft=True).key(), "a").resume(training())


def test_the_best_weights_are_kept_when_later_ones_are_worse() -> None:
    net = training()
    best = net.look()["validation_psnr_db"]
    with torch.no_grad():
        net.average.log_radii += 4
    assert net.look()["validation_psnr_db"] < best - 1
    assert net.progress.best == best
    net.average.load_state_dict(net.best().state_dict())
    assert net.look()["validation_psnr_db"] == pytest.approx(best, abs=1e-9)


def test_perturbations_climb_from_step_to_step_and_have_norm_1() -> None:
    net = training(TINY.replace(cases=1, attacked="100%", learning_rate=1e-9))
    errors = []
    for _ in range(8):
        # The size of a perturbation is random; the same number every time.
        net.generator.manual_seed(3)
        errors.append(-net.take_step(0.0)[1])
    assert errors[-1] > errors[0] + 0.05
    (kept,) = net.perturbations.kept.values()
    assert float(kept.float().square().sum()) == pytest.approx(1, abs=2e-3)
    assert kept.dtype == torch.float16


def test_without_an_attack_nothing_is_perturbed() -> None:
    net = training(TINY.replace(attack=0, attacked="100%"))
    assert {net.take_step(0.0)[0] for _ in range(6)} == {"clean"}
    assert net.perturbations.kept == {}


def test_losses_that_are_not_finite_change_nothing_and_end_the_training(monkeypatch) -> None:
    monkeypatch.setattr(timed, "_DIVERGED", 3)

    def case(number):
        good = DATA.case(number)
        return replace(good, kspace=good.kspace * math.nan) if net.progress.step >= 4 else good

    net = training(case=case)
    with pytest.raises(Diverged, match="not finite in 3 steps in a row, up to step 7"):
        net.run()
    assert net.progress.not_finite == 3
    assert all(bool(torch.isfinite(one).all()) for one in net.average.parameters())
    assert all(bool(torch.isfinite(one).all()) for one in net.perturbations.kept.values())
    assert math.isfinite(net.look()["validation_psnr_db"])


def test_a_constant_above_the_wanted_one_comes_down() -> None:
    net = training(TINY.replace(bound=1.0, minutes=0.25, learning_rate=0.1))
    before = net.learner.numbers(net.average)["bound_estimate"]
    net.run()
    assert before > 1.5
    assert net.learner.numbers(net.average)["bound_estimate"] < 0.98 * before


@pytest.mark.cuda
def test_steps_on_a_gpu_are_those_on_a_cpu() -> None:
    nets = [training(TINY.replace(device=device, attacked=0.5)) for device in ("cpu", "cuda")]
    for _ in range(6):
        (kind, psnr), (same, other) = (net.take_step(0.0) for net in nets)
        assert (same, other) == (kind, pytest.approx(psnr, abs=0.01))
    resumed = training(TINY.replace(device="cuda"))
    resumed.load_state(nets[1].state())
    assert resumed.look()["validation_psnr_db"] == pytest.approx(
        nets[0].look()["validation_psnr_db"], abs=0.01
    )


@pytest.mark.slow
def test_a_minute_of_training_makes_validation_rise() -> None:
    options = TINY.replace(stages=6, singles=8, minutes=1.0, cases=200)
    net = Training(
        CertifiedLearner(options),
        options,
        DATA.case,
        DATA.validation_cases(),
    )
    net.run()
    curve = [look["validation_psnr_db"] for look in net.progress.curve]
    assert net.progress.best > curve[0] + 1


def test_weights_are_chosen_by_what_is_left_of_them_at_the_wanted_constant() -> None:
    """Firm thresholds beyond the bound look good and are not what is written."""
    net = training(TINY.replace(bound=2.0))
    first = net.look()["validation_psnr_db"]
    learner, generator = net.learner, torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.average.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    found = net.look()["validation_psnr_db"]
    written = learner.frozen(net.average)
    assert written.constant < written.constant_as_trained
    errors = [float(p.error(written.image(p))) for p in net.validation]
    assert found == pytest.approx(sum(map(psnr_db, errors)) / 2, abs=1e-9)
    assert net.progress.best == max(first, found)
