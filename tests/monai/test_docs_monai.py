"""The Python of docs/monai.md runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel

ROOT = Path(__file__).parents[2]


def test_monai_examples_run(monkeypatch, tmp_path) -> None:
    # They write beside where they are run.
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/monai.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    blocks = [block for block in blocks if "from firenet_mri.monai" in block]
    for block in blocks:
        exec(compile(block, "docs/monai.md", "exec"), {})
    image = nibabel.load(tmp_path / "brain_8coil/brain_8coil_trans.nii.gz")
    assert image.shape == (216, 180, 1)
