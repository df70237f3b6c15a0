"""MRD images are read back by the ismrmrd package with their place."""

from __future__ import annotations

import ismrmrd
import numpy as np
import pytest

from firenet_mri.errors import ShapeError
from firenet_mri.io.image.mrd_images import write_mrd_images
from firenet_mri.scan import Geometry

PLACE = Geometry(
    (4.0, 90.0, 120.0),
    ((1.0, 2.0, 3.0), (1.0, 2.0, 8.0)),
    (0.0, 1.0, 0.0),
    (0.0, 0.0, 1.0),
    (1.0, 0.0, 0.0),
)


def read_images(path):
    with ismrmrd.File(str(path), "r") as file:
        return list(file["dataset/image_0"].images[:])


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
@pytest.mark.parametrize("repetitions", [None, 3])
def test_images_are_read_as_they_were(dtype, repetitions, tmp_path) -> None:
    generator = np.random.default_rng(0)
    shape = (2, 9, 12) if repetitions is None else (repetitions, 2, 9, 12)
    image = generator.normal(size=shape).astype(dtype)
    write_mrd_images(tmp_path / "image.h5", image, PLACE)
    found = read_images(tmp_path / "image.h5")
    stack = image.reshape(-1, 9, 12)
    assert len(found) == len(stack)
    for index, (one, expected) in enumerate(zip(found, stack, strict=True)):
        assert one.data.dtype == dtype
        np.testing.assert_array_equal(np.squeeze(one.data), expected)
        assert one.image_index == index + 1
        assert (one.slice, one.repetition) == (index % 2, index // 2)
        assert tuple(one.field_of_view) == (120.0, 90.0, 4.0)
        np.testing.assert_allclose(one.position[:], PLACE.positions_mm[index % 2], atol=1e-5)
        assert tuple(one.read_dir) == PLACE.read_direction


def test_a_volume_is_slices_with_their_own_positions(tmp_path) -> None:
    place = Geometry((20.0, 90.0, 120.0), ((1.0, 2.0, 3.0),))
    write_mrd_images(tmp_path / "image.h5", np.ones((5, 9, 12)), place)
    found = read_images(tmp_path / "image.h5")
    assert [round(one.position[2], 4) for one in found] == [-5, -1, 3, 7, 11]
    assert found[0].field_of_view[2] == 4


def test_other_shapes_are_refused(tmp_path) -> None:
    with pytest.raises(ShapeError, match=r"shape \(5,\)"):
        write_mrd_images(tmp_path / "image.h5", np.ones(5))
