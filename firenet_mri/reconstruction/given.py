"""A reconstruction with the user's own encoding operator instead of maps and Fourier transform."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.firenet.certificate import Entry
from firenet_mri.firenet.certificate.certificate import Status
from firenet_mri.operators import LinearOperator
from firenet_mri.operators.given import GivenEncoding, check_operator, states_norm
from firenet_mri.operators.links import Chain
from firenet_mri.plurals import counted
from firenet_mri.reconstruction.options import ReconstructionOptions
from firenet_mri.reconstruction.solve import Encoded
from firenet_mri.scan import RawScan

# One operator for all slices, or one for each; SigPy's Linops are accepted, too.
Operators = Any

_WITHOUT = (
    "map_sets",
    "by_readout",
    "phase_constraint",
    "coils",
)


def as_operator(encoding: Any) -> LinearOperator:
    """Return an operator of ours, converted if it is a SigPy Linop.

    Raises
    ------
    UsageError
        If it is neither, or a Linop whose norm bound is unknown.
    """
    if isinstance(encoding, LinearOperator):
        return encoding
    if not type(encoding).__module__.startswith("sigpy.") and not hasattr(encoding, "oshape"):
        raise UsageError(
            f"The encoding operator is a {type(encoding).__name__}; give a "
            "firenet_mri.operators.LinearOperator or a sigpy.linop.Linop"
        )
    # SigPy is loaded only if it may be a Linop.
    from firenet_mri.linops import from_sigpy

    return from_sigpy(encoding)


def as_operators(encoding: Operators, count: int) -> tuple[LinearOperator, ...]:
    """Return one operator per slice.

    Raises
    ------
    ShapeError
        If there are several, but not one per slice, or they make images of several sizes.
    UsageError
        See :func:`as_operator`.
    """
    if not isinstance(encoding, list | tuple):
        return (as_operator(encoding),) * count
    if len(encoding) != count:
        raise ShapeError(
            f"{counted(len(encoding), 'operator')} given for {counted(count, 'slice')}; give one "
            "for all, or one for each"
        )
    found = tuple(map(as_operator, encoding))
    shapes = {one.domain_shape for one in found}
    if len(shapes) > 1:
        raise ShapeError(f"The operators make images of sizes {sorted(shapes)}; give one size")
    return found


def without_maps(options: ReconstructionOptions) -> ReconstructionOptions:
    """Return the options for a given operator, which requires no maps.

    Raises
    ------
    UsageError
        If an option is about maps, or mixes the coils that the operator describes.
    """
    defaults = ReconstructionOptions()
    asked = [name for name in _WITHOUT if getattr(options, name) != getattr(defaults, name)]
    if not isinstance(options.maps, str):
        asked.append("maps")
    if asked:
        raise UsageError(
            f"{', '.join(asked)}: the given encoding operator contains the maps of the coils as "
            "they are; omit this"
        )
    return options.replace(maps="none")


def on_images_of(scan: RawScan, operators: Sequence[LinearOperator]) -> RawScan:
    """Return the scan with the image size of the operators.

    If this differs from the scan's own size, the image's position is unknown.

    Raises
    ------
    ShapeError
        If the images have other axes than the scan.
    """
    shape = operators[0].domain_shape
    if shape == scan.spatial_shape:
        return scan
    if len(shape) != scan.spatial_ndim:
        raise ShapeError(
            f"{scan.name}: the operator makes images of shape {shape}, but the scan has "
            f"{scan.spatial_ndim} spatial axes; give an operator with this number of axes"
        )
    return replace(scan, image_shape=shape, geometry=None, scanner_grid=None)


def encode_given(
    kspace: Tensor, encoding: GivenEncoding, applied: Sequence[LinearOperator] = ()
) -> Encoded:
    """Return a network's input for samples and a user's own operator.

    Parameters
    ----------
    kspace
        (*batch, coil, *samples) complex, zero where not sampled.
    encoding
        The operator, from the image to these samples.
    applied
        The maps that mixed the coils since the file was read.
    """
    chain = Chain(tuple(applied), gain=1 / encoding.gain)
    support = torch.ones(encoding.domain_shape, device=kspace.device)
    # Only the operator knows the positions in k-space, so there are no warnings about a grid.
    return Encoded(kspace, encoding, support, chain, kspace)


def record_of(operators: Sequence[LinearOperator]) -> list[dict[str, object]]:
    """Return the given operators as plain data."""
    return [
        {
            "operator": repr(one),
            "norm_is_stated": states_norm(one),
            "domain_shape": list(one.domain_shape),
            "codomain_shape": list(one.codomain_shape),
        }
        for one in dict.fromkeys(operators)
    ]


def norm_entry(encoding: GivenEncoding, samples: Tensor, count: int) -> Entry:
    """Return a certificate's entry on the norm of a given operator.

    Parameters
    ----------
    encoding
        The operator, as the network has it.
    samples
        (coil, *samples), where the search for its norm starts.
    count
        Number of items.
    """
    operator = encoding.operator
    found = check_operator(operator, samples)
    status: Status = "proven"
    known = "The bound follows from the structure of the operator."
    if encoding.norm_is_stated:
        status = "assumed"
        known = (
            "Whoever gave it, or wrote its class, states this bound; all bounds of this "
            "certificate hold if it is correct."
        )
    return Entry(
        "operator_norm",
        status,
        f"The norm of the given operator {operator!r}, from the image to the network's data, is "
        f"at most norm_bound. {known}",
        "A search found an image whose norm the operator multiplies by largest_gain_found, so its "
        "norm is at least that. Whether the operator describes the scan is not checked.",
        {"norm_bound": (operator.norm_bound,) * count, "largest_gain_found": (found,) * count},
        tuple(range(count)),
    )
