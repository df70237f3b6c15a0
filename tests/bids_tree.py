"""What BIDS's own validator says of a tree; it is a program of the package bids-validator-deno."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Beside the tests' Python, or wherever the path leads.
_NAME = "bids-validator-deno"
_BESIDE = Path(sys.executable).with_name(_NAME)
_VALIDATOR = str(_BESIDE) if _BESIDE.exists() else shutil.which(_NAME)
needs_bids_validator = pytest.mark.skipif(_VALIDATOR is None, reason=f"{_NAME} is not installed")


def assert_valid_study(study: Path) -> None:
    """The validator finds no error."""
    assert _VALIDATOR is not None
    told = subprocess.run(
        [_VALIDATOR, "--format", "json", str(study)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )
    found = json.loads(told.stdout)["issues"]["issues"]
    errors = [one for one in found if one["severity"] == "error"]
    assert [(one["code"], one.get("subCode"), one.get("location")) for one in errors] == []
    assert told.returncode == 0
