"""What all transforms share: they pickle as their options, by value, so that hashes are stable."""

from __future__ import annotations

import ast
import math
from typing import Any

from firenet_mri.options import Options


class Configured:
    """A transform that holds nothing but its options; equal options pickle to equal bytes.

    MONAI's cached datasets hash a transform's pickle. Pickle writes two equal strings once if they
    are one object and twice if they are not, and so tells options that were written in a program
    from the same ones read from a bundle's configuration. Written as text they are the same.
    """

    def __getstate__(self) -> tuple[Any, ...]:
        """Return the options: the plain ones as one text, then arrays and other transforms."""
        options = sorted(vars(self).items())
        plain = {name: _by_value(value) for name, value in options if _is_plain(value)}
        chosen = {name: value for name, value in options if isinstance(value, Options)}
        flat = {name: _by_value(_flat(value)) for name, value in chosen.items()}
        others = {name: value for name, value in options if name not in plain | flat}
        text = repr((plain, flat, list(others)))
        return (text, *map(type, chosen.values()), *others.values())

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take over the options."""
        plain, flat, names = ast.literal_eval(state[0])
        classes, others = state[1 : len(flat) + 1], state[len(flat) + 1 :]
        pairs = zip(flat.items(), classes, strict=True)
        chosen = {name: cls.from_mapping(dict(values)) for (name, values), cls in pairs}
        vars(self).update(plain | chosen | dict(zip(names, others, strict=True)))


def _flat(options: Options) -> tuple[tuple[str, Any], ...]:
    values = tuple(sorted(options.flat().items()))
    assert _is_plain(values), "options of transforms hold no arrays"
    return values


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | int)


def _by_value(value: Any) -> Any:
    """Return a plain value without what makes it an enumeration's member or a NumPy number."""
    if isinstance(value, tuple):
        return tuple(map(_by_value, value))
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return str.__str__(value) if kind is str else kind(value)
    return value
