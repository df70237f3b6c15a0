"""Runs the comparison, several methods side by side, and keeps finished results."""

from __future__ import annotations

import platform
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from firenet_benchmark.stability import hashes
from firenet_benchmark.stability.acquisition import Acquisition
from firenet_benchmark.stability.choices import (
    LONG_QUESTIONS,
    QUESTIONS,
    MethodChoice,
    Question,
    short_name,
)
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
from firenet_benchmark.stability.hard_attacks import (
    TEST,
    HardAttack,
    hard_attacks,
    transferred_rows,
    worst_rows,
)
from firenet_benchmark.stability.jacobian import gradient_problem, jacobian
from firenet_benchmark.stability.learned_methods import learned_methods, wide_methods
from firenet_benchmark.stability.methods import (
    IMAGINARY_WEIGHT,
    Batch,
    Method,
    behind,
    firenet_method,
    firenets,
    trained_methods,
    zero_filling,
)
from firenet_mri.errors import UsageError
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
    questions
        What is asked. Transferred perturbations are those of the worst cases.
    linearised
        At how many of the attacked slices the Jacobian is bounded.
    hard
        How the hard attacks try.
    seed
        Of random noise, and of the search for the Jacobian's norm.

    Raises
    ------
    UsageError
        If transfer is asked without worst cases.
    """

    slices: int = 8
    attacked: int = 4
    shifted: int = 4
    accelerations: tuple[float, ...] = (2, 3, 4, 6, 8)
    factors: tuple[float, ...] = (0.5, 2.0, 4.0)
    attack: Attack = field(default_factory=Attack)
    questions: tuple[Question, ...] = QUESTIONS
    linearised: int = 2
    hard: HardAttack = field(default_factory=HardAttack)
    seed: int = 0

    def __post_init__(self) -> None:
        if "transfer" in self.questions and "worst-case" not in self.questions:
            raise UsageError(
                "transfer uses the perturbations that worst-case finds; ask worst-case, too"
            )

    @classmethod
    def smoke(cls) -> StabilityBenchmark:
        """Return settings for a quick look of a minute or two; whatever takes long is left out."""
        attack = Attack(relative_sizes=(0.01,), steps=2, restarts=1, strong_steps=3)
        few = tuple(one for one in QUESTIONS if one not in LONG_QUESTIONS)
        hard = HardAttack.smoke()
        return cls(2, 1, 1, (4, 8), (4.0,), attack, few, linearised=1, hard=hard)


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
    notes
        Questions that single methods were not asked, and why, by name.
    data_sha256
        Of everything that methods saw and were judged by.
    """

    methods: tuple[Method, ...]
    rows: tuple[Row, ...]
    tensors: dict[str, dict[str, Tensor]]
    failures: dict[str, str]
    settings: StabilityBenchmark
    data: str
    notes: dict[str, str] = field(default_factory=dict)
    data_sha256: str = ""

    @property
    def has_no_reference(self) -> bool:
        """Whether the true images of the attacked slices are not known."""
        found = [row.metric for row in self.rows if row.test == "worst case"]
        return bool(found) and "psnr_db" not in found


# What a question shows to the methods; accuracy shows the test slices to those of the main table.
_SEEN: dict[Question, str] = {
    "accuracy": "attacked",
    "worst-case": "attacked",
    "jacobian": "attacked",
    "noise": "attacked",
    "scale": "attacked",
    "details": "details",
    "false-structures": "test",
    "shifts": "shifts",
    "hard-attacks": "attacked",
}

#: Called with (method, steps done, steps in all).
OnStep = Callable[[str, int, int], None]


