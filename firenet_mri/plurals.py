"""Numbers with the nouns they count, as in messages and logs: 1 image, 2 images."""

from __future__ import annotations

from typing import SupportsIndex


def counted(number: SupportsIndex | float, noun: str, nouns: str | None = None) -> str:
    """Return a number with its noun, such as "1 image" or "3 images".

    Parameters
    ----------
    number
        The count.
    noun, nouns
        The noun in singular and plural; the plural adds an s by default.
    """
    return f"{number} {by_number(number, noun, nouns)}"


def by_number(number: SupportsIndex | float, one: str, several: str | None = None) -> str:
    """Return the word that goes with a number, such as "is" or "are".

    Parameters
    ----------
    number
        The count.
    one, several
        The word for one, and the word for none or several; the latter adds an s by default.
    """
    if number == 1:
        return one
    return f"{one}s" if several is None else several
