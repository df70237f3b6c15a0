"""With the paper's parameters the network is the published iteration, after every inner step.

The oracle is a transcription in plain NumPy, on the scaled problem as the paper writes it: data
al y, start al psi, then division by al.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from firenet_mri import FIRENET, PaperSchedule
from firenet_mri.operators import MatrixOperator, OrthogonalWavelet, StationaryWavelet


def soft(z: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    size = np.maximum(np.abs(z), 1e-300)
    return z * np.maximum(1 - threshold / size, 0)


def published_iterates(A, y, w, lam, *, n, p, tau, sigma, L, delta, nu, eps0):
    """Yield psi after every inner step of every restart."""
    psi = np.zeros(A.shape[1], complex)
    eps = eps0
    for _ in range(n):
        eps = nu * (delta + eps)
        beta = eps / (2 * L)
        al = 1 / (beta * p)
        x, v, total = al * psi, np.zeros(A.shape[0], complex), np.zeros(A.shape[1], complex)
        for k in range(1, p + 1):
            x_next = soft(x - tau * (A.conj().T @ v), tau * lam * w)
            v = v + sigma * (A @ (2 * x_next - x)) - sigma * al * y
            v = v / max(1.0, np.linalg.norm(v))
            x = x_next
            total = total + x
            yield total / (al * k)
        psi = total / (al * p)


@pytest.fixture
def problem():
    rng = np.random.default_rng(7)
    A = (rng.standard_normal((12, 20)) + 1j * rng.standard_normal((12, 20))) / 6
    truth = np.zeros(20, complex)
    truth[[2, 9, 15]] = [1 + 1j, -2, 0.5j]
    y = A @ truth + 0.01 * (rng.standard_normal(12) + 1j * rng.standard_normal(12))
    w = rng.uniform(0.5, 2, 20)
    return A, y, w, float(np.linalg.norm(A, 2))


@pytest.mark.parametrize(("n", "p"), [(5, 5), (3, 10), (1, 1), (8, 2)])
@pytest.mark.parametrize("absolute_delta", [1e-9, 1e-2])
def test_iterates_equal_the_published_ones_after_every_inner_step(
    problem, n, p, absolute_delta
) -> None:
    A, y, w, L = problem
    lam = 0.05
    eps0 = float(np.linalg.norm(y))
    net = FIRENET(
        lam=lam,
        weights=torch.from_numpy(w),
        schedule=PaperSchedule(restarts=n, inner=p, delta=absolute_delta / eps0),
    )
    ours = net.iterates(torch.from_numpy(y), MatrixOperator(torch.from_numpy(A), L))
    theirs = published_iterates(
        A,
        y,
        w,
        lam,
        n=n,
        p=p,
        tau=1 / L,
        sigma=1 / L,
        L=L,
        delta=absolute_delta,
        nu=np.exp(-1),
        eps0=eps0,
    )
    steps = []
    for (restart, inner, x), expected in zip(ours, theirs, strict=True):
        steps.append((restart, inner))
        assert np.abs(x.numpy() - expected).max() < 1e-12
    assert steps == [(k, j) for k in range(1, n + 1) for j in range(1, p + 1)]
    final = net(torch.from_numpy(y), MatrixOperator(torch.from_numpy(A), L))
    assert np.abs(final.numpy() - expected).max() < 1e-12


def test_given_steps_and_scale_are_used(problem) -> None:
    A, y, w, L = problem
    settings = {"tau": 0.6 / L, "sigma": 0.9 / L, "nu": 0.5, "eps0": 3.0}
    schedule = PaperSchedule(restarts=4, inner=3, norm=1.5 * L, delta=0.0, **settings)
    net = FIRENET(lam=0.1, weights=torch.from_numpy(w), schedule=schedule)
    *_, expected = published_iterates(A, y, w, 0.1, n=4, p=3, L=1.5 * L, delta=0.0, **settings)
    image = net(torch.from_numpy(y), MatrixOperator(torch.from_numpy(A), L))
    assert np.abs(image.numpy() - expected).max() < 1e-12


def test_unitary_sparsifier_gives_the_coefficient_iteration(problem) -> None:
    """The image-domain layer is the coefficient-domain iteration, mapped by W^H."""
    A, y, w, L = problem
    sparsifier = OrthogonalWavelet("haar", 2, (20,))
    W = sparsifier(torch.eye(20, dtype=torch.complex128)).mT.numpy()
    net = FIRENET(sparsifier, 0.05, torch.from_numpy(w), PaperSchedule(delta=0.0))
    ours = net.iterates(torch.from_numpy(y), MatrixOperator(torch.from_numpy(A), L))
    theirs = published_iterates(
        A @ W.T,
        y,
        w,
        0.05,
        n=5,
        p=5,
        tau=1 / L,
        sigma=1 / L,
        L=L,
        delta=0.0,
        nu=np.exp(-1),
        eps0=float(np.linalg.norm(y)),
    )
    for (_, _, x), coefficients in zip(ours, theirs, strict=True):
        assert np.abs(x.numpy() - W.T @ coefficients).max() < 1e-12


def test_analysis_form_equals_chambolle_pock_on_the_stacked_operator(problem) -> None:
    """Plain NumPy Chambolle-Pock on K = (A, W) with step sizes of the network schedule."""
    from firenet_mri import NetworkSchedule

    A, y, _, L = problem
    lam, layers = 0.03, 12
    sparsifier = StationaryWavelet(2, (20,))
    B = sparsifier(torch.eye(20, dtype=torch.float64)).reshape(20, -1).mT.numpy()
    rng = np.random.default_rng(3)
    w = rng.uniform(0.5, 2, B.shape[0])
    net = FIRENET(
        sparsifier,
        lam,
        torch.from_numpy(w.reshape(sparsifier.codomain_shape)),
        NetworkSchedule(layers=layers, tau=0.4, decay=0.9),
    )
    ours = net.iterates(torch.from_numpy(y), MatrixOperator(torch.from_numpy(A), L))
    size = np.linalg.norm(y)
    x, v, q = np.zeros(20, complex), np.zeros(12, complex), np.zeros(B.shape[0], complex)
    for k, (_, _, ours_x) in enumerate(ours):
        tau = 0.4 * 0.9**k * size
        sigma = 1 / ((L**2 + 1) * tau)
        x_next = x - tau * (A.conj().T @ v + B.T @ q)
        v = v + sigma * (A @ (2 * x_next - x) - y)
        v = v / max(1.0, np.linalg.norm(v))
        q = q + sigma * (B @ (2 * x_next - x))
        q = q / np.maximum(np.abs(q) / (lam * w), 1)
        x = x_next
        assert np.abs(ours_x.numpy() - x).max() < 1e-12
    assert k == layers - 1
