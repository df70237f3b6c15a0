"""``firenet paper barrier`` writes its report and says what it shows."""

from __future__ import annotations

import csv
import json

import pytest

from firenet_benchmark.paper import barrier


@pytest.mark.slow
def test_barrier_writes_figure_and_tables_and_refuses_to_replace_them(
    firenet, tmp_path, capsys, monkeypatch
) -> None:
    # Little to learn from: what the networks reach is tested elsewhere.
    monkeypatch.setattr(barrier, "_ITEMS", 300)
    monkeypatch.setattr(barrier, "_VALIDATION_ITEMS", 30)
    folder = tmp_path / "new" / "paper"
    assert firenet("paper", "barrier", "-o", folder, "--steps", 30) == 0
    said = capsys.readouterr().out
    assert "0.1505736" in said
    assert "(a) K digits" in said
    assert "theorem" in said
    with (folder / "barrier.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["digits"], row["bits"]) for row in rows] == [
        (k, n) for k in "136" for n in ("10", "20", "30")
    ]
    report = json.loads((folder / "barrier.json").read_text())
    assert report["settings"]["lista"]["steps"] == 30
    assert len(report["settings"]["validation_curves"]) == 9
    assert (folder / "barrier.png").read_bytes().startswith(b"\x89PNG")
    before = (folder / "barrier.csv").read_bytes()
    assert firenet("paper", "barrier", "-o", folder, "--steps", 30) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert (folder / "barrier.csv").read_bytes() == before


def test_too_few_steps_are_refused(firenet, tmp_path, capsys) -> None:
    assert firenet("paper", "barrier", "-o", tmp_path, "--steps", 3) == 2
    assert "steps is 3" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
