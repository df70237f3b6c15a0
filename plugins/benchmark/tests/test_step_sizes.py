"""The curve of accuracy against certified constant: complete, honest, drawn."""

from __future__ import annotations

import pytest
import torch

from firenet_benchmark.step_sizes import plot, trade_off
from firenet_mri import FIRENET, NetworkSchedule, PaperSchedule
from firenet_mri.firenet.presets import make_network
from firenet_mri.operators import CartesianFourier


@pytest.fixture(scope="module")
def curves():
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(16, 16, generator=generator) < 0.6
    encoding = CartesianFourier(mask, (16, 16))
    image = torch.zeros(16, 16, dtype=torch.complex64)
    image[4:10, 5:12] = 1
    y = encoding(image)
    net = make_network(1, (16, 16))
    calls = []
    result = trade_off(
        "square",
        net,
        y,
        encoding,
        taus=(1.0,),
        decays=(0.9, 0.97),
        depths=(5, 25, 30),
        long_run=300,
        on_run=lambda done, total: calls.append((done, total)),
    )
    return net, y, encoding, result, calls


def test_every_network_that_was_asked_for_is_there_and_the_paper(curves) -> None:
    *_, result, calls = curves
    assert len(result.points) == 2 * 3 + 1
    assert calls == [(1, 3), (2, 3), (3, 3)]
    shown = {(point.schedule, point.layers) for point in result.points if point.is_shown}
    assert shown == {("NetworkSchedule", 25), ("NetworkSchedule", 30), ("PaperSchedule", 25)}


def test_points_are_what_the_networks_themselves_reach(curves) -> None:
    net, y, encoding, result, _ = curves
    problem = net.problem(encoding)
    for point in result.points:
        schedule = PaperSchedule()
        if point.schedule == "NetworkSchedule":
            schedule = NetworkSchedule(point.layers, point.tau, point.decay)
        alone = FIRENET(net.sparsifier, net.lam, net.weights, schedule)
        value = float(problem.objective(alone(y, encoding), y))
        assert point.relative_gap == pytest.approx(value / result.best_objective - 1, abs=1e-5)
        assert point.lipschitz_bound == alone.lipschitz_bound(encoding)
        assert point.relative_gap >= 0


def test_best_objective_is_certified(curves) -> None:
    *_, result, _ = curves
    assert 0 <= result.best_objective_gap < 0.05


def test_figure_has_a_panel_for_each_scan_with_all_decays(curves) -> None:
    *_, result, _ = curves
    panels = plot([result, result]).axes
    assert len(panels) == 2
    labels = [text.get_text() for text in panels[0].get_legend().get_texts()]
    assert labels == ["decay 0.9", "decay 0.97"]
