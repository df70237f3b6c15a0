"""Messages count as English does."""

from __future__ import annotations

import pytest

from firenet_mri.plurals import by_number, counted


@pytest.mark.parametrize(
    ("number", "words", "said"),
    [
        (1, ("image",), "1 image"),
        (0, ("image",), "0 images"),
        (2, ("image",), "2 images"),
        (1, ("pass", "passes"), "1 pass"),
        (3, ("pass", "passes"), "3 passes"),
    ],
)
def test_one_thing_is_counted_in_the_singular(number, words, said) -> None:
    assert counted(number, *words) == said


def test_a_verb_goes_with_its_number() -> None:
    assert [by_number(n, "is", "are") for n in range(3)] == ["are", "is", "are"]
