"""``firenet info``: the contents of a raw scan, with a picture of its sampling pattern."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from firenet_mri.cli.options import AsJson, Debug
from firenet_mri.cli.tables import print_table
from firenet_mri.errors import FileError, FirenetError
from firenet_mri.plurals import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from firenet_mri.io.kspace.outline import Outline
    from firenet_mri.scan import RawScan

# Characters from not sampled to fully sampled, which every terminal can show.
_SHADES = " .:-=+*#%@"
_PICTURE = (48, 20)


@dataclass(frozen=True)
class Summary:
    """Summary of a scan, without anything about the patient."""

    file: str
    format: str
    coils: int
    matrix: tuple[int, ...]
    slices: int
    images: tuple[str, ...]
    sampled_percent: float
    calibration_region: tuple[int, ...] | None
    noise_samples: int
    field_of_view_mm: tuple[float, ...] | None
    is_placed: bool
    simulated: bool
    reference_lines: int = 0
    warnings: tuple[str, ...] = ()

    def line(self) -> str:
        """Return the summary in one line."""
        images = f", {counted(len(self.images), 'image')}" if self.images else ""
        slices = f" x {self.slices} slices" if self.slices > 1 else ""
        kind = ", simulated" if self.simulated else ""
        return (
            f"{self.file}: {self.format}, {counted(self.coils, 'coil')}, "
            f"{_times(self.matrix)}{slices}{images}, {self.sampled_percent:.0f} % sampled{kind}"
        )


def info(
    scans: Annotated[list[Path], Parameter(help="Raw scans, or folders of them.")],
    /,
    *,
    check: Annotated[
        bool, Parameter(help="Also examine the samples, and warn about signs of a faulty scan.")
    ] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show the contents of raw scans: one in full, several or a folder with one line per scan.

    If an HDF5 file contains several scans, each of its groups has one line.
    """
    from firenet_mri.io.kspace.recognise import images_in

    files = [entry for scan in scans for file in _files(scan) for entry in _entries(file)]
    if not files:
        images = [(scan, images_in(scan)) for scan in scans if images_in(scan)]
        if images:
            raise FileError("{}: is a folder{}".format(*images[0]))
        raise FileError(f"{', '.join(map(str, scans))}: no raw scan found; give a file or a folder")
    console = Console(highlight=False, soft_wrap=True)
    failed = False
    summaries = []
    for file, group in files:
        try:
            raw, summary = _read(file, group, check)
        except FirenetError as error:
            if len(files) == 1:
                raise
            sys.stderr.write(" ".join(str(error).split()) + "\n")
            failed = True
            continue
        summaries.append(summary)
        if as_json:
            continue
        if len(files) > 1:
            console.print(summary.line(), markup=False)
        else:
            print_table(console, _table(summary))
            console.print(_picture(raw), markup=False)
        for warning in summary.warnings:
            indent = "  " if len(files) > 1 else ""
            console.print(f"{indent}{warning}", markup=False, style="yellow")
    if as_json:
        content = [asdict(summary) for summary in summaries]
        whole = content if len(files) > 1 else content[0]
        sys.stdout.write(json.dumps(whole, indent=2, allow_nan=False) + "\n")
    if failed:
        raise SystemExit(1)


def _files(path: Path) -> list[Path]:
    """Return the path, or the raw scans in a folder; other files in the folder are ignored."""
    from firenet_mri.io.kspace import bruker
    from firenet_mri.io.kspace.formats import Format, recognise

    if not path.is_dir() or bruker.find_experiment(path) is not None:
        return [path]
    found = []
    # A subfolder is a scan only if it is a Bruker experiment.
    for file in sorted(path.iterdir()):
        try:
            format_ = recognise(file)
        except FileError:
            continue
        # A .hdr file belongs to its .cfl file, and a .data file to its Philips index.
        is_part = format_ is Format.PHILIPS and file.suffix.lower() == ".data"
        if file.suffix != ".hdr" and not is_part:
            found.append(file)
    return found


def _entries(file: Path) -> list[tuple[Path, str | None]]:
    """Return a file once, or once per group if it contains several scans."""
    from firenet_mri.io.kspace.formats import groups_of

    try:
        groups = groups_of(file)
    except FileError:
        groups = []
    return [(file, group) for group in groups] if len(groups) > 1 else [(file, None)]


