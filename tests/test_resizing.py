"""Images on the scanner's grid keep their place, their scale and their field of view."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from firenet_mri.errors import DataError
from firenet_mri.resizing import on_scanner_grid
from firenet_mri.scan import Geometry, ImageGrid, RawScan


def scan(shape, fov, grid) -> RawScan:
    ndim = len(shape)
    return RawScan(
        torch.ones(1, *shape, dtype=torch.complex64),
        torch.ones(1, *shape, dtype=torch.bool),
        ndim,
        geometry=None if fov is None else Geometry(fov, ((1.0, 2.0, 3.0),)),
        scanner_grid=grid,
    )


def wave(shape: tuple[int, ...], cycles: tuple[int, ...]) -> torch.Tensor:
    """Return a plane wave with whole cycles over the field of view, 1 at pixel N//2."""
    phase = sum(
        2 * np.pi * c * (index - n // 2) / n
        for index, n, c in zip(np.indices(shape), shape, cycles, strict=True)
    )
    return torch.from_numpy(np.exp(1j * phase)).to(torch.complex64)


@pytest.mark.parametrize("after", [(48, 64), (49, 65), (30, 33)])
@pytest.mark.parametrize("before", [(30, 33), (31, 40)])
def test_a_wave_is_interpolated_exactly(before, after) -> None:
    fov = (5.0, 90.0, 100.0)
    made = scan(before, fov, ImageGrid((1, *after), fov))
    found, placed = on_scanner_grid(wave(before, (3, -5)), made)
    np.testing.assert_allclose(found, wave(after, (3, -5)), atol=1e-4)
    assert placed.geometry.field_of_view_mm == pytest.approx(fov)


def test_the_field_of_view_is_cropped_about_the_centre() -> None:
    made = scan((40, 30), (5.0, 80.0, 60.0), ImageGrid((1, 20, 30), (5.0, 40.0, 60.0)))
    image = torch.randn(40, 30, dtype=torch.complex64)
    found, placed = on_scanner_grid(image, made)
    np.testing.assert_allclose(found, image[10:30], atol=1e-5)
    assert placed.geometry.field_of_view_mm == (5.0, 40.0, 60.0)
    # Pixel N//2 stays where it was.
    for affine, pixel in (
        (made.geometry.affine_lps((1, 40, 30)), (15, 20, 0, 1)),
        (placed.geometry.affine_lps((1, 20, 30)), (15, 10, 0, 1)),
    ):
        np.testing.assert_allclose(affine @ pixel, [1, 2, 3, 1], atol=1e-9)


def test_a_volume_is_resized_along_all_axes_and_padded_where_the_field_grows() -> None:
    made = scan((6, 8, 10), (60.0, 80.0, 100.0), ImageGrid((12, 10, 10), (120.0, 80.0, 100.0)))
    image = torch.randn(6, 8, 10, dtype=torch.complex64)
    found, placed = on_scanner_grid(image, made)
    assert found.shape == (12, 10, 10)
    assert not found[:3].abs().max() > 1e-5
    assert placed.geometry.field_of_view_mm == pytest.approx((120.0, 80.0, 100.0))


def test_without_a_grid_or_place_there_is_nothing_to_do() -> None:
    for fov, grid in ((None, ImageGrid((1, 4, 4), (1, 1, 1))), ((1.0, 1.0, 1.0), None)):
        with pytest.raises(DataError, match="does not state the grid"):
            on_scanner_grid(torch.ones(4, 4, dtype=torch.complex64), scan((4, 4), fov, grid))
