"""Names of sparsifiers are known before the size of an image is."""

from __future__ import annotations

import pytest
import pywt

from firenet_mri.errors import UsageError
from firenet_mri.operators.sparsifiers import check_sparsifier_name, make_sparsifier

OURS = ("tv", "dual-tree", "undecimated-dct", "undecimated-dct24", "tv+undecimated-haar")
ACROSS = ("undecimated-dct3+across-tv", "across-fourier", "tv+across-haar")


def _is_made(name: str, shape: tuple[int, ...]) -> bool:
    try:
        make_sparsifier(name, shape, 1 if name in pywt.wavelist() else None)
    except UsageError:
        return False
    return True


def test_a_name_is_refused_exactly_if_no_size_has_that_sparsifier() -> None:
    """Of the wavelets PyWavelets knows, some are not orthogonal."""
    named = pywt.wavelist(kind="discrete")
    names = (*named, *(f"undecimated-{one}" for one in named), *OURS)
    for name in (*names, *(f"{one}+nope" for one in OURS), "nope", "", "TV", "across-nope+tv"):
        shapes = [(16, 16), (128, 128), (3, 128, 128)]
        made = any(_is_made(name, shape) for shape in shapes)
        try:
            check_sparsifier_name(name)
        except UsageError:
            assert not made, name
        else:
            assert made, name


@pytest.mark.parametrize("name", [*ACROSS, "undecimated-dct1000+tv", "undecimated-dct1000"])
def test_names_across_images_and_of_any_block_are_known(name) -> None:
    check_sparsifier_name(name)
