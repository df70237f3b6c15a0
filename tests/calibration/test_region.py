"""The calibration region is the largest centred box that every slice has sampled."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from firenet_mri.calibration import calibration_region
from firenet_mri.calibration.region import calibration_regions, one_sided_shift


@given(
    shape=st.tuples(st.integers(4, 20), st.integers(4, 20)),
    widths=st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
def test_a_lone_box_is_found(shape, widths) -> None:
    widths = tuple(min(w, n) for w, n in zip(widths, shape, strict=True))
    mask = torch.zeros(shape, dtype=torch.bool)
    y, x = (slice(n // 2 - w // 2, n // 2 - w // 2 + w) for n, w in zip(shape, widths, strict=True))
    mask[y, x] = True
    assert calibration_region(mask, 2) == widths


def test_lines_give_the_whole_readout() -> None:
    mask = torch.zeros(1, 1, 32, 1, dtype=torch.bool)
    mask[..., 4::5, :] = True
    mask[..., 10:22, :] = True
    assert calibration_region(mask.expand(1, 1, 32, 20), 2) == (12, 20)


def test_region_is_common_to_all_slices() -> None:
    mask = torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    mask[0, :, 2:14, 2:14] = True
    mask[1, :, 6:10, 6:10] = True
    assert calibration_region(mask, 2) == (4, 4)


@pytest.mark.parametrize("ndim", [2, 3])
def test_unsampled_centre_gives_nothing(ndim) -> None:
    mask = torch.ones((8,) * ndim, dtype=torch.bool)
    mask[(4,) * ndim] = False
    assert calibration_region(mask, ndim) == (0,) * ndim
    assert calibration_region(torch.ones((8,) * ndim, dtype=torch.bool), ndim) == (8,) * ndim


@pytest.mark.parametrize("shape", [(32, 27), (9, 40), (14, 12, 15), (5, 1)])
@pytest.mark.parametrize("largest", [24, 7])
def test_regions_of_several_masks_are_those_of_each(shape, largest) -> None:
    generator = torch.Generator().manual_seed(1)
    masks = torch.rand(24, *shape, generator=generator) < 0.3
    for i, mask in enumerate(masks[:22]):
        # Boxes beside the middle, of all widths, and lines.
        for size, axis in zip(shape, range(len(shape)), strict=True):
            low, high = sorted(torch.randint(size + 1, (2,), generator=generator).tolist())
            low, high = min(low, size // 2), max(high, size // 2 + 1)
            mask = mask.narrow(axis, low, high - low) if i % 3 else mask
        mask[...] = True
    masks[22:] = torch.tensor([False, True]).reshape(2, *[1] * len(shape))
    found = calibration_regions(masks, largest)
    for mask, widths in zip(masks, found.tolist(), strict=True):
        expected = calibration_region(mask, len(shape))
        assert widths == [min(width, largest) for width in expected]
    assert len({tuple(widths) for widths in found.tolist()}) > 3


@pytest.mark.parametrize("width", [4, 5])
@pytest.mark.parametrize("size", [16, 17])
@pytest.mark.parametrize("first", [0, 3, 6, 8])
def test_a_roll_brings_the_nearest_box_of_a_half_echo_to_the_centre(width, size, first) -> None:
    mask = torch.zeros(1, size, size, dtype=torch.bool)
    mask[:, 3:14, first:] = True
    shift = one_sided_shift(mask, 2, width)
    rolled = mask.roll(shift, (-2, -1))
    assert min(calibration_region(rolled, 2)) >= width
    # As near as it can be: one step less leaves a hole, unless none was needed.
    assert shift[0] == 0
    if shift[1]:
        step = 1 if shift[1] > 0 else -1
        assert min(calibration_region(mask.roll((0, shift[1] - step), (-2, -1)), 2)) < width


def test_a_centre_that_was_not_sampled_is_not_rolled() -> None:
    mask = torch.ones(1, 8, 8, dtype=torch.bool)
    mask[:, 4, 4] = False
    assert one_sided_shift(mask, 2, 4) == (0, 0)
