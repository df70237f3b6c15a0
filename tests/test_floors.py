"""The package stands on floors: a module imports from floors below its own only (CONTRIBUTING.md).

Importing firenet_mri loads torch and numpy alone; other libraries are imported where they are used.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "firenet_mri"

# A new module or folder must be entered here, so that its place is thought about. On one floor the
# later may import the earlier; on the faces' floor none imports another. "" is the package's roof,
# firenet_mri/__init__.py.
FLOORS = (
    (
        "errors",
        "extras",
        "_lazy",
        "_moved",
        "threads",
        "digests",
        "options",
        "memory",
        "temporary",
        "rounding",
        "plurals",
    ),
    ("device", "domain", "arrays"),
    ("prox", "metrics", "phantoms", "krylov", "amplification", "operators", "linops"),
    ("firenet",),
    ("geometry", "scan", "resizing", "calibration"),
    ("io",),
    ("training", "simulation", "reconstruction", "conversion", "", "report"),
    ("monai", "sigpy", "server", "batch"),
    ("cli", "__main__"),
)
FACES = 7
PLACE = {part: (floor, i) for floor, parts in enumerate(FLOORS) for i, part in enumerate(parts)}

# Third-party libraries besides torch and numpy: at the top of a module, and inside functions. The
# lowest floor loads the standard library alone.
AT_THE_TOP = {
    "monai": {"monai"},
    "linops": {"sigpy"},
    "sigpy": {"sigpy"},
    "cli": {"cyclopts", "rich"},
}
IN_FUNCTIONS = {
    "calibration/espirit.py": {"scipy"},
    "firenet/learned/files.py": {"safetensors"},
    "firenet/learned/formats.py": {"safetensors"},
    "firenet/multipliers.py": {"scipy"},
    "operators/density.py": {"scipy"},
    "operators/kernels.py": {"numba"},
    "operators/nonuniform.py": {"finufft"},
    "operators/wavelets.py": {"pywt"},
    "calibration": {"sigpy"},
    "io": {
        "brukerapi",
        "cryptography",
        "h5py",
        "imageio_ffmpeg",
        "ismrmrd",
        "mrd",
        "pypulseq",
        "twixtools",
        "matplotlib",
        "nibabel",
        "pydicom",
        "PIL",
    },
    "report/layers.py": {"matplotlib"},
    "training/curve.py": {"matplotlib"},
    "monai": {"nibabel"},
    "server": {"ismrmrd"},
    "simulation": {"sigpy"},
    "batch": {"dask", "distributed"},
    "cli/recon.py": {"numba", "matplotlib"},
}


class Import(NamedTuple):
    """A dotted name that a module imports, and whether that happens when the module is loaded."""

    name: str
    at_load: bool


def imports(tree: ast.AST, *, at_load: bool = True) -> Iterator[Import]:
    """Yield every import; ``from a import b`` gives ``a.b``, ``import_module("a")`` gives ``a``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, at_load) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            yield from (Import(f"{source}.{alias.name}", at_load) for alias in node.names)
        elif isinstance(node, ast.Call) and "import" in ast.unparse(node.func):
            names = (arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant))
            yield from (Import(str(name), at_load) for name in names)
        later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            later = True
        yield from imports(node, at_load=at_load and not later)


def part_of(path: str) -> str:
    """Return the part to which a file belongs, given its path below firenet_mri/."""
    name = path.partition("/")[0].removesuffix(".py")
    return "" if name == "__init__" else name


def violations(path: str, source: str) -> list[str]:
    """Return what a file, given by its path below firenet_mri/, imports although it may not."""
    if part_of(path) not in PLACE:
        return [f"{path} has no floor; enter it in FLOORS"]
    found = (_violation(path, wanted) for wanted in imports(ast.parse(source)))
    return [problem for problem in found if problem]


def _violation(path: str, wanted: Import) -> str | None:
    root, _, rest = wanted.name.partition(".")
    if root == "":
        return f"{path}: imports are absolute, not {wanted.name}"
    if root == "firenet_mri":
        return _breaks_the_floors(path, rest)
    allowed = set(sys.stdlib_module_names)
    if PLACE[part_of(path)][0] > 0 or not wanted.at_load:
        allowed |= {"torch", "numpy"} | AT_THE_TOP.get(part_of(path), set())
    if not wanted.at_load:
        allowed |= IN_FUNCTIONS.get(path, set()) | IN_FUNCTIONS.get(part_of(path), set())
    where = "when it is loaded" if wanted.at_load else "in a function"
    return None if root in allowed else f"{path} may not import {root} {where}"


