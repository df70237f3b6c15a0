"""Presets are the networks that they are said to be, at any size."""

from __future__ import annotations

import math

import pytest
import torch

from firenet_mri.errors import UsageError
from firenet_mri.firenet.adaptive import AdaptiveSchedule
from firenet_mri.firenet.levels import level_weights, local_sparsities
from firenet_mri.firenet.networks import network_of
from firenet_mri.firenet.options import NetworkOptions
from firenet_mri.firenet.presets import (
    automatic_lam,
    lam_factor,
    make_network,
)
from firenet_mri.firenet.schedules import NetworkSchedule, PaperSchedule
from firenet_mri.operators import OrthogonalWavelet, StationaryWavelet, encoding_operator


def test_paper_preset_has_the_published_parameters() -> None:
    net = make_network(8, (256, 256), preset="paper")
    assert net.schedule == PaperSchedule(restarts=5, inner=5)
    assert net.lam == 0.00025
    assert isinstance(net.sparsifier, OrthogonalWavelet)
    assert (net.sparsifier.name, net.sparsifier.levels) == ("haar", 7)
    weights = sorted(set(net.weights.flatten().tolist()), reverse=True)
    published = (9.3524, 5.4606, 4.0, 3.0504, 2.3781, 1.9144, 1.7268)
    assert weights == pytest.approx(published, abs=1e-4)
    finest = net.weights[net.sparsifier.band_levels == 7]
    assert finest.unique().item() == pytest.approx(1.7268, abs=1e-4)


@pytest.mark.parametrize("preset", ["accurate", "stable", "paper", "coherent"])
@pytest.mark.parametrize("shape", [(16, 16), (230, 180), (24, 30, 17), (6, 7)])
def test_presets_fit_any_size(preset, shape) -> None:
    net = make_network(4, shape, preset=preset)
    weights = net.weights.expand(net.sparsifier.codomain_shape)
    assert weights.shape == net.sparsifier.codomain_shape
    assert weights.min() > 0


def test_layers_are_those_asked_for() -> None:
    assert make_network(4, (32, 32)).schedule == NetworkSchedule(50, 0.6, 0.97)
    assert make_network(4, (32, 32), layers=7).schedule == NetworkSchedule(7, 0.6, 0.97)
    assert make_network(4, (32, 32), preset="stable").depth == 15
    assert make_network(4, (32, 32), preset="paper", layers=10).depth == 10


@pytest.mark.parametrize("make", [StationaryWavelet, OrthogonalWavelet])
def test_automatic_lam_is_the_size_of_white_noise(make) -> None:
    """White noise, seen through encoding and sparsifier, has the size that lam assumes."""
    shape, coils = (64, 48), 6
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(coils, *shape, dtype=torch.complex128, generator=generator)
    encoding = encoding_operator(None, maps / torch.linalg.vector_norm(maps, dim=0))
    operator = make(2, shape) if make is StationaryWavelet else make("db2", 2, shape)
    noise = torch.randn(coils, *shape, dtype=torch.complex128, generator=generator)
    coefficients = operator(encoding.adjoint(noise / noise.norm()))
    finest = coefficients[operator.band_levels.expand(coefficients.shape) == 2]
    size = math.sqrt(float(finest.abs().square().mean()))
    assert automatic_lam(coils, operator) == pytest.approx(1.1 * size, rel=0.03)


def test_presets_take_their_share_of_the_automatic_lam() -> None:
    for preset, share in (("accurate", 0.6), ("sharp", 0.6), ("adaptive", 0.6), ("stable", 1.0)):
        net = network_of(4, (32, 32), NetworkOptions(preset=preset))
        assert net.lam == pytest.approx(share * automatic_lam(4, net.sparsifier))


def test_one_network_is_not_all_of_the_sharp_preset() -> None:
    with pytest.raises(UsageError, match="sharp is 2 passes"):
        make_network(4, (32, 32), preset="sharp")


