"""What a network must reach: 'worst_1%>=28, lesion_5%>=.9, jacobian<=10', read and judged.

A quantity is a mean over slices, or the largest value where no single slice may exceed it. The
names follow from the questions asked: ``quantities`` lists them.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from firenet_benchmark.stability import hard_attacks, jacobian
from firenet_benchmark.stability.choices import Question
from firenet_benchmark.stability.criteria import Row
from firenet_benchmark.stability.evaluation_data import EvaluationData
from firenet_benchmark.stability.methods import Method
from firenet_benchmark.stability.run import Comparison, StabilityBenchmark, is_main
from firenet_mri.errors import UsageError

_SIGNS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_TERM = re.compile(r"\s*([^<>=\s]+)\s*(>=|<=|>|<)\s*(\S+)\s*")
_BOUND = "proven_bound"


@dataclass(frozen=True)
class Quantity:
    """A number of a method.

    Parameters
    ----------
    question
        Under which it is asked.
    test, variant, metric
        Of its rows.
    of_slices
        What it is of the slices' values.
    """

    question: Question
    test: str
    variant: str
    metric: str
    of_slices: Literal["mean", "largest"] = "mean"

    def value(self, rows: Iterable[Row], method: str) -> float | None:
        """Return it; None where it was not measured."""
        key = (method, self.test, self.variant, self.metric)
        found = [r.value for r in rows if (r.method, r.test, r.variant, r.metric) == key]
        if not found:
            return None
        if any(math.isnan(value) for value in found):
            return math.nan
        return max(found) if self.of_slices == "largest" else sum(found) / len(found)


@dataclass(frozen=True)
class Requirement:
    """One term: a quantity's name, a sign of comparison, and a number."""

    name: str
    sign: str
    number: float

    def __str__(self) -> str:
        return f"{self.name} {self.sign} {self.number:g}"

    def is_met(self, value: float | None) -> bool:
        """Return whether a value meets it; what was not measured, or is NaN, does not."""
        return value is not None and _SIGNS[self.sign](value, self.number)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a requirement for a method; a value of None was not measured."""

    method: str
    requirement: Requirement
    value: float | None

    @property
    def is_met(self) -> bool:
        """Return whether the method meets it."""
        return self.requirement.is_met(self.value)

    def __str__(self) -> str:
        value = "not measured" if self.value is None else f"{self.value:.4g}"
        return f"{self.method}: {value}, required {self.requirement}"


def parse(text: str) -> list[Requirement]:
    """Return the terms of a text such as 'worst_1%>=28,lesion_5%>=.9'.

    Raises
    ------
    UsageError
        If a term cannot be read, or occurs twice.
    """
    found: list[Requirement] = []
    for term in text.split(","):
        match = _TERM.fullmatch(term)
        if match is None:
            raise UsageError(
                f"Requirement {term.strip()!r} cannot be read; write NAME>=NUMBER or "
                "NAME<=NUMBER, with commas between several, as 'worst_1%>=28,jacobian<=10'"
            )
        name, sign, number = match.groups()
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise UsageError(f"Requirement {term.strip()!r}: {number!r} is not a number")
        found.append(Requirement(_plain(name), sign, value))
    signs = [(one.name, one.sign) for one in found]
    twice = [name for name, sign in signs if signs.count((name, sign)) > 1]
    if twice:
        raise UsageError(f"{twice[0]} is required twice; give it once")
    return found


def _plain(name: str) -> str:
    """Return a name as ``quantities`` has it: percentages without needless zeros."""
    match = re.fullmatch(r"(.*_)(\d*\.?\d*)%", name)
    if match is None or not re.search(r"\d", match[2]):
        return name
    return f"{match[1]}{float(match[2]):g}%"


def quantities(settings: StabilityBenchmark, data: EvaluationData) -> dict[str, Quantity]:
    """Return what can be required of these data, by name."""
    found: dict[str, Quantity] = {}
    is_known = data.test.reference is not None
    if is_known:
        found["psnr"] = Quantity("accuracy", "clean", "all", "psnr_db")
        for metric in ("ssim", "haarpsi", "nmse"):
            found[metric] = Quantity("accuracy", "clean", "all", metric)
    for size in settings.attack.relative_sizes:
        percent = f"{100 * size:g}"
        variant = f"{percent} %"
        if is_known:
            found[f"worst_{percent}%"] = Quantity("worst-case", "worst case", variant, "psnr_db")
            found[f"noise_{percent}%"] = Quantity("noise", "random noise", variant, "psnr_db")
        found[f"amplification_{percent}%"] = Quantity(
            "worst-case", "worst case", variant, "amplification", "largest"
        )
    for size in settings.hard.relative_sizes if is_known else ():
        found[f"hard_{100 * size:g}%"] = Quantity(
            "hard-attacks",
            hard_attacks.TEST,
            hard_attacks.variant(size, hard_attacks.WORST),
            "psnr_db",
        )
    found["jacobian"] = Quantity("jacobian", jacobian.TEST, jacobian.VARIANT, "upper", "largest")
    for pair in data.details:
        name = pair.name.replace(" %", "%").replace(" ", "_")
        found[name] = Quantity("details", "details", pair.name, "recovered")
    if data.test.truth is not None:
        found["false_structures"] = Quantity(
            "false-structures", "false structures", "null space", "relative"
        )
    for test, variant in data.shifts:
        name = test if test == "base" else f"{test}_{variant}"
        name = name.replace(" %", "%").replace(" ", "_")
        found[name] = Quantity("shifts", test, variant, "psnr_db")
    for factor in ("x0.1", "x10"):
        found[f"scale_{factor}"] = Quantity("scale", "scale", factor, "relative_error", "largest")
    return found


def check(
    requirements: Sequence[Requirement],
    known: Mapping[str, Quantity],
    questions: Sequence[Question],
) -> None:
    """Refuse what is unknown or was not asked, before the long work.

    Raises
    ------
    UsageError
        With the known names, or the question that is missing.
    """
    for one in requirements:
        if one.name == _BOUND:
            continue
        if one.name not in known:
            names = ", ".join([*known, _BOUND])
            raise UsageError(
                f"{one.name} is not measured in this run; ask for it with --questions, or require "
                f"some of {names}"
            )
        if known[one.name].question not in questions:
            raise UsageError(
                f"{one.name} is required, but not asked; add --questions {known[one.name].question}"
            )


def judged(
    requirements: Sequence[Requirement],
    known: Mapping[str, Quantity],
    comparison: Comparison,
) -> list[Outcome]:
    """Return the outcomes for the user's networks; without one, for all but zero filling."""
    users = [method for method in comparison.methods if method.is_users]
    here = [method for method in comparison.methods if is_main(method) and not method.absent]
    main = [method for method in here if method.family != "reference"]
    found = []
    for method in users or main:
        for one in requirements:
            found.append(Outcome(method.name, one, _value(one, known, comparison, method)))
    return found


def _value(
    requirement: Requirement,
    known: Mapping[str, Quantity],
    comparison: Comparison,
    method: Method,
) -> float | None:
    if requirement.name == _BOUND:
        return method.lipschitz_bound
    return known[requirement.name].value(comparison.rows, method.name)
