"""The names of calibration methods, without the code that computes them."""

from __future__ import annotations

from typing import Literal

MapMethod = Literal["espirit", "jsense", "lowres", "none"]
Compression = Literal["svd", "geometric"]
Background = Literal["crop", "keep"]
