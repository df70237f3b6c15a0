"""The report: one self-contained HTML file, and every number as CSV and JSON beside it."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

from torch import Tensor, nn

from firenet_benchmark.report import free_paths, write_json, write_table
from firenet_benchmark.stability import figures, hashes
from firenet_benchmark.stability.criteria import Row
from firenet_benchmark.stability.hard_attacks import TEST, matrix_test
from firenet_benchmark.stability.hard_summary import ATTACKS, hard_results, sentences
from firenet_benchmark.stability.methods import ACCURATE, Method
from firenet_benchmark.stability.requirements import Outcome
from firenet_benchmark.stability.run import Comparison, is_main, versions
from firenet_benchmark.stability.summary import (
    SHIFTS,
    Verdict,
    frontier_goals,
    interval,
    jacobian_bounds_found,
    means,
    values_by_method,
    verdicts,
)
from firenet_mri.amplification import FAILURE
from firenet_mri.io import atomic_writes

NAME = "stability"

# Test, metric and title of the tables over perturbation sizes.
_SIZE_TABLES = (
    ("worst case", "height", "Largest change of a pixel over the image's largest value"),
    ("random noise", "psnr_db", "PSNR with white noise of the same sizes (dB)"),
    ("random noise", "amplification", "Amplification of white noise"),
)


@dataclass(frozen=True)
class ReportPages:
    """The files of a report."""

    page: Path
    table: Path
    data: Path
    picture: Path


def pages_in(folder: Path, *, overwrite: bool = False) -> ReportPages:
    """Return where the report goes; makes the folder. Call it before the long work.

    Raises
    ------
    FileError
        If a file exists and may not be replaced, or the folder cannot be written.
    """
    return ReportPages(
        *free_paths(folder, NAME, ("html", "csv", "json", "png"), overwrite=overwrite)
    )


def write_pages(
    pages: ReportPages,
    comparison: Comparison,
    outcomes: Sequence[Outcome] = (),
    *,
    overwrite: bool = False,
) -> None:
    """Write the report, all files or none; the same bytes for the same comparison."""
    paths = (pages.page, pages.table, pages.data, pages.picture)
    picture = _main_picture(comparison)
    with atomic_writes(paths, overwrite=overwrite) as (page, table, data, main):
        page.write_text(page_of(comparison, picture, outcomes), encoding="utf-8")
        write_table(table, Row._fields, comparison.rows)
        write_json(data, data_of(comparison, outcomes))
        main.write_bytes(picture)


def _has_reference(comparison: Comparison) -> bool:
    return any(row.metric == "psnr_db" for row in comparison.rows)


def _has_frontier(comparison: Comparison) -> bool:
    """Return whether clean and attacked images were compared with a reference."""
    found = {row.test for row in comparison.rows if row.metric == "psnr_db"}
    return {"clean", "worst case"} <= found


def _has_worst_cases(comparison: Comparison) -> bool:
    return any(row.test == "worst case" for row in comparison.rows)


def _main_picture(comparison: Comparison) -> bytes:
    """Return clean against attacked PSNR, or amplification where the true image is not known."""
    if _has_frontier(comparison):
        return figures.png_of_figure(figures.frontier(comparison))
    return _curve(comparison, "amplification", "amplification found")


def _curve(comparison: Comparison, metric: str, label: str) -> bytes:
    return figures.png_of_figure(figures.against_size(comparison, metric, label))


def data_of(comparison: Comparison, outcomes: Sequence[Outcome] = ()) -> dict[str, object]:
    """Return the whole comparison but its images as JSON data; numbers that are none are null."""
    return {
        "data": comparison.data,
        "data_sha256": comparison.data_sha256,
        "intended_use": INTENDED_USE,
        "settings": asdict(comparison.settings),
        "versions": versions(),
        "methods": [
            {
                "name": method.name,
                "family": method.family,
                "description": method.description,
                "trained_numbers": method.parameters,
                "proven_lipschitz_bound": method.lipschitz_bound,
                "is_the_users": method.is_users,
                "origin": origin_of(method),
            }
            for method in comparison.methods
        ],
        "failures": comparison.failures,
        "notes": comparison.notes,
        "jacobian_failure_probability_per_slice": FAILURE,
        "requirements": [_judgement(outcome) for outcome in outcomes],
        "verdicts": [_plain(verdict) for verdict in verdicts(comparison)],
        "frontier": [list(goal) for goal in frontier_goals(comparison)],
        "rows": [[*row[:-1], _number(row.value)] for row in comparison.rows],
    }


def origin_of(method: Method) -> dict[str, str]:
    """Return where a method comes from: files and hashes of a user's, else hashes of weights."""
    network = getattr(method.image, "network", None)
    if method.origin or not isinstance(network, nn.Module):
        return dict(method.origin)
    return {"parameters sha256": hashes.of_network(network)}


