"""A learned frame is trained by the loop of the layers, and stays what it is."""

from __future__ import annotations

import itertools

import pytest
import torch
from learned_networks import REPORT
from training_scans import scan_data

from firenet_mri.errors import FileError, UsageError
from firenet_mri.firenet.learned.frame import load_learned_frame
from firenet_mri.firenet.options import NetworkOptions
from firenet_mri.training.checkpoint import Checkpoint
from firenet_mri.training.families import learner_of
from firenet_mri.training.frame_learner import FrameLearner
from firenet_mri.training.learner import CertifiedLearner
from firenet_mri.training.options import TrainingOptions
from firenet_mri.training.timed import Training

DATA = scan_data()
OPTIONS = TrainingOptions(
    family="frame",
    copies=1,
    distances=(0, 1),
    cases=4,
    minutes=0.1,
    # The first hundred steps are smaller, in proportion to their number.
    learning_rate=0.5,
    attacked=0.5,
)


def training(options: TrainingOptions = OPTIONS) -> Training:
    """Return a training of a network of few layers whose steps take .5 s each by its clock."""
    ticks = itertools.count()
    learner = FrameLearner(options, NetworkOptions(layers=6))
    cases = DATA.validation_cases()[:1]
    return Training(learner, options, DATA.case, cases, clock=lambda: 0.5 * next(ticks))


def test_training_makes_slices_better_that_it_has_not_seen(tmp_path) -> None:
    net = training()
    net.run()
    curve = net.progress.curve
    assert net.progress.best > curve[0]["validation_psnr_db"] + 0.05
    assert all(look["lipschitz_constant"] == pytest.approx(17.66, abs=0.01) for look in curve)
    assert net.perturbations.kept
    made = net.learner.frozen(net.best())
    assert bool((made.weights.parameters["log_weights"] != 0).all())
    assert made.record()["deviation_from_parseval"] < 1e-13
    made.save(tmp_path / "net.safetensors", REPORT)
    loaded = load_learned_frame(tmp_path / "net.safetensors")
    assert loaded.report == REPORT
    assert loaded.lipschitz_bound() == made.constant
    problem = net.validation[0]
    with torch.no_grad():
        expected, penalty = net.learner.image(net.best(), problem, problem.kspace)
    assert torch.equal(made.image(problem), expected)
    assert float(penalty) == 0


def test_a_training_that_was_stopped_ends_with_the_same_frame() -> None:
    short = OPTIONS.replace(minutes=0.05)
    whole, part, resumed = training(short), training(short), training(short)
    whole.run()
    part.run(should_stop=lambda: part.progress.step == 2)
    resumed.load_state(part.state())
    resumed.run()
    ends = (net.learner.frozen(net.average).weights.digest for net in (whole, resumed))
    assert len(set(ends)) == 1


def test_the_attack_climbs_the_loss() -> None:
    net = training(OPTIONS.replace(cases=1, attacked=1.0, learning_rate=1e-9))
    errors = []
    for _ in range(5):
        # The size of a perturbation is random; the same number every time.
        net.generator.manual_seed(3)
        errors.append(-net.take_step(0.0)[1])
    assert errors[-1] > errors[0] + 0.02


@pytest.mark.cuda
def test_steps_on_a_gpu_are_those_on_a_cpu() -> None:
    nets = [training(OPTIONS.replace(device=device)) for device in ("cpu", "cuda")]
    for _ in range(3):
        (kind, psnr), (same, other) = (net.take_step(0.0) for net in nets)
        assert (same, other) == (kind, pytest.approx(psnr, abs=0.01))


def test_the_first_copies_differ_by_less_than_one_sees() -> None:
    first, again, other = (
        FrameLearner(TrainingOptions(family="frame", seed=seed)).weights().skews
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 5e-4 < float(first.detach().std()) < 2e-3


def test_options_of_the_other_family_are_refused_by_name() -> None:
    for name, value in {"bound": 3.0, "stages": 4, "kernel": 7, "dilations": (1,)}.items():
        with pytest.raises(UsageError, match=f"{name}: belongs to the family layers, and frame"):
            TrainingOptions(family="frame", **{name: value})
    for name, value in {"copies": 1, "distances": (1,)}.items():
        with pytest.raises(UsageError, match=f"{name}: belongs to the family frame, and layers"):
            TrainingOptions(**{name: value})
    with pytest.raises(UsageError, match="give 1 to 8"):
        learner_of(TrainingOptions(family="frame", copies=9))
    assert isinstance(learner_of(TrainingOptions()), CertifiedLearner)


def test_a_training_that_knew_no_families_is_resumed_as_layers(tmp_path) -> None:
    options = TrainingOptions(stages=2, singles=2, groups=0, cases=3)
    net = Training(CertifiedLearner(options), options, DATA.case, DATA.validation_cases()[:1])
    new = {"family", "copies", "distances"}
    old = {name: value for name, value in options.key().items() if name not in new}
    Checkpoint(tmp_path / "a.training", old, "d").save(net)
    assert Checkpoint(tmp_path / "a.training", options.key(), "d").resume(net)
    frame = TrainingOptions(family="frame", cases=3)
    with pytest.raises(FileError, match="family is layers there and frame here"):
        Checkpoint(tmp_path / "a.training", frame.key(), "d").resume(net)
