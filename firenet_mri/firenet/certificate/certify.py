"""Makes the certificate of a reconstruction: duality gap, Lipschitz bounds, assumptions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from firenet_mri.firenet.base import Network
from firenet_mri.firenet.certificate.bounds import kept_fixed, lipschitz_entries
from firenet_mri.firenet.certificate.certificate import (
    NO_OPTIMUM,
    SCOPE,
    SCOPE_OF_TRAINED,
    Certificate,
    Entry,
)
from firenet_mri.firenet.certificate.exact import exact_norm
from firenet_mri.firenet.certificate.gap import (
    NO_SEARCH,
    DualSearch,
    ProvenGap,
    floats,
    gap_entry,
    prove_gap,
)
from firenet_mri.firenet.certificate.inexact_maps import gap_with_other_maps
from firenet_mri.firenet.certificate.theorem import theorem_entries
from firenet_mri.firenet.certificate.weights import weights_entries
from firenet_mri.firenet.primal_dual import State
from firenet_mri.operators.base import LinearOperator, Part
from firenet_mri.operators.given import GivenEncoding
from firenet_mri.operators.links import Chain
from firenet_mri.prox import item_norm


def certify(
    net: Network,
    y: Tensor,
    encoding: LinearOperator,
    state: State,
    *,
    x0: Tensor | None = None,
    dual_layers: int = 0,
    dual_rounds: int = NO_SEARCH.rounds,
    chain: Chain | None = None,
    sample_norms: Sequence[float] | None = None,
) -> Certificate:
    """Return the certificate of a reconstruction: duality gap, Lipschitz bounds, assumptions.

    Parameters
    ----------
    net, y, encoding
        The network, its data (*batch, *codomain_shape) and its encoding operator.
    state
        What ``net.solve(y, encoding, x0)`` returned.
    x0
        Start image that was used; None is zero.
    dual_layers, dual_rounds
        How long to look for a better dual vector, which tightens the gap; the image stays as it is.
        See :mod:`firenet_mri.firenet.dual`.
    chain, sample_norms
        See :func:`certificate_of`.
    """
    minimiser, gap = net.minimiser, None
    if minimiser is not None:
        gap = prove_gap(minimiser, y, encoding, state, DualSearch(dual_layers, dual_rounds))
    return certificate_of(
        net,
        y,
        encoding,
        state.x,
        gap,
        has_start=x0 is not None,
        chain=chain,
        sample_norms=sample_norms,
    )


def certificate_of(
    net: Network,
    y: Tensor,
    encoding: LinearOperator,
    x: Tensor,
    gap: ProvenGap | None,
    *,
    has_start: bool = False,
    chain: Chain | None = None,
    sample_norms: Sequence[float] | None = None,
) -> Certificate:
    """Return the certificate of an image for a gap that is known.

    Parameters
    ----------
    net, y, encoding
        The network, its data (*batch, *codomain_shape) and its encoding operator.
    x
        The network's image, (*batch, *domain_shape).
    gap
        Its gap; None leaves it out, and the certificate says so, or that there is none.
    has_start
        True if the network began at an image that was given.
    chain
        The linear maps from the samples as they were read to y, and from the network's image to the
        user's; None is none. The bounds are about these samples and that image.
    sample_norms
        Norm of the samples as read, of each item; None takes it from y, where the chain is empty.
    """
    chain = Chain() if chain is None else chain
    minimiser = net.minimiser
    image_axes, data_axes = (
        tuple(range(-len(shape), 0)) for shape in (encoding.domain_shape, encoding.codomain_shape)
    )
    double = torch.promote_types(y.dtype, torch.float64)
    with torch.no_grad():
        image_norms = floats(item_norm(x.to(double), image_axes))
        data_norms = floats(exact_norm(y, data_axes))
    if sample_norms is None and not chain.links:
        sample_norms = data_norms
    entries = (
        *_gap_entries(gap, image_norms, encoding, chain, has_optimum=minimiser is not None),
        *lipschitz_entries(
            net,
            encoding,
            chain,
            image_norms=image_norms,
            data_norms=data_norms,
            sample_norms=sample_norms,
            has_start=has_start,
        ),
        *(
            ()
            if minimiser is None
            else theorem_entries(minimiser, encoding, len(image_norms), has_start=has_start)
        ),
        *weights_entries(net.trained, len(image_norms)),
        *_assumptions(
            len(image_norms),
            encoding.made_from + chain.made_from + net.made_from,
            has_optimum=minimiser is not None,
        ),
    )
    scope = SCOPE_OF_TRAINED if minimiser is None else SCOPE
    return Certificate(entries, len(image_norms), scope=scope)


def _gap_entries(
    gap: ProvenGap | None,
    image_norms: Sequence[float],
    encoding: LinearOperator,
    chain: Chain,
    *,
    has_optimum: bool,
) -> tuple[Entry, ...]:
    """Return what is known about the optimum: of the problem as it is, and with other maps."""
    items = tuple(range(len(image_norms)))
    if not has_optimum:
        return (Entry("duality_gap", "not verified", NO_OPTIMUM, items=items),)
    entry = gap_entry(gap, items)
    # What of a given operator is maps is not known.
    if gap is None or isinstance(encoding, GivenEncoding):
        return (entry,)
    others = gap_with_other_maps(
        entry.values["objective"],
        entry.values["duality_gap"],
        image_norms,
        encoding.norm_bound,
        encoding.made_from + chain.made_from,
    )
    return entry, others


def _assumptions(count: int, parts: tuple[Part, ...], *, has_optimum: bool) -> tuple[Entry, ...]:
    items = tuple(range(count))
    of_gap = "; the duality gap is evaluated in double precision" if has_optimum else ""
    return (
        Entry(
            "encoding",
            "assumed",
            f"Taken as given: {kept_fixed(tuple(dict.fromkeys(parts)))}. What a change of the data "
            "does to a part that was made from them is not covered.",
            items=items,
        ),
        Entry(
            "arithmetic",
            "assumed",
            f"Statements about the network hold in exact arithmetic{of_gap}.",
            items=items,
        ),
    )
