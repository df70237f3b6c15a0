"""A reweighted pass spares the coefficients of an image, and says what is no longer proven."""

from __future__ import annotations

import pytest
import torch

from firenet_mri import FIRENET, NetworkSchedule, certify
from firenet_mri.errors import UsageError
from firenet_mri.firenet.reweighting import reweighted
from firenet_mri.firenet.verification import measure_gain
from firenet_mri.operators import MatrixOperator, OrthogonalWavelet, StationaryWavelet

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
    knee = 3 * (encoding(x) - y).norm() / 48**0.5
    assert torch.allclose(following.weights, knee / (net.sparsifier(x).abs() + knee))
    assert following.lam == net.lam
    again = reweighted(following, x, y, encoding)
    assert torch.allclose(again.weights, following.weights**2)


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
    assert measure_gain(following, y, encoding).status == "not verified"


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
