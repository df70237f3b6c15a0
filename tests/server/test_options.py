"""The parameters of a host: ours are checked, those of other programs left alone."""

from __future__ import annotations

import logging

import pytest

from firenet_mri import ReconstructionOptions
from firenet_mri.errors import UsageError
from firenet_mri.server.limits import Limits
from firenet_mri.server.options import StreamOptions
from firenet_mri.server.service import Server


def of(**parameters: object) -> StreamOptions:
    return StreamOptions.of({"parameters": parameters})


def test_every_option_of_a_reconstruction_can_be_asked_for_as_json() -> None:
    found = of(preset="adaptive", relative_gap="0.01", coils="99%", map_sets=2, dtype="int16")
    expected = {"preset": "adaptive", "relative_gap": 0.01, "coils": 0.99, "map_sets": 2}
    assert found.reconstruction == ReconstructionOptions.from_mapping(expected)
    assert (found.output, found.dtype) == ("magnitude", "int16")
    for config in ("firenet", {}, {"parameters": {}}, None):
        assert StreamOptions.of(config) == StreamOptions()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"presett": "stable"}, "'presett'; did you mean preset"),
        ({"layer": 3}, "'layer'; did you mean layers"),
        ({"dtypes": "int16"}, "did you mean dtype"),
        ({"device": "cuda"}, "device: not possible here"),
        ({"recovery": True}, "recovery: not possible here"),
        ({"jacobian": True}, "jacobian: not possible here"),
        ({"weights": "/etc/passwd"}, "weights is '/etc/passwd'; this server has learned or"),
        ({"maps": "magic"}, "Unknown maps 'magic'"),
        ({"maps": [[1, 2], [3, 4]]}, "maps is"),
        ({"layers": None, "by_readout": "perhaps"}, "by_readout is 'perhaps'"),
        ({"output": "complex", "map_sets": 2}, "ask for the magnitude"),
        ({"joint": ""}, "joint is ''; give a value, or omit it"),
        ({"output": "phase"}, "Unknown output 'phase'; use one of magnitude, complex"),
    ],
)
def test_a_parameter_of_ours_that_cannot_be_used_is_refused_by_name(parameters, message) -> None:
    with pytest.raises(UsageError, match=message):
        of(**parameters)


def test_a_network_is_named_and_not_opened_by_any_path_that_a_host_sends(tmp_path) -> None:
    folder = tmp_path / "networks"
    folder.mkdir()
    (folder / "ours.safetensors").write_bytes(b"")
    (tmp_path / "others.safetensors").write_bytes(b"")
    asked = {"parameters": {"weights": "ours.safetensors"}}
    found = StreamOptions.of(asked, folder)
    assert found.reconstruction.network.weights == folder / "ours.safetensors"
    for name in ("../others.safetensors", str(tmp_path / "others.safetensors"), "none", ""):
        with pytest.raises(UsageError, match="or a file in its folder"):
            StreamOptions.of({"parameters": {"weights": name}}, folder)
    assert of(weights="learned").reconstruction.network.weights == "learned"
    with pytest.raises(UsageError, match="is not a folder"):
        Limits(networks=tmp_path / "none")


def test_parameters_that_are_not_an_object_are_refused() -> None:
    with pytest.raises(UsageError, match="not an object"):
        StreamOptions.of({"parameters": [1]})


def test_parameters_of_other_programs_are_ignored_and_logged_once_without_values(caplog) -> None:
    with caplog.at_level(logging.INFO, logger="firenet_mri"):
        found = of(config="firenet", customconfig="", patient="Doe", layers=3, **{"a\nb": "Doe"})
    assert found == StreamOptions.from_mapping({"layers": 3})
    (record,) = caplog.records
    text = record.getMessage()
    assert "'config', 'customconfig', 'patient'" in text
    assert "Doe" not in text
    assert "\n" not in text


def test_a_limit_of_open_files_that_is_too_low_for_the_clients_is_told(monkeypatch, caplog) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))
    for clients, said in ((32, ""), (33, "is 64, and 33 clients and the service itself need 65; ")):
        caplog.clear()
        server = Server(port=0, limits=Limits(clients=clients))
        server._socket.close()
        assert said in caplog.text
        assert bool(said) == bool(caplog.records)
