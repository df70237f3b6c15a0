"""Images come onto the square grid whole, and what is no single image is refused."""

from __future__ import annotations

import pytest
import torch

from firenet_benchmark.paper.images import on_square_grid
from firenet_mri.errors import DataError, ShapeError


def test_square_grid_keeps_the_picture_in_its_middle() -> None:
    image = torch.rand(5, 7, generator=torch.Generator().manual_seed(0)) + 1
    square = on_square_grid(image[None])
    assert square.shape == (8, 8)
    assert square.max() == 1
    assert torch.equal(square[1:6, :7], image.double() / image.double().max())
    assert (square > 0).sum() == 35


def test_what_is_no_single_image_is_refused() -> None:
    with pytest.raises(ShapeError, match="single one"):
        on_square_grid(torch.ones(2, 3, 3))
    with pytest.raises(DataError, match="zero everywhere"):
        on_square_grid(torch.zeros(3, 3))
