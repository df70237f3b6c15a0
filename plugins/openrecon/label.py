"""Prints the label that OpenRecon reads from a container image: JSON in base 64.

The scanner's console offers those options of the server that are a choice between a few words or a
switch. Everything else in the label comes from label.json.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

from firenet_mri.options import Field
from firenet_mri.server import StreamOptions

KEY = "com.siemens-healthineers.magneticresonance.openrecon.metadata:1.1.0"

# Scanners show integers.
DEFAULTS = {"dtype": "int16"}


def label() -> str:
    """Return KEY=VALUE; the value is the JSON in base 64."""
    return f"{KEY}={base64.b64encode(json.dumps(content()).encode()).decode('ascii')}"


def content() -> dict[str, Any]:
    """Return the label as data."""
    text = (Path(__file__).parent / "label.json").read_text(encoding="utf-8")
    result: dict[str, Any] = json.loads(text)
    fields = StreamOptions.fields(without=StreamOptions.REFUSED)
    result["parameters"] += [_parameter(one) for one in fields if one.choices or one.is_flag]
    return result


def _parameter(field: Field) -> dict[str, Any]:
    """Return an option in the form that the console expects."""
    shown = {
        "id": field.name,
        "label": {"en": field.name.replace("_", " ")},
        "default": DEFAULTS.get(field.name, field.default),
        "information": {"en": field.help},
    }
    if field.is_flag:
        return {**shown, "type": "boolean"}
    values = [{"id": word, "name": {"en": word}} for word in field.choices]
    return {**shown, "type": "choice", "values": values}


if __name__ == "__main__":
    sys.stdout.write(label())
