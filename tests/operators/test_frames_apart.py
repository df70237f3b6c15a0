"""Frames with a trajectory each: their encoding operator, and the spokes that go on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import assert_close, check_linear_operator

from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.operators import NonuniformFourier, Sense
from firenet_mri.operators.frame_wise import FramesApart, FrameWise
from firenet_mri.operators.trajectories import golden_angle_frames, radial


def frames_along(frames, plane, samples, *, weighted=False, own=True) -> FramesApart:
    generator = torch.Generator().manual_seed(frames)
    share = torch.rand(frames, *samples, 2, dtype=torch.float64, generator=generator) - 0.5
    points = share * torch.tensor(plane)
    maps = torch.randn(frames, 2, *plane, dtype=torch.complex128, generator=generator)
    weights = torch.rand(frames, *samples, dtype=torch.float64, generator=generator)
    return FramesApart(
        [
            Sense(
                maps[t if own else 0],
                NonuniformFourier(points[t], plane, 1e-14, weights[t] if weighted else None),
            )
            for t in range(frames)
        ]
    )


def direct(points: np.ndarray, plane: tuple[int, int]) -> np.ndarray:
    """Return the matrix of the transform at points, written out."""
    y, x = np.meshgrid(*(np.arange(n) - n // 2 for n in plane), indexing="ij")
    turns = np.outer(points[..., 0], y.ravel()) / plane[0]
    turns = turns + np.outer(points[..., 1], x.ravel()) / plane[1]
    return np.exp(-2j * np.pi * turns) / np.sqrt(plane[0] * plane[1])


@settings(max_examples=8)
@given(
    frames=st.integers(1, 3),
    plane=st.tuples(st.integers(2, 6), st.integers(2, 6)),
    samples=st.lists(st.integers(1, 4), min_size=1, max_size=2).map(tuple),
    batch=st.lists(st.integers(1, 2), max_size=1).map(tuple),
    weighted=st.booleans(),
    own=st.booleans(),
)
def test_frames_along_trajectories_obey_the_laws(
    frames, plane, samples, batch, weighted, own
) -> None:
    encoding = frames_along(frames, plane, samples, weighted=weighted, own=own)
    check_linear_operator(encoding, batch=batch)


def test_every_frame_is_the_direct_transform_at_its_own_points(randn) -> None:
    plane = (5, 6)
    encoding = frames_along(3, plane, (2, 4))
    x, y = randn(3, *plane), randn(*encoding.codomain_shape)
    found, back = encoding(x).numpy(), encoding.adjoint(y).numpy()
    for t, sense in enumerate(encoding.senses):
        matrix = direct(sense.fourier.trajectory.numpy(), plane)
        for coil, one in enumerate(sense.maps.numpy()):
            expected = matrix @ (one * x[t].numpy()).ravel()
            np.testing.assert_allclose(found[coil, t].ravel(), expected, atol=1e-10)
        expected = sum(
            one.conj() * (matrix.conj().T @ y[coil, t].numpy().ravel()).reshape(plane)
            for coil, one in enumerate(sense.maps.numpy())
        )
        np.testing.assert_allclose(back[t], expected, atol=1e-10)


def test_the_residual_of_frames_is_that_of_forward_and_adjoint(randn) -> None:
    encoding = frames_along(3, (5, 6), (2, 9), weighted=True)
    x, y = randn(2, 3, 5, 6), randn(2, *encoding.codomain_shape)
    gradient, norm = encoding.residual(y)(x)
    difference = encoding(x) - y
    assert_close(gradient, encoding.adjoint(difference), 1e-9)
    assert_close(norm, difference.flatten(1).norm(dim=1), 1e-9)


def test_the_norm_of_frames_is_the_largest_of_theirs_and_no_image_goes_beyond(randn) -> None:
    encoding = frames_along(3, (4, 4), (9,))
    assert encoding.norm_bound == max(one.norm_bound for one in encoding.senses)
    x = randn(3, 4, 4)
    for _ in range(60):
        x = encoding.adjoint(encoding(x / x.norm()))
    reached = float(encoding(x).norm() / x.norm())
    assert 0.3 * encoding.norm_bound < reached <= encoding.norm_bound
    assert {part.name for part in encoding.made_from} == {"sensitivity maps", "trajectory"}


def test_frames_of_one_trajectory_are_frames_of_as_many_equal_ones(randn) -> None:
    maps, fourier = randn(2, 5, 6), NonuniformFourier(torch.rand(7, 2), (5, 6))
    one = FrameWise(3, Sense(maps, fourier))
    each = FramesApart([Sense(maps, fourier)] * 3)
    x = randn(3, 5, 6)
    assert_close(one(x), each(x))


def test_frames_of_other_sizes_are_refused() -> None:
    frames = frames_along(2, (4, 4), (3,)), frames_along(1, (4, 4), (4,))
    with pytest.raises(ShapeError, match="3 frames have the shapes"):
        FramesApart([*frames[0].senses, *frames[1].senses])


def test_golden_angle_spokes_go_on_from_frame_to_frame() -> None:
    points = golden_angle_frames(3, 4, 10, (12, 12))
    torch.testing.assert_close(points.reshape(12, 10, 2), radial(12, 10, 12))
    oblong = golden_angle_frames(3, 4, 10, (12, 8))
    torch.testing.assert_close(oblong[..., 0], points[..., 0])
    torch.testing.assert_close(oblong[..., 1], points[..., 1] * 8 / 12)
    with pytest.raises(UsageError, match="0 frames"):
        golden_angle_frames(0, 4, 10, (12, 12))
