"""Hard attacks find planted instabilities that are hidden from the usual one, each in its way."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from firenet_benchmark.stability.criteria import Attack
from firenet_benchmark.stability.evaluation_data import EvaluationData
from firenet_benchmark.stability.hard_attacks import (
    TEST,
    HardAttack,
    _Search,
    hard_attacks,
    variant,
)
from firenet_benchmark.stability.hard_summary import hard_results, sentences
from firenet_benchmark.stability.html_report import page_of
from firenet_benchmark.stability.methods import Batch, Method, zero_filling
from firenet_benchmark.stability.networks import combine
from firenet_benchmark.stability.requirements import quantities
from firenet_benchmark.stability.run import StabilityBenchmark, compare

SIZE = 0.04
USUAL = Attack(relative_sizes=(SIZE,), steps=8, restarts=2, strong_steps=0)
HARD = HardAttack((SIZE,), 1, steps=20, restarts=2, smoothed_steps=15, queries=60, width=3)
SETTINGS = StabilityBenchmark(1, 1, 1, (), (), USUAL, questions=("hard-attacks",), hard=HARD)
GAIN = 20.0


def nothing(*_: int) -> None:
    return None


def planted(item: Batch, direction: torch.Tensor, response, name: str) -> Method:
    """Return zero filling with a spot that a direction of k-space switches on."""

    def image(part: Batch, kspace: torch.Tensor) -> torch.Tensor:
        along = (direction.conj() * (kspace - item.kspace[:1])).real.sum((1, 2, 3))
        return combine(kspace, part.maps).abs() + response(along)[:, None, None] * spot(item)

    return Method(name, "trained", image, "for tests")


def spot(item: Batch) -> torch.Tensor:
    image = torch.zeros(item.kspace.shape[-2:])
    image[30:34, 30:34] = GAIN / 4
    return image


def white(item: Batch, seed: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    e = torch.randn(item.kspace.shape[1:], dtype=torch.complex64, generator=generator)
    e = e * item.mask[0]
    return e / e.norm()


def values(rows, attack: str, metric: str) -> list[float]:
    wanted = (TEST, variant(SIZE, attack), metric)
    return [row.value for row in rows if (row.test, row.variant, row.metric) == wanted]


def test_gradients_averaged_over_noise_see_through_a_shattered_one(small: EvaluationData) -> None:
    """A wave that is next to nothing, but sixty times as steep as the rest, points elsewhere."""
    item = small.attacked
    radius = SIZE * float(item.kspace.norm())
    period = 1e-4 * radius
    elsewhere = white(item, seed=4)

    def hidden(part: Batch, kspace: torch.Tensor) -> torch.Tensor:
        along = (elsewhere.conj() * (kspace - item.kspace[:1])).real.sum((1, 2, 3))
        wave = 60 * period * torch.sin(along / period)
        # At the data the gradient is right, so that the method counts as one with a gradient.
        wave = torch.where(along.abs() > 1e-3 * radius, wave, 0 * wave)
        return plain.image(part, kspace) + wave[:, None, None] * spot(item)

    plain = planted(item, white(item), lambda along: along, "plain")
    method, found = replace(plain, image=hidden), {}
    for noise in (1e-6, 0.5):
        few = replace(HARD, draws=24, restarts=1, steps=1, queries=1, noise=noise)
        measured = hard_attacks(method, item, USUAL, few, nothing)
        assert measured.note == ""
        (found[noise],) = values(measured.rows, "smoothed", "amplification")
    assert found[0.5] > 1.3 * found[1e-6]
    assert found[0.5] > 0.9 * GAIN


def test_a_gradient_that_misleads_is_averaged_all_the_same(small: EvaluationData) -> None:
    item = small.attacked
    period = 1e-4 * SIZE * float(item.kspace.norm())

    def shattered(along: torch.Tensor) -> torch.Tensor:
        return along + 100 * period * torch.sin(along / period)

    found = hard_attacks(planted(item, white(item), shattered, "a"), item, USUAL, HARD, nothing)
    assert "not attacked along its gradient: its gradient predicts" in found.note
    assert {row.variant for row in found.rows} == {"4 %, black box", "4 %, smoothed"}
    (smoothed,) = values(found.rows, "smoothed", "amplification")
    assert smoothed > 0.5 * GAIN


def test_the_black_box_needs_no_gradient(small: EvaluationData) -> None:
    """It finds most of an instability of low frequency that is cut off from the graph."""
    item = small.attacked
    search = _Search(zero_filling(), item, HARD, 0, nothing)
    u = torch.zeros(3, 3, dtype=torch.complex64)
    u[0, 2] = 1
    direction = search._smooth(u, torch.ones(1))[0]

    def cut(along: torch.Tensor) -> torch.Tensor:
        return along.detach().abs()

    method = planted(item, direction, cut, "cut")
    found = hard_attacks(method, item, USUAL, HARD, nothing)
    assert found.note == ""
    (usual,) = values(found.rows, "usual", "amplification")
    (black_box,) = values(found.rows, "black box", "amplification")
    assert black_box > 0.7 * GAIN > usual


def test_without_a_gradient_only_the_black_box_is_asked(small: EvaluationData) -> None:
    method = replace(zero_filling(), image=lambda b, k: combine(k.detach(), b.maps))
    found = hard_attacks(method, small.attacked, USUAL, HARD, nothing)
    assert "not attacked along its gradient: its image carries no gradient" in found.note
    assert {row.variant for row in found.rows} == {"4 %, black box"}


@pytest.fixture(scope="module")
def compared(small, tmp_path_factory):
    """Return a comparison of three methods, of which one hides what another shows."""
    item = small.attacked
    methods = [
        planted(item, white(item), lambda along: along.abs(), "open"),
        planted(item, white(item), lambda along: along.detach().abs(), "hidden"),
        zero_filling(),
    ]
    return compare(methods, SETTINGS, tmp_path_factory.mktemp("kept"), data=small)


def test_what_is_found_for_another_method_counts(compared) -> None:
    open_, hidden, zero = hard_results(compared, SIZE)
    assert hidden.ahead == "transfer"
    assert hidden.loss > 3
    assert hidden.psnr_db["worst of all"] == hidden.psnr_db["transfer"]
    assert abs(open_.loss) < 0.3
    for one in (open_, hidden, zero):
        attacks = [value for name, value in one.psnr_db.items() if name != "worst of all"]
        assert one.psnr_db["worst of all"] == pytest.approx(min(attacks))
    assert len(hidden.psnr_db) == 6
    matrix = [row for row in compared.rows if row.test == "hard attacks, transfer of 4 %"]
    assert {(row.method, row.variant) for row in matrix} == {
        (a, b)
        for a in ("open", "hidden", "zero filling")
        for b in ("open", "hidden", "zero filling")
    } - {(a, a) for a in ("open", "hidden", "zero filling")}


def test_a_sentence_names_whose_numbers_are_too_good(compared) -> None:
    (sentence,) = sentences(compared)
    assert sentence.startswith(
        "Hard attacks of 4 %: the usual attack is too weak, and its numbers are too good: hidden by"
    )
    assert "(transfer)" in sentence
    assert "open" not in sentence
    assert sentence in page_of(compared, b"")
    others = tuple(row for row in compared.rows if row.method == "zero filling")
    (sentence,) = sentences(replace(compared, rows=others))
    assert "no harder attack is ahead of the usual one by more than 0.3 dB; the most is" in sentence


def test_the_worst_of_all_can_be_required(compared, small) -> None:
    quantity = quantities(SETTINGS, small)["hard_4%"]
    (hidden,) = (one for one in hard_results(compared, SIZE) if one.method == "hidden")
    assert quantity.value(compared.rows, "hidden") == hidden.psnr_db["worst of all"]


def test_a_look_leaves_them_out(small) -> None:
    assert "hard-attacks" not in StabilityBenchmark.smoke().questions
    assert "hard-attacks" in StabilityBenchmark().questions
