"""Pictures are read as grey values, with white as 1, whatever their mode."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from firenet_mri.errors import FileError
from firenet_mri.io.image.grey import read_grey

VALUES = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


def test_eight_and_sixteen_bits_are_in_units_of_white(tmp_path) -> None:
    Image.fromarray(VALUES).save(tmp_path / "8.png")
    Image.fromarray(VALUES.astype(np.uint16) * 257).save(tmp_path / "16.png")
    for name in ("8.png", "16.png"):
        found = read_grey(tmp_path / name)
        np.testing.assert_allclose(found, VALUES / 255, atol=1e-6)


def test_colours_become_their_luma(tmp_path) -> None:
    rgb = np.zeros((2, 2, 3), np.uint8)
    rgb[0, 0], rgb[1, 1] = (255, 0, 0), (255, 255, 255)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    np.testing.assert_allclose(read_grey(tmp_path / "a.png"), [[0.299, 0], [0, 1]], atol=4e-3)


def test_jpeg_is_told_by_its_content(tmp_path) -> None:
    Image.fromarray(np.full((9, 9), 200, np.uint8)).save(tmp_path / "a", format="JPEG")
    np.testing.assert_allclose(read_grey(tmp_path / "a"), 200 / 255, atol=0.01)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"text", "neither a PNG nor a JPEG"),
        (b"\x89PNG\r\n\x1a\n and no more", "damaged"),
        (b"", "is empty"),
    ],
)
def test_other_and_damaged_files_are_named(tmp_path, content, message) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(FileError, match=f"a.png.*{message}"):
        read_grey(path)


def test_a_picture_that_was_cut_off_is_damaged(tmp_path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(FileError, match="damaged"):
        read_grey(tmp_path / "a.png")
