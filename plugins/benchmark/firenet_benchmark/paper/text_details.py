"""Images with a detail that no training image has, the letters T1, and how much of it survives."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from firenet_mri.errors import UsageError

_CONTRAST = 30 / 255
_MARGIN = 2
_AROUND = 12

# Strokes of one pixel, drawn at twice the size.
_LETTERS = ("###..#.", ".#..##.", ".#...#.", ".#...#.", ".#..###")


@dataclass(frozen=True, eq=False)
class Detail:
    """An image without and with letters.

    Parameters
    ----------
    without, image
        (y, x) float32.
    box
        Rows and columns of the letters with a margin, where the image without is uniform.
    letters
        bool, the box's shape; True on the letters.
    contrast
        Of the letters, +-30/255.
    """

    without: Tensor
    image: Tensor
    box: tuple[slice, slice]
    letters: Tensor
    contrast: float

    def measure(self, image: Tensor) -> float:
        """Return mean on the letters minus mean around them, relative to the true contrast."""
        cut = image[self.box]
        return float(cut[self.letters].mean() - cut[~self.letters].mean()) / self.contrast

    def enlarge(self, image: Tensor) -> Tensor:
        """Return the part of an image around the letters, where there is some."""
        rows, columns = (
            slice(max(0, part.start - _AROUND), min(size, part.stop + _AROUND))
            for part, size in zip(self.box, image.shape, strict=True)
        )
        return image[rows, columns]


def find_details(images: Tensor, count: int) -> list[Detail]:
    """Return the first images that have room for letters in a uniform region, with and without.

    Parameters
    ----------
    images
        (number, y, x) float32.
    count
        How many are wanted.

    Raises
    ------
    UsageError
        If fewer images have room.
    """
    details = (_insert_letters(image) for image in images)
    found = [detail for detail in details if detail is not None][:count]
    if len(found) < count:
        raise UsageError(
            f"{len(found)} of {len(images)} images of size {tuple(images.shape[1:])} have room for "
            f"letters, {count} are needed; ask for larger or fewer images"
        )
    return found


def _insert_letters(image: Tensor) -> Detail | None:
    """Return the image with letters in its first uniform box that is neither dark nor bright."""
    letters = torch.tensor([[c == "#" for c in line] for line in _LETTERS])
    letters = letters.repeat_interleave(2, 0).repeat_interleave(2, 1)
    letters = pad(letters, (_MARGIN,) * 4)
    height, width = letters.shape
    if image.shape[0] < height or image.shape[1] < width:
        return None
    largest = max_pool2d(image[None], (height, width), stride=1)[0]
    smallest = -max_pool2d(-image[None], (height, width), stride=1)[0]
    level = image[: largest.shape[0], : largest.shape[1]]
    places = torch.nonzero((largest == smallest) & (level > 0.15) & (level < 0.85))
    if len(places) == 0:
        return None
    row, column = places[0].tolist()
    box = (slice(row, row + height), slice(column, column + width))
    contrast = _CONTRAST if float(image[row, column]) < 0.5 else -_CONTRAST
    changed = image.clone()
    changed[box] += contrast * letters
    return Detail(image, changed, box, letters, contrast)
