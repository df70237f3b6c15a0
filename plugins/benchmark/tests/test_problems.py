"""The speed problems are what they are said to be."""

from __future__ import annotations

import numpy as np
import pytest
import sigpy
import torch

from firenet_benchmark.problems import make_problem
from firenet_mri.errors import DataError


@pytest.mark.parametrize(
    ("name", "shape", "coils", "fraction"),
    [
        ("A", (256, 256), 8, 0.25),
        ("B", (320, 320), 15, 0.25),
        pytest.param("C", (128, 128, 128), 8, 1 / 6, marks=pytest.mark.slow),
    ],
)
def test_cartesian_problems_are_noisy_samples_of_their_truth(name, shape, coils, fraction) -> None:
    problem = make_problem(name)
    assert problem.truth.shape == shape
    assert problem.maps.shape == (coils, *shape)
    assert np.abs(problem.truth).max() == pytest.approx(1, abs=1e-6)
    energy = (np.abs(problem.maps) ** 2).sum(0)
    np.testing.assert_allclose(energy, 1, atol=1e-5)
    assert problem.mask.mean() == pytest.approx(fraction, rel=0.12)
    axes = tuple(range(1, len(shape) + 1))
    clean = sigpy.fft(problem.maps * problem.truth, axes=axes) * problem.mask
    noise = np.linalg.norm(problem.kspace - clean) / np.linalg.norm(clean)
    assert 20 * np.log10(noise) == pytest.approx(-40, abs=0.05)
    _, encoding = problem.tensors()
    ours = encoding(torch.from_numpy(problem.truth)).numpy()
    np.testing.assert_allclose(ours, clean, atol=2e-5 * np.abs(clean).max())


def test_spokes_are_the_exact_sums_of_their_truth_and_noise() -> None:
    problem = make_problem("D")
    points = problem.trajectory.reshape(-1, 2)[::997].astype(float)
    places = np.arange(256) - 128
    waves = [np.exp(-2j * np.pi / 256 * np.outer(points[:, axis], places)) for axis in (0, 1)]
    image = problem.maps * problem.truth
    exact = np.einsum("jr,cry,jy->cj", waves[0], image, waves[1]) / 256
    found = problem.kspace.reshape(8, -1)[:, ::997]
    size = np.linalg.norm(problem.kspace) / np.sqrt(problem.kspace.size)
    # Noise lies 40 dB below the data as a whole.
    assert np.sqrt(np.mean(np.abs(found - exact) ** 2)) == pytest.approx(0.01 * size, rel=0.15)


def test_missing_template_is_named(monkeypatch) -> None:
    monkeypatch.setattr("firenet_benchmark.problems.find_spec", lambda _: None)
    with pytest.raises(DataError, match="install nilearn"):
        make_problem("A")
