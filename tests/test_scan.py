"""Scans and geometries are checked when they are made; affines put every voxel where it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.scan import Geometry, RawScan, sampled_mask, select

OBLIQUE = {
    "read_direction": (0.8, 0.6, 0.0),
    "phase_direction": (-0.6, 0.8, 0.0),
    "slice_direction": (0.0, 0.0, -1.0),
}


def test_centre_pixel_of_a_volume_lies_at_the_position() -> None:
    geometry = Geometry((90.0, 200.0, 256.0), ((10.0, -20.0, 30.0),), **OBLIQUE)
    affine = geometry.affine_lps((30, 101, 128))
    centre = affine @ [64, 50, 15, 1]
    np.testing.assert_allclose(centre[:3], (10, -20, 30))
    np.testing.assert_allclose(affine @ [1, 0, 0, 0], [1.6, 1.2, 0, 0])
    np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0), [2, 200 / 101, 3])


def test_each_slice_lies_at_its_own_position_and_handedness_is_kept() -> None:
    positions = ((0.0, 0.0, 0.0), (0.0, 0.0, -7.0), (0.0, 0.0, -14.0))
    geometry = Geometry((5.0, 100.0, 100.0), positions, **OBLIQUE)
    affine = geometry.affine_lps((3, 50, 50))
    for index, position in enumerate(positions):
        np.testing.assert_allclose((affine @ [25, 25, index, 1])[:3], position, atol=1e-12)
    assert np.linalg.det(affine[:3, :3]) < 0
    ras = geometry.affine_ras((3, 50, 50))
    np.testing.assert_allclose(ras, np.diag([-1, -1, 1, 1]) @ affine)


@pytest.mark.parametrize(
    "change",
    [
        {"field_of_view_mm": (0.0, 100.0, 100.0)},
        {"positions_mm": ((np.nan, 0.0, 0.0),)},
        {"read_direction": (2.0, 0.0, 0.0)},
        {"phase_direction": (0.8, 0.6, 0.0)},
        {"positions_mm": ()},
    ],
)
def test_geometries_that_make_no_sense_are_refused(change) -> None:
    good = {"field_of_view_mm": (5.0, 100.0, 100.0), "positions_mm": ((0.0, 0.0, 0.0),), **OBLIQUE}
    with pytest.raises(DataError):
        Geometry(**{**good, **change})


def test_slices_and_positions_must_agree_in_number() -> None:
    geometry = Geometry((5.0, 9.0, 9.0), ((0.0, 0.0, 0.0), (0.0, 0.0, 1.0)))
    with pytest.raises(ShapeError, match="2 slice positions for 3 slices"):
        geometry.affine_lps((3, 9, 9))


def kspace(*shape: int) -> torch.Tensor:
    return torch.ones(shape, dtype=torch.complex64)


def test_sizes_are_read_off_the_kspace() -> None:
    scan = RawScan(kspace(5, 4, 6, 8), torch.ones(6, 8, dtype=torch.bool), 2)
    assert (scan.coils, scan.spatial_shape, scan.batch_shape) == (4, (6, 8), (5,))
    volume = RawScan(kspace(4, 5, 6, 8), torch.ones(6, 8, dtype=torch.bool), 3)
    assert (volume.coils, volume.spatial_shape, volume.batch_shape) == (4, (5, 6, 8), ())
    assert volume.sampled_fraction == 1


def test_mask_is_found_from_any_coil() -> None:
    data = kspace(2, 3, 4, 5)
    data[0, :, 1, 2] = 0
    data[1, 0, 2, 2] = 0
    mask = sampled_mask(data, 2)
    assert mask.shape == (2, 1, 4, 5)
    assert (~mask).nonzero().tolist() == [[0, 0, 1, 2]]


@pytest.mark.parametrize(
    ("data", "mask", "ndim", "message"),
    [
        (kspace(4, 6, 8).real, torch.ones(6, 8, dtype=torch.bool), 2, "complex"),
        (kspace(4, 6, 8) * float("nan"), torch.ones(6, 8, dtype=torch.bool), 2, "NaN"),
        (kspace(4, 6, 8) * float("inf"), torch.ones(6, 8, dtype=torch.bool), 2, "infinite"),
        (kspace(4, 6, 8) * 0, torch.ones(6, 8, dtype=torch.bool), 2, "zero"),
        (kspace(4, 6, 8), torch.ones(6, 8), 2, "bool"),
        (kspace(4, 6, 8), torch.ones(8, 6, dtype=torch.bool), 2, r"mask of shape \(8, 6\)"),
        (kspace(6, 8), torch.ones(6, 8, dtype=torch.bool), 2, "expected"),
        (kspace(4, 6, 8), torch.ones(6, 8, dtype=torch.bool), 4, "spatial axes"),
    ],
)
def test_bad_scans_are_refused_with_their_name(data, mask, ndim, message) -> None:
    with pytest.raises(DataError, match=f"a.h5: .*{message}"):
        RawScan(data, mask, ndim, name="a.h5")


def four_slices(images: tuple[str, ...] = ()) -> RawScan:
    """Return slices whose k-space is their number, and a hundred times that of their image."""
    shape = ((len(images),) if images else ()) + (4, 2, 6, 8)
    numbers = torch.arange(4.0).reshape(4, 1, 1, 1)
    if images:
        numbers = numbers + 100 * torch.arange(len(images)).reshape(-1, 1, 1, 1, 1)
    kspace = numbers.expand(shape).to(torch.complex64).contiguous()
    mask = torch.ones(*shape[:-3], 1, 6, 8, dtype=torch.bool)
    positions = tuple((0.0, 0.0, -7.0 * i) for i in range(4))
    place = Geometry((5.0, 100.0, 100.0), positions, **OBLIQUE)
    return RawScan(kspace, mask, 2, geometry=place, images=images, name="four")


def test_chosen_slices_keep_their_data_and_places() -> None:
    chosen = select(four_slices(), slices=[3, 1])
    assert chosen.kspace[:, 0, 0, 0].tolist() == [1, 3]
    assert [position[2] for position in chosen.geometry.positions_mm] == [-7, -21]
    affine = chosen.geometry.affine_lps((2, 6, 8))
    np.testing.assert_allclose((affine @ [4, 3, 1, 1])[:3], (0, 0, -21), atol=1e-12)


def test_chosen_images_keep_their_names() -> None:
    scan = four_slices(("repetition 0", "repetition 1", "repetition 2"))
    chosen = select(scan, images=[2], slices=[0])
    assert chosen.images == ("repetition 2",)
    assert chosen.kspace.shape == (1, 1, 2, 6, 8)
    assert chosen.kspace[0, 0, 0, 0, 0] == 200


@pytest.mark.parametrize(
    ("wanted", "match"),
    [
        ({"slices": [4]}, r"slice \[4\] asked for; there are 0 to 3"),
        ({"slices": []}, "asked for"),
        ({"slices": [0, 1, 3]}, "evenly"),
        ({"images": [0]}, "has only one"),
    ],
)
def test_what_cannot_be_chosen_is_refused(wanted, match) -> None:
    with pytest.raises(UsageError, match=match):
        select(four_slices(), **wanted)
