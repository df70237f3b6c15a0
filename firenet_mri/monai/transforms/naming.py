"""Makes the errors of dictionary transforms name the entry that they are about."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from firenet_mri.errors import FirenetError


@contextmanager
def named(key: Hashable) -> Iterator[None]:
    """Make errors say in which entry of the dictionary they arose."""
    try:
        yield
    except FirenetError as error:
        raise type(error)(f"{key!r}: {error}") from None
