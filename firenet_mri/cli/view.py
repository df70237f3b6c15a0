"""``firenet view``: shows an image or a scan as a page in this machine's browser."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from firenet_mri.cli.early import check_files, check_inputs
from firenet_mri.cli.loading import loading
from firenet_mri.cli.options import Debug, chosen, panel, with_flags
from firenet_mri.cli.record import recorded_options
from firenet_mri.errors import UsageError
from firenet_mri.firenet.options import NetworkOptions
from firenet_mri.io.kspace.options import ReadOptions
from firenet_mri.reconstruction.options import ReconstructionOptions

if TYPE_CHECKING:
    from torch import Tensor

    from firenet_mri.geometry import Geometry
    from firenet_mri.report.content import Content
    from firenet_mri.report.saved import SavedImage, ZeroFilled
    from firenet_mri.report.serving import PageServer, Served

#: Entry points of this group show volumes. Each is a function that takes the bytes of a NIfTI file
#: and a title, and returns pages by path, of which "/volume" is the first.
VIEWERS = "firenet_mri.viewers"

_VOLUME = "/volume"


@with_flags(ReadOptions, ReconstructionOptions)
def view(
    image_or_scan: Annotated[
        Path,
        Parameter(
            help=(
                "Image (.nii.gz, .nii, .dcm, .h5, .mrd or .npy), shown with its certificate "
                "if that is next to it; or that certificate; or a raw scan, which is "
                "reconstructed first."
            )
        ),
    ],
    /,
    *,
    scan: Annotated[
        Path | None,
        Parameter(
            help="The scan that the image was made from, for the zero-filled image and the "
            "sampling pattern.",
            group=panel("Input"),
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        Parameter(
            help="Reference magnitude image, .nii.gz or .npy, for an error map.",
            group=panel("Input"),
        ),
    ] = None,
    port: Annotated[
        int,
        Parameter(
            help="Port on which the page is served; 0 for any free port.", group=panel("Running")
        ),
    ] = 0,
    no_browser: Annotated[
        bool,
        Parameter(
            help="Do not open a browser; only print the address.",
            group=panel("Running"),
            negative=(),
            show_default=False,
        ),
    ] = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Show an image or a scan in the browser, until Control-C.

    The page is that of firenet recon --report. It is served on the loopback interface, so that no
    other machine can reach it, and is self-contained. Nothing is written. With the
    package plugins/viewer it also shows the volume in three planes.
    """
    reading = chosen(ReadOptions, options)
    wanted = chosen(ReconstructionOptions, options)
    check_inputs(one for one in (image_or_scan, scan, reference) if one is not None)
    check_files(reading, wanted)
    with loading():
        from firenet_mri.report.serving import PageServer

    # The port comes first, so that a port in use is found before the work.
    with PageServer(port) as server:
        content, image, geometry = _shown(image_or_scan, scan, reference, reading, wanted)
        _serve(server, content.title, _pages(content, image, geometry), opens=not no_browser)


def _serve(server: PageServer, title: str, pages: Mapping[str, Served], *, opens: bool) -> None:
    """Print where the pages are, open a browser if requested, and serve until Control-C."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{title} is shown at {server.url} until Control-C.", markup=False)
    sys.stdout.flush()
    if opens:
        webbrowser.open(server.url)
    try:
        server.serve(pages)
    except KeyboardInterrupt:
        console.print("Stopped.")


def _shown(
    path: Path,
    scan: Path | None,
    reference: Path | None,
    reading: ReadOptions,
    wanted: ReconstructionOptions,
) -> tuple[Content, Tensor, Geometry | None]:
    """Return the page's content for an image, for the image of a certificate, or for a scan."""
    from firenet_mri.io import read_certificate
    from firenet_mri.report.saved import is_image

    if path.suffix == ".json":
        path = read_certificate(path).check_image()
    if is_image(path):
        return _of_image(path, scan, reference, reading, wanted)
    if scan is not None:
        raise UsageError(f"{path}: is itself a scan; omit --scan")
    return _of_scan(path, reference, reading, wanted)