def default_methods(
    settings: StabilityBenchmark,
    users: Sequence[Method] = (),
    chosen: Sequence[MethodChoice] = (),
) -> list[Method]:
    """Return the columns: zero filling, trained networks, the user's, FIRENETs, combinations.

    Where weights are not included, their column says so.

    Parameters
    ----------
    settings
        For the lam of the curve.
    users
        Networks of the user, which are always included.
    chosen
        Which of the others; none chosen is all.
    """

    def is_chosen(method: Method) -> bool:
        return not chosen or short_name(method.name) in chosen

    trained = [*filter(is_chosen, trained_methods()), *users]
    methods = [
        *filter(is_chosen, [zero_filling()]),
        *trained,
        *filter(is_chosen, [*wide_methods(), *learned_methods(), *firenets()]),
    ]
    if not chosen or "curve" in chosen:
        methods += _curve(settings)
    if not chosen or "behind" in chosen:
        started = [method for method in trained if method.family == "trained"]
        methods += [behind(method) for method in started if "jittered" not in method.name]
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
    """Return the comparison; results of earlier runs in the folder ``kept`` are not computed again.

    A method that fails, whatever it raises, is named with its error, and the others finish. A
    method that is absent or does not take images of this width is named, too, and so are the
    questions that a method without a derivative is not asked.

    Parameters
    ----------
    methods
        Columns; their names differ.
    settings
        Sizes and seed.
    kept
        Folder for finished measurements, made if it is missing.
    data
        What they see; None is the built-in data.
    on_step
        Called with (method, steps done, steps in all) of attacks.
    on_method
        Called when a method is finished.

    Raises
    ------
    UsageError
        If two methods have one name.
    """
    twice = [name for name, count in Counter(m.name for m in methods).items() if count > 1]
    if twice:
        raise UsageError(f"Two methods are called {twice[0]!r}; give them different names")
    kept.mkdir(parents=True, exist_ok=True)
    if data is None:
        data = default_data(settings)
    methods = [method.for_operator(data.test.encoding) for method in methods]
    notes = {
        method.name: f"left out: {reason}"
        for method in methods
        if (reason := _left_out(method, data.test))
    }
    work = _Work(settings, data, kept, hashes.of_data(data), on_step, on_method)
    _on_all_cores(work, [m for m in methods if m.name not in notes], work.stopped)
    finished = work.finished
    rows = [row for method in methods for row in finished.get(method.name, Measurements()).rows]
    if "transfer" in settings.questions:
        rows += _transfer(methods, finished, settings, data, work.stopped)
    if "hard-attacks" in settings.questions:
        rows += _hard_transfer(methods, finished, settings, data, work.stopped)
        rows += worst_rows(rows)
    notes |= {name: found.note for name, found in finished.items() if found.note}
    return Comparison(
        tuple(methods),
        tuple(rows),
        {m.name: finished[m.name].tensors for m in methods if m.name in finished},
        {m.name: work.failures[m.name] for m in methods if m.name in work.failures},
        settings,
        data.description,
        {m.name: notes[m.name] for m in methods if m.name in notes},
        hashes.of_json(dict(work.data_sha256)),
    )


def _left_out(method: Method, batch: Batch) -> str:
    """Return why a method is not asked anything; empty if it is."""
    if batch.encoding is not None and method.needs_maps:
        return "it takes sensitivity maps, which an operator of your own hides"
    width = batch.image_shape[-1]
    if method.width not in (None, width):
        return f"it takes images {method.width} wide, these are {width}"
    return method.absent


