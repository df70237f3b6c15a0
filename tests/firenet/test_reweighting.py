"""A reweighted pass spares the coefficients of an image, and says what is no longer proven."""

from __future__ import annotations

import pytest
import torch

from firenet_mri import FIRENET, NetworkSchedule, certify
from firenet_mri.errors import UsageError
from firenet_mri.firenet.presets import make_network
from firenet_mri.firenet.reweighting import (
    ReweightingDerivative,
    reweighted,
    solve_passes,
)
from firenet_mri.operators import (
    MatrixOperator,
    OrthogonalWavelet,
    StationaryWavelet,
    encoding_operator,
)

SIZE = 64


def case(randn):
    """Return a network, a truth that is sparse in its wavelets, some noisy data, the encoding."""
    encoding = MatrixOperator(torch.linalg.qr(randn(SIZE, SIZE))[0][:48], 1.0)
    wavelet = OrthogonalWavelet("haar", 1, (SIZE,))
    truth = torch.zeros(SIZE, dtype=torch.complex128)
    truth[[3, 20, 41, 60]] = 10.0
    y = encoding(wavelet.adjoint(truth)) + 0.05 * randn(48)
    return FIRENET(wavelet, 0.3, None, NetworkSchedule(60, decay=0.97)), truth, y, encoding


def test_weights_are_those_of_the_formula(randn) -> None:
    net, _, y, encoding = case(randn)
    x = net(y, encoding)
    following = reweighted(net, x, y, encoding)
    knee = 6 * (encoding(x) - y).norm() / 48**0.5
    assert torch.allclose(following.weights, knee / (net.sparsifier(x).abs() + knee))
    assert following.lam == pytest.approx(1.3 * net.lam)


def test_every_pass_begins_at_the_image_before_and_has_weights_of_its_own(randn) -> None:
    net, _, y, encoding = case(randn)
    x = net(y, encoding)
    second = reweighted(net, x, y, encoding)
    x = second(y, encoding, x)
    third = reweighted(net, x, y, encoding)
    last, state = solve_passes(net, y, encoding, passes=3)
    assert torch.equal(last.weights, third.weights)
    assert last.lam == third.lam == second.lam
    assert torch.equal(state.x, third(y, encoding, x))


def test_a_sparse_image_comes_out_less_biased(randn) -> None:
    net, truth, y, encoding = case(randn)
    x = net(y, encoding)
    after = reweighted(net, x, y, encoding)(y, encoding, x)
    errors = [float((net.sparsifier(image) - truth).norm()) for image in (x, after)]
    assert errors[1] < 0.7 * errors[0]


def test_samples_that_were_not_taken_do_not_count_as_free_of_noise(randn) -> None:
    net, _, y, encoding = case(randn)
    padded = MatrixOperator(torch.cat([encoding.matrix, torch.zeros(16, SIZE)]), 1.0)
    x = net(y, encoding)
    weights = reweighted(net, x, torch.cat([y, torch.zeros(16)]), padded).weights
    assert torch.allclose(weights, reweighted(net, x, y, encoding).weights)


def test_gap_is_proven_and_stability_is_not(randn) -> None:
    _, _, y, encoding = case(randn)
    net = FIRENET(StationaryWavelet(2, (SIZE,)), 0.01, None, NetworkSchedule(20))
    x = net(y, encoding)
    following = reweighted(net, x, y, encoding)
    certificate = certify(following, y, encoding, following.solve(y, encoding, x), x0=x)
    status = {entry.name: entry.status for entry in certificate.entries}
    assert status["duality_gap"] == "proven"
    assert status["lipschitz_bound"] == "not verified"
    assert "eweighting" in certificate.sentence()


@pytest.mark.parametrize("noise", [1.0, 1e-4], ids=["noisy", "as small as a weight can be"])
def test_its_derivative_is_that_of_finite_differences(noise, randn) -> None:
    net, truth, y, encoding = case(randn)
    x = net.sparsifier.adjoint(truth + 0.5 * randn(SIZE))
    y = encoding(x) + noise * randn(48)
    dx, dy = randn(SIZE), randn(48)
    derivative = ReweightingDerivative(net, x, y, encoding)
    residual = encoding(x) - y
    distance = float((residual.conj() * (encoding(dx) - dy)).real.sum())
    found = derivative.forward(dx, distance)
    logs = [
        reweighted(net, x + step * dx, y + step * dy, encoding).weights.log()
        for step in (1e-7, -1e-7)
    ]
    torch.testing.assert_close(found, (logs[0] - logs[1]) / 2e-7, rtol=1e-5, atol=1e-6)
    assert bool((found == 0).any()) == (noise < 1)
    row = randn(SIZE).real
    image, of_distance = derivative.transpose(row)
    transposed = float((image.conj() * dx).real.sum()) + of_distance * distance
    assert transposed == pytest.approx(float((row * found).sum()))


def test_a_moving_grid_is_refused(randn) -> None:
    _, _, y, encoding = case(randn)
    wavelet = OrthogonalWavelet("haar", 1, (SIZE,))
    net = FIRENET(wavelet, schedule=NetworkSchedule(3), shift_seed=0)
    with pytest.raises(UsageError, match="undecimated-haar"):
        reweighted(net, randn(SIZE), y, encoding)


def test_a_batch_is_refused(randn) -> None:
    net, _, y, encoding = case(randn)
    with pytest.raises(UsageError, match="item by item"):
        reweighted(net, randn(2, SIZE), y.expand(2, -1), encoding)


@pytest.mark.parametrize("name", ["tv", "dual-tree", "tv+undecimated-haar"])
def test_groups_are_reweighted_by_their_norm(name) -> None:
    """Coefficients that are penalised together keep one weight, and the next pass is certified."""
    truth = torch.zeros(16, 16, dtype=torch.complex128)
    truth[4:10, 3:12] = 10.0
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(4, 16, 16, dtype=torch.complex128, generator=generator)
    mask = torch.rand(16, 16, generator=generator) < 0.6
    encoding = encoding_operator(mask, maps / torch.linalg.vector_norm(maps, dim=0))
    noise = torch.randn(4, 16, 16, dtype=torch.complex128, generator=generator)
    y = encoding(truth) + 0.3 * noise * mask
    net = make_network(4, (16, 16), sparsifier=name, layers=200)
    with torch.no_grad():
        x = net(y, encoding)
        following = reweighted(net, x, y, encoding)
        problem = following.problem(encoding)
        state = following.solve(y, encoding, x)
    assert float(following.weights.min()) < 0.3 * float(following.weights.max())
    modulus = net.problem(encoding).modulus(net.sparsifier(x))
    for part, sizes in zip(
        following.weights.split(net.sparsifier.groups),
        modulus.split(net.sparsifier.groups),
        strict=True,
    ):
        assert torch.equal(part, part[:1].expand_as(part))
        assert bool((part[0].flatten()[sizes[0].argmax()] <= part[0].flatten()).all())
    assert float(problem.objective(state.x, y)) < float(problem.objective(x, y))
    certificate = certify(following, y, encoding, state, x0=x)
    assert 0 <= certificate.relative_gap[0] < 0.2


def test_the_next_pass_shares_its_layers(randn) -> None:
    net, _, y, encoding = case(randn)
    following = reweighted(net, net(y, encoding), y, encoding)
    assert following.solver is net.solver
    assert following.weights_depend_on_data
    assert not net.weights_depend_on_data
