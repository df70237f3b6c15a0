"""The examples run, draw, and become pages and notebooks."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import replace

import gallery
import pytest

EXAMPLES = {example.name: example for example in gallery.examples()}
# Quick enough for every run of the tests.
QUICK = ("one_raw_file", "check_a_certificate")

SCRIPT = '''"""A title.

About it.
"""

# %%
# Some *text*,
# two lines.
import matplotlib.pyplot as plt

# A comment of the code.
print("one")

# %%

plt.plot([1, 2])
plt.show()

# %%
# Text alone.
'''


def ran(name: str, folder) -> gallery.Outcome:
    """Run an example and check what every example has."""
    outcome = gallery.run(EXAMPLES[name], folder)
    pictures = [folder / figure for figures in outcome.figures for figure in figures]
    assert pictures
    assert all(path.stat().st_size > 10_000 for path in pictures)
    assert any(outcome.printed)
    return outcome


def numbers(pattern: str, outcome: gallery.Outcome) -> list[float]:
    """Return the numbers of the one place in what was printed that fits a pattern."""
    found = re.findall(pattern, "\n".join(outcome.printed))
    assert len(found) == 1, found
    return [float(value) for value in ([found[0]] if isinstance(found[0], str) else found[0])]


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "01_a_script.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return path


def test_there_are_thirteen_examples_each_with_a_place_and_a_title() -> None:
    names = [example.path.name for example in gallery.examples()]
    assert [name[:3] for name in names] == [f"{number:02}_" for number in range(1, 14)]
    assert len({example.title for example in EXAMPLES.values()}) == 13
    lengths = [len(one.path.read_text(encoding="utf-8").splitlines()) for one in EXAMPLES.values()]
    assert max(lengths) <= 90


def test_a_script_is_taken_apart_into_text_and_code(script) -> None:
    example = gallery.parsed(script)
    assert (example.name, example.title) == ("a_script", "A title")
    texts = [cell.text for cell in example.cells]
    assert texts == ["About it.", "Some *text*,\ntwo lines.", "", "Text alone."]
    code = example.cells[1].code
    assert code.startswith("import matplotlib")
    assert "# A comment of the code." in code
    lines = SCRIPT.splitlines()
    for cell in example.cells:
        assert not cell.code or lines[cell.line - 1] == cell.code.splitlines()[0]


def test_a_script_without_a_title_is_refused(tmp_path) -> None:
    path = tmp_path / "01_x.py"
    path.write_text("print(1)\n", encoding="utf-8")
    with pytest.raises(ValueError, match="begins without a docstring"):
        gallery.parsed(path)


def test_an_error_in_an_example_names_its_line(script) -> None:
    script.write_text(SCRIPT.replace("[1, 2]", "[1, 2"), encoding="utf-8")
    with pytest.raises(SyntaxError):
        gallery.parsed(script)
    script.write_text(SCRIPT.replace('print("one")', "1 / 0"), encoding="utf-8")
    with pytest.raises(ZeroDivisionError) as caught:
        gallery.run(gallery.parsed(script), script.parent / "out")
    assert caught.traceback[-1].lineno + 1 == SCRIPT.splitlines().index('print("one")') + 1


def test_page_and_notebook_have_what_the_script_printed_and_drew(script, tmp_path) -> None:
    example, folder = gallery.parsed(script), tmp_path / "out"
    outcome = gallery.run(example, folder)
    assert outcome.printed == ("", "one", "", "")
    assert outcome.figures == ((), (), ("figure_1.png",), ())
    example = replace(example, path=gallery.EXAMPLES / script.name)
    page = gallery.page(example, outcome)
    parts = ("# A title\n", "About it.", "\none\n```", "![A title](a_script/figure_1.png)")
    places = [page.index(part) for part in parts]
    assert places == sorted(places)
    cells = json.loads(gallery.notebook(example, outcome, folder))["cells"]
    code = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
    assert code == [cell.code for cell in example.cells if cell.code]
    outputs = [out["output_type"] for cell in cells for out in cell.get("outputs", ())]
    assert outputs == ["stream", "display_data"]
    assert "a_script/figure_1.png" in gallery.overview([(example, outcome)])


def test_figures_of_all_cells_are_kept_in_their_order(script, tmp_path) -> None:
    script.write_text(SCRIPT + "plt.plot([2, 1])\nplt.figure()\nplt.plot(1)\n", encoding="utf-8")
    outcome = gallery.run(gallery.parsed(script), tmp_path)
    assert outcome.figures[2:] == (("figure_1.png",), ("figure_2.png", "figure_3.png"))
    pictures = {(tmp_path / f"figure_{number}.png").read_bytes() for number in (1, 2, 3)}
    assert len(pictures) == 3


def test_notebooks_are_valid(script, tmp_path) -> None:
    nbformat = pytest.importorskip("nbformat")
    example = gallery.parsed(script)
    outcome = gallery.run(example, tmp_path / "out")
    book = nbformat.reads(gallery.notebook(example, outcome, tmp_path / "out"), as_version=4)
    nbformat.validate(book)


def test_a_site_is_not_made_of_examples_that_were_changed_since(
    script, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(gallery, "RESULTS", tmp_path / "results")
    with pytest.raises(FileNotFoundError, match="not run as it stands"):
        gallery.outcome_of(gallery.parsed(script))
    gallery._run_here(script)
    assert gallery.outcome_of(gallery.parsed(script)).printed == ("", "one", "", "")
    script.write_text(SCRIPT + "\n", encoding="utf-8")
    with pytest.raises(FileNotFoundError, match="not run as it stands"):
        gallery.outcome_of(gallery.parsed(script))


def test_one_raw_file_becomes_an_image_with_its_files(tmp_path) -> None:
    outcome = ran("one_raw_file", tmp_path)
    assert outcome.printed[-1].splitlines()[-4:] == [
        "brain.nii.gz",
        "brain.png",
        "brain.json",
        "brain.evidence.h5",
    ]


def test_a_certificate_is_checked_by_hand_and_a_forged_image_is_found(tmp_path) -> None:
    outcome = ran("check_a_certificate", tmp_path)
    objective, stated = numbers(r"objective +([\d.]+), stated ([\d.]+)", outcome)
    assert objective == pytest.approx(stated, rel=1e-6)
    (forged,) = numbers(r"forged image +([\d.]+)", outcome)
    assert forged > 1.001 * objective


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - set(QUICK)))
def test_every_example_runs_and_draws(name, tmp_path) -> None:
    outcome = ran(name, tmp_path)
    if name == "noise_in_the_image":
        (found,) = numbers(r"amplified ([\d.]+) times at most", outcome)
        (bound,) = numbers(r"more than ([\d.]+) times", outcome)
        assert found < bound
    if name == "sampling_patterns":
        rows = re.findall(r"([\d.]+) dB", "\n".join(outcome.printed))
        assert float(rows[0]) == max(map(float, rows))
    if name == "train_with_a_bound":
        constant, wanted = numbers(r"constant ([\d.]+) \(wanted ([\d.]+)\)", outcome)
        assert constant <= wanted
        (reached,) = numbers(r"that is amplified ([\d.]+) times", outcome)
        (proven,) = numbers(r"over all data: ([\d.]+)", outcome)
        assert reached < proven
    if name == "accelerate_a_segmentation":
        rows = re.findall(r"(\d)x: (.*)", "\n".join(outcome.printed))
        scores = [ast.literal_eval(row) for _, row in rows]
        assert [factor for factor, _ in rows] == ["2", "4", "6", "8"]
        assert all(each["FIRENET"] > each["zero filling"] for each in scores)
        assert scores[0]["FIRENET"] > scores[-1]["FIRENET"]
