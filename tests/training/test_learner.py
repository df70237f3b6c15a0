"""A training that goes on from trained weights."""

from __future__ import annotations

import pytest
import torch
from learned_networks import frame_file, weights_file

from firenet_mri.errors import FileError, UsageError
from firenet_mri.firenet.learned.weights import load_network
from firenet_mri.training.learner import CertifiedLearner
from firenet_mri.training.options import TrainingOptions


def test_a_training_goes_on_from_the_weights_of_a_file(tmp_path) -> None:
    path = weights_file(tmp_path)
    net = load_network(path)
    weights = CertifiedLearner(TrainingOptions(start=path)).weights()
    assert weights.architecture == net.architecture
    for found, kept in zip(weights.stages(), net.weights, strict=True):
        for one, other in zip(found, kept, strict=True):
            torch.testing.assert_close(one.detach(), other, rtol=1e-4, atol=1e-5)


def test_a_start_and_sizes_beside_it_are_refused_by_name(tmp_path) -> None:
    with pytest.raises(UsageError, match="singles: a network that starts from trained layers"):
        TrainingOptions(start=weights_file(tmp_path), singles=3)


def test_a_start_that_holds_no_layers_is_refused(tmp_path) -> None:
    with pytest.raises(FileError, match=r"frame0\.safetensors"):
        CertifiedLearner(TrainingOptions(start=frame_file(tmp_path)))


def test_another_start_is_another_training(tmp_path) -> None:
    first = TrainingOptions(start=weights_file(tmp_path)).key()
    second = TrainingOptions(start=weights_file(tmp_path, seed=1)).key()
    assert first["start"] != second["start"]
