"""The command line is built from the options, tells mistakes in one line, and starts quickly."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from cyclopts import App
from firenet_command import firenet

from firenet_mri import ReadOptions, ReconstructionOptions, cli
from firenet_mri.cli import app as app_module
from firenet_mri.cli.options import chosen, with_flags
from firenet_mri.cli.recon import OutputOptions
from firenet_mri.firenet.options import NetworkOptions
from firenet_mri.io.kspace.options import OF_ONE_SCAN
from firenet_mri.options import Field, documented, option

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


COMMANDS = (
    "demo", "recon", "certify", "repeat", "info", "convert", "simulate", "design", "train", "batch",
    "bundle", "serve", "send"
)  # fmt: skip


def loaded_by(*commands: str) -> list[str]:
    """Return which heavy modules a new process has loaded after some commands, run in turn."""
    code = (
        "import contextlib, io, sys\n"
        "from firenet_mri.cli import main\n"
        f"for command in {commands}:\n"
        "    sys.argv = ['firenet', *command.split()]\n"
        "    nowhere = io.StringIO()\n"
        "    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):\n"
        "        try: main()\n"
        "        except SystemExit: pass\n"
        "heavy = ('torch', 'numpy', 'monai', 'sigpy', 'firenet_benchmark')\n"
        "print(*[name for name in heavy if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return result.stdout.split()


def test_help_and_mistyped_words_load_no_torch_and_no_plugin() -> None:
    pages = [f"{command} -h" for command in COMMANDS]
    assert loaded_by("", "--help", "--version", *pages) == []
    assert loaded_by("recn", "recn --help", "recon a.npy -o a.nii --prest stable") == []


def test_every_command_is_listed_with_a_sentence() -> None:
    rows = [line.strip("│ ").split(maxsplit=1) for line in firenet("--help").out.splitlines()]
    said = {row[0]: row[1] for row in rows if len(row) == 2}
    for name in COMMANDS:
        assert said[name].endswith("."), name


@pytest.mark.parametrize("command", ["recon", "batch"])
def test_every_option_is_a_flag_with_its_help(command) -> None:
    result = firenet(command, "-h")
    assert result.status == 0
    refused = set() if command == "recon" else set(OF_ONE_SCAN)
    for field in (*ReadOptions.fields(), *ReconstructionOptions.fields()):
        is_listed = re.search(rf"^│ \*?\s*{field.flag} ", result.out, re.MULTILINE) is not None
        assert is_listed is (field.name not in refused), field.name
    flat = " ".join(result.out.replace("│", " ").split())
    assert "Weight of the sparsity, positive and without a unit" in flat
    assert ("--mask " in flat) is (command == "recon")
    assert (
        "[choices: accurate, sharp, stable, paper, adaptive, coherent] [default: accurate]" in flat
    )
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
        ("recon a.npy -o a.nii --prest stable", "--preset"),
        ("recn a.npy", 'Did you mean "recon"'),
        ("recon a.npy -o a.nii --coils few", "give one such as 8, or a share such as 99%"),
        ("recon a.npy -o a.nii --slices 2to5", "is not a list of numbers; give one such as 3"),
        ("recon a.npy -o a.nii --matrix-size 8by8", "give one such as 256x256"),
        ("recon a.npy -o a.nii --jacobian --recovery --lam 1e300", "lam is 1e+300"),
        ("recn a.npy --help", 'Did you mean "recon"'),
        ("--versoin", 'Did you mean "--version"'),
        ("spiral", "Use one of the commands demo, recon, certify"),
        ("recon a.npy", "--output is missing. Try firenet recon --help"),
        ("recon", "SCAN is missing"),
        ("recon a.npy -o", "-o needs a value"),
        ("recon a.npy b.npy -o a.nii", "'b.npy' is one argument too many"),
        (
            "recon a.npy -o a.nii --preset best",
            "use one of accurate, sharp, stable, paper, adaptive",
        ),
        ("batch scans -o out --mask mask.npy", "--mask is not an option of firenet batch"),
        (
            "batch scans -o out --maps-file=maps.npy",
            "--maps-file is not an option of firenet batch",
        ),
        (
            "convert a.npy b.npy --maps-file c.npy",
            "--maps-file is not an option of firenet convert",
        ),
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


def test_defaults_are_shown_as_they_are_typed() -> None:
    shown = " ".join(firenet("train", "--help").out.replace("│", "").split())
    assert "[default: 96,128, 128,128,160]" in shown or "[default: 96,128,128,128,160]" in shown
    assert "[default: 0.000631]" in shown


def test_a_plugin_that_is_missing_is_named(monkeypatch) -> None:
    monkeypatch.setattr(app_module, "entry_points", lambda group: [])
    result = firenet("benchmark", "stability", "--smoke")
    assert result.status == 2
    assert "pip install ./plugins/benchmark" in result.err
    assert "benchmark" not in firenet("--help").out


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A plugin of its own: the file that its commands are in."""
    entry = EntryPoint("toy", "toy_commands:app", app_module.PLUGINS)
    monkeypatch.setattr(app_module, "entry_points", lambda group: [entry])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "toy_commands", raising=False)
    file = tmp_path / "toy_commands.py"
    file.write_text(
        "from cyclopts import App\n"
        "app = App(name='toy', help='Play.')\n"
        "@app.command\n"
        "def spin(turns: int) -> None:\n"
        "    print(turns, 'turns')\n"
    )
    yield file
    sys.modules.pop("toy_commands", None)


