"""Makes links of what docstrings name with a role, such as :func:`firenet_mri.read`.

Griffe loads this when it reads the package for the reference. A name that is not public is shown as
code. Stars of shapes, such as (*batch, y, x), are no emphasis, and products <y, v> no tags.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import griffe

# Griffe loads the file by its path.
sys.path.insert(0, str(Path(__file__).parent))

import reference

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc|obj):`~?([^`]+)`")
_STAR = re.compile(r"(?<![\w*`\\])\*(?=[a-z_])")
_TAG = re.compile(r"<(?=[a-zA-Z/!])")
_CODE = re.compile(r"(``?[^`]+``?)")


class Roles(griffe.Extension):
    """Rewrites the docstrings of the package as Markdown."""

    def __init__(self) -> None:
        super().__init__()
        self.places = reference.places()

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value, self.places)


def as_markdown(text: str, places: dict[str, str]) -> str:
    """Return a docstring with links in the place of roles, and stars and angles as they stand.

    Parameters
    ----------
    text
        A docstring.
    places
        Where a public name is described, by its last part.
    """
    parts = _CODE.split(_ROLE.sub(lambda match: _link(match[1], places), text))
    parts[::2] = [_TAG.sub("&lt;", _STAR.sub(r"\*", prose)) for prose in parts[::2]]
    return "".join(parts)


def _link(name: str, places: dict[str, str]) -> str:
    path = places.get(name.rpartition(".")[2])
    return f"`{name}`" if path is None else f"[`{name}`][{path}]"