def _read(file: Path, group: str | None, check: bool) -> tuple[Outline, Summary]:
    from firenet_mri.calibration import calibration_region
    from firenet_mri.io.kspace.formats import recognise
    from firenet_mri.io.kspace.outline import Outline, outline_of_file

    warnings: tuple[str, ...] = ()
    if check:
        # This loads torch, which takes time.
        from firenet_mri.io.kspace.reading import read

        scan = read(file, group=group)
        raw, warnings = Outline.of(scan), _warnings(scan)
    else:
        raw = outline_of_file(file, group)
    region = None if raw.mask is None else calibration_region(raw.mask, raw.spatial_ndim)
    geometry = raw.geometry
    is_2d = raw.spatial_ndim == 2
    slices = raw.batch_shape[-1] if is_2d and len(raw.batch_shape) > bool(raw.images) else 1
    return raw, Summary(
        file=file.name if group is None else f"{file.name} /{group}",
        format=recognise(file).value,
        coils=raw.coils,
        matrix=raw.spatial_shape,
        slices=slices,
        images=raw.images,
        sampled_percent=100 * raw.sampled_fraction,
        calibration_region=region,
        noise_samples=raw.noise_samples,
        field_of_view_mm=None if geometry is None else geometry.field_of_view_mm,
        is_placed=geometry is not None and geometry.is_placed,
        simulated=raw.simulated,
        reference_lines=raw.reference_lines,
        warnings=warnings,
    )


def _warnings(scan: RawScan) -> tuple[str, ...]:
    """Return the signs in the samples that a scan went wrong."""
    from firenet_mri.reconstruction.data_warnings.places import places_of
    from firenet_mri.reconstruction.data_warnings.scan import warnings_before

    return tuple(warning.line(places_of(scan)) for warning in warnings_before(scan))


def _table(summary: Summary) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in _rows(summary):
        table.add_row(name, value)
    return table


def _rows(summary: Summary) -> Iterator[tuple[str, str]]:
    axes = "z, y, x" if len(summary.matrix) == 3 else "y, x"
    yield "File", summary.file
    yield "Format", summary.format + (", simulated" if summary.simulated else "")
    yield "Coils", str(summary.coils)
    yield f"Matrix ({axes})", _times(summary.matrix)
    if len(summary.matrix) == 2:
        yield "Slices", str(summary.slices)
    if summary.images:
        yield "Images", f"{len(summary.images)}: {summary.images[0]} ... {summary.images[-1]}"
    yield "Sampled", f"{summary.sampled_percent:.1f} %"
    if summary.calibration_region is not None:
        yield "Fully sampled centre", _times(summary.calibration_region)
    if summary.reference_lines:
        yield (
            "Reference for the maps",
            f"{counted(summary.reference_lines, 'readout')} measured separately",
        )
    noise = "none"
    if summary.noise_samples:
        noise = f"{counted(summary.noise_samples, 'sample')} per coil"
    yield "Noise measurement", noise
    if summary.field_of_view_mm is None:
        yield "Place", "not in the file"
    else:
        extent = " x ".join(f"{size:g}" for size in summary.field_of_view_mm)
        yield "Field of view (z, y, x)", f"{extent} mm"
        yield "Place", "known" if summary.is_placed else "not known or not proven"


def _times(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))


def _picture(raw: Outline) -> str:
    """Return the sampling of the first slice as text, darker where more is sampled."""
    if raw.mask is None:
        return f"A trajectory of {counted(raw.points, 'point')}."
    mask = raw.mask.reshape(-1, *raw.spatial_shape)[0].astype(float)
    if mask.ndim == 3:
        # The pattern of a volume is the same, or nearly the same, along the readout.
        mask = mask.mean(-1)
    width, height = _PICTURE
    small = _shrunk(mask, min(height, mask.shape[0]), min(width, mask.shape[1]))
    rows = [
        "".join(_SHADES[round(float(share) * (len(_SHADES) - 1))] for share in row) for row in small
    ]
    edge = "+" + "-" * len(rows[0]) + "+"
    return "\n".join([edge, *(f"|{row}|" for row in rows), edge])


def _shrunk(mask: NDArray[np.floating], height: int, width: int) -> NDArray[np.floating]:
    """Return averages over height x width cells; neighbouring cells may share a pixel."""
    import numpy as np

    rows, columns = (_cells(n, count) for n, count in zip(mask.shape, (height, width), strict=True))
    cells = [[mask[row, column].mean() for column in columns] for row in rows]
    return np.array(cells)


def _cells(size: int, count: int) -> list[slice]:
    return [slice(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