def _breaks_the_floors(path: str, wanted: str) -> str | None:
    own, name = part_of(path), wanted.partition(".")[0]
    # What is no module here is a name that the roof exports.
    is_module = (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()
    target = name if is_module or name in PLACE else ""
    if target not in PLACE:
        return f"{path}: firenet_mri.{name} has no floor; enter it in FLOORS"
    siblings = own == target and own != ""
    neighbours = PLACE[own][0] == PLACE[target][0] == FACES
    if siblings or (PLACE[target] < PLACE[own] and not neighbours):
        return None
    return f"{path} on floor {PLACE[own][0]} imports {wanted} from floor {PLACE[target][0]}"


def private_uses(source: str) -> list[str]:
    """Return the private names that a plugin imports, or takes from anything but itself."""
    tree = ast.parse(source)
    named = [name for wanted in imports(tree) for name in wanted.name.split(".")]
    named += [
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls")
    ]
    return [name for name in named if _is_private(name)]


def _is_private(name: str) -> bool:
    # What a NamedTuple offers begins with an underscore, lest it be taken for a field.
    offered = name.endswith("__") or name in ("_asdict", "_fields", "_replace")
    return name.startswith("_") and not offered


def sources() -> list[str]:
    """Return the path below firenet_mri/ of every module."""
    return sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", sources())
def test_modules_import_from_floors_below(path) -> None:
    assert violations(path, (PACKAGE / path).read_text(encoding="utf-8")) == []


def test_every_part_that_has_a_floor_is_there() -> None:
    assert set(PLACE) == {part_of(path) for path in sources()}


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("operators/sense.py", "from firenet_mri.firenet.network import FIRENET"),
        ("operators/sense.py", "from firenet_mri import FIRENET"),
        ("operators/sense.py", "import firenet_mri"),
        ("operators/sense.py", "from firenet_mri import io"),
        ("operators/sense.py", "from ..errors import ShapeError"),
        ("prox.py", "from firenet_mri.operators import Sense"),
        ("scan.py", "from firenet_mri.calibration import whiten"),
        ("calibration/region.py", "def f():\n    import firenet_mri.cli"),
        ("io/nifti.py", "def f():\n    importlib.import_module('firenet_mri.reconstruction')"),
        ("__init__.py", "from firenet_mri.monai import FIRENETModel"),
        ("monai/networks.py", "import firenet_mri.sigpy"),
        ("batch/run.py", "from firenet_mri.monai import FIRENETModel"),
        ("training/loop.py", "from firenet_mri.monai import FIRENETModel"),
        ("cli/design.py", "def f():\n    from firenet_benchmark import report"),
        ("firenet/network.py", "import firenet_mri.cli.unheard_of"),
        ("unheard_of.py", "import math"),
        ("unheard_of/module.py", "import math"),
        ("errors.py", "import torch"),
        ("calibration/sensitivity.py", "import sigpy"),
        ("calibration/sensitivity.py", "try:\n    import sigpy\nexcept ImportError:\n    pass"),
        ("calibration/sensitivity.py", "class A:\n    from sigpy import linop"),
        ("io/nifti.py", "from nibabel import Nifti1Image"),
        ("firenet/network.py", "def f():\n    from scipy import fft"),
        ("operators/fourier.py", "def f():\n    import pywt"),
        ("reconstruction.py", "def f():\n    import nibabel"),
        ("monai/networks.py", "import sigpy"),
        ("sigpy.py", "import monai"),
    ],
)
def test_the_check_finds_what_it_is_for(path, source) -> None:
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "firenet/network.py",
            "import math\nimport torch\nfrom firenet_mri.operators import Sense",
        ),
        ("firenet/network.py", "from firenet_mri.firenet.problem import SquareRootLasso"),
        ("calibration/whitening.py", "from firenet_mri.scan import RawScan"),
        ("calibration/sensitivity.py", "def f():\n    import sigpy"),
        ("operators/wavelets.py", "def f():\n    import pywt"),
        ("__init__.py", "from firenet_mri.reconstruction import reconstruct"),
        ("monai/networks.py", "import monai\nfrom firenet_mri import reconstruct"),
        (
            "io/pattern.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import matplotlib",
        ),
        (
            "cli/main.py",
            "import cyclopts\nimport firenet_mri\nfrom firenet_mri.monai import networks",
        ),
    ],
)
def test_the_check_lets_pass_what_is_right(path, source) -> None:
    assert violations(path, source) == []


def test_importing_the_package_is_light() -> None:
    heavy = ("sigpy", "monai", "nibabel", "pydicom", "matplotlib", "h5py", "ismrmrd", "cyclopts")
    heavy += ("rich", "pywt", "scipy", "finufft", "numba")
    code = f"import sys, firenet_mri; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.strip() == "[]"


def plugin_sources() -> list[str]:
    """Return the path below plugins/ of every module but the tests, which may look inside."""
    paths = (path.relative_to(ROOT / "plugins") for path in (ROOT / "plugins").rglob("*.py"))
    return sorted(path.as_posix() for path in paths if "tests" not in path.parts)


@pytest.mark.parametrize("path", plugin_sources())
def test_plugins_use_public_names_only(path) -> None:
    assert private_uses((ROOT / "plugins" / path).read_text(encoding="utf-8")) == []


def test_the_benchmark_is_among_the_plugins() -> None:
    assert "benchmark/firenet_benchmark/cli/__init__.py" in plugin_sources()


def test_loading_the_benchmarks_commands_is_light() -> None:
    """``firenet --help`` loads them."""
    heavy = ("torch", "sigpy", "monai", "scipy", "matplotlib", "firenet_mri.cli.progress")
    code = f"import sys, firenet_benchmark.cli; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT / "plugins" / "benchmark",
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "source",
    [
        "from firenet_mri.io._secret import read",
        "from firenet_mri.io.kspace.reading import _apply_mask",
        "import firenet_mri\nfirenet_mri._secret()",
    ],
)
def test_the_plugin_check_finds_private_names(source) -> None:
    assert len(private_uses(source)) == 1


def test_the_plugin_check_lets_public_names_pass() -> None:
    assert private_uses("import firenet_mri\nfirenet_mri.read(self._path).__doc__") == []