def default_data(
    settings: StabilityBenchmark, acquisition: Acquisition | None = None
) -> EvaluationData:
    """Return the built-in data of these settings, with shifts and details only if asked for."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return built_in(
            settings.slices,
            settings.attacked,
            settings.shifted,
            settings.accelerations,
            acquisition,
            leave_out=[part for part in ("shifts", "details") if part not in settings.questions],
        )


class _Work:
    """Asks one method after the other, on several threads, and keeps what is finished."""

    def __init__(
        self,
        settings: StabilityBenchmark,
        data: EvaluationData,
        kept: Path,
        data_sha256: Mapping[str, str],
        on_step: OnStep | None,
        on_method: Callable[[], None] | None,
    ) -> None:
        self.settings, self.data, self.kept = settings, data, kept
        self.data_sha256 = data_sha256
        self.on_step, self.on_method = on_step, on_method
        self.failures: dict[str, str] = {}
        self.finished: dict[str, Measurements] = {}
        self.stopped = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, method: Method) -> None:
        """Ask a method everything, or take what was found before."""
        whole = Measurements()
        for question in questions_of(method, self.settings):
            path = self.kept / f"{_digest(method, question, self.settings, self.data_sha256)}.pt"
            measured = _load(path)
            if measured is None:
                try:
                    measured = _asked(method, question, self.settings, self.data, self._report)
                # A user's network can raise anything.
                except Exception as error:
                    with self._lock:
                        self.failures[method.name] = _in_a_line(error)
                    break
                _save(path, measured)
            whole.rows += measured.rows
            whole.tensors |= measured.tensors
            whole.note = "; ".join(dict.fromkeys(filter(None, (whole.note, measured.note))))
        else:
            with self._lock:
                self.finished[method.name] = whole
        if self.on_method is not None:
            self.on_method()

    def _report(self, name: str, done: int, total: int) -> None:
        if self.stopped.is_set():
            raise InterruptedError("The comparison was interrupted")
        if self.on_step is not None:
            self.on_step(name, done, total)


def _in_a_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def is_main(method: Method) -> bool:
    """Return whether a method is asked everything, not only for its place in the main picture."""
    return method.family != "combined" and CURVE not in method.name


def questions_of(method: Method, settings: StabilityBenchmark) -> list[Question]:
    """Return what a method is asked by itself."""
    asked: list[Question] = [q for q in settings.questions if q != "transfer"]
    return asked if is_main(method) else [q for q in asked if q in ("accuracy", "worst-case")]


def _asked(
    method: Method,
    question: Question,
    settings: StabilityBenchmark,
    data: EvaluationData,
    on_step: OnStep,
) -> Measurements:
    """Return what a question gives for a method."""
    attack, few = settings.attack, data.attacked
    if question == "accuracy":
        return accuracy(method, data.test if is_main(method) else few, "clean", "all")
    if question == "worst-case":
        return _worst_case(method, settings, data, on_step)
    if question == "jacobian":
        step = partial(on_step, f"{method.name}, Jacobian")
        return jacobian(method, few[: settings.linearised], settings.seed, step)
    if question == "noise":
        return random_noise(method, few, attack.relative_sizes, settings.seed)
    if question == "scale":
        return scale(method, few, (0.1, 10.0))
    if question == "details":
        return details(method, data.details)
    if question == "false-structures":
        return false_structures(method, data.test)
    if question == "hard-attacks":
        step = partial(on_step, f"{method.name}, hard attacks")
        return hard_attacks(method, few[: settings.hard.slices], attack, settings.hard, step)
    return shifts(method, data)


def _worst_case(
    method: Method, settings: StabilityBenchmark, data: EvaluationData, on_step: OnStep
) -> Measurements:
    """Return what attacks find; methods off the main table are attacked at one size."""
    attack = settings.attack
    problem = gradient_problem(method, data.attacked[:1])
    if problem is not None:
        return Measurements(note=f"not attacked: {problem}")
    if not is_main(method):
        size = attack.checked_size
        attack = Attack((size,), attack.steps, attack.restarts, 0, size)
    return worst_case(method, data.attacked, attack, partial(on_step, method.name))


def _transfer(
    methods: Sequence[Method],
    finished: dict[str, Measurements],
    settings: StabilityBenchmark,
    data: EvaluationData,
    stopped: threading.Event,
) -> list[Row]:
    """Return what the perturbations found for each method do to each other one."""
    asked = [
        method
        for method in methods
        if is_main(method)
        and any(t.startswith("perturbation/") for t in _tensors(finished, method))
    ]
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

    if asked:
        _on_all_cores(work, asked, stopped)
    return [row for source in asked for method in asked for row in rows[source.name, method.name]]


def _hard_transfer(
    methods: Sequence[Method],
    finished: dict[str, Measurements],
    settings: StabilityBenchmark,
    data: EvaluationData,
    stopped: threading.Event,
) -> list[Row]:
    """Return what the worst perturbations of the hard attacks do to each other method."""
    few = data.attacked[: settings.hard.slices]
    asked = [m for m in methods if any(t.startswith(f"{TEST}/") for t in _tensors(finished, m))]
    rows: dict[str, list[Row]] = {}

    def work(method: Method) -> None:
        found = []
        for size in settings.hard.relative_sizes:
            by = {
                source.name: {
                    name: _tensors(finished, source)[f"{TEST}/{size:g}/{name}"]
                    for name in few.names
                }
                for source in asked
            }
            found += transferred_rows(method, few, size, by)
        rows[method.name] = found

    if asked and few.reference is not None:
        _on_all_cores(work, asked, stopped)
    return [row for method in asked for row in rows.get(method.name, [])]


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


def _tensors(finished: dict[str, Measurements], method: Method) -> dict[str, Tensor]:
    return finished[method.name].tensors if method.name in finished else {}


def _digest(
    method: Method,
    question: Question,
    settings: StabilityBenchmark,
    data_sha256: Mapping[str, str],
) -> str:
    """Return a number that tells apart whatever changes a measurement, and how it is called."""
    # Other questions change no answer.
    own = {name: value for name, value in asdict(settings).items() if name != "questions"}
    facts: list[Any] = [question, method.name, method.description, dict(method.origin)]
    part = "test" if question == "accuracy" and is_main(method) else _SEEN[question]
    facts += [hashes.facts_of(method.image), own, data_sha256[part]]
    facts += [hashes.of_library(), versions()]
    return hashes.of_json(facts)[:32]


def _load(path: Path) -> Measurements | None:
    """Return finished measurements; None if there is none that can be read."""
    try:
        content = torch.load(path, weights_only=True)
        rows = [Row(*row) for row in content["rows"]]
        return Measurements(rows, content["tensors"], content["note"])
    except (OSError, RuntimeError, KeyError, TypeError, EOFError, ValueError):
        return None


def _save(path: Path, measured: Measurements) -> None:
    with atomic_writes([path], overwrite=True) as (file,):
        rows = [tuple(row) for row in measured.rows]
        torch.save({"rows": rows, "tensors": measured.tensors, "note": measured.note}, file)


def versions() -> dict[str, str]:
    """Return the versions of what computes the numbers."""
    packages = ("firenet_mri", "firenet_benchmark", "torch", "numpy", "sigpy", "monai")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
