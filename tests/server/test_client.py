"""The client refuses what the server would ignore."""

from __future__ import annotations

from pathlib import Path

import pytest

from firenet_mri.errors import UsageError
from firenet_mri.server.client import send_scan


def test_parameters_inside_parameters_are_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match='nested in another "parameters"'):
        send_scan(tmp_path / "none.h5", parameters={"parameters": {"joint": "phase"}})
