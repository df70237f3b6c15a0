"""What all transforms share: they pickle as their options, by value, so that hashes are stable."""

from __future__ import annotations

import ast
import math
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from firenet_mri.options import Options

_Options = TypeVar("_Options", bound=Options)


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
        arrays = {name: _arrays(value) for name, value in chosen.items()}
        others = {name: value for name, value in options if name not in plain | flat}
        text = repr((plain, flat, [list(one) for one in arrays.values()], list(others)))
        each = [array for one in arrays.values() for array in one.values()]
        return (text, *map(type, chosen.values()), *each, *others.values())

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take over the options."""
        plain, flat, of_arrays, names = ast.literal_eval(state[0])
        rest = iter(state[1:])
        classes = [next(rest) for _ in flat]
        arrays = [{name: next(rest) for name in one} for one in of_arrays]
        groups = zip(flat.items(), classes, arrays, strict=True)
        chosen = {name: cls.from_mapping({**dict(v), **one}) for (name, v), cls, one in groups}
        vars(self).update(plain | chosen | dict(zip(names, rest, strict=True)))


def with_stable_arrays(options: _Options) -> _Options:
    """Return options whose tensors are arrays: these pickle to equal bytes in every process."""
    found = {name: np.ascontiguousarray(one) for name, one in _arrays(options).items()}
    return options.replace(**found) if found else options


def _arrays(options: Options) -> dict[str, Any]:
    return {name: one for name, one in sorted(options.flat().items()) if hasattr(one, "shape")}


def _flat(options: Options) -> tuple[tuple[str, Any], ...]:
    """Return the options that are no arrays, files by their names."""
    values = {name: one for name, one in options.flat().items() if not hasattr(one, "shape")}
    return tuple(sorted((name, _file_name(one)) for name, one in values.items()))


def _file_name(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


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