def _judgement(outcome: Outcome) -> dict[str, object]:
    value = outcome.value
    return {
        "method": outcome.method,
        "required": str(outcome.requirement),
        "value": None if value is None else _number(value),
        "met": outcome.is_met,
    }


def _plain(verdict: Verdict) -> dict[str, object]:
    return {
        **verdict._asdict(),
        "criterion": verdict.criterion._asdict(),
        "difference": [_number(value) for value in verdict.difference],
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def page_of(comparison: Comparison, picture: bytes, outcomes: Sequence[Outcome] = ()) -> str:
    """Return the page."""
    found = verdicts(comparison)
    parts = [
        "<h1>Accuracy and stability: FIRENET beside trained networks</h1>"
        f"<p><b>Data.</b> {_e(_data_words(comparison))}</p>",
        _failures(comparison),
        _notes(comparison),
        _requirements(outcomes),
        "<h2>Summary</h2>",
        _count_words(found),
        _verdict_table(found),
        "<p class=note>The best of each family is chosen by its mean in the row's own question, "
        "for both families alike. Intervals: 95 %, Student's t, paired over slices; slices of one "
        "head are not independent patients, so they say less than they seem to. A "
        "method is <i>ahead</i> where the interval excludes 0.</p>",
        _frontier(comparison, picture),
        _goal_table(comparison),
        "<h2>All methods</h2>",
        _main_table(comparison),
        "<h2>Worst cases</h2>",
        _worst_cases(comparison),
        "<h2>Away from the training data</h2>",
        _shift_tables(comparison),
        _acceleration(comparison),
        "<h2>Details</h2>",
        _detail_table(comparison),
        "<h2>False structures</h2>",
        _false_table(comparison),
        "<h2>Perturbations of one method on another</h2>",
        _transfer_table(comparison),
        "<h2>Harder attacks</h2>",
        _hard_tables(comparison),
        "<h2>Look for yourself</h2>",
        _viewer(comparison),
        "<h2>How it was done</h2>",
        _protocol(comparison),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        "<title>firenet_mri: accuracy and stability</title>"
        f"<style>{_shipped('html_report.css')}</style></head>\n"
        f"<body>{body}</body></html>\n"
    )


def _worst_cases(comparison: Comparison) -> str:
    """Return what perturbations and noise do."""
    parts = []
    if _has_worst_cases(comparison):
        parts = [
            _figure(_curve(comparison, "amplification", "amplification found")),
            "<p>Amplification: change of the magnitude image over size of the perturbation of "
            "k-space. Bars at the right end: proven bounds, for fixed maps.</p>",
        ]
        if _has_frontier(comparison):
            parts.append(_figure(_curve(comparison, "psnr_db", "PSNR (dB)")))
    parts += [_size_table(comparison, *table) for table in _SIZE_TABLES]
    parts.append(_check_table(comparison))
    return "\n".join(part for part in parts if part) or _NOT_ASKED


def _frontier(comparison: Comparison, picture: bytes) -> str:
    """Return the main picture and what it shows."""
    if not _has_reference(comparison):
        return "<p>Accuracy was not measured: it needs a reference image and its question.</p>"
    if not _has_frontier(comparison):
        return ""
    checked = f"{100 * comparison.settings.attack.checked_size:g} %"
    factors = (*comparison.settings.factors, 1.0)
    return (
        f"<h2>Clean against attacked</h2>{_figure(picture)}"
        "<p>Up and to the right is better. Each point is a method, on the attacked slices; the "
        f"perturbation is the worst of {checked} of the samples' norm that was found, a lower "
        "bound of the worst case. Lines: FIRENET with lam between "
        f"{min(factors):g} and {max(factors):g} times its default. Behind networks: the default "
        "FIRENET started from their images.</p>"
    )


_NOT_ASKED = "<p>Not asked in this run.</p>"


def _data_words(comparison: Comparison) -> str:
    test = {row.slice for row in comparison.rows if row.test == "clean"}
    attacked = {row.slice for row in comparison.rows if row.test == "worst case"}
    if not attacked:
        return f"{comparison.data} {len(test)} slices for accuracy."
    return f"{comparison.data} {len(test)} slices for accuracy, {len(attacked)} of them attacked."


def _failures(comparison: Comparison) -> str:
    if not comparison.failures:
        return ""
    lines = "".join(
        f"<li><b>{_e(name)}</b>: {_e(error)}</li>" for name, error in comparison.failures.items()
    )
    return f"<div class=failed>These methods failed and are left out:<ul>{lines}</ul></div>"


def _notes(comparison: Comparison) -> str:
    if not comparison.notes:
        return ""
    lines = "".join(
        f"<li><b>{_e(name)}</b>: {_e(note)}</li>" for name, note in comparison.notes.items()
    )
    return f"<p>Questions that single methods were not asked:</p><ul>{lines}</ul>"


def _requirements(outcomes: Sequence[Outcome]) -> str:
    if not outcomes:
        return ""
    rows = [
        [
            _e(one.method),
            _e(str(one.requirement)),
            "not measured" if one.value is None else _f(one.value),
            "met" if one.is_met else "<b>not met</b>",
        ]
        for one in outcomes
    ]
    missed = sum(not one.is_met for one in outcomes)
    words = f"{missed} of {len(outcomes)} are not met." if missed else "All are met."
    table = _table(["method", "required", "found", ""], rows)
    return f"<h2>Requirements</h2><p>{words}</p>{table}"


def _count_words(found: Sequence[Verdict]) -> str:
    counts = {who: sum(v.ahead == who for v in found) for who in ("FIRENET", "trained", "neither")}
    clean = next((v for v in found if v.criterion.metric == "psnr_db"), None)
    words = (
        f"Of {len(found)} questions the best FIRENET is ahead in {counts['FIRENET']}, the best "
        f"trained network in {counts['trained']}, and neither in {counts['neither']}."
    )
    if clean is not None:
        words += (
            f" Clean, {clean.firenet} has {clean.firenet_mean:.1f} dB and {clean.trained} "
            f"{clean.trained_mean:.1f} dB."
        )
    return f"<p class=summary>{_e(words)}</p>" if found else "<p>There is nothing to rank.</p>"


def _verdict_table(found: Sequence[Verdict]) -> str:
    rows = []
    for v in found:
        low, high = v.difference.low, v.difference.high
        between = "" if math.isnan(low) else f" [{_f(low)}, {_f(high)}]"
        rows.append(
            [
                _e(v.criterion.words),
                _e(v.trained),
                _f(v.trained_mean),
                _e(v.firenet),
                _f(v.firenet_mean),
                _f(v.difference.mean) + between,
                f"<span class='{v.ahead.lower()}'>{_e(v.ahead)}</span>",
            ]
        )
    heads = ["question", "best trained", "", "best FIRENET", "", "difference", "ahead"]
    return _table(heads, rows) if rows else ""


def _goal_table(comparison: Comparison) -> str:
    goals = frontier_goals(comparison)
    if not goals:
        return ""
    rows = [
        [_e(name), _e(own), f"{clean:+.2f}", f"{attacked:+.2f}"]
        for name, own, clean, attacked in goals
    ]
    return "<p>The FIRENET that comes nearest to leading in both, for each network:</p>" + _table(
        ["network", "FIRENET", "clean, dB more", "attacked, dB more"], rows
    )


def _main_table(comparison: Comparison) -> str:
    attack = comparison.settings.attack
    columns = [
        ("PSNR dB", "clean", "all", "psnr_db"),
        ("SSIM", "clean", "all", "ssim"),
        ("NMSE", "clean", "all", "nmse"),
        ("HaarPSI", "clean", "all", "haarpsi"),
    ]
    for size in attack.relative_sizes:
        percent = f"{100 * size:g} %"
        columns.append((f"PSNR, worst {percent}", "worst case", percent, "psnr_db"))
    rows = []
    largest: dict[str, float] = {}
    for row in comparison.rows:
        if row.test == "worst case" and row.metric == "amplification":
            largest[row.method] = max(largest.get(row.method, 0.0), row.value)
    found = [values_by_method(comparison.rows, *column[1:]) for column in columns]
    lower, upper = (jacobian_bounds_found(comparison.rows, m) for m in ("lower", "upper"))
    for method in comparison.methods:
        cells = [_e(method.name)]
        for values in found:
            mine = list(values.get(method.name, {}).values())
            if not mine:
                cells.append("")
                continue
            mean, low, high, _ = interval(mine)
            title = "" if math.isnan(low) else f" title='[{_f(low)}, {_f(high)}]'"
            cells.append(f"<span{title}>{_f(mean)}</span>")
        cells.append(_f(largest[method.name]) if method.name in largest else "")
        cells.append(
            f"{_f(lower[method.name])} to {_f(upper[method.name])}" if method.name in lower else ""
        )
        bound = method.lipschitz_bound
        cells.append(_f(bound) if bound is not None else "none")
        cells.append(f"{method.parameters:,}" if method.parameters else "0")
        rows.append(cells)
    heads = ["method", *(column[0] for column in columns)]
    heads += ["largest amplification found", "Jacobian at the data", "proven bound"]
    return _table([*heads, "trained numbers"], rows) + _MAIN_NOTE


_MAIN_NOTE = (
    "<p class=note>Hover over a number for its 95 % interval over slices. Jacobian at the data: "
    "the largest amplification of a vanishing change of the samples that was seen, and an upper "
    f"bound, which fails with a probability of at most {FAILURE:g} for each slice (over the random "
    "start of the search); the largest over the slices examined. It says nothing about "
    "larger changes, and holds at these data only; the proven bound holds everywhere.</p>"
)


def _size_table(comparison: Comparison, test: str, metric: str, title: str) -> str:
    sizes = [f"{100 * size:g} %" for size in comparison.settings.attack.relative_sizes]
    columns = [means(comparison.rows, test, size, metric) for size in sizes]
    rows = _rows_by_method(comparison, columns)
    return f"<h3>{_e(title)}</h3>" + _table(["method", *sizes], rows) if rows else ""


def _check_table(comparison: Comparison) -> str:
    checked = [row for row in comparison.rows if row.test == "attack check"]
    if not checked:
        return ""
    attack = comparison.settings.attack
    rows = [[_e(row.method), _e(row.slice), _f(row.value)] for row in checked]
    return (
        "<h3>Is the attack strong enough?</h3><p>A second attack with "
        f"{attack.strong_steps} steps of half the length and {3 * attack.restarts} new starting "
        f"points, "
        f"instead of {attack.steps} and {attack.restarts}: the distance it reaches over the "
        "first one's. Far above 1, the first is too weak, and the numbers of this method are too "
        "good.</p>" + _table(["method", "slice", "stronger over first"], rows)
    )


def _shift_tables(comparison: Comparison) -> str:
    variants = dict.fromkeys(
        (row.test, row.variant)
        for row in comparison.rows
        if row.test in (*SHIFTS, "base") and row.test != "acceleration"
    )
    if not variants:
        return _NOT_ASKED + _scale_table(comparison)
    columns = [means(comparison.rows, *variant, "psnr_db") for variant in variants]
    heads = ["method", *(f"{test}: {variant}" for test, variant in variants)]
    table = _table(heads, _rows_by_method(comparison, columns))
    return f"<p>PSNR in dB.</p>{table}{_scale_table(comparison)}"


def _scale_table(comparison: Comparison) -> str:
    scales = [means(comparison.rows, "scale", v, "relative_error") for v in ("x0.1", "x10")]
    if not any(scales):
        return ""
    return (
        "<h3>Scale of the data</h3><p>Relative difference between the "
        "image of scaled data and the scaled image. All built-in networks are given data of one "
        "scale, so that none should depend on it.</p>"
        + _table(["method", "x 0.1", "x 10"], _rows_by_method(comparison, scales))
    )


def _acceleration(comparison: Comparison) -> str:
    if not any(row.test == "acceleration" for row in comparison.rows):
        return ""
    picture = figures.png_of_figure(figures.against_acceleration(comparison))
    return f"<h3>Acceleration: more samples should not hurt</h3>{_figure(picture)}"


def _detail_table(comparison: Comparison) -> str:
    variants = list(dict.fromkeys(r.variant for r in comparison.rows if r.test == "details"))
    if not variants:
        return _NOT_ASKED
    columns = []
    for metric in ("recovered", "leaked"):
        columns += [means(comparison.rows, "details", v, metric) for v in variants]
    heads = ["method", *(f"{v}: recovered" for v in variants), *(f"{v}: leaked" for v in variants)]
    return (
        "<p>A lesion (a Gaussian spot of 2 pixels, in percent of the image's largest value) or "
        "letters of one-pixel strokes are put into the true image; the difference of the two "
        "reconstructions is projected on the detail (recovered, 1 is right) and the rest is "
        "relative to it (leaked, 0 is right).</p>"
        + _table(heads, _rows_by_method(comparison, columns))
    )


def _false_table(comparison: Comparison) -> str:
    columns = [
        means(comparison.rows, "false structures", "null space", metric)
        for metric in ("relative", "height")
    ]
    rows = _rows_by_method(comparison, columns)
    if not rows:
        return _NOT_ASKED
    return (
        "<p>The part of an image's error that lies in the null space of the encoding: what the "
        "samples neither show nor contradict. Relative to the true image; and its largest mean "
        "over 3 x 3 pixels, relative to the largest value.</p>"
        + _table(["method", "relative", "height"], rows)
    )


def _transfer_table(comparison: Comparison) -> str:
    rows = [r for r in comparison.rows if r.test == "transfer" and r.metric == "amplification"]
    sources = list(dict.fromkeys(row.variant for row in rows))
    if not sources:
        return _NOT_ASKED
    columns = [means(comparison.rows, "transfer", source, "amplification") for source in sources]
    return (
        "<p>Amplification on the row's method of the perturbation found for the column's.</p>"
        + _table(["method", *map(_e, sources)], _rows_by_method(comparison, columns))
    )


def _hard_tables(comparison: Comparison) -> str:
    """Return what harder attacks do beside the usual one, and which of them transfer."""
    parts = [f"<p><b>{_e(sentence)}</b></p>" for sentence in sentences(comparison)]
    for size in comparison.settings.hard.relative_sizes:
        results = hard_results(comparison, size)
        if not results:
            continue
        heads = ["method", *(attack for attack in ATTACKS), "worst of all, below the usual"]
        rows = [
            [_e(one.method), *(_known(one.psnr_db.get(name)) for name in ATTACKS), _known(one.loss)]
            for one in results
        ]
        sources = [one.method for one in results]
        columns = [means(comparison.rows, matrix_test(size), name, "psnr_db") for name in sources]
        matrix = _table(["method", *map(_e, sources)], _rows_by_method(comparison, columns))
        parts.append(
            f"<h3>PSNR under {100 * size:g} % (dB)</h3>{_table(heads, rows)}"
            f"<h3>The worst {100 * size:g} % of the column's method on the row's (PSNR, dB)</h3>"
            + matrix
        )
    if not parts and any(row.test == TEST for row in comparison.rows):
        return "<p>Without a gradient or a reference: see the amplifications in the table.</p>"
    return "\n".join([*parts, _HARD_NOTE]) if parts else _NOT_ASKED


_HARD_NOTE = (
    "<p class=note>long: many small steps from more starting points. smoothed: gradients averaged "
    "over noise on the samples. black box: no gradients, an evolution strategy among perturbations "
    "of low frequency. transfer: the worst that was found for any other method. Means over slices; "
    "the last column takes the worst of each slice. All are lower bounds of the worst case.</p>"
)


def _known(value: float | None) -> str:
    return "" if value is None else _f(value)


def _rows_by_method(comparison: Comparison, columns: Sequence[dict[str, float]]) -> list[list[str]]:
    rows = []
    for method in comparison.methods:
        values = [column.get(method.name) for column in columns]
        if any(value is not None for value in values):
            cells = ["" if value is None else _f(value) for value in values]
            rows.append([_e(method.name), *cells])
    return rows


def _viewer(comparison: Comparison) -> str:
    """Return two images on top of each other with a slider between them."""
    scenes = _scenes(comparison)
    if not scenes:
        return ""
    data = {
        scene: {
            name: figures.as_url(figures.png_of_image(image, largest))
            for name, image in images.items()
        }
        for scene, (images, largest) in scenes.items()
    }
    names = list(next(iter(data.values())))
    first = names[-1] if ACCURATE not in names else ACCURATE
    settings = json.dumps({"left": names[0], "right": first})
    return (
        "<p>Choose a scene and two methods, and move the slider between them; zoom enlarges the "
        "middle.</p><div class=controls><select id=scene></select> <select id=left></select> "
        "<select id=right></select> <label><input type=checkbox id=zoom> zoom</label></div>"
        "<div id=view><img id=a alt=''><img id=b alt=''></div>"
        "<input id=slider type=range min=0 max=100 value=50 aria-label='slider between methods'>"
        f"<script>const DATA={json.dumps(data)};const START={settings};\n"
        f"{_shipped('html_report.js')}</script>"
    )


def _scenes(comparison: Comparison) -> dict[str, tuple[dict[str, Tensor], float]]:
    """Return the images of every scene by method, with the value that is shown white."""
    main = [m.name for m in comparison.methods if is_main(m) and m.name in comparison.tensors]
    if not main:
        return {}
    first = comparison.tensors[main[0]]
    attacked = [name for name in first if name.startswith("worst case/")]
    wanted = dict.fromkeys(
        name.replace("worst case/", f"{kind}/") for name in attacked[:2] for kind in ("clean/all",)
    )
    wanted |= dict.fromkeys(attacked[:2])
    wanted |= dict.fromkeys(
        name for name in first if name.split("/")[0] in ("contrast", "anatomy", "details")
    )
    wanted |= dict.fromkeys([n for n in first if n.startswith("false structures/")][:1])
    found = {}
    for key in wanted:
        images = {
            name: comparison.tensors[name][key] for name in main if key in comparison.tensors[name]
        }
        if not images:
            continue
        is_error = key.startswith("false")
        largest = 0.3 if is_error else float(max(i.quantile(0.999) for i in images.values()))
        found[key] = (images, largest)
    return found


def _protocol(comparison: Comparison) -> str:
    rows = []
    for method in comparison.methods:
        origin = "<br>".join(f"{_e(k)}: <code>{_e(v)}</code>" for k, v in origin_of(method).items())
        rows.append([_e(method.name), _e(method.description), origin])
    facts = json.dumps({"settings": asdict(comparison.settings), "versions": versions()}, indent=1)
    return (
        f"{_WORDS}<h3>Methods</h3>{_table(['method', 'what it is', 'origin'], rows)}"
        "<p>Every network gets data of one scale, the largest value of the zero-filled image being "
        "1, and its image is scaled back; a user's network gets what its description says.</p>"
        f"<h3>Data and code</h3><p>Data, sha256: <code>{comparison.data_sha256}</code><br>"
        f"This library's code, sha256: <code>{hashes.of_library()}</code></p>"
        f"<h3>Intended use</h3><p>{_e(INTENDED_USE)}</p>"
        f"<h3>Parameters</h3><pre>{_e(facts)}</pre>"
    )


#: What this report is for, and what it is not for.
INTENDED_USE = (
    "To compare methods for research and development, and to notice when a new version of a "
    "network is less accurate or less stable than required on these data. It is not a validation "
    "for clinical use: no radiologist has judged the images, slices of a few heads do not "
    "represent a population, and other scanners, anatomies, diseases and sequences than those "
    "named are not covered."
)

_WORDS = """
<ul>
<li>PSNR, SSIM and NMSE in fastMRI's definitions (arXiv 1811.08839), of magnitude images that are
never rescaled; HaarPSI of Reisenhofer et al., Signal Processing: Image Communication 61, 2018.</li>
<li>Worst cases: projected gradient ascent with momentum on the distance between image and
reference, over all perturbations of the samples of one size, as Genzel, Macdonald and Maerz (IEEE
TPAMI 45, 2023) bound them; Antun et al. (PNAS 117, 2020) introduced them. All methods are attacked
through everything that they compute from the samples except the maps.</li>
<li>False structures: Bhadra et al., IEEE TMI 40(11), 2021.</li>
<li>Proven bounds: Lipschitz bounds of the fixed network for fixed maps (docs/theory.md); there is
none for a trained network, and none where the phase is taken from the data.</li>
<li>A stable method can be useless: zero filling is in every table as a reminder.</li>
</ul>
"""


def _shipped(name: str) -> str:
    """Return the text of a file that lies beside this module."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _table(heads: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{cell}</th>" for cell in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class=scroll><table><tr>{head}</tr>{body}</table></div>"


def _figure(png: bytes) -> str:
    return f"<img class=figure alt='' src='{figures.as_url(png)}'>"


def _f(value: float) -> str:
    """Return a number as a table shows it."""
    if not math.isfinite(value):
        return "none"
    size = abs(value)
    if size != 0 and (size < 1e-3 or size >= 1e5):
        return f"{value:.1e}"
    return f"{value:.1f}" if size >= 10 else f"{value:.3f}" if size < 1 else f"{value:.2f}"


def _e(text: str) -> str:
    return html.escape(text)
