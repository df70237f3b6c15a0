"""Kinds of simulated hearts by name; no torch."""

from __future__ import annotations

from typing import Literal

Kind = Literal["beating", "perfusion", "echoes"]
