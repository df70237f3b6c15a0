"""The commands: they read options, call the library, and tell people what happened."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch import Tensor

import firenet_mri
from firenet_mri.errors import FirenetError
from firenet_mri.operators import LinearOperator
from firenet_mri.reconstruction import Reconstruction, SavedFiles, output_paths
from firenet_mri.scan import RawScan

app = typer.Typer(
    name="firenet",
    help="Stable MR image reconstruction with certificates (FIRENET).",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
benchmark_app = typer.Typer(help="Measure accuracy and speed.", no_args_is_help=True)
app.add_typer(benchmark_app, name="benchmark")
paper_app = typer.Typer(help="Repeat the paper's experiments.", no_args_is_help=True)
app.add_typer(paper_app, name="paper")


def main() -> None:
    """Run the command line; the exit status is 0 only if everything asked for was written."""
    debug = "--debug" in sys.argv
    try:
        app(standalone_mode=True)
    except FirenetError as error:
        if debug:
            raise
        _complain(str(error), error.exit_status)
    except KeyboardInterrupt:
        _complain("interrupted; no output was written", 130)
    except MemoryError:
        if debug:
            raise
        _complain("not enough memory for this scan; reconstruct on a larger machine", 1)


def _complain(message: str, status: int) -> None:
    """Print one line on stderr and leave."""
    sys.stderr.write("firenet: " + " ".join(message.split()) + "\n")
    raise SystemExit(status)


@app.callback(invoke_without_command=True)
def _common(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        sys.stdout.write(f"firenet_mri {firenet_mri.__version__}\n")
        raise typer.Exit


@app.command()
def recon(
    scan: Annotated[
        Path,
        typer.Argument(help="ISMRMRD (.h5), BART (.cfl) or NumPy (.npy, coils first) scan."),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Image to write, .nii.gz or .nii.")
    ],
    preset: Annotated[
        str, typer.Option(help="network (default) or paper (the published network).")
    ] = "network",
    lam: Annotated[
        float | None, typer.Option(help="Weight of the sparsity; default: from the scan's size.")
    ] = None,
    sparsifier: Annotated[
        str | None,
        typer.Option(help="undecimated-haar, haar, db2 ... db38, sym4; default: the preset's."),
    ] = None,
    levels: Annotated[int | None, typer.Option(help="Wavelet levels.")] = None,
    layers: Annotated[int | None, typer.Option(help="Number of layers.")] = None,
    maps: Annotated[
        str, typer.Option(help="Sensitivity maps: espirit, jsense, or none (single coil).")
    ] = "espirit",
    maps_file: Annotated[
        Path | None, typer.Option(help="Use these maps, .npy or .cfl, coils first.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="Sampling mask, .npy or .cfl; default: found in the data.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="Reference magnitude image, .nii.gz or .npy, for an error map."),
    ] = None,
    complex_image: Annotated[
        bool, typer.Option("--complex", help="Keep the phase: write a complex image.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the certificate and the paths as JSON.")
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace outputs that exist.")] = False,
    debug: Annotated[bool, typer.Option(help="Show a traceback on errors.")] = False,
) -> None:
    """Reconstruct a multi-coil scan; write image, picture and certificate."""
    from firenet_mri.io import read, read_maps, read_reference

    output_paths(output, overwrite=overwrite)
    raw = read(scan, mask=mask)
    shape = (*raw.batch_shape, *raw.spatial_shape)
    target = None if reference is None else read_reference(reference, shape=shape)
    sensitivity: Any = maps if maps_file is None else read_maps(maps_file)
    with _progress(f"Reconstructing {raw.name}", quiet=as_json) as on_layer:
        result = firenet_mri.reconstruct(
            raw,
            preset=preset,  # type: ignore[arg-type]
            lam="auto" if lam is None else lam,
            sparsifier=sparsifier,
            levels=levels,
            layers=layers,
            maps=sensitivity,
            device=device,
            on_layer=on_layer,
        )
    files = result.save(output, overwrite=overwrite, complex_image=complex_image, reference=target)
    if as_json:
        sys.stdout.write(files.certificate.read_text(encoding="utf-8"))
    else:
        _tell(result, files)


def _tell(result: Reconstruction, files: SavedFiles) -> None:
    """Say where the outputs are and what is proven."""
    console = Console(highlight=False, soft_wrap=True)
    if result.scan.simulated:
        console.print("The scan is simulated.")
    console.print(f"Image:       {files.image}", markup=False)
    console.print(f"Picture:     {files.picture}", markup=False)
    console.print(f"Certificate: {files.certificate}", markup=False)
    console.print(result.certificate.sentence(), markup=False)
    timings = result.timings
    console.print(
        f"Calibration {timings.calibration_s:.1f} s, network {timings.network_s:.1f} s, "
        f"certificate {timings.certificate_s:.1f} s"
    )


@contextmanager
def _progress(description: str, *, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar that counts layers on stderr, or nothing."""
    if quiet:
        yield None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("layers"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@benchmark_app.command()
def accuracy(
    scan: Annotated[Path, typer.Argument(help="One 2D slice, (coil, y, x).")],
    reference: Annotated[
        Path | None,
        typer.Option(help="Reference magnitude image; without it the scan must be fully sampled."),
    ] = None,
    acceleration: Annotated[
        float, typer.Option(help="Under-sampling of a fully sampled scan.")
    ] = 6.0,
    calibration: Annotated[int, typer.Option(help="Width of the sampled centre.")] = 24,
    maps: Annotated[str, typer.Option(help="Sensitivity maps: espirit or jsense.")] = "espirit",
    seed: Annotated[int, typer.Option(help="Of the sampling mask.")] = 0,
    debug: Annotated[bool, typer.Option(help="Show a traceback on errors.")] = False,
) -> None:
    """Compare PSNR and SSIM with zero filling and SigPy's apps, their lambdas tuned."""
    from firenet_mri.benchmark.accuracy import compare, undersample
    from firenet_mri.io import read, read_reference

    raw = read(scan)
    target: Tensor | RawScan
    if reference is not None:
        target = read_reference(reference)
    else:
        target = raw
        raw = undersample(raw, acceleration, calibration=calibration, seed=seed)
    kind = "simulated" if raw.simulated else "measured"
    title = f"{raw.name}: {kind} data, {100 * raw.sampled_fraction:.1f} % sampled, maps {maps}"
    table = Table("method", "PSNR dB", "SSIM", "seconds", "tuned lambda", title=title)
    for row in compare(raw, target, maps=maps):  # type: ignore[arg-type]
        tuned = "" if row.tuned_lambda is None else f"{row.tuned_lambda:.1e}"
        table.add_row(
            row.method, f"{row.psnr_db:.2f}", f"{row.ssim:.4f}", f"{row.seconds:.2f}", tuned
        )
    Console(highlight=False).print(table)


@benchmark_app.command()
def layers(
    scan: Annotated[Path, typer.Argument(help="A scan; its first slice is used.")],
    threads: Annotated[list[int] | None, typer.Option(help="Threads; default 1 and 2.")] = None,
    debug: Annotated[bool, typer.Option(help="Show a traceback on errors.")] = False,
) -> None:
    """Time one layer beside the FFTs that it needs."""
    from firenet_mri.benchmark.speed import layer_time
    from firenet_mri.firenet.presets import make_network
    from firenet_mri.io import read

    table = Table("network", "threads", "layer ms", "FFTs ms", "ratio", title=scan.name)
    y, encoding = _first_slice(read(scan))
    coils, *shape = y.shape
    for name in ("undecimated-haar", "db4"):
        net = make_network(coils, tuple(shape), sparsifier=name)
        for count in threads or [1, 2]:
            time = layer_time(net, y, encoding, threads=count)
            table.add_row(
                name,
                str(count),
                f"{time.layer_ms:.2f}",
                f"{time.fft_ms:.2f}",
                f"{time.ratio:.2f}",
            )
    Console(highlight=False).print(table)


@paper_app.command("convergence")
def paper_convergence(
    scan: Annotated[Path, typer.Argument(help="A scan; its first slice is used.")],
    restarts: Annotated[int, typer.Option(help="Restarts n.")] = 5,
    inner: Annotated[int, typer.Option(help="Inner iterations p.")] = 5,
    lam: Annotated[float, typer.Option(help="Weight of the sparsity.")] = 0.00025,
    debug: Annotated[bool, typer.Option(help="Show a traceback on errors.")] = False,
) -> None:
    """Show the objective gap of the paper's network after every inner iteration."""
    from firenet_mri import FIRENET, PaperSchedule
    from firenet_mri.benchmark.convergence import convergence
    from firenet_mri.firenet.presets import make_network
    from firenet_mri.io import read

    y, encoding = _first_slice(read(scan))
    coils, *shape = y.shape
    preset = make_network(coils, tuple(shape), preset="paper", lam=lam)
    weights = preset.problem(encoding).weights
    schedule = PaperSchedule(restarts=restarts, inner=inner)
    result = convergence(FIRENET(preset.sparsifier, lam, weights, schedule), y, encoding)
    table = Table(
        "restart",
        *(f"inner {j}" for j in range(1, inner + 1)),
        "fall in restart",
        "eps_k",
        title=f"{scan.name}: (F(x) - F*) / ||y||, lam {lam}",
    )
    before = None
    for k in range(restarts):
        gaps = result.gap[k * inner : (k + 1) * inner]
        fall = "" if before is None else f"{gaps[-1] / before:.3f}"
        table.add_row(str(k + 1), *(f"{g:.2e}" for g in gaps), fall, f"{result.eps[k * inner]:.2e}")
        before = gaps[-1]
    console = Console(highlight=False, width=40 + 12 * inner)
    console.print(table)
    console.print(
        f"F* = {result.best_objective:.8g}, certified to within {result.best_objective_gap:.2g}; "
        "eps_k is what the theorem promises where p >= 2 chi L / nu"
    )


def _first_slice(raw: RawScan) -> tuple[Tensor, LinearOperator]:
    """Return k-space (coil, *spatial) and the encoding operator of a scan's first slice."""
    from firenet_mri.calibration import sensitivity_maps, whiten
    from firenet_mri.operators import encoding_operator

    index = (0,) * len(raw.batch_shape)
    one = replace(raw, kspace=raw.kspace[index], mask=raw.mask[index])
    if one.noise is not None:
        one = whiten(one)
    maps = sensitivity_maps(one)
    return one.kspace, encoding_operator(one.mask, maps, one.spatial_ndim)
