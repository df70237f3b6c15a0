"""Runs the examples and makes their pages, pictures and notebooks.

    python tools/docs_site/gallery.py [EXAMPLE ...]

runs all of ``examples/*.py``, or those that are named, and keeps what they print and draw under
``build/gallery``, where the site finds it. An example is a script in the layout of sphinx-gallery:
a docstring with the title, then cells that begin with ``# %%``, with text in comments and code.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
RESULTS = ROOT / "build/gallery"

_CELL = re.compile(r"# %%")
_OUTCOME = "outcome.json"


@dataclass(frozen=True)
class Cell:
    """Text in Markdown, and the code below it; one of them may be empty.

    ``line`` is the number of the code's first line in the script, which errors name.
    """

    text: str
    code: str
    line: int = 1


@dataclass(frozen=True)
class Example:
    """A script of the gallery.

    Parameters
    ----------
    path
        The script, ``NN_name.py``; the number gives its place.
    title
        The first line of its docstring, without the full stop.
    cells
        The rest of the docstring, then the cells.
    """

    path: Path
    title: str
    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        """The name of its page."""
        return self.path.stem.partition("_")[2]


@dataclass(frozen=True)
class Outcome:
    """What a run of an example gave.

    Parameters
    ----------
    printed
        What each cell printed.
    figures
        PNG files that each cell drew, by name.
    seconds
        How long it took, imports included.
    """

    printed: tuple[str, ...]
    figures: tuple[tuple[str, ...], ...]
    seconds: float


def examples() -> list[Example]:
    """Return all examples in their order."""
    return [parsed(path) for path in sorted(EXAMPLES.glob("[0-9]*.py"))]


def parsed(path: Path) -> Example:
    """Return the cells of a script.

    Raises
    ------
    ValueError
        If it does not begin with a docstring.
    """
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    docstring = ast.get_docstring(tree)
    if docstring is None:
        raise ValueError(f"{path.name}: begins without a docstring, which gives the title")
    title, _, about = docstring.partition("\n")
    cells = [Cell(about.strip(), "")] if about.strip() else []
    block, first = [], (tree.body[0].end_lineno or 0) + 1
    for number, line in enumerate([*source.splitlines()[first - 1 :], "# %%"], first):
        if _CELL.match(line):
            cells.append(_cell(block, number - len(block)))
            block = []
        else:
            block.append(line)
    filled = tuple(cell for cell in cells if cell.text or cell.code)
    return Example(path, title.rstrip(". "), filled)


def _cell(lines: list[str], first: int) -> Cell:
    """Return the cell of lines whose number in the script begins at ``first``."""
    count = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[:count])
    code = "\n".join(lines[count:])
    blank = len(code) - len(code.lstrip("\n"))
    return Cell(text.strip(), code.strip("\n"), first + count + blank)


def run(example: Example, folder: Path) -> Outcome:
    """Run the cells one after the other in this process; keep figures in a folder.

    The example is run where ``sample_data`` is, and what it writes is thrown away.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    pyplot.show = lambda *_, **__: None  # type: ignore[assignment]
    folder.mkdir(parents=True, exist_ok=True)
    printed, figures, start = [], [], time.perf_counter()
    names: dict[str, Any] = {"__name__": "__main__", "__file__": str(example.path)}
    with _workplace():
        for cell in example.cells:
            with contextlib.redirect_stdout(io.StringIO()) as out:
                code = "\n" * (cell.line - 1) + cell.code
                exec(compile(code, str(example.path), "exec"), names)
            printed.append(out.getvalue().rstrip())
            figures.append(tuple(_kept_figures(folder, sum(map(len, figures)))))
    return Outcome(tuple(printed), tuple(figures), time.perf_counter() - start)


@contextlib.contextmanager
def _workplace() -> Any:
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as place:
        for name in ("sample_data", "docs"):
            (Path(place) / name).symlink_to(ROOT / name)
        os.chdir(place)
        try:
            yield
        finally:
            os.chdir(before)


def _kept_figures(folder: Path, count: int) -> list[str]:
    """Write the open figures to files, close them, and return the files' names."""
    from matplotlib import pyplot

    names = []
    for number in pyplot.get_fignums():
        name = f"figure_{count + len(names) + 1}.png"
        pyplot.figure(number).savefig(folder / name, dpi=110, bbox_inches="tight")
        names.append(name)
    pyplot.close("all")
    return names


