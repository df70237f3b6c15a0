"""Runs the comparison, a method at a time side by side, and keeps what is finished."""

from __future__ import annotations

import hashlib
import json
import platform
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from firenet_benchmark.stability.criteria import (
    Attack,
    Measurements,
    Row,
    accuracy,
    details,
    false_structures,
    random_noise,
    scale,
    shifts,
    transferred,
    worst_case,
)
from firenet_benchmark.stability.evaluation_data import EvaluationData, built_in
from firenet_benchmark.stability.methods import (
    IMAGINARY_WEIGHT,
    Method,
    behind,
    firenet_method,
    firenets,
    trained_methods,
    zero_filling,
)
from firenet_mri.io import atomic_writes

#: Where FIRENETs of other lam have their names from, and the word for all of them.
CURVE = "lam x"
_PHASE_CURVE = "phase, lam x"


@dataclass(frozen=True)
class StabilityBenchmark:
    """What the comparison is run with.

    Parameters
    ----------
    slices, attacked, shifted
        How many slices are asked for accuracy, attacked, and used for every shift.
    accelerations
        For the curve of accuracy.
    factors
        lam over the default's, for the curve of clean against attacked accuracy.
    attack
        How worst cases are looked for.
    curves
        Ask for the curve, for FIRENET behind each network, and for transferred perturbations.
    seed
        Of random noise.
    """

    slices: int = 8
    attacked: int = 4
    shifted: int = 4
    accelerations: tuple[float, ...] = (2, 3, 4, 6, 8)
    factors: tuple[float, ...] = (0.5, 2.0, 4.0)
    attack: Attack = field(default_factory=Attack)
    curves: bool = True
    seed: int = 0

    @classmethod
    def smoke(cls) -> StabilityBenchmark:
        """Return settings for a look of a minute or two."""
        attack = Attack(relative_sizes=(0.01,), steps=2, restarts=1, strong_steps=3)
        return cls(2, 1, 1, (4, 8), (4.0,), attack)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Everything that was found.

    Parameters
    ----------
    methods
        In the order of the table.
    rows
        All numbers.
    tensors
        Images and perturbations: by method, then by name.
    failures
        One line for each method that failed, by name.
    settings, data
        What it was run with, and on what, in words.
    """

    methods: tuple[Method, ...]
    rows: tuple[Row, ...]
    tensors: dict[str, dict[str, Tensor]]
    failures: dict[str, str]
    settings: StabilityBenchmark
    data: str


#: Called with (method, steps done, steps in all).
OnStep = Callable[[str, int, int], None]


def default_methods(settings: StabilityBenchmark, users: Sequence[Method] = ()) -> list[Method]:
    """Return the columns: zero filling, trained networks, the user's, FIRENETs, combinations."""
    trained = [*trained_methods(), *users]
    methods = [zero_filling(), *trained, *firenets()]
    if settings.curves:
        methods += _curve(settings)
        methods += [behind(method) for method in trained if "jittered" not in method.name]
    return methods


def _curve(settings: StabilityBenchmark) -> list[Method]:
    return [
        firenet_method(
            f"FIRENET {word}{factor:g}",
            "accurate",
            f"the default with lam times {factor:g}" + (", with a phase constraint" * bool(weight)),
            factor=factor,
            imaginary_weight=weight,
        )
        for word, weight in ((CURVE, None), (_PHASE_CURVE, IMAGINARY_WEIGHT))
        for factor in settings.factors
    ]


