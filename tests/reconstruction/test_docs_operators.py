"""The examples of docs/operators.md run, and say of the norm what the page says."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operators.md").read_text(encoding="utf-8")


def test_the_page_runs_and_tells_a_proven_norm_from_a_stated_one(capsys) -> None:
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        exec(compile(block, "docs/operators.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "as it was stated with it" in printed
    first, second = re.findall(r"^(assumed|proven) \{'norm_bound'", printed, re.MULTILINE)
    assert (first, second) == ("assumed", "proven")
    assert "torch.Size([1, 64, 64, 1]) operator" in printed
