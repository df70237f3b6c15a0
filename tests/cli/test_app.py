"""The command line is built from the options, tells mistakes in one line, and starts quickly."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import pytest
from cyclopts import App
from firenet_command import firenet

from firenet_mri import ReadOptions, ReconstructionOptions
from firenet_mri.cli import app as app_module
from firenet_mri.cli.options import chosen, flag, with_flags
from firenet_mri.cli.recon import OutputOptions
from firenet_mri.firenet.options import NetworkOptions
from firenet_mri.options import documented, option


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def test_help_loads_no_torch_and_lists_every_command() -> None:
    code = (
        "import sys; sys.argv = ['firenet', '--help']\n"
        "from firenet_mri.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print([m for m in ('torch', 'numpy', 'monai', 'sigpy') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    lines = result.stdout.splitlines()
    assert lines[-1] == "[]", result.stderr
    for name in ("recon", "certify", "repeat", "info", "convert", "simulate", "batch", "serve"):
        assert any(line.split()[1:2] == [name] for line in lines), name


@pytest.mark.parametrize("command", ["recon", "batch"])
def test_every_option_is_a_flag_with_its_help(command) -> None:
    result = firenet(command, "-h")
    assert result.status == 0
    refused = set() if command == "recon" else {"mask", "trajectory", "matrix_size"}
    refused |= set() if command == "recon" else {"noise_file", "maps_file"}
    for field in (*ReadOptions.fields(), *ReconstructionOptions.fields()):
        assert (flag(field.name) in result.out) is (field.name not in refused), field.name
    flat = " ".join(result.out.replace("│", " ").split())
    assert "Weight of the sparsity, positive and without a unit" in flat
    assert "[choices: accurate, stable, paper, adaptive] [default: accurate]" in flat
    panels = [line for line in result.out.splitlines() if line.startswith("╭")]
    topics = ["Input", "Network", "Maps and coils", "Certificate"]
    found = [next(i for i, line in enumerate(panels) if topic in line) for topic in topics]
    assert found == sorted(found)


@documented
@dataclass(frozen=True, eq=False)
class WarmOptions(NetworkOptions):
    """The network's options and one that is new."""

    temperature: float = option(0.5, "Temperature in kelvin.")


def test_an_option_that_is_added_to_a_class_is_a_flag(capsys) -> None:
    app = App(result_action="return_value")

    @app.default
    @with_flags(WarmOptions, OutputOptions, without=["bids"])
    def command(**options: object) -> WarmOptions:
        return chosen(WarmOptions, options)

    assert app(["--temperature", "0.7"]).temperature == 0.7
    assert app([]) == WarmOptions()
    app(["--help"])
    printed = capsys.readouterr().out
    assert "Temperature in kelvin." in printed
    assert "--bids" not in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("recon a.npy -o a.nii --prest stable", "Did you mean --preset"),
        ("recn a.npy", 'Did you mean "recon"'),
        ("recon a.npy -o a.nii --coils few", "give one such as 8, or a share such as 99%"),
        ("recon a.npy -o a.nii --slices 2to5", "is not a list of numbers; give one such as 3"),
        ("recon a.npy -o a.nii --matrix-size 8by8", "give one such as 256x256"),
        ("recon a.npy -o a.nii --jacobian --recovery --lam 1e300", "lam is 1e+300"),
        ("recon a.npy", "output"),
        ("recon", "SCAN"),
        ("batch scans -o out --mask mask.npy", "--mask"),
        ("convert a.npy b.npy --slices 1", "--slices"),
    ],
)
def test_mistakes_are_told_in_one_line_with_what_was_meant(arguments, said) -> None:
    result = firenet(*arguments.split())
    assert result.status == 2
    assert result.out == ""
    assert result.err.count("\n") == 1
    assert result.err.startswith("firenet: ")
    assert said in result.err


def test_the_version_is_printed() -> None:
    assert firenet("--version").out.startswith("firenet_mri 0.")


def test_a_plugin_that_is_missing_is_named(monkeypatch) -> None:
    monkeypatch.setattr(app_module, "entry_points", lambda group: [])
    result = firenet("benchmark", "stability", "--smoke")
    assert result.status == 2
    assert "pip install ./plugins/benchmark" in result.err
    assert "benchmark" not in firenet("--help").out
