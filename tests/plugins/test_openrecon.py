"""The label that OpenRecon reads: its encoding, and its choices against the server's options."""

from __future__ import annotations

import base64
import importlib.util
import json
from pathlib import Path
from typing import get_args

from firenet_mri.firenet.options import Preset
from firenet_mri.server.options import StreamOptions

FOLDER = Path(__file__).parents[2] / "plugins/openrecon"


def label_module():
    spec = importlib.util.spec_from_file_location("openrecon_label", FOLDER / "label.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_label_is_the_json_in_base_64() -> None:
    key, _, value = label_module().label().partition("=")
    assert key == "com.siemens-healthineers.magneticresonance.openrecon.metadata:1.1.0"
    content = json.loads(base64.b64decode(value))
    written = json.loads((FOLDER / "label.json").read_text())
    assert {**content, "parameters": content["parameters"][:1]} == written
    assert content["reconstruction"]["emitter"] == "raw"
    assert content["reconstruction"]["port"] == 9002


def test_every_choice_is_one_that_the_server_takes() -> None:
    parameters = label_module().content()["parameters"]
    by_name = {one["id"]: one for one in parameters}
    assert {"config", "preset", "maps", "by_readout", "output", "dtype"} <= set(by_name)
    for name, one in by_name.items():
        is_choice = one["type"] == "choice"
        choices = [value["id"] for value in one["values"]] if is_choice else [True, False]
        assert one["default"] in choices
        if name == "config":
            continue
        for choice in choices:
            # On its own: some go with others only.
            assert StreamOptions.of({"parameters": {name: choice}}).flat()[name] == choice
    presets = {value["id"] for value in by_name["preset"]["values"]}
    assert presets == set(get_args(Preset))
    assert by_name["dtype"]["default"] == "int16"


def test_the_container_serves_on_the_labels_port() -> None:
    text = (FOLDER / "Dockerfile").read_text()
    assert "EXPOSE 9002" in text
    assert '"firenet", "serve"' in text
    for source in ("constraints.txt", "pyproject.toml", "README.md", "LICENSE", "firenet_mri"):
        assert source in text
        assert (FOLDER.parents[1] / source).exists()
