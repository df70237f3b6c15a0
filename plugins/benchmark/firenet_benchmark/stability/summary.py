"""Means, intervals and who is ahead, from the rows of a comparison."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from firenet_benchmark.stability import hard_attacks, jacobian
from firenet_benchmark.stability.criteria import Row
from firenet_benchmark.stability.run import Comparison, is_main

_CONFIDENCE = 0.95


class Criterion(NamedTuple):
    """What is compared: test, variant and metric, its name, and whether more is better."""

    test: str
    variant: str
    metric: str
    words: str
    higher_is_better: bool


class Interval(NamedTuple):
    """A mean over slices with the ends of its 95 % interval (Student's t); NaN for one slice."""

    mean: float
    low: float
    high: float
    slices: int


class Verdict(NamedTuple):
    """The best trained network and the best FIRENET by a criterion; difference FIRENET - trained.

    ahead: "FIRENET", "trained" or "neither" where the interval of the difference holds 0.
    """

    criterion: Criterion
    trained: str
    trained_mean: float
    firenet: str
    firenet_mean: float
    difference: Interval
    ahead: str


def interval(values: Sequence[float]) -> Interval:
    """Return the mean and its 95 % confidence interval."""
    count = len(values)
    mean = sum(values) / count
    if count < 2:
        return Interval(mean, math.nan, math.nan, count)
    from scipy.stats import t

    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    half = float(t.ppf((1 + _CONFIDENCE) / 2, count - 1)) * deviation / math.sqrt(count)
    return Interval(mean, mean - half, mean + half, count)


def values_by_method(
    rows: Iterable[Row], test: str, variant: str, metric: str
) -> dict[str, dict[str, float]]:
    """Return the values of a criterion: by method, then by slice."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for row in rows:
        if (row.test, row.variant, row.metric) == (test, variant, metric):
            found[row.method][row.slice] = row.value
    return dict(found)


def means(rows: Iterable[Row], test: str, variant: str, metric: str) -> dict[str, float]:
    """Return the means over slices, by method."""
    found = values_by_method(rows, test, variant, metric)
    return {name: sum(each.values()) / len(each) for name, each in found.items()}


def criteria(comparison: Comparison) -> list[Criterion]:
    """Return what the summary compares, among the questions asked."""
    asked = {(row.test, row.variant, row.metric) for row in comparison.rows}
    wanted = [
        Criterion("clean", "all", "psnr_db", "PSNR, clean", True),
        Criterion("clean", "all", "ssim", "SSIM, clean", True),
        Criterion("clean", "all", "haarpsi", "HaarPSI, clean", True),
    ]
    for size in comparison.settings.attack.relative_sizes:
        variant = f"{100 * size:g} %"
        words = f"PSNR under the worst {variant} found"
        wanted.append(Criterion("worst case", variant, "psnr_db", words, True))
    for size in comparison.settings.attack.relative_sizes:
        variant = f"{100 * size:g} %"
        words = f"Amplification of the worst {variant} found"
        wanted.append(Criterion("worst case", variant, "amplification", words, False))
    for size in comparison.settings.hard.relative_sizes:
        words = f"PSNR under the worst {100 * size:g} % of all attacks"
        variant = hard_attacks.variant(size, hard_attacks.WORST)
        wanted.append(Criterion(hard_attacks.TEST, variant, "psnr_db", words, True))
    wanted.append(
        Criterion(
            jacobian.TEST,
            jacobian.VARIANT,
            "upper",
            "Amplification of vanishing changes, upper bound",
            False,
        )
    )
    shifted = dict.fromkeys(
        (row.test, row.variant) for row in comparison.rows if row.test in SHIFTS
    )
    wanted += [
        Criterion(test, variant, "psnr_db", f"PSNR, {test}: {variant}", True)
        for test, variant in shifted
    ]
    found = dict.fromkeys(row.variant for row in comparison.rows if row.test == "details")
    wanted += [
        Criterion("details", variant, "recovered", f"Share recovered of a {variant}", True)
        for variant in found
    ]
    wanted += [
        Criterion("false structures", "null space", "relative", "Error in the null space", False),
        Criterion(
            "scale", "x0.1", "relative_error", "Error for data of a tenth of the size", False
        ),
        Criterion("scale", "x10", "relative_error", "Error for data of ten times the size", False),
    ]
    return [each for each in wanted if (each.test, each.variant, each.metric) in asked]


#: Tests away from what the networks were trained for.
SHIFTS = (
    "acceleration",
    "mask",
    "contrast",
    "anatomy",
    "coils",
    "noise",
    "wrong maps",
    "spike",
    "motion",
)


def verdicts(comparison: Comparison) -> list[Verdict]:
    """Return who is ahead by each criterion, the best of each family, by paired differences.

    The best of each family is chosen by its mean of this criterion, for both families alike.
    """
    families = {method.name: method.family for method in comparison.methods if is_main(method)}
    found = []
    for criterion in criteria(comparison):
        values = values_by_method(
            comparison.rows, criterion.test, criterion.variant, criterion.metric
        )
        sign = 1 if criterion.higher_is_better else -1
        best: dict[str, str] = {}
        for family in ("trained", "FIRENET"):
            names = [name for name in values if families.get(name) == family]
            if names:
                best[family] = max(names, key=lambda name: sign * _mean(values[name]))
        if len(best) < 2:
            continue
        trained, firenet = best["trained"], best["FIRENET"]
        shared = [name for name in values[trained] if name in values[firenet]]
        difference = interval([values[firenet][s] - values[trained][s] for s in shared])
        found.append(
            Verdict(
                criterion,
                trained,
                _mean(values[trained]),
                firenet,
                _mean(values[firenet]),
                difference,
                _ahead(difference, sign),
            )
        )
    return found


def _ahead(difference: Interval, sign: int) -> str:
    # Rounding does not count as a lead.
    if abs(difference.mean) < 1e-5:
        return "neither"
    if math.isnan(difference.low) or difference.low > 0 or difference.high < 0:
        return "FIRENET" if sign * difference.mean > 0 else "trained"
    return "neither"


def _mean(values: dict[str, float]) -> float:
    return sum(values.values()) / len(values)


def frontier_goals(comparison: Comparison) -> list[tuple[str, str, float, float]]:
    """Return for each trained network the FIRENET that is nearest to beating it in both PSNRs.

    Rows are (network, FIRENET, clean difference, attacked difference in dB), FIRENET minus network,
    on the attacked slices; the FIRENET is the one with the largest smaller difference.
    """
    size = f"{100 * comparison.settings.attack.checked_size:g} %"
    attacked = means(comparison.rows, "worst case", size, "psnr_db")
    slices = {row.slice for row in comparison.rows if row.test == "worst case"}
    rows = [row for row in comparison.rows if row.slice in slices]
    clean = means(rows, "clean", "all", "psnr_db")
    families = {method.name: method.family for method in comparison.methods}
    ours = [name for name in attacked if families[name] == "FIRENET" and name in clean]
    found = []
    for name in attacked:
        if families[name] != "trained" or name not in clean or not ours:
            continue
        differences = {
            own: (clean[own] - clean[name], attacked[own] - attacked[name]) for own in ours
        }
        best = max(differences, key=lambda own: min(differences[own]))
        found.append((name, best, *differences[best]))
    return found


def overview(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows of a short table: the methods of the main table, users' first."""
    shown = _overview_columns(comparison)
    main = [method for method in comparison.methods if is_main(method)]
    rows = []
    for method in sorted(main, key=lambda method: not method.is_users):
        values = ["" if method.name not in v else f"{v[method.name]:.3g}" for _, v in shown]
        bound = method.lipschitz_bound
        if any(values):
            name = method.name + (" (yours)" if method.is_users else "")
            rows.append([name, *values, "none" if bound is None else f"{bound:.3g}"])
    return ["method", *(head for head, _ in shown), "proven"], rows


def _overview_columns(comparison: Comparison) -> list[tuple[str, dict[str, float]]]:
    """Return what was asked of it: a head, and numbers by method."""
    attack = comparison.settings.attack
    columns = [("PSNR dB", "clean", "all", "psnr_db")]
    for size in dict.fromkeys((attack.checked_size, max(attack.relative_sizes))):
        percent = f"{100 * size:g} %"
        columns.append((f"worst {percent}", "worst case", percent, "psnr_db"))
        if comparison.has_no_reference:
            columns.append((f"amplified {percent}", "worst case", percent, "amplification"))
    columns.append(("lesion 5 %", "details", "lesion 5 %", "recovered"))
    columns.append(("wrong maps", "wrong maps", "5 %", "psnr_db"))
    found = [(head, means(comparison.rows, *which)) for head, *which in columns]
    found.append(("Jacobian", jacobian_bounds_found(comparison.rows, "upper")))
    return [(head, values) for head, values in found if values]


def jacobian_bounds_found(rows: Iterable[Row], metric: str) -> dict[str, float]:
    """Return the largest lower or upper bound of the Jacobian over the slices, by method."""
    found = values_by_method(rows, jacobian.TEST, jacobian.VARIANT, metric)
    return {name: max(each.values()) for name, each in found.items()}