def _of_image(
    path: Path,
    scan: Path | None,
    reference: Path | None,
    reading: ReadOptions,
    wanted: ReconstructionOptions,
) -> tuple[Content, Tensor, Geometry | None]:
    from firenet_mri.io import read_reference
    from firenet_mri.report.saved import content_of_file, read_saved

    weights = wanted.network.weights
    if wanted != ReconstructionOptions(network=NetworkOptions(weights=weights)):
        raise UsageError(f"{path}: is already an image; omit the options of the reconstruction")
    if scan is None and (reading != ReadOptions() or weights is not None):
        raise UsageError(f"{path}: the options of reading belong to a scan; give --scan, too")
    found = read_saved(path)
    truth = None if reference is None else read_reference(reference)
    added = None if scan is None else _from_scan(found, scan, reading, wanted)
    content = content_of_file(found, reference=truth, scan=added)
    return content, found.image, found.geometry


def _from_scan(
    found: SavedImage, scan: Path, reading: ReadOptions, wanted: ReconstructionOptions
) -> ZeroFilled:
    """Return the parts that the scan adds, after checking that the image was made from it."""
    from firenet_mri.io.kspace.reading import read_with
    from firenet_mri.report.saved import zero_filled_of

    if found.saved is None:
        raise UsageError(
            f"{found.path}: no certificate next to it states how it was made from a scan; "
            "omit --scan"
        )
    weights = wanted.network.weights
    network = None if weights is None else Path(weights)
    recorded, made_with = recorded_options(found.saved, reading, network)
    raw = read_with(scan, recorded)
    found.saved.check_scan(raw)
    return zero_filled_of(raw, made_with)


def _of_scan(
    path: Path, reference: Path | None, reading: ReadOptions, wanted: ReconstructionOptions
) -> tuple[Content, Tensor, Geometry | None]:
    from firenet_mri.cli.progress import progress
    from firenet_mri.cli.recon import with_maps
    from firenet_mri.io import read_reference
    from firenet_mri.io.kspace.reading import read_with
    from firenet_mri.reconstruction import reconstruct_with
    from firenet_mri.reconstruction.run import check_options
    from firenet_mri.report.content import content_of

    check_options(wanted)
    wanted = with_maps(reading, wanted)
    raw = read_with(path, reading)
    shape = (*raw.batch_shape, *raw.spatial_shape)
    truth = None if reference is None else read_reference(reference, shape=shape)
    with progress(f"Reconstructing {raw.name}", "layers") as on_layer:
        result = reconstruct_with(raw, wanted, on_layer=on_layer)
    return content_of(result, reference=truth), result.magnitude, result.scan.geometry


def _pages(content: Content, image: Tensor, geometry: Geometry | None) -> Mapping[str, Served]:
    """Return the pages: the report, and a viewer of the volume if one is installed."""
    from firenet_mri.report.page import page_of
    from firenet_mri.report.serving import Served

    viewer = _viewer()
    is_volume = image.ndim > 2 and image.shape[-3] > 1
    if viewer is None or not is_volume:
        return {"/": Served.page(page_of(content))}
    pages = viewer(_nifti(image, geometry), content.title)
    link = _VOLUME if _VOLUME in pages else None
    return {**pages, "/": Served.page(page_of(content, volume_link=link))}


def _viewer() -> Callable[[bytes, str], Mapping[str, Served]] | None:
    """Return the first viewer of volumes that is installed."""
    found = sorted(entry_points(group=VIEWERS), key=lambda entry: entry.name)
    return found[0].load() if found else None


def _nifti(image: Tensor, geometry: Geometry | None) -> bytes:
    """Return the image as a new NIfTI file, which contains only what is shown."""
    import tempfile

    from firenet_mri.io import write_nifti

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "volume.nii.gz"
        write_nifti(path, image, geometry, description="firenet view")
        return path.read_bytes()
