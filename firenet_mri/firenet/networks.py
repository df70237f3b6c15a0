"""The network that options mean: that of a preset, or that of trained weights of any kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from firenet_mri.firenet.base import Network, Weights
from firenet_mri.firenet.learned.formats import FRAME, LAYERS, format_of
from firenet_mri.firenet.learned.frame import load_learned_frame
from firenet_mri.firenet.learned.weights import load_network
from firenet_mri.firenet.options import NetworkOptions
from firenet_mri.firenet.presets import preset_network
from firenet_mri.operators.base import Shape
from firenet_mri.operators.sparsifiers import check_sparsifier_name

#: The reader of a file, by its format.
READERS: dict[str, Callable[[str | Path], Weights]] = {
    LAYERS: load_network,
    FRAME: load_learned_frame,
}


def load_weights(path: str | Path) -> Weights:
    """Return the trained weights of a file, or those that are included for their name.

    Raises
    ------
    FileError
        If the file is missing, of another program or version, damaged, or states a constant that
        does not follow from its weights.
    """
    # For a file without a format the first reader says what is wrong.
    return READERS[format_of(path) or LAYERS](path)


def check_network(options: NetworkOptions) -> None:
    """Refuse a sparsifier or weights that can be used for no image, whatever its size.

    Raises
    ------
    UsageError
        If the sparsifier's name is unknown.
    FileError
        If the file of trained weights cannot be used.
    """
    if options.weights is not None:
        load_weights(options.weights)
    if options.sparsifier is not None:
        check_sparsifier_name(options.sparsifier)


def network_of(coils: int, spatial_shape: Shape, options: NetworkOptions) -> Network:
    """Return the network of weights or of a preset for options as one value.

    For the preset "sharp" it is that of the first pass.

    Parameters
    ----------
    coils, spatial_shape
        As :func:`firenet_mri.firenet.presets.make_network` takes them.
    options
        The options.

    Raises
    ------
    UsageError
        If an option cannot be used at this size.
    FileError
        If the file of trained weights cannot be used.
    """
    if options.weights is not None:
        return load_weights(options.weights).network(coils, spatial_shape, options)
    return preset_network(coils, spatial_shape, options)
