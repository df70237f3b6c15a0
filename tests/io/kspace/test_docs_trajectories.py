"""The examples of docs/trajectories.md run, and their images are good."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "trajectories.md"


def test_examples_run_in_their_order(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), names)
    printed = capsys.readouterr().out
    found = re.findall(r"(radial|spiral|stack of stars): ([\d.]+) dB", printed)
    assert [name for name, _ in found] == ["radial", "spiral", "stack of stars"]
    assert all(float(psnr) > 30 for _, psnr in found), printed
    assert "(proven)" in printed
