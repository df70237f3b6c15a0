"""Kinds of simulated series and of sampling by name; no torch."""

from __future__ import annotations

from typing import Literal, get_args

#: Hearts of :mod:`.phantom`.
Heart = Literal["beating", "perfusion", "abrupt"]

#: All series: the hearts, those of :mod:`.echoes`, and those of :mod:`.slime`.
Kind = Literal["beating", "perfusion", "abrupt", "echoes", "mrphantom"]
KINDS: tuple[Kind, ...] = get_args(Kind)

#: Lines of a grid, or spokes by the golden angle.
Sampling = Literal["lines", "radial"]
