"""Commands, servers and workers have OpenMP's threads wait asleep, unless told otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from firenet_mri.threads import passive_waiting

# A command that loads torch and ends soon.
COMMAND = ("-m", "firenet_mri", "convert", __file__, "out.h5")
SETTINGS = [("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "77"), ("KMP_BLOCKTIME", "200")]

libgomp = pytest.mark.skipif(sys.platform != "linux", reason="torch carries libgomp on Linux only")


def told_by_openmp(*arguments: str, **settings: str) -> str:
    """Return how often libgomp, once loaded, says that a waiting thread tries again.

    It calls its own default of 300,000 times passive, too.
    """
    ours = {name for name, _ in SETTINGS}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    run = subprocess.run(
        [sys.executable, *arguments],
        env=environment | {"OMP_DISPLAY_ENV": "VERBOSE", **settings},
        capture_output=True,
        text=True,
    )
    return next(line.strip() for line in run.stderr.splitlines() if "GOMP_SPINCOUNT" in line)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting[0])
def test_a_users_own_setting_is_left_alone(setting) -> None:
    assert passive_waiting({"PATH": "/bin"}) == {"OMP_WAIT_POLICY": "PASSIVE"}
    assert passive_waiting(dict([setting])) == {}


@libgomp
def test_a_command_sets_it_before_torch_is_loaded() -> None:
    assert told_by_openmp(*COMMAND) == "GOMP_SPINCOUNT = '0'"


@libgomp
def test_openmp_obeys_the_user_of_a_command() -> None:
    assert told_by_openmp(*COMMAND, GOMP_SPINCOUNT="77") == "GOMP_SPINCOUNT = '77'"


@libgomp
def test_a_hosts_server_sets_it_before_torch_is_loaded() -> None:
    code = "import firenet_mri.server; import firenet_mri.server.images"
    assert told_by_openmp("-c", code) == "GOMP_SPINCOUNT = '0'"


def test_there_is_one_way_into_the_commands() -> None:
    """A further one would have to set it, too."""
    scripts = [one for one in entry_points(group="console_scripts") if "firenet" in one.value]
    assert {one.value for one in scripts} == {"firenet_mri.cli:main"}


@pytest.mark.slow
def test_workers_of_a_batch_wait_asleep(monkeypatch) -> None:
    from firenet_mri.batch.run import _client

    for name, _ in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    with _client(None, 1, "auto") as client:
        assert list(client.run(os.getenv, "OMP_WAIT_POLICY").values()) == ["PASSIVE"]
