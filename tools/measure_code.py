"""Prints how long functions and files are, how often options are spelled out, and who imports whom.

python tools/measure_code.py firenet_mri
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

# The options that a user may ask for, by the names that faces would have to repeat.
OPTIONS = (
    *("preset", "lam", "sparsifier", "levels", "layers", "relative_gap", "budget", "accuracy"),
    *("reweighting", "maps", "map_sets", "coils", "compression", "by_readout"),
    *("phase_constraint", "jacobian", "recovery", "device"),
)

# Where users give options: the way from a scan to an image, and all that leads there.
FACES = ("reconstruction", "cli", "monai", "sigpy", "server", "batch", "firenet/presets.py")


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function and method."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(function: ast.AST) -> int:
    """Return the number of lines, docstring included."""
    return function.end_lineno - function.lineno + 1  # type: ignore[attr-defined]


def spelled_options(tree: ast.AST) -> int:
    """Return how often an option is a parameter with a default, a field, or handed on (x=x)."""
    count = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.arguments):
            late = node.args[len(node.args) - len(node.defaults) :]
            count += sum(one.arg in OPTIONS for one in [*late, *node.kwonlyargs])
        elif isinstance(node, ast.keyword) and node.arg in OPTIONS:
            count += ast.unparse(node.value).split(".")[-1] == node.arg
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            count += node.target.id in OPTIONS
    return count


def room(name: str, depth: int = 1) -> str:
    """Return the part of the package to which a module belongs."""
    return ".".join(name.split(".")[1 : 1 + depth]) or "(roof)"


def arrows(root: Path) -> set[tuple[str, str]]:
    """Return who imports whom, by the parts of the package."""
    found = set()
    for path in root.rglob("*.py"):
        parts = path.relative_to(root.parent).with_suffix("").parts
        own = room(".".join(part for part in parts if part != "__init__"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                if name.split(".")[0] == root.name and room(name) != own:
                    found.add((own, room(name)))
    return found


def circles(pairs: set[tuple[str, str]]) -> list[str]:
    """Return the parts from which one comes back to them, the roof left out."""
    pairs = {pair for pair in pairs if "(roof)" not in pair}
    reached = set(pairs)
    while True:
        more = reached | {(a, d) for a, b in reached for c, d in pairs if b == c}
        if more == reached:
            return sorted({a for a, b in reached if a == b})
        reached = more


def main(root: Path) -> None:
    """Print the figures of a package."""
    files = {path: path.read_text(encoding="utf-8") for path in sorted(root.rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in files.items()}
    all_functions = [(length(f), path, f.name) for path, t in trees.items() for f in functions(t)]
    lengths = [one for one, _, _ in all_functions]
    lines = {path: text.count("\n") for path, text in files.items()}
    median = statistics.median(lines.values())
    print(f"{len(files)} files, {sum(lines.values())} lines, median {median}")
    for count, path in sorted(((n, p) for p, n in lines.items()), reverse=True)[:5]:
        print(f"  {count:5d} {path.relative_to(root)}")
    over = sum(one > 60 for one in lengths)
    print(f"{len(lengths)} functions, median {statistics.median(lengths)}, {over} above 60 lines")
    for count, path, name in sorted(all_functions, key=lambda one: -one[0])[:5]:
        print(f"  {count:5d} {path.relative_to(root)}: {name}")
    faces = {p: t for p, t in trees.items() if p.relative_to(root).as_posix().startswith(FACES)}
    spelled = {path: spelled_options(tree) for path, tree in faces.items()}
    print(f"options spelled {sum(spelled.values())} times")
    for path, count in sorted(spelled.items(), key=lambda one: -one[1])[:8]:
        print(f"  {count:5d} {path.relative_to(root)}")
    pairs = arrows(root)
    rooms = {one for pair in pairs for one in pair}
    print(f"{len(rooms)} rooms, {len(pairs)} arrows, circles: {circles(pairs) or 'none'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
