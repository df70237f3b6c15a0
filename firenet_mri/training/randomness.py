"""Random numbers of a case of training data, all from one seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

Item = TypeVar("Item")


class Random:
    """Numbers, choices and smooth fields that a seed fixes."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Return a number between two others."""
        return low + (high - low) * float(torch.rand(1, generator=self._generator))

    def integer(self, low: int, high: int) -> int:
        """Return an integer from low to high - 1."""
        return int(torch.randint(low, high, (1,), generator=self._generator))

    def chance(self, probability: float) -> bool:
        """Return True with a probability."""
        return self.uniform() < probability

    def choice(self, items: Sequence[Item]) -> Item:
        """Return one of the items."""
        return items[self.integer(0, len(items))]

    def grid(self, *shape: int) -> Tensor:
        """Return uniform numbers in [0, 1)."""
        return torch.rand(*shape, generator=self._generator)

    def white(self, *shape: int) -> Tensor:
        """Return complex white noise of variance 1."""
        parts = torch.randn(*shape, 2, generator=self._generator)
        return torch.view_as_complex(parts) / math.sqrt(2)

    def smooth(self, shape: tuple[int, int], knots: int) -> Tensor:
        """Return a smooth field through normal numbers on knots x knots points."""
        values = torch.randn(1, 1, knots, knots, generator=self._generator)
        field: Tensor = interpolate(values, shape, mode="bicubic", align_corners=True)[0, 0]
        return field

    def taken(self, weights: Tensor, count: int) -> Tensor:
        """Return indices of so many different entries, with probabilities like their weights."""
        return torch.multinomial(weights, count, generator=self._generator)
