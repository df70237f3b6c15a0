"""Prints the label that OpenRecon reads from an image: label.json in base 64."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

KEY = "com.siemens-healthineers.magneticresonance.openrecon.metadata:1.1.0"


def label() -> str:
    """Return KEY=VALUE; the value is the JSON in base 64."""
    content = json.loads((Path(__file__).parent / "label.json").read_text(encoding="utf-8"))
    return f"{KEY}={base64.b64encode(json.dumps(content).encode()).decode('ascii')}"


if __name__ == "__main__":
    sys.stdout.write(label())
