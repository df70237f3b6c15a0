"""Criteria with known values: linear methods, planted instabilities, details, null spaces."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from firenet_benchmark.stability.criteria import (
    Attack,
    accuracy,
    details,
    false_structures,
    random_noise,
    scale,
    worst_case,
)
from firenet_benchmark.stability.data import Protocol, images, simulated_case
from firenet_benchmark.stability.methods import (
    Batch,
    Method,
    batch_of,
    firenets,
    zero_filling,
)
from firenet_benchmark.stability.networks import combine, spread
from firenet_mri.errors import DataError, ShapeError

QUICK = Attack(relative_sizes=(0.01, 0.02), steps=15, restarts=2, strong_steps=20)


@pytest.fixture(scope="module")
def batch() -> Batch:
    return batch_of([simulated_case(images("test")[i], seed=i, name=str(i)) for i in (2, 5)])


def method(image) -> Method:
    return Method("made up", "trained", image, "for tests")


def numbers(measured, metric: str) -> list[float]:
    return [row.value for row in measured.rows if row.metric == metric]


def nothing(*_: int) -> None:
    return None


def planted(batch: Batch, gain: float):
    """Return zero filling with a spot that one direction of k-space switches on."""
    generator = torch.Generator().manual_seed(3)
    direction = torch.randn(batch.kspace.shape[1:], dtype=torch.complex64, generator=generator)
    direction = direction * batch.mask[0]
    direction = direction / direction.norm()
    spot = torch.zeros(batch.kspace.shape[-2:])
    spot[60:64, 60:64] = gain / 4

    def image(part: Batch, kspace: torch.Tensor) -> torch.Tensor:
        along = (direction.conj() * (kspace - batch.kspace[:1])).real.sum((1, 2, 3))
        return combine(kspace, part.maps).abs() + along[:, None, None] * spot

    return method(image)


def test_attack_finds_a_planted_instability(batch) -> None:
    """The gain along one of 49152 directions is 50; noise of the same size hardly meets it."""
    one = batch[:1]
    bad = planted(one, 50.0)
    found = worst_case(bad, one, replace(QUICK, steps=40), nothing)
    assert min(numbers(found, "amplification")) > 0.9 * 50
    assert max(numbers(random_noise(bad, one, (0.01,), 0), "amplification")) < 2
    (ratio,) = numbers(found, "stronger_over_first")
    assert 0.9 < ratio < 1.1
    # An attack that is too weak is found out by the stronger one.
    (ratio,) = numbers(
        worst_case(bad, one, replace(QUICK, steps=0), nothing), "stronger_over_first"
    )
    assert ratio > 1.5
    assert max(numbers(found, "psnr_db")) < max(numbers(accuracy(bad, one, "a", "b"), "psnr_db"))


def test_zero_filling_never_exceeds_its_bound(batch) -> None:
    found = worst_case(zero_filling(), batch, QUICK, nothing)
    assert 0.3 < max(numbers(found, "amplification")) <= 1
    # Its images of a larger perturbation are worse.
    psnr = {row.variant: row.value for row in found.rows if row.metric == "psnr_db"}
    assert psnr["2 %"] < psnr["1 %"]


def test_details_come_out_of_what_keeps_them_and_not_of_what_does_not(data) -> None:
    truth = {id(pair.after): pair.after.reference for pair in data.details}
    truth |= {id(pair.before): pair.before.reference for pair in data.details}
    right = details(method(lambda part, _: truth.get(id(part), part.reference)), data.details)
    assert numbers(right, "recovered") == pytest.approx([1] * 5, abs=0.01)
    assert max(numbers(right, "leaked")) < 0.05
    blind = details(method(lambda part, _: torch.ones(len(part), 128, 128)), data.details)
    assert numbers(blind, "recovered") == [0] * 5
    zero = numbers(details(zero_filling(), data.details), "recovered")
    assert all(0.2 < value < 0.9 for value in zero)


def test_false_structures_are_what_the_samples_do_not_see(batch) -> None:
    perfect = false_structures(method(lambda part, _: part.truth), batch)
    assert max(numbers(perfect, "relative")) < 1e-6
    # What the samples see is no false structure, however wrong; what they do not see is.
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(2, 128, 128, dtype=torch.complex64, generator=generator)
    seen = combine(batch.mask * spread(noise, batch.maps), batch.maps)
    visible = false_structures(method(lambda part, _: part.truth + seen), batch)
    assert max(numbers(visible, "relative")) < 0.02 * float(seen.norm() / batch.truth.norm())
    zero = numbers(false_structures(zero_filling(), batch), "relative")
    assert all(0.05 < value < 0.5 for value in zero)
    with_none = false_structures(zero_filling(), Batch(**{**batch.__dict__, "truth": None}))
    assert with_none.rows == []


def test_scale_is_noticed(batch) -> None:
    assert max(numbers(scale(zero_filling(), batch, (0.1, 10.0)), "relative_error")) < 1e-5
    bad = method(lambda part, kspace: combine(kspace, part.maps).abs() + 1)
    assert min(numbers(scale(bad, batch, (0.1,)), "relative_error")) > 0.05


def test_wrong_images_are_named(batch) -> None:
    with pytest.raises(ShapeError, match=r"shape \(2, 128\); it must be \(2, 128, 128\)"):
        accuracy(method(lambda part, _: torch.ones(2, 128)), batch, "a", "b")
    with pytest.raises(DataError, match="NaN"):
        accuracy(method(lambda part, _: torch.full((2, 128, 128), torch.nan)), batch, "a", "b")


def test_protocols_reach_the_scan() -> None:
    case = simulated_case(images("test")[0], Protocol(coils=4, acceleration=3), seed=0)
    assert case.kspace.shape[0] == 4


def test_an_attack_on_the_sharp_preset_moves_its_weights_too(batch) -> None:
    """The gradient of the image is that of both passes, as finite differences see it."""
    sharp = next(one for one in firenets() if one.name == "FIRENET sharp")
    assert sharp.lipschitz_bound is None
    generator = torch.Generator().manual_seed(0)
    kspace = batch.kspace[:1].to(torch.complex128)
    wide = replace(batch[:1], maps=batch.maps[:1].to(torch.complex128), kspace=kspace)
    u = torch.randn(kspace.shape, generator=generator, dtype=kspace.dtype) * batch.mask[:1]
    variable = kspace.clone().requires_grad_()
    image = sharp.image(wide, variable)
    weights = torch.randn(image.shape, generator=generator, dtype=torch.complex128)
    (gradient,) = torch.autograd.grad((weights.conj() * image).real.sum(), variable)
    # Soft thresholds have kinks, which a larger step crosses.
    step = 1e-8 * float(kspace.norm() / u.norm())
    with torch.no_grad():
        moved = [sharp.image(wide, kspace + sign * step * u) for sign in (1, -1)]
    expected = float((weights.conj() * (moved[0] - moved[1])).real.sum()) / (2 * step)
    assert float((gradient.conj() * u).real.sum()) == pytest.approx(expected, rel=1e-4)
