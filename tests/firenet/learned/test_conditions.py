"""What a learned network is told of data: the level of noise, whatever the data's size."""

from __future__ import annotations

import math

import pytest
import torch
from learned_networks import REPORT, small_network
from torch import Tensor

from firenet_mri import reconstruct
from firenet_mri.firenet.learned.conditions import (
    CONDITIONS,
    OF_DATA,
    OF_SAMPLING,
    conditions_for,
    sampling_conditions,
)
from firenet_mri.firenet.learned.network import LearnedNetwork
from firenet_mri.firenet.learned.weights import save_network
from firenet_mri.operators import MatrixOperator, encoding_operator
from firenet_mri.phantoms import shepp_logan
from firenet_mri.simulation import simulate

SHAPE = (40, 36)
NOISE, STRONG, ENDS, MIDDLE = range(len(OF_DATA))


def noise(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    parts = torch.randn(*shape, 2, generator=generator, dtype=torch.float64) / math.sqrt(2)
    return torch.view_as_complex(parts)


def conditions(y: Tensor, mask: Tensor) -> Tensor:
    """Return the conditions of data of coils that see as many pixels as there are."""
    encoding = sense(mask, y.shape[-3])
    pixels = torch.tensor(float(math.prod(SHAPE)))
    found = conditions_for(encoding, y, encoding.residual(y), pixels)
    return found[..., len(OF_SAMPLING) :]


def mask_of(seed: int, *, lines: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (SHAPE[0], 1) if lines else SHAPE
    mask = torch.rand(*shape, generator=generator) < 0.5
    return mask.expand(SHAPE)[None].contiguous()


def sense(mask: Tensor | None, coils: int = 3):
    generator = torch.Generator().manual_seed(8)
    maps = torch.randn(coils, *SHAPE, dtype=torch.complex128, generator=generator)
    maps = maps / torch.linalg.vector_norm(maps, dim=0)
    return encoding_operator(mask, maps, 2)


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize("sigma", [0.004, 0.03])
def test_the_level_at_the_ends_is_the_standard_deviation_of_the_noise(lines, sigma) -> None:
    mask = mask_of(1, lines=lines)
    centre = torch.zeros(SHAPE, dtype=torch.complex128)
    centre[15:25, 13:23] = 5
    y = (centre + sigma * noise(8, *SHAPE)) * mask
    found = conditions(y, mask)
    assert 2 ** (2 * float(found[ENDS]) - 6) == pytest.approx(sigma, rel=0.1)
    assert 2 ** (2 * float(found[MIDDLE]) - 4) == pytest.approx(sigma, rel=0.2)
    assert float(found[NOISE]) == pytest.approx(float(found[ENDS]), abs=0.15)
    assert float(found[STRONG]) == max(float(found[NOISE]), 0)


def test_noise_is_told_from_fine_detail_where_coils_are_many() -> None:
    mask, sigma = mask_of(9), 0.004
    detail = noise(*SHAPE, seed=3) * 0.3
    y = sense(mask, 8)(detail) + sigma * noise(8, *SHAPE) * mask
    found = conditions(y, mask)
    assert 2 ** (2 * float(found[ENDS]) - 6) > 10 * sigma
    assert 2 ** (2 * float(found[NOISE]) - 6) == pytest.approx(sigma, rel=0.3)
    # Two coils at half the samples have nothing left over.
    few = sense(mask, 2)(detail) + sigma * noise(2, *SHAPE) * mask
    assert torch.equal(*conditions(few, mask)[[NOISE, ENDS]])


def test_a_few_strong_samples_and_dead_ones_do_not_decide() -> None:
    mask = mask_of(2)
    y = 0.02 * noise(8, *SHAPE) * mask
    before = conditions(y, mask)
    y[0] = 0
    y[1, ::7, ::5] *= 1000
    after = conditions(y, mask)
    assert float((after - before).abs().max()) < 0.15


def test_levels_beyond_all_scans_count_as_the_farthest_and_nothing_is_infinite() -> None:
    mask = mask_of(3)
    for factor, end in ((1e6, 3.0), (1e-12, -3.0)):
        found = conditions(factor * noise(2, *SHAPE) * mask, mask)
        assert float(found[ENDS]) == pytest.approx(end, abs=0.25)
    empty = conditions(torch.zeros(2, *SHAPE, dtype=torch.complex64), mask)
    assert torch.isfinite(empty).all()
    assert torch.isfinite(conditions(noise(2, *SHAPE), torch.zeros_like(mask))).all()


def test_attacks_see_how_the_levels_move() -> None:
    mask = mask_of(7)
    y = 0.02 * noise(2, *SHAPE) * mask
    direction = noise(2, *SHAPE, seed=1) * mask
    y.requires_grad_()
    for which in (NOISE, ENDS):
        (gradient,) = torch.autograd.grad(conditions(y, mask)[which], y)
        step = 1e-5
        with torch.no_grad():
            ahead, behind = (conditions(y + t * direction, mask)[which] for t in (step, -step))
        slope = (gradient.conj() * direction).real.sum()
        torch.testing.assert_close(slope, (ahead - behind) / (2 * step), rtol=1e-3, atol=1e-8)


def test_items_have_the_conditions_that_they_have_alone() -> None:
    masks = torch.stack([mask_of(4), mask_of(5, lines=True)])
    y = torch.stack([0.01 * noise(3, *SHAPE), 0.1 * noise(3, *SHAPE, seed=1)]) * masks
    found = conditions(y, masks)
    assert found.shape == (2, len(OF_DATA))
    for item in range(2):
        torch.testing.assert_close(found[item], conditions(y[item], masks[item]))
    assert sampling_conditions(sense(masks))[:, OF_SAMPLING.index("lines")].tolist() == [0, 1]


def test_an_encoding_of_any_other_kind_has_usual_conditions() -> None:
    matrix = MatrixOperator(torch.eye(12, dtype=torch.complex128))
    y = noise(2, 12)
    found = conditions_for(matrix, y, matrix.residual(y), torch.tensor(12.0))
    assert found.shape == (2, len(CONDITIONS))
    assert not found.any()


def listening_network() -> LearnedNetwork:
    """Return a network whose thresholds depend on the levels of the samples."""
    net = small_network()
    for stage in net.stages:
        stage.slopes[:, len(OF_SAMPLING) :] = 0.4
    return net


def test_the_image_of_data_of_another_size_is_of_that_size_too() -> None:
    mask, net = mask_of(6), listening_network()
    y = 0.1 * noise(3, *SHAPE) * mask
    y[:, 18:22, 16:20] += 4
    y = y * mask
    image = net(y, sense(mask))
    torch.testing.assert_close(net(1e4 * y, sense(mask)), 1e4 * image)
    louder = net(y + 0.5 * noise(3, *SHAPE, seed=2) * mask, sense(mask))
    assert not torch.allclose(louder, image)


def test_a_network_says_that_its_levels_are_made_from_the_data() -> None:
    assert small_network().made_from == ()
    (part,) = listening_network().made_from
    assert part.from_data
    assert part.name == "levels of noise and detail"


def test_a_certificate_names_the_levels_wherever_it_says_what_is_kept_fixed(tmp_path) -> None:
    scan = simulate(shepp_logan(40)[None], coils=4, acceleration=2, calibration=12)
    for net, has_levels in ((small_network(), False), (listening_network(), True)):
        path = tmp_path / f"{has_levels}.safetensors"
        save_network(path, net, REPORT)
        certificate = reconstruct(scan, weights=path, maps="lowres").certificate
        for name in ("lipschitz_bound", "encoding"):
            (statement,) = {one.statement for one in certificate.entries if one.name == name}
            assert ("levels of noise and detail (made from these data)" in statement) == has_levels
