"""``firenet benchmark stability``: one HTML page of accuracy and stability."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Column, Table

from firenet_benchmark.cli.stability_options import Chosen, CustomNetworks, Sampling
from firenet_mri.cli.tables import print_table

if TYPE_CHECKING:
    from firenet_benchmark.stability.evaluation_data import EvaluationData
    from firenet_benchmark.stability.html_report import ReportPages
    from firenet_benchmark.stability.methods import Method
    from firenet_benchmark.stability.requirements import Outcome
    from firenet_benchmark.stability.run import Comparison, StabilityBenchmark


def stability(
    *,
    data: Path | None = None,
    encoding: str | None = None,
    networks: CustomNetworks = CustomNetworks(),
    sampling: Sampling = Sampling(),
    chosen: Chosen = Chosen(),
    report: Annotated[Path, Parameter(name=("--report", "--output", "-o"))] = Path("stability"),
    smoke: bool = False,
    seed: int = 0,
    json: bool = False,
    overwrite: bool = False,
    debug: bool = False,
) -> None:
    """Compare accuracy and stability with trained networks; write one HTML page with all results.

    Finished results are kept in REPORT/finished; the same command resumes from there.

    Parameters
    ----------
    data
        Folder of raw scans, or one scan. Default: simulated brains.
    encoding
        Your own encoding operator for the scan of --data, as FILE.py:FUNCTION; the function takes
        the scan and returns a firenet_mri LinearOperator or a SigPy Linop. Methods that take
        sensitivity maps are left out.
    report
        Folder for the report.
    smoke
        Run a quick look of two minutes, with few slices and steps.
    seed
        Seed of noise, attacks and Jacobians.
    json
        Print everything except the individual values as JSON instead of tables.
    overwrite
        Replace an existing report.
    debug
        Show a traceback on errors.
    """
    from firenet_benchmark.stability.html_report import data_of, pages_in, write_pages
    from firenet_benchmark.stability.requirements import check, judged, parse, quantities
    from firenet_benchmark.stability.run import StabilityBenchmark

    _check_encoding(encoding, data, sampling)
    files = pages_in(report, overwrite=overwrite)
    settings = StabilityBenchmark.smoke() if smoke else StabilityBenchmark()
    attack = replace(settings.attack, seed=seed)
    asked = chosen.asked(settings.questions)
    settings = replace(settings, seed=seed, attack=attack, questions=asked)
    required = [] if chosen.require is None else parse(chosen.require)
    methods = _methods(settings, networks, chosen)
    evaluation = _evaluation_data(data, encoding, settings, sampling)
    known = quantities(settings, evaluation)
    check(required, known, settings.questions)
    found = _compare(methods, settings, report / "finished", evaluation)
    outcomes = judged(required, known, found)
    write_pages(files, found, outcomes, overwrite=overwrite)
    if json:
        whole = {key: value for key, value in data_of(found, outcomes).items() if key != "rows"}
        whole["files"] = [str(path) for path in vars(files).values()]
        sys.stdout.write(json_format.dumps(whole, indent=2, allow_nan=False) + "\n")
    else:
        _tell(found, outcomes, files)
    if found.failures or not all(outcome.is_met for outcome in outcomes):
        raise SystemExit(1)


def _methods(
    settings: StabilityBenchmark, networks: CustomNetworks, chosen: Chosen
) -> list[Method]:
    """Return what is compared; the user's networks are called by names of their own."""
    from firenet_benchmark.stability.custom_networks import custom_methods
    from firenet_benchmark.stability.run import default_methods

    taken = [method.name for method in default_methods(settings)]
    users = custom_methods(networks.choices(), taken)
    return default_methods(settings, users, chosen.methods)


def _evaluation_data(
    data: Path | None, encoding: str | None, settings: StabilityBenchmark, sampling: Sampling
) -> EvaluationData:
    from firenet_benchmark.stability.data import images
    from firenet_benchmark.stability.evaluation_data import from_scans, read_scans
    from firenet_benchmark.stability.run import default_data

    if encoding is not None and data is not None:
        return _data_with_operator(data, encoding, settings)
    if data is None:
        y, x = images("test").shape[1:]
        return default_data(settings, sampling.acquisition(sampling.size or (y, x)))
    scans = read_scans(data)
    y, x = scans[0].spatial_shape
    return from_scans(scans, settings.slices, settings.attacked, sampling.acquisition((y, x)))


def _check_encoding(encoding: str | None, data: Path | None, sampling: Sampling) -> None:
    """Refuse an operator without a scan, and other sampling than that of the scan."""
    from firenet_mri.errors import UsageError

    if encoding is not None and (data is None or sampling != Sampling()):
        raise UsageError(
            "--encoding describes the samples of one scan as they are; name it with --data, and "
            "leave out the options of sampling"
        )


def _data_with_operator(data: Path, encoding: str, settings: StabilityBenchmark) -> EvaluationData:
    """Return the slices of a scan with an operator of the user's, as they were sampled."""
    from firenet_benchmark.operators import load_encoding
    from firenet_benchmark.stability.evaluation_data import from_operator
    from firenet_mri.io import read

    scan = read(data)
    operator = load_encoding(encoding, scan)
    return from_operator(scan, operator, settings.slices, settings.attacked)


def _compare(
    methods: Sequence[Method],
    settings: StabilityBenchmark,
    kept: Path,
    evaluation: EvaluationData | None,
) -> Comparison:
    """Return the comparison; a bar counts methods, and one each shows the attacks under way."""
    from firenet_benchmark.stability.run import compare
    from firenet_mri.cli.progress import progress_bars

    done, total = 0, sum(not method.absent for method in methods)
    with progress_bars() as report:

        def on_method() -> None:
            nonlocal done
            done += 1
            report("Methods", done, total)

        report("Methods", 0, total)
        try:
            return compare(
                methods, settings, kept, data=evaluation, on_step=report, on_method=on_method
            )
        except KeyboardInterrupt:
            Console(stderr=True, highlight=False).print(
                "Finished methods are kept; the same command resumes with the others."
            )
            raise


def _tell(found: Comparison, outcomes: Sequence[Outcome], files: ReportPages) -> None:
    """Say who is ahead, how the user's networks do, what failed, and where the report is."""
    from firenet_benchmark.stability.hard_summary import sentences
    from firenet_benchmark.stability.summary import overview, verdicts

    table = _table("question", "best trained", "", "best FIRENET", "", "ahead")
    for verdict in verdicts(found):
        trained, own = f"{verdict.trained_mean:.4g}", f"{verdict.firenet_mean:.4g}"
        table.add_row(
            verdict.criterion.words, verdict.trained, trained, verdict.firenet, own, verdict.ahead
        )
    console = Console(highlight=False)
    if table.row_count:
        print_table(console, table)
    heads, rows = overview(found)
    methods = _table(*heads)
    for row in rows:
        methods.add_row(*row)
    console.print(methods)
    for sentence in sentences(found):
        console.print(sentence, markup=False)
    for name, note in found.notes.items():
        console.print(f"Note: {name}: {note}", markup=False)
    for name, error in found.failures.items():
        console.print(f"Failed: {name}: {error}", markup=False)
    for outcome in outcomes:
        console.print(f"{'Met' if outcome.is_met else 'Not met'}: {outcome}", markup=False)
    console.print(f"Report: {files.page}\nNumbers: {files.table}, {files.data}", markup=False)


def _table(*heads: str) -> Table:
    """Return a table that breaks long names instead of cutting them off."""
    return Table(*(Column(head, overflow="fold") for head in heads))
