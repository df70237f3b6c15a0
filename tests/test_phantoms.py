"""Test images are those of the literature, and the same whenever they are asked for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import pywt
import torch

from firenet_mri.errors import UsageError
from firenet_mri.phantoms import ellipses, shepp_logan


def sparsities_with_overlap(image: np.ndarray, threshold: float) -> tuple[int, ...]:
    """Count as the published code does: pywt's vector cut at 1, 4^2, 4^3, .., both ends counted."""
    bands = pywt.wavedec2(image, "haar", level=7)
    blocks = [bands[0], *(block for details in bands[1:] for block in details)]
    vector = np.abs(np.concatenate([block.ravel(order="F") for block in blocks]))
    cuts = [1] + [4**level for level in range(2, 9)]
    pairs = itertools.pairwise(cuts)
    return tuple(int((vector[first - 1 : last] > threshold).sum()) for first, last in pairs)


def test_phantom_has_the_papers_sparsities() -> None:
    """Exactly at the four coarse levels; the finer counts hold coefficients of 0.5 by rounding."""
    image = shepp_logan(256).numpy()
    published = (15, 44, 82, 141, 232, 358, 440)
    without_ties = sparsities_with_overlap(image, 0.5 + 1e-9)
    with_ties = sparsities_with_overlap(image, 0.5 - 1e-9)
    assert without_ties[:4] == with_ties[:4] == published[:4]
    for low, count, high in zip(without_ties, published, with_ties, strict=True):
        assert low <= count <= high
    assert np.subtract(with_ties, without_ties)[4:].tolist() == [18, 108, 324]


def test_phantom_has_tofts_values_the_right_way_up() -> None:
    image = shepp_logan(257)
    assert image.unique().tolist() == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 1], abs=1e-12)
    centre = 128

    def at(x: float, y: float) -> float:
        return float(image[round(centre * (1 - y)), round(centre * (1 + x))])

    assert at(0, 0.91) == 1.0
    assert at(0.9, 0.9) == 0.0
    assert at(0, 0.4) == pytest.approx(0.3)  # the disc at the top
    assert at(0, -0.4) == pytest.approx(0.2)
    assert at(-0.08, -0.605) == pytest.approx(0.3)  # the small ones at the bottom
    assert at(-0.22, 0) == pytest.approx(0.0, abs=1e-12)  # the ventricles
    # The left ventricle is the larger one.
    assert (image[:, :centre] < 0.05).sum() > (image[:, centre + 1 :] < 0.05).sum()


def test_ellipses_depend_on_seed_and_place_alone() -> None:
    many, few = ellipses(32, 5, seed=3), ellipses(32, 2, seed=3)
    assert torch.equal(many[:2], few)
    assert not torch.equal(many, ellipses(32, 5, seed=4))
    assert many.dtype == torch.float32
    assert many.min() == 0
    assert many.max() <= 1
    assert len({image.numpy().tobytes() for image in many}) == 5
    # Piecewise constant: few values for so many pixels.
    assert all(len(image.unique()) < 120 for image in many)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: shepp_logan(1), "size must be at least 2"),
        (lambda: ellipses(0, 1, 0), "size must be at least 2"),
        (lambda: ellipses(8, 0, 0), "at least 1"),
        (lambda: ellipses(8, 1, -1), "seed is -1"),
    ],
)
def test_bad_arguments_are_refused(make, said) -> None:
    with pytest.raises(UsageError, match=said):
        make()
