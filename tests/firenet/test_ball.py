"""The projection of the image on ||x|| <= B ||y||: what it does, and what is proven of it."""

from __future__ import annotations

import math

import pytest
import torch
from jacobians import jacobian_of
from torch import Tensor

from firenet_mri import FIRENET, AdaptiveSchedule, NetworkSchedule, certify
from firenet_mri.errors import UsageError
from firenet_mri.firenet.presets import make_network
from firenet_mri.firenet.reweighting import reweighted
from firenet_mri.firenet.trainable import TrainableSteps
from firenet_mri.operators import MatrixOperator, OrthogonalWavelet, StationaryWavelet

# Small enough to act on every image here, and one that never does.
ACTS, RESTS = 0.3, 20.0
SPARSIFIERS = {
    "synthesis": OrthogonalWavelet("haar", 2, (16,)),
    "analysis": StationaryWavelet(2, (16,)),
}


def problem(seed: int = 0, rows: int = 10) -> tuple[MatrixOperator, Tensor]:
    """Return an operator of norm 1 and data of it with noise."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(rows, 16, dtype=torch.float64, generator=generator)
    matrix = matrix / torch.linalg.matrix_norm(matrix, 2)
    image = torch.randn(16, dtype=torch.float64, generator=generator)
    noise = 0.1 * torch.randn(rows, dtype=torch.float64, generator=generator)
    return MatrixOperator(matrix, 1.0), matrix @ image + noise


def network(ball: float | None, form: str = "analysis", layers: int = 8) -> FIRENET:
    schedule = NetworkSchedule(layers, data_consistency=0.5)
    return FIRENET(SPARSIFIERS[form], 0.02, schedule=schedule, ball=ball)


@pytest.mark.parametrize("form", SPARSIFIERS)
def test_image_is_projected_and_all_faces_agree(form) -> None:
    encoding, y = problem()
    batch = torch.stack([y, -3 * y, 0 * y])
    free, net = network(None, form), network(ACTS, form)
    x, projected = free(batch, encoding), net(batch, encoding)
    radius = ACTS * batch.norm(dim=-1, keepdim=True)
    assert (x[:2].norm(dim=-1) > 1.1 * radius[:2, 0]).all()
    expected = x / x.norm(dim=-1, keepdim=True) * radius
    assert torch.allclose(projected[:2], expected[:2], rtol=1e-13)
    assert (projected[2] == 0).all()
    assert torch.equal(net.solve(batch, encoding).x, projected)
    *_, (_, _, last) = net.iterates(batch, encoding)
    *_, progress = net.progress_iterates(batch, encoding)
    assert torch.equal(last, projected)
    assert torch.equal(progress.x, projected)
    assert torch.equal(progress.state().x, projected)
    assert torch.equal(progress.state().v, free.solve(batch, encoding).v)


def test_nothing_changes_where_the_image_lies_inside() -> None:
    encoding, y = problem()
    assert torch.equal(network(RESTS)(y, encoding), network(None)(y, encoding))


@pytest.mark.parametrize("power", [60, -60])
def test_data_of_any_size_give_the_image_of_ordinary_data(power) -> None:
    encoding, y = problem()
    encoding, y = MatrixOperator(encoding.matrix.float(), 1.0), y.float()
    net = network(ACTS)
    assert torch.equal(net(y * 2.0**power, encoding), net(y, encoding) * 2.0**power)


@pytest.mark.parametrize("form", SPARSIFIERS)
@pytest.mark.parametrize("ball", [ACTS, RESTS])
def test_jacobian_is_that_of_automatic_differentiation(form, ball) -> None:
    encoding, y = problem(1)
    net = network(ball, form)
    expected = torch.autograd.functional.jacobian(lambda z: net(z, encoding), y)
    jacobian = jacobian_of(net, y, encoding)
    eye = torch.eye(len(y), dtype=torch.float64)
    columns = torch.stack([jacobian.forward(u) for u in eye], -1)
    rows = torch.stack([jacobian.transpose(u) for u in torch.eye(16, dtype=torch.float64)])
    assert torch.allclose(columns, expected, atol=1e-12)
    assert torch.allclose(rows, expected, atol=1e-12)


def test_gradient_at_an_image_of_zeros_is_a_number() -> None:
    encoding, y = problem()
    data = (0 * y).requires_grad_()
    network(ACTS)(data, encoding).sum().backward()
    assert data.grad is not None
    assert torch.isfinite(data.grad).all()


@pytest.mark.parametrize("form", SPARSIFIERS)
@pytest.mark.parametrize("ball", [ACTS, 1.5, RESTS])
def test_jacobians_stay_below_the_bound_wherever_the_ball_acts_or_rests(form, ball) -> None:
    acted, largest = set(), 0.0
    for seed in range(5):
        encoding, y = problem(seed, rows=4 + seed)
        net = network(ball, form, layers=5 + 3 * (seed % 3))
        ratio = float(network(None, form, net.depth)(y, encoding).norm() / y.norm())
        acted.add(ratio > ball)
        jacobian = torch.autograd.functional.jacobian(lambda z: net(z, encoding), y)  # noqa: B023
        norm = float(torch.linalg.matrix_norm(jacobian, 2))
        fixed, everywhere = net.lipschitz_bound(encoding), net.lipschitz_bound_everywhere(encoding)
        assert everywhere == pytest.approx(math.hypot(fixed, min(fixed, ball)))
        assert norm <= math.hypot(fixed, min(ball, ratio)) * (1 + 1e-9)
        assert norm <= everywhere * (1 + 1e-9)
        largest = max(largest, norm / everywhere)
    assert acted == {ACTS: {True}, 1.5: {True, False}, RESTS: {False}}[ball]
    assert largest > 0.1


def test_bound_without_a_ball_is_not_enough_for_a_network_with_a_large_one() -> None:
    """min(B, L1): a ball beyond L1 proves no more than L1 itself."""
    encoding, _ = problem()
    wide, free = network(RESTS, layers=3), network(None, layers=3)
    fixed = free.lipschitz_bound(encoding)
    assert fixed < RESTS
    expected = math.sqrt(2) * fixed
    assert wide.lipschitz_bound_everywhere(encoding) == pytest.approx(expected)
    assert free.lipschitz_bound_everywhere(encoding) == pytest.approx(expected)


def test_certificate_says_whether_the_ball_acts_and_has_the_gap_of_the_projected_image() -> None:
    encoding, y = problem()
    data = torch.stack([y, 2 * y])
    for ball, word in ((ACTS, "outside"), (RESTS, "inside")):
        net = network(ball)
        state = net.solve(data, encoding)
        certificate = certify(net, data, encoding, state)
        (entry,) = (one for one in certificate.entries if one.name == "image_ball")
        assert word in entry.statement
        ratios = state.x.norm(dim=-1) / data.norm(dim=-1)
        assert entry.values["image_over_data"] == pytest.approx(ratios.tolist())
        objective = net.problem(encoding).objective(state.x, data)
        assert certificate.objective == pytest.approx(objective.tolist())
        expected = [math.hypot(net.lipschitz_bound(encoding), one) for one in ratios.tolist()]
        assert certificate.lipschitz_bound_at_data == pytest.approx(expected)
        expected_everywhere = net.lipschitz_bound_everywhere(encoding)
        assert certificate.lipschitz_bound == pytest.approx(expected_everywhere)


def test_certificate_of_a_batch_marks_the_items_apart() -> None:
    encoding, y = problem()
    # Data that no image explains give a small image.
    u, _, _ = torch.linalg.svd(encoding.matrix)
    data = torch.stack([y, 1e-3 * y + u[:, -1] * y.norm()])
    free = network(None)(data, encoding)
    ratios = (free.norm(dim=-1) / data.norm(dim=-1)).tolist()
    net = network(sum(ratios) / 2)
    entries = certify(net, data, encoding, net.solve(data, encoding)).entries
    items = {entry.items: entry.statement for entry in entries if entry.name == "image_ball"}
    assert set(items) == {(0,), (1,)}
    assert "outside" in items[(int(ratios[1] > ratios[0]),)]


@pytest.mark.parametrize("ball", [0.0, -1.0, math.inf, math.nan])
def test_ball_that_is_no_positive_number_is_refused(ball) -> None:
    with pytest.raises(UsageError, match="positive number"):
        FIRENET(ball=ball)


@pytest.mark.parametrize("schedule", [NetworkSchedule(eps0=1.0), AdaptiveSchedule()])
def test_ball_is_refused_where_it_proves_nothing(schedule) -> None:
    with pytest.raises(UsageError, match="eps0=None"):
        FIRENET(schedule=schedule, ball=2.0)


@pytest.mark.parametrize(
    ("preset", "ball"),
    [("accurate", 2.5), ("stable", 2.5), ("coherent", 2.5), ("paper", None), ("adaptive", None)],
)
def test_presets_have_a_ball_where_their_bound_profits(preset, ball) -> None:
    assert make_network(2, (16, 16), preset=preset).ball == ball


def test_presets_are_proven_as_stable_as_the_documents_say() -> None:
    """At ||A|| = 1: L1 of the analysis form, and with the ball, everywhere."""
    stated = {"accurate": (17.49, 17.67), "stable": (3.34, 4.18), "paper": (4.28, 6.04)}
    stated["coherent"] = stated["accurate"]
    for preset, (fixed, everywhere) in stated.items():
        net = make_network(2, (16,) * 2, preset=preset)
        encoding = MatrixOperator(torch.eye(256), 1.0)
        encoding.domain_shape = torch.Size((16, 16))
        assert fixed - 0.011 < net.lipschitz_bound(encoding) <= fixed
        assert everywhere - 0.011 < net.lipschitz_bound_everywhere(encoding) <= everywhere


def test_ball_grows_with_encodings_of_small_norm_only() -> None:
    """Data of maps that are a hundredth are a hundredth as long; density weights lengthen few."""
    encoding, y = problem()
    net, free = network(1.5), network(None)
    for scale in (1e-2, 1.0, 1e2):
        scaled = MatrixOperator(encoding.matrix * scale, scale)
        ratio = float(free(y * scale, scaled).norm() / (y * scale).norm())
        assert net.radius(scaled) == pytest.approx(1.5 / min(1.0, scale))
        expected = min(ratio, net.radius(scaled)) * float((y * scale).norm())
        assert float(net(y * scale, scaled).norm()) == pytest.approx(expected)
        fixed = net.lipschitz_bound(scaled)
        assert net.lipschitz_bound_everywhere(scaled) == pytest.approx(
            math.hypot(fixed, min(fixed, 1.5 / min(1.0, scale)))
        )


def test_trained_and_reweighted_networks_keep_the_ball() -> None:
    encoding, y = problem()
    net = FIRENET(SPARSIFIERS["analysis"], 0.02, schedule=NetworkSchedule(8), ball=ACTS)
    trained = TrainableSteps(net).applied_to(net)
    again = reweighted(net, net(y, encoding), y, encoding)
    for other in (trained, again):
        assert other.ball == ACTS
        image = other(y, encoding)
        assert float(image.detach().norm()) == pytest.approx(ACTS * float(y.norm()))
    assert "ball=0.3" in repr(net)