def test_a_plugin_is_listed_without_being_loaded_and_loaded_when_it_is_called(toy) -> None:
    assert "toy " in firenet("--help").out
    assert firenet("tyo").status == 2
    assert "toy_commands" not in sys.modules
    assert firenet("toy", "spin", 3).out == "3 turns\n"
    assert "Play." in firenet("toy", "--help").out


def test_a_plugin_that_cannot_be_loaded_is_told_in_one_line(toy) -> None:
    toy.write_text("import a_module_that_is_not_there\n")
    assert firenet("--help").status == 0
    result = firenet("toy", "spin", 3)
    assert result.status == 1
    assert result.err.count("\n") == 1
    assert "firenet toy cannot be loaded (No module named 'a_module" in result.err


def test_help_of_a_command_is_all_that_its_docstring_says() -> None:
    assert "A scan that fails does not stop the others" in firenet("batch", "-h").out


def test_words_that_are_allowed_are_shown_and_others_refused() -> None:
    assert "[choices: points, lines, plane, radial]" in firenet("design", "-h").out
    result = firenet("simulate", "a.npy", "-o", "a.h5", "--pattern", "spiral")
    assert result.status == 2
    assert "spiral" in result.err
    assert "lines" in result.err
    assert "points" in result.err


@pytest.mark.parametrize("command", ["recon", "batch"])
def test_an_option_that_is_added_to_a_class_is_in_the_help_of_the_commands(
    command, monkeypatch
) -> None:
    """The real commands, built again after a field came to the network's options."""
    described = NetworkOptions.fields

    def with_another(*, without: tuple[str, ...] = ()) -> tuple[Field, ...]:
        known = described(without=without)
        name, words = "temperature", "Temperature in kelvin."
        return (*known, dataclasses.replace(known[0], name=name, help=words, choices=()))

    monkeypatch.setattr(NetworkOptions, "fields", with_another)
    module = importlib.import_module(f"firenet_mri.cli.{command}")
    monkeypatch.delitem(sys.modules, module.__name__)
    # Puts the package's attribute back in the end.
    monkeypatch.setattr(cli, command, module)
    printed = firenet(command, "-h").out
    assert "--temperature" in printed
    assert "Temperature in kelvin." in printed


@pytest.mark.parametrize("words", [(), ("toy",)])
def test_without_a_command_the_help_goes_to_stderr_with_status_2(toy, words) -> None:
    result = firenet(*words)
    assert result.status == 2
    assert result.out == ""
    assert result.err.startswith("Usage: firenet")


def test_an_interruption_is_told_and_ends_with_130(monkeypatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("firenet_mri.cli.recon.reconstruct_file", interrupt)
    result = firenet("recon", "a.npy", "-o", "a.nii")
    assert result.status == 130
    assert result.err == "firenet: interrupted; no output was written\n"


def test_of_an_option_that_is_given_twice_the_last_counts() -> None:
    twice = ("recon", "missing.npy", "-o", "a.nii", "--layers", "many", "--layers", 3)
    assert "missing.npy: no such file" in firenet(*twice).err
    result = firenet(*twice, "--layers", "few")
    assert "layers is 'few'" in result.err
    # Arguments of which there may be several are all taken.
    assert firenet("info", "one.npy", "two.npy").err.count("no such file") == 2


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
def test_standard_streams_that_the_caller_closed_are_the_null_device(name) -> None:
    number = ("stdin", "stdout", "stderr").index(name)
    code = (
        f"import os, sys; from firenet_mri.cli.main import _open_standard_streams as opened\n"
        f"os.close({number}); before = len(os.listdir('/proc/self/fd')); opened()\n"
        f"assert os.fstat({number}).st_rdev == os.stat(os.devnull).st_rdev\n"
        f"assert os.get_inheritable({number})\n"
        f"assert len(os.listdir('/proc/self/fd')) == before + 1\n"
        f"sys.stdout.write(''), sys.stderr.write('')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_standard_output_that_takes_nothing_is_one_line(monkeypatch, capsys) -> None:
    monkeypatch.setattr(
        sys, "argv", ["firenet", "info", str(ROOT / "sample_data/brain_3slices.h5")]
    )
    with (
        Path("/dev/full").open("w") as full,
        contextlib.redirect_stdout(full),
        pytest.raises(SystemExit) as ended,
    ):
        cli.main()
    assert ended.value.code == 1
    told = "the output could not be written (No space left on device)"
    assert capsys.readouterr().err == f"firenet: {told}; free space, or write it elsewhere\n"


@pytest.mark.parametrize("arguments", [("serve", "--save", ""), ("serve", "--networks="), ("",)])
def test_an_empty_argument_is_refused_since_it_would_mean_the_working_folder(arguments) -> None:
    result = firenet(*arguments)
    assert result.status == 2
    assert "An argument is empty" in result.err


def test_a_name_that_the_system_does_not_take_is_one_line(tmp_path) -> None:
    (tmp_path / "scan.h5").touch()
    result = firenet("recon", "scan.h5", "-o", "q" * 300 + ".nii", folder=tmp_path)
    assert result.status == 1
    assert result.err.endswith("q.nii: the name is too long; use a shorter one\n")