def outcome_of(example: Example) -> Outcome:
    """Return what the last run of an example gave.

    Raises
    ------
    FileNotFoundError
        If it has not been run, or was changed since.
    """
    kept = RESULTS / example.name / _OUTCOME
    report = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    if report.pop("source", None) != example.path.read_text(encoding="utf-8"):
        raise FileNotFoundError(
            f"{example.path.name}: not run as it stands; python tools/docs_site/gallery.py"
        )
    figures = tuple(tuple(names) for names in report["figures"])
    return Outcome(tuple(report["printed"]), figures, report["seconds"])


def page(example: Example, outcome: Outcome) -> str:
    """Return the page of an example, with what it printed and drew."""
    # No table of contents, so that pictures have its room.
    parts = ["---\nhide: [toc]\n---", f"# {example.title}"]
    for cell, printed, figures in zip(example.cells, outcome.printed, outcome.figures, strict=True):
        parts += [cell.text] if cell.text else []
        parts += [f"```python\n{cell.code}\n```"] if cell.code else []
        parts += [f'```{{.text .output title="Output"}}\n{printed}\n```'] if printed else []
        parts += [f"![{example.title}]({example.name}/{name})" for name in figures]
    parts.append(
        f"Took {outcome.seconds:.0f} s on one core, imports included. Run it in the folder of the "
        f"repository: `python {example.path.relative_to(ROOT).as_posix()}`.\n\n"
        f"[Script]({example.name}/{example.path.name}){{ .md-button download }}\n"
        f"[Notebook]({example.name}/{example.name}.ipynb){{ .md-button download }}"
    )
    return "\n\n".join(parts) + "\n"


def overview(shown: list[tuple[Example, Outcome]]) -> str:
    """Return the page that shows all examples by their last picture."""
    cards = []
    for example, outcome in shown:
        picture = [name for names in outcome.figures for name in names][-1]
        cards.append(
            f"-   [![]({example.name}/{picture})]({example.name}.md)\n\n"
            f"    [**{example.title}**]({example.name}.md)"
        )
    text = (
        "---\nhide: [toc]\n---\n\n# Gallery\n\n"
        "Each example is a script of a page or two that runs in seconds on one core, with the "
        "simulated samples of the repository and without a network. What it prints and draws here "
        "was made by running it."
    )
    return (
        f'{text}\n\n<div class="grid cards gallery" markdown>\n\n'
        + "\n\n".join(cards)
        + "\n\n</div>\n"
    )


def notebook(example: Example, outcome: Outcome, folder: Path) -> str:
    """Return the example as a Jupyter notebook with its outputs, format 4.5."""
    cells: list[dict[str, Any]] = [_notebook_cell(0, "markdown", f"# {example.title}")]
    for cell, printed, figures in zip(example.cells, outcome.printed, outcome.figures, strict=True):
        if cell.text:
            cells.append(_notebook_cell(len(cells), "markdown", cell.text))
        if cell.code:
            made = [_stream(printed)] if printed else []
            made += [_picture(folder / name) for name in figures]
            code = _notebook_cell(len(cells), "code", cell.code)
            cells.append(code | {"execution_count": None, "outputs": made})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(whole, indent=1) + "\n"


def _notebook_cell(number: int, kind: str, source: str) -> dict[str, Any]:
    return {"id": f"cell-{number}", "cell_type": kind, "metadata": {}, "source": source}


def _stream(printed: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": "stdout", "text": f"{printed}\n"}


def _picture(path: Path) -> dict[str, Any]:
    data = {"image/png": base64.b64encode(path.read_bytes()).decode()}
    return {"output_type": "display_data", "data": data, "metadata": {}}


def _run_here(path: Path) -> None:
    """Run an example in this process, and keep its outcome and notebook."""
    example = parsed(path)
    folder = RESULTS / example.name
    outcome = run(example, folder)
    report = asdict(outcome) | {"source": path.read_text(encoding="utf-8")}
    (folder / f"{example.name}.ipynb").write_text(notebook(example, outcome, folder), "utf-8")
    (folder / _OUTCOME).write_text(json.dumps(report), encoding="utf-8")


def main(words: list[str]) -> int:
    """Run the examples, each in a process of its own and on one core; return the exit status."""
    if words[:1] == ["--here"]:
        _run_here(Path(words[1]))
        return 0
    # The package of this folder, whatever is installed.
    places = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "PYTHONPATH": places}
    chosen = [
        example
        for example in examples()
        if not words or example.name in words or example.path.stem in words
    ]
    status = 0
    for example in chosen:
        call = [sys.executable, __file__, "--here", str(example.path)]
        is_good = subprocess.run(call, env=environment, check=False).returncode == 0
        what = f"{outcome_of(example).seconds:.0f} s" if is_good else "failed"
        sys.stdout.write(f"{example.path.name}: {what}\n")
        sys.stdout.flush()
        status |= not is_good
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
