"""Opens a raw scan as its zero-filled image: a layer that also contains the scan for the widget."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firenet_mri import Geometry

#: Key of the scan in a layer's metadata.
SCAN = "firenet_scan"

LayerData = tuple[Any, dict[str, Any], str]


def get_reader(path: str | list[str]) -> Callable[[str], list[LayerData]] | None:
    """Return the reader if the file is a raw scan; None leaves other files to other readers.

    Parameters
    ----------
    path
        The file. There is no reader for several files at once.
    """
    if not isinstance(path, str) or not _may_be_a_scan(Path(path)):
        return None
    return read_scan


def read_scan(path: str) -> list[LayerData]:
    """Return the zero-filled image of a raw scan as a layer.

    Parameters
    ----------
    path
        A file in any format that ``firenet_mri.read`` knows.

    Raises
    ------
    FirenetError
        If the file cannot be read, or if the maps cannot be estimated; napari shows the message.
    """
    import firenet_mri
    from firenet_mri import ReconstructionOptions
    from firenet_mri.report import zero_filled_of

    scan = firenet_mri.read(path)
    # The quickest maps suffice here; the widget estimates others.
    maps = "none" if scan.coils == 1 else "lowres"
    image = zero_filled_of(scan, ReconstructionOptions(maps=maps)).image
    return [layer_of(image.numpy(), f"{scan.name}, zero-filled", scan.geometry, {SCAN: scan})]


def layer_of(
    image: Any,
    name: str,
    geometry: Geometry | None,
    metadata: dict[str, Any] | None = None,
    *,
    colormap: str = "gray",
) -> LayerData:
    """Return an image layer whose pixels have their size in mm, if it is known."""
    known: dict[str, Any] = {"name": name, "colormap": colormap, "metadata": metadata or {}}
    if geometry is not None and image.ndim >= 2:
        shape = (1, 1, *image.shape)[-3:]
        depth = geometry.slice_thickness_mm(shape[0])
        _, height, width = geometry.field_of_view_mm
        sizes = (depth, height / shape[1], width / shape[2])
        known["scale"] = (1.0,) * (image.ndim - 3) + sizes[-min(image.ndim, 3) :]
    return image, known, "image"


def _may_be_a_scan(path: Path) -> bool:
    """Return False for real NumPy arrays, which are images and not k-space."""
    if path.suffix != ".npy":
        return path.is_file()
    import numpy as np

    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return False
    return array.dtype.kind == "c" and array.ndim >= 3