def compare(
    methods: Sequence[Method],
    settings: StabilityBenchmark,
    kept: Path,
    *,
    data: EvaluationData | None = None,
    on_step: OnStep | None = None,
    on_method: Callable[[], None] | None = None,
) -> Comparison:
    """Return the comparison; what lies in the folder ``kept`` from a run before is not done again.

    A method that fails, whatever it raises, is named with its error; the others finish.

    Parameters
    ----------
    methods
        Columns; their names differ.
    settings
        Sizes and seed.
    kept
        Folder for finished methods, made if it is missing.
    data
        What they see; None is the built-in data.
    on_step
        Called with (method, steps done, steps in all) of attacks.
    on_method
        Called when a method is finished.
    """
    kept.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        data = data or built_in(
            settings.slices, settings.attacked, settings.shifted, settings.accelerations
        )
    # Writing one after the other keeps the report's order whatever ends first.
    failures: dict[str, str] = {}
    finished: dict[str, Measurements] = {}
    lock = threading.Lock()
    stopped = threading.Event()

    def report(name: str, done: int, total: int) -> None:
        if stopped.is_set():
            raise InterruptedError("The comparison was interrupted")
        if on_step is not None:
            on_step(name, done, total)

    def work(method: Method) -> None:
        find(method)
        if on_method is not None:
            on_method()

    def find(method: Method) -> None:
        path = kept / f"{_digest(method, settings, data)}.pt"
        measured = _load(path)
        if measured is None:
            try:
                measured = _asked(method, settings, data, report)
            # A user's network can raise anything.
            except Exception as error:
                with lock:
                    failures[method.name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
                return
            _save(path, measured)
        with lock:
            finished[method.name] = measured

    _on_all_cores(work, methods, stopped)
    rows = [
        row for method in methods if method.name in finished for row in finished[method.name].rows
    ]
    if settings.curves:
        rows += _transfer(methods, finished, settings, data, stopped)
    return Comparison(
        tuple(methods),
        tuple(rows),
        {
            method.name: finished[method.name].tensors
            for method in methods
            if method.name in finished
        },
        {method.name: failures[method.name] for method in methods if method.name in failures},
        settings,
        data.description,
    )


def is_main(method: Method) -> bool:
    """Return whether a method is asked everything, not only for its place in the main picture."""
    return method.family != "combined" and CURVE not in method.name


def _asked(
    method: Method, settings: StabilityBenchmark, data: EvaluationData, on_step: OnStep
) -> Measurements:
    """Return what all criteria give for a method."""
    whole = Measurements()
    attack = settings.attack
    test = data.test if is_main(method) else data.attacked
    parts = [accuracy(method, test, "clean", "all")]
    if not is_main(method):
        attack = Attack(
            (attack.checked_size,), attack.steps, attack.restarts, 0, attack.checked_size
        )
    else:
        parts += [
            random_noise(method, data.attacked, attack.relative_sizes, settings.seed),
            scale(method, data.attacked, (0.1, 10.0)),
            details(method, data.details),
            false_structures(method, data.test),
            shifts(method, data),
        ]
    parts.append(worst_case(method, data.attacked, attack, partial(on_step, method.name)))
    for part in parts:
        whole.rows += part.rows
        whole.tensors |= part.tensors
    return whole


def _transfer(
    methods: Sequence[Method],
    finished: dict[str, Measurements],
    settings: StabilityBenchmark,
    data: EvaluationData,
    stopped: threading.Event,
) -> list[Row]:
    """Return what the perturbations found for each method do to each other one."""
    asked = [method for method in methods if is_main(method) and method.name in finished]
    rows: dict[tuple[str, str], list[Row]] = {}

    def work(method: Method) -> None:
        for source in asked:
            e = {
                name.removeprefix("perturbation/"): tensor
                for name, tensor in finished[source.name].tensors.items()
                if name.startswith("perturbation/")
            }
            size = settings.attack.checked_size
            measured = transferred(method, data.attacked, source.name, e, size)
            rows[source.name, method.name] = measured.rows

    _on_all_cores(work, asked, stopped)
    return [row for source in asked for method in asked for row in rows[source.name, method.name]]


def _on_all_cores(
    work: Callable[[Method], None], methods: Sequence[Method], stopped: threading.Event
) -> None:
    """Do the work of each method, as many at once as torch has threads, each on one thread."""
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(
        min(threads, len(methods)), initializer=torch.set_num_threads, initargs=(1,)
    )
    # The deepest take longest; none should come last.
    order = sorted(methods, key=lambda method: method.family in ("reference", "trained"))
    try:
        list(pool.map(work, order))
    except BaseException:
        # Else an interruption would wait for all attacks under way.
        stopped.set()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def _digest(method: Method, settings: StabilityBenchmark, data: EvaluationData) -> str:
    """Return a number that tells methods, settings, data and versions apart."""
    content = hashlib.sha256()
    facts: list[Any] = [method.name, method.description, asdict(settings), versions()]
    content.update(json.dumps(facts, sort_keys=True).encode())
    for tensor in (data.test.kspace, data.test.maps):
        content.update(tensor.contiguous().numpy().tobytes())
    network = getattr(method.image, "network", None)
    if isinstance(network, torch.nn.Module):
        for value in network.state_dict().values():
            content.update(value.cpu().contiguous().numpy().tobytes())
    return content.hexdigest()[:32]


def _load(path: Path) -> Measurements | None:
    """Return finished measurements; None if there is none that can be read."""
    try:
        content = torch.load(path, weights_only=True)
        return Measurements([Row(*row) for row in content["rows"]], content["tensors"])
    except (OSError, RuntimeError, KeyError, TypeError, EOFError, ValueError):
        return None


def _save(path: Path, measured: Measurements) -> None:
    with atomic_writes([path], overwrite=True) as (file,):
        torch.save(
            {"rows": [tuple(row) for row in measured.rows], "tensors": measured.tensors}, file
        )


def versions() -> dict[str, str]:
    """Return the versions of what computes the numbers."""
    packages = ("firenet_mri", "torch", "numpy", "sigpy", "monai")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
