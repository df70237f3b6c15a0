"""What each part of the learned network's training contributes: variants compared.

The bound is varied for the curve of clean against worst-case accuracy; at the middle bound the
seed, the perturbations, the groups of filters, the number of stages and the kind of layer are
varied.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from firenet_benchmark.report import free_paths, write_json
from firenet_benchmark.stability.choices import Question
from firenet_benchmark.stability.criteria import Attack
from firenet_benchmark.stability.learned_methods import learned_method
from firenet_benchmark.stability.methods import Method
from firenet_benchmark.stability.run import Comparison, StabilityBenchmark
from firenet_benchmark.stability.summary import means
from firenet_mri.errors import DataError, FileError
from firenet_mri.firenet.learned.weights import load_network
from firenet_mri.io import atomic_writes
from firenet_mri.training.inputs import TrainingData
from firenet_mri.training.options import TrainingOptions
from firenet_mri.training.run import train_network
from firenet_mri.training.timed import Look, Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What all variants share except for what they vary.
BASE = TrainingOptions()

BOUNDS = (2.0, 4.0, 8.0, 12.0, 16.0)
_MIDDLE = 8.0
_QUESTIONS: tuple[Question, ...] = ("accuracy", "worst-case", "details")

#: How variants are compared: few slices, the usual attack without the second one that checks it.
SETTINGS = StabilityBenchmark(4, 2, 2, (), (), Attack(strong_steps=0), questions=_QUESTIONS)

_COLUMNS = (
    ("clean", "clean", "all", "psnr_db"),
    ("worst 1 %", "worst case", "1 %", "psnr_db"),
    ("worst 4 %", "worst case", "4 %", "psnr_db"),
    ("lesion 5 %", "details", "lesion 5 %", "recovered"),
)


@dataclass(frozen=True)
class Variant:
    """A training.

    Parameters
    ----------
    name
        Short, for tables and file names.
    options
        How it is trained.
    is_of_curve
        Whether only its bound differs.
    """

    name: str
    options: TrainingOptions
    is_of_curve: bool = False

    def path(self, folder: Path) -> Path:
        """Return its file below a folder."""
        return folder / f"{self.name.replace(' ', '-')}.safetensors"


def variants(base: TrainingOptions) -> list[Variant]:
    """Return the variants of a training: the curve first, then what is varied at the middle."""
    middle = base.replace(bound=_MIDDLE)
    singles = base.singles + base.groups * base.group_size
    found = [Variant(f"bound {b:g}", base.replace(bound=b), is_of_curve=True) for b in BOUNDS]
    found += [Variant(f"seed {n}", middle.replace(seed=base.seed + n)) for n in (1, 2)]
    found += [
        Variant("no attack", middle.replace(attack=0.0)),
        Variant("no groups", middle.replace(singles=singles, groups=0)),
        Variant("half the stages", middle.replace(stages=max(1, base.stages // 2))),
        Variant("twice the stages", middle.replace(stages=2 * base.stages)),
        Variant("soft thresholds", middle.replace(soft=True)),
        Variant("convex", middle.replace(soft=True, tied=True)),
    ]
    return found


def train_variant(
    variant: Variant,
    data: TrainingData,
    folder: Path,
    *,
    on_step: Callable[[Progress], None] = lambda _: None,
    on_look: Callable[[Look], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train a variant, or resume its training; a finished variant is not trained again.

    Its minutes are those of the processor.

    Raises
    ------
    FileError
        If its file was trained in another way.
    Interrupted
        If it was asked to stop; all is kept.
    DataError
        If the loss was not finite; the best weights before are written.
    """
    path = variant.path(folder)
    if path.exists():
        _check_same(variant, data, path)
        return
    trained = train_network(
        data,
        variant.options,
        path,
        on_step=on_step,
        on_look=on_look,
        should_stop=should_stop,
        # A busy machine must not make a variant weaker than others.
        clock=time.process_time,
    )
    if trained.diverged is not None:
        raise DataError(f"{variant.name}: {trained.diverged}. The best weights are in {path}")


