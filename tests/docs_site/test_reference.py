"""The reference has the public names that the tests list, each once."""

from __future__ import annotations

import importlib
import re

import pytest
import reference
from test_public_api import PACKAGES, public


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    described: dict[int, str] = {}
    found = reference.pages(reference.public_names())
    return {name: reference.page_text(page, described) for name, page in found.items()}


def entries(text: str) -> list[str]:
    """Return the names that a page describes or refers to elsewhere."""
    return re.findall(r"^(?:::: |### \w+ \{ #)([\w.]+)", text, re.MULTILINE)


def test_the_reference_has_all_public_names_and_no_others(texts) -> None:
    found = [entry for text in texts.values() for entry in entries(text)]
    assert len(found) == len(set(found)) == len(public())
    assert all({path, reference.identifier(path)} & set(found) for path in public())


def test_a_name_that_is_added_to_the_list_is_in_the_reference(tmp_path) -> None:
    source = reference.PUBLIC_API.read_text(encoding="utf-8")
    changed = source.replace('"firenet_mri.metrics": "', '"firenet_mri.metrics": "nothing ', 1)
    copy = tmp_path / "test_public_api.py"
    copy.write_text(changed, encoding="utf-8")
    before, after = reference.public_names(), reference.public_names(copy)
    assert after["firenet_mri.metrics"] == ["nothing", *before["firenet_mri.metrics"]]
    assert set(before) >= set(PACKAGES)


def test_what_two_packages_export_is_described_at_the_first(texts) -> None:
    assert "::: firenet_mri.reconstruct\n" in texts["firenet_mri"]
    again = texts["firenet_mri.reconstruction"]
    assert "The same as [`firenet_mri.reconstruct`][firenet_mri.reconstruct]." in again


def test_of_two_names_of_one_class_it_is_described_under_its_own(texts) -> None:
    text = texts["firenet_mri.monai"]
    assert "::: firenet_mri.monai.CompressCoilsd\n" in text
    assert "### CompressCoilsD { #firenet_mri.monai.CompressCoilsD }\n\nThe same as" in text


def test_a_function_is_not_taken_for_the_module_of_its_name(texts) -> None:
    path = "firenet_mri.firenet.certificate.certify.certify"
    assert reference.identifier("firenet_mri.certify") == path
    assert f"::: {path}\n" in texts["firenet_mri"]
    assert f"[`certify`](#{path})" in texts["firenet_mri"]


def test_griffe_finds_a_class_or_a_function_under_every_entry(texts) -> None:
    griffe = pytest.importorskip("griffe", reason="griffe comes with make docs")
    package = griffe.load("firenet_mri", search_paths=[reference.ROOT], resolve_aliases=True)
    for text in texts.values():
        for entry in re.findall(r"^::: firenet_mri\.([\w.]+)", text, re.MULTILINE):
            assert package[entry].kind.value in ("class", "function"), entry


def test_first_lines_of_docstrings_are_markdown(texts) -> None:
    assert not any(":func:" in text or ":class:" in text for text in texts.values())
    operators = importlib.import_module("firenet_mri.operators")
    summary = reference._summary(operators.encoding_operator)
    assert summary
    assert "\n" not in summary


def test_roles_become_links_and_stars_and_angles_stay() -> None:
    pytest.importorskip("griffe", reason="griffe comes with make docs")
    import roles

    places = {"read": "firenet_mri.read"}
    given = "See :func:`~firenet_mri.read`, :class:`Nothing`; (*batch, *data), <a, b>, `*x <y>`."
    expected = (
        r"See [`firenet_mri.read`][firenet_mri.read], `Nothing`; (\*batch, \*data), &lt;a, b>, "
        "`*x <y>`."
    )
    assert roles.as_markdown(given, places) == expected


def test_the_commands_are_shown_with_their_options() -> None:
    text = reference.command_line()
    assert text.count("\n## firenet ") >= 12
    assert "\n## firenet recon\n" in text
    assert "`--phase-constraint" in text
    assert "```console\nfirenet recon " in text
    assert "Table of Contents" not in text
