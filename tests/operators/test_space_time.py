"""Frames of images that belong together: their encoding operator, and sparsity across them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given
from hypothesis import strategies as st
from laws import assert_close, check_linear_operator

from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.operators import encoding_operator, make_sparsifier
from firenet_mri.operators.frame_wise import FrameWise
from firenet_mri.operators.slopes import dual_slopes
from firenet_mri.operators.space_time import ACROSS, GroupedInPlane, InPlane, across_frames

SUMS = (
    "undecimated-dct3+across-tv",
    "tv+across-haar",
    "undecimated-haar+across-fourier+across-tv",
    "across-fourier",
    "across-tv+across-low-rank4",
    "undecimated-dct3+across-groups",
    "tv+across-groups+across-tv",
)


def frames_encoding(shape, coils=3, own_maps=False) -> FrameWise:
    generator = torch.Generator().manual_seed(1)
    frames, *plane = shape
    leading = (frames,) if own_maps else ()
    maps = torch.randn(*leading, coils, *plane, dtype=torch.complex128, generator=generator)
    mask = torch.rand(frames, 1, *plane, generator=generator) < 0.4
    return FrameWise(frames, encoding_operator(mask, maps))


@pytest.mark.parametrize("own_maps", [False, True])
@given(
    shape=st.lists(st.integers(2, 7), min_size=3, max_size=3).map(tuple),
    batch=st.lists(st.integers(1, 3), max_size=1).map(tuple),
)
def test_the_encoding_of_frames_obeys_the_laws(own_maps, shape, batch) -> None:
    check_linear_operator(frames_encoding(shape, own_maps=own_maps), batch=batch)


def test_every_frame_is_encoded_by_its_own_mask(randn) -> None:
    encoding = frames_encoding((3, 6, 5), own_maps=True)
    x = randn(3, 6, 5)
    sense = encoding.sense
    for frame in range(3):
        one = encoding_operator(sense.fourier.mask[frame], sense.maps[frame])
        assert_close(encoding(x)[:, frame], one(x[frame]))
    y = randn(*encoding.codomain_shape)
    gradient, norm = encoding.residual(y)(x)
    assert_close(gradient, encoding.adjoint(encoding(x) - y))
    assert float(norm) == pytest.approx(float((encoding(x) - y).norm()), rel=1e-12)


def test_masks_of_another_number_of_frames_are_refused() -> None:
    encoding = frames_encoding((3, 4, 4))
    with pytest.raises(ShapeError, match="2 frames"):
        FrameWise(2, encoding.sense)


@pytest.mark.parametrize("name", SUMS)
@given(shape=st.lists(st.integers(4, 8), min_size=3, max_size=3).map(tuple))
def test_sums_across_frames_obey_the_laws(name, shape) -> None:
    frame = make_sparsifier(name, shape)
    check_linear_operator(frame, batch=(2,))
    x = torch.randn(shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    if frame.annihilates_constants:
        x = x - x.mean()
    assert_close(frame.solve_gram(frame.adjoint(frame(x))), x, 1e-9)


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("batch", [(), (2,)])
def test_the_step_in_slices_is_the_step_as_a_whole(name, batch, randn) -> None:
    frame = make_sparsifier(name, (5, 9, 8))
    x = randn(*batch, 5, 9, 8).to(torch.complex64)
    q = frame.laid_out(randn(*batch, *frame.codomain_shape).to(torch.complex64))
    sigma = torch.full(batch, 0.7)
    radius = 0.5 + torch.rand(frame.codomain_shape[0], 1, 1, 1)
    radius = radius if frame.groups is None else torch.tensor(0.8)
    found, image = frame.dual_step(q.clone(), x, sigma, radius, 1.5)
    whole, same = frame.dual_step(q.clone(), x.requires_grad_(), sigma, radius, 1.5)
    assert_close(found, whole.detach(), 1e-5)
    assert_close(image, same.detach(), 1e-5)


def test_a_radius_for_every_coefficient_reaches_its_frame(randn) -> None:
    frame = make_sparsifier(SUMS[0], (4, 7, 6))
    x = randn(4, 7, 6).to(torch.complex64)
    radius = 0.2 + torch.rand(frame.codomain_shape)
    q, _ = frame.dual_step(frame.zero_dual(x), x, torch.tensor(3.0), radius)
    z = 3 * frame(x)
    expected = z * (radius / z.abs()).clamp(max=1)
    assert_close(frame.coefficients(q), expected, 1e-5)


def test_differences_are_those_of_neighbours_and_the_fourier_transform_that_of_scipy() -> None:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((6, 2, 2)))
    differences = across_frames("across-tv", (6, 2, 2))(x)[0]
    assert_close(differences, torch.from_numpy(np.roll(x, -1, 0) - x.numpy()) / 2)
    spectrum = across_frames("across-fourier", (6, 2, 2))(x)[0].abs()
    exact = scipy.fft.fft(x.numpy(), axis=0, norm="ortho")
    power = spectrum[1].square() + spectrum[5].square()
    np.testing.assert_allclose(power, 2 * np.abs(exact[1]) ** 2)
    np.testing.assert_allclose(spectrum[0], np.abs(exact[0]))
    np.testing.assert_allclose(spectrum[3], np.abs(exact[3]))


@pytest.mark.parametrize(("name", "bands"), [("undecimated-haar", 1), ("tv", 2)])
def test_groups_are_the_norms_over_all_images(name, bands, randn) -> None:
    """Of single coefficients; of total variation both differences of a pixel in all images."""
    frame = GroupedInPlane(3, make_sparsifier(name, (5, 4)))
    c = randn(*frame.codomain_shape)
    cells = c.reshape(-1, bands, 3, 5, 4).numpy()
    sizes = np.sqrt((np.abs(cells) ** 2).sum((1, 2), keepdims=True))
    shares = np.broadcast_to(np.minimum(1, 1.5 / sizes), cells.shape).reshape(c.shape)
    assert_close(frame.project(c, 1.5), c * torch.from_numpy(shares.copy()))
    assert float(frame.shares(c).sum()) == pytest.approx(sizes.sum())
    assert float(frame.dual_modulus(c).amax()) == pytest.approx(sizes.max())
    assert float(frame.room(frame.project(c, 1.5), 0 * randn(3, 5, 4), 1.5)) == pytest.approx(1)


def test_white_noise_has_the_size_of_a_groups_band(randn) -> None:
    frame = make_sparsifier("undecimated-haar+across-groups", (9, 32, 32))
    sizes = frame.modulus(frame(randn(9, 32, 32))).square().mean((1, 2, 3)).sqrt()
    assert_close(sizes, frame.band_norms.flatten(), 0.05)


@pytest.mark.parametrize("name", ["undecimated-haar+across-groups", "tv+across-groups+across-tv"])
def test_slopes_of_a_grouped_step_are_its_derivative(name, randn) -> None:
    frame = make_sparsifier(name, (3, 6, 4))
    q, x, d = randn(*frame.codomain_shape), randn(3, 6, 4), randn(*frame.codomain_shape)
    sigma, step = torch.tensor(0.6).double(), 1e-6
    slopes = dual_slopes(frame, frame.laid_out(q), x, sigma, 1.1)
    found, _ = slopes.step(d, torch.zeros_like(x), sigma)
    ahead, behind = (frame.project(q + t * d + sigma * frame(x), 1.1) for t in (step, -step))
    assert_close(found, (ahead - behind) / (2 * step), 1e-6)


def test_weights_that_differ_from_image_to_image_are_refused_by_groups(randn) -> None:
    frame = make_sparsifier("undecimated-haar+across-groups", (3, 5, 4))
    with pytest.raises(UsageError, match="Weights differ from image to image"):
        frame.project(randn(*frame.codomain_shape), torch.rand(frame.codomain_shape) + 0.1)


def test_a_frame_that_does_not_see_more_than_constants_has_no_bound(randn) -> None:
    """The dual could not be made feasible by an inverse of W^H W, and a bound would be false."""
    for frame in (
        InPlane(3, make_sparsifier("tv", (5, 4))),
        across_frames("across-tv", (3, 5, 4)),
    ):
        with pytest.raises(UsageError, match="does not see some images"):
            frame.solve_gram(randn(3, 5, 4))


def test_a_still_image_costs_nothing_across() -> None:
    still = torch.randn(1, 5, 4).expand(6, 5, 4)
    for name in ("across-tv", "across-haar"):
        assert float(across_frames(name, (6, 5, 4))(still).abs().max()) < 1e-6


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("across-tv", (4, 8, 8), "add a frame of each image"),
        ("haar+across-tv", (4, 8, 8), "haar is not a frame"),
        ("tv+across-tv", (8, 8), "give joint"),
        ("tv+across-tv", (1, 8, 8), "at least 2"),
        ("tv+across-groups", (1, 8, 8), "across-groups requested across 1 image"),
        ("across-groups+across-tv", (4, 8, 8), "add the frame whose coefficients"),
        ("tv+across-groups", (4, 8, 8), "the brightness of each image"),
        ("tv+across-db2", (4, 8, 8), ", ".join(ACROSS)),
    ],
)
def test_what_makes_no_frame_is_refused(name, shape, words) -> None:
    with pytest.raises(UsageError, match=words):
        make_sparsifier(name, shape)


def test_bands_in_the_plane_keep_their_norms_and_averages() -> None:
    plane = make_sparsifier("undecimated-dct3", (8, 8))
    lifted = InPlane(4, plane)
    assert torch.equal(lifted.band_norms.flatten(), plane.band_norms.flatten())
    assert lifted.average_bands == plane.average_bands
    assert "4 images" in repr(lifted)


@pytest.mark.parametrize("name", ACROSS)
def test_two_images_have_no_band_of_zeros(name) -> None:
    assert float(across_frames(name, (2, 4, 4)).band_norms.min()) > 0
