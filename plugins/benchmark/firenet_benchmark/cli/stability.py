"""``firenet benchmark stability``: one HTML page of accuracy and stability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from firenet_benchmark.stability.evaluation_data import EvaluationData
    from firenet_benchmark.stability.html_report import ReportPages
    from firenet_benchmark.stability.methods import Method
    from firenet_benchmark.stability.run import Comparison, StabilityBenchmark


@Parameter(name="*")
@dataclass(frozen=True)
class CustomNetworks:
    """Networks of your own that are compared.

    Parameters
    ----------
    network
        Your network, FILE.py:factory, or the folder of a MONAI Bundle; give it several times for
        several.
    weights
        State dict of each --network, in their order.
    takes
        What your network is called with.
    scale
        Largest value of zero-filled images that your network is used to.
    """

    network: tuple[str, ...] = ()
    weights: tuple[Path, ...] = ()
    takes: Literal["kspace", "magnitude", "complex"] = "kspace"
    scale: float | None = None

    def methods(self) -> list[Method]:
        """Return them as methods of the comparison."""
        from firenet_benchmark.stability.custom_networks import custom_method
        from firenet_mri.errors import UsageError

        if self.weights and len(self.weights) != len(self.network):
            raise UsageError(
                f"{len(self.weights)} --weights for {len(self.network)} --network; give pairs"
            )
        weights = self.weights or (None,) * len(self.network)
        return [
            custom_method(name, weights=path, takes=self.takes, scale=self.scale)
            for name, path in zip(self.network, weights, strict=True)
        ]


def stability(
    *,
    data: Path | None = None,
    networks: CustomNetworks = CustomNetworks(),
    report: Path = Path("stability"),
    smoke: bool = False,
    acceleration: float = 4.0,
    seed: int = 0,
    overwrite: bool = False,
    debug: bool = False,
) -> None:
    """Compare accuracy and stability with trained networks; write one HTML page with all of it.

    Methods that are finished are kept in REPORT/finished: the same command resumes from there.

    Parameters
    ----------
    data
        Folder of raw scans, or one scan. Default: simulated brains.
    report
        Folder for the report.
    smoke
        A look of two minutes: few slices and steps.
    acceleration
        Under-sampling of your fully sampled scans.
    seed
        Seed of noise and attacks.
    overwrite
        Replace a report that exists.
    debug
        Show a traceback on errors.
    """
    from firenet_benchmark.stability.html_report import pages_in, write_pages
    from firenet_benchmark.stability.run import StabilityBenchmark, default_methods

    files = pages_in(report, overwrite=overwrite)
    settings = StabilityBenchmark.smoke() if smoke else StabilityBenchmark()
    settings = replace(settings, seed=seed, attack=replace(settings.attack, seed=seed))
    methods = default_methods(settings, networks.methods())
    evaluation = None if data is None else _own_data(data, settings, acceleration)
    found = _compare(methods, settings, report / "finished", evaluation)
    write_pages(files, found, overwrite=overwrite)
    _tell(found, files)
    if found.failures:
        raise SystemExit(1)


def _own_data(data: Path, settings: StabilityBenchmark, acceleration: float) -> EvaluationData:
    from firenet_benchmark.stability.data import Protocol
    from firenet_benchmark.stability.evaluation_data import from_scans, read_scans

    protocol = Protocol(acceleration=acceleration)
    return from_scans(read_scans(data), settings.slices, settings.attacked, protocol)


def _compare(
    methods: Sequence[Method],
    settings: StabilityBenchmark,
    kept: Path,
    evaluation: EvaluationData | None,
) -> Comparison:
    """Return the comparison; a bar counts methods, and one each shows the attacks under way."""
    from firenet_benchmark.stability.run import compare
    from firenet_mri.cli.progress import progress_bars

    done = 0
    with progress_bars() as report:

        def on_method() -> None:
            nonlocal done
            done += 1
            report("Methods", done, len(methods))

        report("Methods", 0, len(methods))
        try:
            return compare(
                methods, settings, kept, data=evaluation, on_step=report, on_method=on_method
            )
        except KeyboardInterrupt:
            Console(stderr=True, highlight=False).print(
                "Finished methods are kept; the same command resumes with the others."
            )
            raise


def _tell(found: Comparison, files: ReportPages) -> None:
    """Say who is ahead, what failed, and where the report is."""
    from firenet_benchmark.stability.summary import verdicts

    table = Table("question", "best trained", "", "best FIRENET", "", "ahead")
    for verdict in verdicts(found):
        trained, own = f"{verdict.trained_mean:.4g}", f"{verdict.firenet_mean:.4g}"
        table.add_row(
            verdict.criterion.words, verdict.trained, trained, verdict.firenet, own, verdict.ahead
        )
    console = Console(highlight=False)
    console.print(table)
    for name, error in found.failures.items():
        console.print(f"Failed: {name}: {error}", markup=False)
    console.print(f"Report: {files.page}\nNumbers: {files.table}, {files.data}", markup=False)
