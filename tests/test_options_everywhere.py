"""An option that is added to its class is at every face, and is spelled out nowhere else."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import options_faces
import pytest

from firenet_mri import ReadOptions, ReconstructionOptions
from firenet_mri.errors import UsageError

ROOT = Path(__file__).parents[1]
FACES = {face.name: face for face in options_faces.faces()}
# Names that mean something else besides: samples and coefficients have weights, data have a
# trajectory, and networks an encoding operator.
OTHERS = {"weights", "trajectory", "encoding"}
OPTIONS = {
    field.name for cls in (ReadOptions, ReconstructionOptions) for field in cls.fields()
} - OTHERS


def test_an_option_that_is_added_is_at_every_face() -> None:
    """The source of two classes gets a field more when it is loaded; no face is told so."""
    script = str(ROOT / "tests/options_faces.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    report = json.loads(done.stdout)
    assert "surprise" in report.pop("console")
    assert set(report) == set(FACES)
    for name, face in report.items():
        assert face["accepted"] == face["known"], name
        if FACES[name].give is not None:
            new = {"novelty": 3, "surprise": True}
            assert face["held"] == {one: new[one] for one in face["known"]}, name
    everywhere = [name for name, face in report.items() if "novelty" in face["known"]]
    reading = {"read", "LoadKspace", "LoadKspaced", "MRDReader"}
    assert set(FACES) - set(everywhere) == reading


@pytest.mark.parametrize("name", FACES)
def test_a_face_takes_all_options_but_those_that_it_refuses_by_name(name) -> None:
    face = FACES[name]
    known = {field.name for cls in face.classes for field in cls.fields()}
    assert set(face.refused) <= known
    assert set(face.others) <= set(face.refused)
    assert known - (face.accepted - set(face.others)) == set(face.refused)
    if face.give is None:
        return
    defaults = {field.name: field.default for cls in face.classes for field in cls.fields()}
    for refused in set(face.refused) - set(face.others):
        with pytest.raises(UsageError, match=rf"\b{refused}\b.*(not possible here|is called)"):
            face.give(**{refused: defaults[refused]})
    assert face.give(preset="stable", layers="4")["layers"] == 4
    with pytest.raises(UsageError, match="did you mean preset"):
        face.give(presett="stable")
    with pytest.raises(UsageError, match="layers is 0"):
        face.give(layers=0)


def spelled(tree: ast.AST) -> int:
    """Return how often an option's name is a parameter with a default, or a field."""
    count = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.arguments):
            late = node.args[len(node.args) - len(node.defaults) :]
            count += sum(one.arg in OPTIONS for one in [*late, *node.kwonlyargs])
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            count += node.target.id in OPTIONS
    return count


def test_no_face_spells_the_options_out() -> None:
    package, counts = ROOT / "firenet_mri", {}
    places = ("reconstruction", "cli", "monai", "sigpy", "server", "batch")
    for place in places:
        for path in (package / place).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            counts[path.relative_to(package).as_posix()] = spelled(tree)
    counts["firenet/presets.py"] = spelled(ast.parse((package / "firenet/presets.py").read_text()))
    assert counts.pop("reconstruction/options.py") == 13
    assert sum(counts.values()) <= 30, counts
    # A list of several is a second place to change.
    assert max(counts.values()) <= 4, counts
