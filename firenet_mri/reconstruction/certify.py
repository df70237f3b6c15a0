"""From a solution to its certificate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from firenet_mri.amplification import OnApplication
from firenet_mri.errors import UsageError
from firenet_mri.firenet.base import Network
from firenet_mri.firenet.certificate import Certificate, Entry
from firenet_mri.firenet.certificate.certify import certificate_of
from firenet_mri.firenet.certificate.evidence import Evidence
from firenet_mri.firenet.certificate.gap import (
    DualSearch,
    ProvenGap,
    prove_gap,
)
from firenet_mri.firenet.certificate.inexact_maps import WITHOUT_PROBLEM, image_with_other_maps
from firenet_mri.firenet.verification import DataChange, verify_on_scan
from firenet_mri.memory import give_back_freed_memory
from firenet_mri.operators.frame_wise import FramesApart, FrameWise
from firenet_mri.operators.given import GivenEncoding
from firenet_mri.reconstruction.amplification import measure_amplification
from firenet_mri.reconstruction.data_warnings.item import item_warnings
from firenet_mri.reconstruction.given import norm_entry
from firenet_mri.reconstruction.joint import frames_entry
from firenet_mri.reconstruction.solve import Solution

# Layers of the search for a dual vector: the least number, and the total with the network's layers;
# and the rounds that follow. docs/performance_details.md shows how the gap decreases with them.
_LEAST_LAYERS, _ALL_LAYERS, _ROUNDS = 30, 60, 20


class Certified(NamedTuple):
    """A certificate, and what others need to check it.

    ``sensitive`` is the effect on the image of the data's most amplified small change, of size 1;
    None if it was not requested or is not known.
    """

    certificate: Certificate
    evidence: Evidence
    sensitive: Tensor | None = None


class Further(NamedTuple):
    """Entries that take longer than the network, and the image of the most amplified change."""

    entries: tuple[Entry, ...]
    sensitive: Tensor | None


def certify_solution(
    solution: Solution,
    *,
    sample_norms: Sequence[float] | None = None,
    gap: bool = True,
    jacobian: bool = False,
    recovery: bool = False,
    seed: int | None = None,
    on_application: OnApplication | None = None,
) -> Certified:
    """Return what is known about a solution, with the evidence.

    Parameters
    ----------
    solution
        What :func:`firenet_mri.reconstruction.solve.solve` returned.
    sample_norms
        Norm of the samples as they were read, per item; None if unknown.
    gap
        Compute the duality gap, which takes one to five times the network's time.
    jacobian, recovery
        Bound how strongly small changes of the data are amplified; verify where the optimum and
        the true image can lie (one item each).
    seed, on_application
        See :func:`firenet_mri.reconstruction.amplification.measure_amplification`.
    """
    net, encoded, state = solution.net, solution.encoded, solution.state
    y, encoding = encoded.y, encoded.encoding
    proven = None
    if gap and net.minimiser is not None:
        proven = prove_gap(net.minimiser, y, encoding, state, search_for(net))
    certificate = certificate_for(solution, proven, sample_norms)
    bound = net.proven_bound(encoding)
    proof = None if bound is None else bound.proof
    evidence = Evidence.of(state.x, proven, len(encoding.domain_shape), proof)
    # The dual of a volume's coefficients is larger than its samples.
    del proven
    give_back_freed_memory(y.nbytes)
    further = look_further(solution, jacobian, recovery, seed=seed, on_application=on_application)
    certificate = certificate.with_entries(*further.entries)
    about_data = item_warnings(encoded, state.x, net)
    certificate = certificate.with_entries(*(one.entry() for one in about_data))
    return Certified(certificate, evidence, further.sensitive)


def look_further(
    solution: Solution,
    jacobian: bool,
    recovery: bool,
    *,
    seed: int | None = None,
    on_application: OnApplication | None = None,
) -> Further:
    """Return the entries that take longer than the network, see :func:`certify_solution`."""
    net, encoded, state = solution.net, solution.encoded, solution.state
    y, encoding, chain = encoded.y, encoded.encoding, encoded.chain
    entries: list[Entry] = []
    sensitive: Tensor | None = None
    if jacobian:
        parts = encoding.made_from + chain.made_from
        found = measure_amplification(solution, seed=seed, on_application=on_application)
        entries, sensitive = list(found.entries), found.image
        # It is unknown which part of a given operator is the maps.
        if not isinstance(encoding, GivenEncoding):
            others = WITHOUT_PROBLEM
            if net.minimiser is not None:
                others = image_with_other_maps(
                    net.minimiser, y, encoding, state.x, x0=solution.x0, parts=parts
                )
            entries.append(others)
    if recovery and net.minimiser is None:
        raise UsageError("recovery: a trained network minimises nothing; omit it")
    if recovery and net.minimiser is not None:
        norm = float(torch.linalg.vector_norm(encoded.samples.to(torch.complex128)))
        change = DataChange(chain.norm_of_noise_units, norm)
        entries += verify_on_scan(net.minimiser, y, encoding, state, change=change)
    return Further(tuple(entries), sensitive)


def certificate_for(
    solution: Solution, gap: ProvenGap | None, sample_norms: Sequence[float] | None
) -> Certificate:
    """Return the certificate of a solution for a known gap, without further entries."""
    encoded = solution.encoded
    certificate = certificate_of(
        solution.net,
        encoded.y,
        encoded.encoding,
        solution.state.x,
        gap,
        has_start=solution.x0 is not None,
        chain=encoded.chain,
        sample_norms=sample_norms,
    )
    if isinstance(encoded.encoding, FrameWise | FramesApart):
        minimiser = solution.net.minimiser
        sparsifier = None if minimiser is None else minimiser.sparsifier
        entry = frames_entry(encoded.encoding, sparsifier, certificate.items)
        return certificate.with_entries(entry)
    if isinstance(encoded.encoding, GivenEncoding):
        entry = norm_entry(encoded.encoding, encoded.samples, certificate.items)
        return certificate.with_entries(entry)
    return certificate


def search_for(net: Network) -> DualSearch:
    """Return how long to search for the dual of a network's image."""
    return DualSearch(max(_LEAST_LAYERS, _ALL_LAYERS - net.depth), _ROUNDS)
