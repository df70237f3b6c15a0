"""The package stands on floors: a module imports from floors below its own only (CONTRIBUTING.md).

Importing firenet_mri loads torch and numpy alone; other libraries are imported where they are used.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "firenet_mri"

# A new module or folder must be entered here, so that its place is thought about.
FLOORS = {
    "errors": 0,
    "operators": 1,
    "prox": 1,
    "metrics": 1,
    "firenet": 2,
    "scan": 3,
    "calibration": 3,
    "io": 4,
    "reconstruction": 5,
    "monai": 6,
    "sigpy": 6,
    "benchmark": 6,
    "cli": 7,
    "__main__": 8,
}
# Third-party libraries that a part may import at the top of a module, besides torch and numpy.
TOP_LEVEL = {"monai": {"monai"}, "sigpy": {"sigpy"}, "cli": {"typer", "rich"}}
# What the package's roof, firenet_mri/__init__.py, may reach: the light floors.
ROOF = 5


def part_of(module: str) -> str:
    """Return the part of the package to which a dotted name belongs, "" for the package itself."""
    names = module.split(".")
    return names[1] if len(names) > 1 else ""


def imports(source: str) -> list[tuple[str, bool]]:
    """Return (dotted module, at the top of the module) of every import, with names from packages."""
    tree = ast.parse(source)
    top = set(map(id, tree.body))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [node.module or ""]
            if node.module == "firenet_mri":
                names = [f"firenet_mri.{alias.name}" for alias in node.names]
            found += [(name, id(node) in top) for name in names]
    return found


def violations(part: str, source: str, public: dict[str, str]) -> list[str]:
    """Return what a module of a part imports although it may not.

    ``public`` tells to which part the names belong that the package's roof exports.
    """
    problems = []
    for module, at_top in imports(source):
        root = module.partition(".")[0]
        if root == "firenet_mri":
            target = part_of(module)
            target = public.get(target, target)
            if target in ("", "__version__", part):
                continue
            if target not in FLOORS:
                problems.append(f"{module} has no floor")
            elif FLOORS[target] >= FLOORS[part] and (part, target) not in NEIGHBOURS:
                problems.append(f"{module} is on floor {FLOORS[target]}, {part} on {FLOORS[part]}")
        elif root not in sys.stdlib_module_names | {"torch", "numpy"}:
            if at_top and root not in TOP_LEVEL.get(part, set()):
                problems.append(f"{module} is imported at the top")
    return problems


# Neighbours on one floor of which the first may import the second.
NEIGHBOURS = {("calibration", "scan")}


def sources() -> list[tuple[str, Path]]:
    """Return (part, file) of every module of the package."""
    files = sorted(PACKAGE.rglob("*.py"))
    return [
        (path.relative_to(PACKAGE).parts[0].removesuffix(".py"), path)
        for path in files
        if path != PACKAGE / "__init__.py"
    ]


def public_names() -> dict[str, str]:
    """Return the part in which each name is defined that firenet_mri exports."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    return {
        alias.name: part_of(node.module or "")
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("firenet_mri")
        for alias in node.names
    }


@pytest.mark.parametrize(
    ("part", "path"), sources(), ids=lambda value: getattr(value, "name", value)
)
def test_modules_import_from_floors_below(part, path) -> None:
    assert part in FLOORS, f"enter {path.name} in FLOORS"
    assert violations(part, path.read_text(), public_names()) == []


def test_roof_reaches_the_light_floors_only() -> None:
    assert max(FLOORS[part] for part in public_names().values()) <= ROOF


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("operators", "from firenet_mri.firenet.network import FIRENET"),
        ("io", "from firenet_mri import reconstruct"),
        ("monai", "import firenet_mri.sigpy"),
        ("calibration", "def f():\n    import firenet_mri.cli"),
        ("calibration", "import sigpy"),
        ("firenet", "from scipy import fft"),
        ("firenet", "import firenet_mri.unheard_of"),
    ],
)
def test_the_check_finds_what_it_is_for(part, source) -> None:
    assert len(violations(part, source, {"reconstruct": "reconstruction"})) == 1


def test_the_check_lets_pass_what_is_right() -> None:
    source = "import math\nimport torch\nfrom firenet_mri.operators import Sense\n"
    assert violations("firenet", source, {}) == []
    assert violations("calibration", "def f():\n    import sigpy\n", {}) == []


def test_importing_the_package_is_light() -> None:
    heavy = ("sigpy", "monai", "nibabel", "pydicom", "matplotlib", "h5py", "ismrmrd", "typer")
    heavy += ("rich", "pywt", "scipy", "finufft")
    code = f"import sys, firenet_mri; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.strip() == "[]"


def test_plugins_use_public_names_only() -> None:
    for path in (ROOT / "plugins").rglob("*.py"):
        for module, _ in imports(path.read_text()):
            assert not any(name.startswith("_") for name in module.split(".")), path
