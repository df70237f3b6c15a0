"""FIRENETRecon on trajectories: the exact transform, proven bounds, all arguments together."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import sigpy
import sigpy.mri
import torch
from sigpy_linops import draw

from firenet_mri.firenet.presets import make_network
from firenet_mri.operators import MatrixOperator
from firenet_mri.sigpy import FIRENETRecon
from firenet_mri.sigpy.encoding import make_scan

SHAPE = (16, 12)
COILS = 3
CPU = torch.device("cpu")


def transform(coord: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return exp(-2 pi i <k, n / N>) / sqrt(prod N) as a matrix, the origin at N // 2."""
    matrix = np.ones((len(coord), 1))
    for axis, size in enumerate(shape):
        wave = np.exp(-2j * np.pi * np.outer(coord[:, axis], np.arange(size) - size // 2) / size)
        matrix = (matrix[:, :, None] * wave[:, None]).reshape(len(coord), -1)
    return matrix / np.sqrt(np.prod(shape))


def scan(shape: tuple[int, ...] = SHAPE, samples: int = 300):
    """Return k-space, maps, trajectory, the exact encoding matrix and the image."""
    coord = np.random.default_rng(0).uniform(-0.5, 0.5, (samples, len(shape))) * shape
    coord *= np.random.default_rng(1).random((samples, 1))  # dense centre
    maps = draw(COILS, *shape)
    maps /= sigpy.rss(maps, axes=(0,))
    image = np.zeros(shape, dtype=complex)
    image[tuple(slice(size // 4, -size // 4) for size in shape)] = 1 + 2j
    exact = transform(coord, shape)
    matrix = np.concatenate([exact * one.ravel() for one in maps])
    y = (matrix @ image.ravel()).reshape(COILS, samples)
    return y, maps, coord, matrix, image


def weights_of(kind: str, coord: np.ndarray) -> np.ndarray | float | None:
    """Return weights for a trajectory."""
    ramp = np.linalg.norm(coord, axis=-1) + 0.1
    coils = np.array([[1.0], [0.3], [2.0]])
    return {
        "none": None,
        "density": ramp,
        "zeros": ramp * (ramp > 1),
        "coils": ramp * coils,
        "number": 0.25,
    }[kind]


def run(*args, **kwargs) -> np.ndarray:
    return FIRENETRecon(*args, show_pbar=False, **kwargs).run()


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.mark.parametrize("kind", ["none", "density", "zeros", "coils", "number"])
def test_operator_is_the_exact_transform_and_its_bound_is_proven(kind) -> None:
    y, maps, coord, matrix, _ = scan()
    weights = weights_of(kind, coord)
    root = np.sqrt(np.broadcast_to(1.0 if weights is None else weights, y.shape))
    made = make_scan(y, maps, weights, coord, device=CPU)
    dense = root.ravel()[:, None] * matrix * made.chain.gain
    x = draw(*SHAPE)
    ahead = made.encoding(torch.from_numpy(x)).numpy()
    # SigPy's default transform is wrong by 7e-3.
    assert relative(ahead.ravel(), dense @ x.ravel()) < 1e-6
    back = made.encoding.adjoint(torch.from_numpy(y)).numpy()
    assert relative(back.ravel(), dense.conj().T @ y.ravel()) < 1e-6
    norm = np.linalg.norm(dense, 2)
    assert norm <= made.encoding.norm_bound <= 2.5 * norm
    np.testing.assert_allclose(made.y.numpy(), root * y, rtol=1e-12)


def test_image_is_that_of_the_network_on_the_exact_operator() -> None:
    y, maps, coord, matrix, _ = scan()
    app = FIRENETRecon(
        y, maps, 0.01, coord=coord, preset="adaptive", relative_gap=1e-4, show_pbar=False
    )
    image = app.run()
    net = make_network(COILS, SHAPE, lam=0.01)
    exact = MatrixOperator(torch.from_numpy(matrix))
    flat = torch.from_numpy(image)
    sparsity = (net.problem(_Flat(exact)).threshold(net.sparsifier(flat))) * net.sparsifier(
        flat
    ).abs()
    distance = np.linalg.norm(matrix @ image.ravel() - y.ravel())
    assert app.certificate.objective[0] == pytest.approx(float(sparsity.sum()) + distance, rel=1e-5)
    assert app.certificate.relative_gap[0] < 2e-4


class _Flat(MatrixOperator):
    """The matrix on images of SHAPE, for its shapes only."""

    def __init__(self, operator: MatrixOperator) -> None:
        super().__init__(operator.matrix)
        self.domain_shape = SHAPE


@pytest.mark.parametrize("shape", [SHAPE, (15, 13), (6, 8, 7)])
@pytest.mark.parametrize(
    ("kind", "batch"),
    list(itertools.product(["none", "density", "zeros", "coils", "number"], [None, 2])),
)
def test_every_combination_of_arguments_that_sigpy_takes_runs(shape, kind, batch) -> None:
    y, maps, coord, *_ = scan(shape, 60)
    y = y.astype(np.complex64)
    options = {"weights": weights_of(kind, coord), "coord": coord, "coil_batch_size": batch}
    image = run(y, maps, layers=2, **options)
    assert image.shape == shape
    assert image.dtype == np.complex64
    if kind == "coils" and batch:
        return  # SigPy itself cannot: it does not split weights of coils into batches.
    theirs = sigpy.mri.app.L1WaveletRecon(
        y, maps.astype(np.complex64), 1e-3, max_iter=2, show_pbar=False, **options
    ).run()
    assert theirs.shape == shape


def test_coord_may_have_any_number_of_sample_axes() -> None:
    y, maps, coord, *_ = scan()
    folded = run(y.reshape(COILS, 3, 100), maps, coord=coord.reshape(3, 100, 2), layers=5)
    assert relative(folded, run(y, maps, coord=coord, layers=5)) < 1e-12


def test_both_ends_of_kspace_are_one_frequency() -> None:
    y, maps, coord, *_ = scan()
    low, high = coord.copy(), coord.copy()
    low[:5, 1], high[:5, 1] = -SHAPE[1] / 2, SHAPE[1] / 2
    expected = run(y, maps, coord=low, layers=5)
    assert relative(run(y, maps, coord=high, layers=5), expected) < 1e-12


def test_density_weights_bring_the_image_nearer_in_the_same_layers() -> None:
    y, maps, coord, _, image = scan(samples=900)
    plain = run(y, maps, coord=coord)
    weighted = run(y, maps, coord=coord, weights=weights_of("density", coord))
    assert relative(weighted, image) < relative(plain, image)
    assert relative(weighted, image) < 0.1


def test_cartesian_positions_as_a_trajectory_give_the_cartesian_image() -> None:
    _, maps, *_ = scan()
    sizes = [np.arange(size) - size // 2 for size in SHAPE]
    coord = np.stack(np.meshgrid(*sizes, indexing="ij"), axis=-1).astype(float)
    kspace = sigpy.fft(maps * draw(*SHAPE), axes=(-2, -1))
    cartesian = run(
        kspace, maps, 0.01, weights=np.ones(SHAPE), preset="adaptive", relative_gap=1e-6
    )
    points = run(kspace, maps, 0.01, coord=coord, preset="adaptive", relative_gap=1e-6)
    assert relative(points, cartesian) < 1e-3