def _check_same(variant: Variant, data: TrainingData, path: Path) -> None:
    """Refuse a file of other options or data."""
    report = load_network(path).report
    options = {} if report is None else report.recipe.get("options", {})
    wanted = json.loads(json.dumps(variant.options.to_dict()))
    others = [name for name in wanted if options.get(name) != wanted[name]]
    beside = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    found = beside["sha256_of_inputs"]["training"]
    if found != [source.sha256 for source in data.train]:
        others.append("its data")
    if others:
        raise FileError(f"{path}: was trained with other {', '.join(others)}; name another folder")


def table(
    found: Sequence[Variant], folder: Path, comparison: Comparison
) -> list[dict[str, object]]:
    """Return a row for each variant: PSNR in dB, the lesion's share, the proven constant."""
    columns = {head: means(comparison.rows, *which) for head, *which in _COLUMNS}
    bounds = {method.name: method.lipschitz_bound for method in comparison.methods}
    rows: list[dict[str, object]] = []
    for one in found:
        report = load_network(one.path(folder)).report
        recipe = {} if report is None else report.recipe
        rows.append(
            {
                "variant": one.name,
                **{head: values.get(one.name) for head, values in columns.items()},
                "proven constant": bounds[one.name],
                "wanted constant": one.options.bound,
                "minutes": recipe.get("minutes"),
                "steps": recipe.get("steps"),
            }
        )
    return rows


def methods_of(found: Sequence[Variant], folder: Path) -> list[Method]:
    """Return the variants as methods."""
    return [learned_method(one.path(folder), one.name) for one in found]


def markdown(rows: Sequence[dict[str, object]]) -> str:
    """Return the table of the page."""
    heads = ["variant", *(column[0] for column in _COLUMNS), "proven constant"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rows:
        cells = [_cell(row[head]) for head in heads]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    return "" if value is None else str(value)


def picture(found: Sequence[Variant], rows: Sequence[dict[str, object]]) -> Figure:
    """Return clean against worst-case PSNR: a line over the bounds, and the other variants."""
    from matplotlib.figure import Figure

    figure = Figure((7.5, 5), layout="constrained")
    axes = figure.subplots()
    every = {row["variant"]: (row["clean"], row["worst 4 %"]) for row in rows}
    # What could not be attacked has no place here; the table shows its other numbers.
    points = {name: point for name, point in every.items() if None not in point}
    found = [one for one in found if one.name in points]
    curve = [points[one.name] for one in found if one.is_of_curve]
    if curve:
        axes.plot(*zip(*curve, strict=True), "-o", color="#0072b2", label="over the bound")
    others = [points[one.name] for one in found if not one.is_of_curve]
    if others:
        axes.plot(*zip(*others, strict=True), "s", color="#d55e00", label="at bound 8")
    for name, point in points.items():
        axes.annotate(str(name), point, textcoords="offset points", xytext=(5, 4), fontsize=8)
    axes.set(xlabel="PSNR, clean (dB)", ylabel="PSNR under the worst 4 % found (dB)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def result_paths(folder: Path, *, overwrite: bool) -> list[Path]:
    """Return where table and picture go, after a check that they can be written."""
    return free_paths(folder, "ablation", ("json", "md", "png"), overwrite=overwrite)


def write(
    paths: Sequence[Path],
    found: Sequence[Variant],
    rows: Sequence[dict[str, object]],
    comparison: Comparison,
) -> None:
    """Write the table as JSON and Markdown, and the picture."""
    content = {
        "data": comparison.data,
        "data_sha256": comparison.data_sha256,
        "slices": {"clean": comparison.settings.slices, "attacked": comparison.settings.attacked},
        "rows": list(rows),
        "failures": comparison.failures,
    }
    with atomic_writes(paths, overwrite=True) as (data, text, drawing):
        write_json(data, content)
        text.write_text(markdown(rows), encoding="utf-8")
        picture(found, rows).savefig(drawing, dpi=150, format="png", metadata={"Software": None})