def test_stable_preset_has_a_smaller_constant_than_the_paper() -> None:
    encoding = encoding_operator(None, torch.full((4, 16, 16), 0.5, dtype=torch.complex64))
    paper, stable, accurate = (
        make_network(4, (16, 16), preset=name).lipschitz_bound(encoding)
        for name in ("paper", "stable", "accurate")
    )
    assert stable < paper < accurate


@pytest.mark.parametrize("name", ["tv", "dual-tree", "undecimated-dct3", "tv+undecimated-haar"])
def test_weights_are_in_proportion_to_the_norms_but_for_averages(name) -> None:
    net = make_network(4, (16, 20), sparsifier=name)
    norms = net.sparsifier.band_norms
    expected = norms / norms.max()
    for band in net.sparsifier.average_bands:
        expected[band] /= 2
    assert torch.equal(net.weights, expected)
    assert len(net.sparsifier.average_bands) == ("undecimated" in name)


def test_the_paper_preset_wants_levels() -> None:
    with pytest.raises(UsageError, match="level"):
        make_network(4, (16, 16), preset="paper", sparsifier="tv")


def test_sparsities_count_large_coefficients_and_give_the_weights() -> None:
    operator = OrthogonalWavelet("haar", 2, (16, 16))
    image = torch.zeros(16, 16, dtype=torch.float64)
    image[5:9, 3:12] = 1
    coefficients = operator(image)
    sparsities = local_sparsities(coefficients, operator.band_levels, 0.1)
    assert sum(sparsities) == int((coefficients.abs() > 0.1).sum())
    weights = level_weights(sparsities, operator.band_levels)
    total = [
        float((weights[operator.band_levels == k] ** 2)[0]) * s for k, s in enumerate(sparsities)
    ]
    assert total == pytest.approx([sum(sparsities)] * 3)
    with pytest.raises(ValueError, match="one per level"):
        level_weights((1, 2), operator.band_levels)


def test_adaptive_preset_solves_the_default_problem_to_its_gap() -> None:
    net = make_network(4, (32, 32), preset="adaptive", relative_gap=1e-2, layers=50)
    default = make_network(4, (32, 32))
    assert net.schedule == AdaptiveSchedule(relative_gap=1e-2, max_layers=50)
    assert net.lam == default.lam
    assert torch.equal(net.weights, default.weights)
    assert make_network(4, (32, 32), preset="adaptive").schedule == AdaptiveSchedule()


def test_gap_is_refused_where_nothing_stops_on_it() -> None:
    with pytest.raises(UsageError, match="adaptive"):
        make_network(4, (32, 32), relative_gap=1e-2)


@pytest.mark.parametrize("preset", ["accurate", "stable"])
def test_a_budget_multiplies_the_lam_of_its_preset(preset) -> None:
    plain = make_network(4, (32, 32), preset=preset).lam
    for budget in (0.005, 0.01, 0.03, 0.2):
        net = make_network(4, (32, 32), preset=preset, budget=budget)
        assert net.lam == pytest.approx(plain * lam_factor(budget))


def test_the_default_bears_small_budgets_and_larger_ones_take_a_larger_lam() -> None:
    assert lam_factor(0.001) == lam_factor(0.01) == 1
    assert lam_factor(0.02) == pytest.approx(2)
    assert lam_factor(0.04) == pytest.approx(4)
    assert 4 < lam_factor(0.06) < lam_factor(0.08) == lam_factor(0.2) == pytest.approx(8)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"budget": 0}, "relative size in"),
        ({"budget": 0.5}, "relative size in"),
        ({"budget": 0.01, "lam": 0.1}, "chooses the automatic lam"),
        ({"budget": 0.01, "preset": "paper"}, "chooses the automatic lam"),
    ],
)
def test_a_budget_that_cannot_be_used_is_refused(options, match) -> None:
    with pytest.raises(UsageError, match=match):
        make_network(4, (32, 32), **options)
