"""Recomputes a certificate from the scan, the options and the evidence, and compares.

The network's run is not trusted: objective, lower bound and constants are computed again from the
data, the operators that the options define, and the images in the evidence. What cannot be
recomputed is listed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from firenet_mri.digests import digest_of_data, digest_of_tensor
from firenet_mri.errors import DataError
from firenet_mri.firenet.base import Network
from firenet_mri.firenet.certificate import Certificate, Entry
from firenet_mri.firenet.certificate.evidence import Evidence
from firenet_mri.firenet.certificate.gap import ProvenGap, bound_without_q, evaluate
from firenet_mri.firenet.dual import DualPoint
from firenet_mri.firenet.primal_dual import State
from firenet_mri.firenet.problem import Problem
from firenet_mri.io.certificates import SavedCertificate
from firenet_mri.io.image.comparing import compare_image
from firenet_mri.plurals import counted
from firenet_mri.reconstruction.amplification import seed_of
from firenet_mri.reconstruction.certify import certificate_for, look_further
from firenet_mri.reconstruction.comparison import (
    TOLERANCE,
    compare_entries,
    compare_lines,
    compare_operator,
    compare_options,
    compare_report,
    compare_warnings,
    names_with_network,
)
from firenet_mri.reconstruction.comparison import (
    Claim as Claim,
)
from firenet_mri.reconstruction.data_warnings.item import item_warnings
from firenet_mri.reconstruction.data_warnings.warning import DataWarning, warnings_of
from firenet_mri.reconstruction.given import Operators, without_maps
from firenet_mri.reconstruction.options import ReconstructionOptions
from firenet_mri.reconstruction.prepare import Item, Prepared, prepare
from firenet_mri.reconstruction.result import image_of
from firenet_mri.reconstruction.solve import Encoded, Solution, solve
from firenet_mri.resizing import on_scanner_grid
from firenet_mri.scan import RawScan

# In the synthesis form one coefficient decides the bound, and the rounding of maps changes it.
_PART_OF_GAP = 0.01
# Difference between runs of the network where nearly nothing remains of the data.
_OF_DATA = 1e-6

_NOT_RUN = (
    "That the network with these options makes this image: the constants are about the network and "
    "the gap is about the image. --again runs the network once more."
)


_ROUNDED = (
    f"Differences below {100 * TOLERANCE:g} % (for the gap, of the objective), and of bounds up to "
    f"{100 * _PART_OF_GAP:g} % of the gap: re-estimated values differ by rounding."
)


@dataclass(frozen=True)
class Checked:
    """What was recomputed and agrees, and what was not recomputed, in plain words.

    ``not_recomputed`` lists the entries of the certificate that were not recomputed.
    """

    agrees: tuple[str, ...]
    unchecked: tuple[str, ...]
    not_recomputed: tuple[Entry, ...] = ()


@dataclass(frozen=True, eq=False)
class Work:
    """One item of a reconstruction, as it was passed to the network.

    Parameters
    ----------
    net, encoded
        The network of the first pass, and its data.
    index
        The item's index in the certificate.
    x0
        Start image of the network; None is zero.
    sample_norm
        Norm of the samples as they were read; None if unknown.
    options
        The requested further passes, and entries for which the network runs again.
    seed
        See :func:`firenet_mri.reconstruction.certify.certify_solution`.
    maps_digest
        Digest of the maps; empty if unknown.
    """

    net: Network
    encoded: Encoded
    index: int = 0
    x0: Tensor | None = None
    sample_norm: float | None = None
    options: ReconstructionOptions = field(default_factory=ReconstructionOptions)
    seed: int | None = None
    maps_digest: str = ""


class _Recomputed(NamedTuple):
    """The results for one item: image, certificate, digest of its maps, warnings about its data."""

    image: Tensor
    certificate: Certificate
    maps_digest: str
    warnings: tuple[DataWarning, ...]


def check_reconstruction(
    saved: SavedCertificate,
    scan: RawScan,
    evidence: Evidence,
    options: ReconstructionOptions,
    *,
    image: Path | None = None,
    again: bool = False,
    on_item: Callable[[int, int], None] | None = None,
    encoding: Operators | None = None,
) -> Checked:
    """Return what of a certificate was recomputed, after comparing it.

    Parameters
    ----------
    saved
        The certificate as read from its file.
    scan
        The scan of the image, read with the recorded options.
    evidence
        The evidence that was written beside it.
    options
        The recorded options; maps that were given must be given again.
    image
        The image's file; None is the one beside the certificate.
    again
        Run the network once more, compare its image, and recompute what only a run provides. A
        trained network, which has no gap, is run in any case.
    on_item
        Called with (items done, total number of items).
    encoding
        The operator with which the image was made, if any was given.

    Raises
    ------
    DataError
        If a recomputed value differs from the certificate; the message names the number.
    """
    saved.check_scan(scan)
    compare_options(saved, options if encoding is None else without_maps(options))
    prepared = prepare(scan, options, encoding=encoding)
    compare_operator(saved, prepared)
    report = tuple(compare_report(saved, prepared))
    checked = check_prepared(saved, prepared, evidence, image=image, again=again, on_item=on_item)
    return replace(checked, unchecked=(*checked.unchecked, *report))


def check_prepared(
    saved: SavedCertificate,
    prepared: Prepared,
    evidence: Evidence,
    *,
    image: Path | None = None,
    again: bool = False,
    on_item: Callable[[int, int], None] | None = None,
) -> Checked:
    """Do what :func:`check_reconstruction` does, for a scan that is already prepared.

    The caller must check that it is the scan of the certificate, and prepared as the record
    states.
    """
    written = saved.check_image(image)
    claim = Claim(str(saved.path), saved.certificate, evidence)
    _check_count(claim, len(prepared.items))
    compare_lines(saved, prepared)
    results = []
    for item in prepared.items:
        results.append(_recompute(claim, _work_of(prepared, item), again))
        if on_item is not None:
            on_item(len(results), len(prepared.items))
    made = image_of(prepared, [result.image for result in results])
    further = _compare_written(saved, written, made, prepared)
    maps = digest_of_data([result.maps_digest for result in results])
    further += _other_digests(saved, maps=maps, pixels=digest_of_tensor(made))
    found = Certificate.join([result.certificate for result in results])
    later = compare_entries(claim, found, () if again else names_with_network(prepared.options))
    of_items = (one for result in results for one in result.warnings)
    further += compare_warnings(claim, (*prepared.warnings, *of_items))
    ran = again or prepared.net.minimiser is None
    return _summary(claim, found, later, further, ran)


def check_solution(claim: Claim, work: Work, *, again: bool = False) -> Checked:
    """Return what of a certificate of one item was recomputed, for data that are not in a file.

    Parameters
    ----------
    claim
        The certificate and its evidence. The caller must check that the image is that of the
        evidence, ``work.encoded.image(claim.evidence.x[0])``.
    work
        Network and data, made again from the inputs of the image.
    again
        See :func:`check_reconstruction`.

    Raises
    ------
    DataError
        See :func:`check_reconstruction`.
    """
    _check_count(claim, 1)
    result = _recompute(claim, work, again)
    found = result.certificate
    later = compare_entries(claim, found, () if again else names_with_network(work.options))
    near = compare_warnings(claim, result.warnings)
    return _summary(claim, found, later, near, again or work.net.minimiser is None)


def _work_of(prepared: Prepared, item: Item) -> Work:
    encoded, maps_digest = prepared.encoded(item)
    return Work(
        prepared.net,
        encoded,
        item.index,
        sample_norm=item.sample_norm,
        options=prepared.options,
        seed=seed_of(prepared.digests._asdict(), item.index),
        maps_digest=maps_digest,
    )


def _check_count(claim: Claim, items: int) -> None:
    count, images = claim.certificate.items, len(claim.evidence.x)
    if len({count, images, items}) > 1:
        raise DataError(
            f"{claim.name}: has {counted(count, 'slice')}, its evidence {images}, and the scan "
            f"{items}; give files that belong together"
        )


def _recompute(claim: Claim, work: Work, again: bool) -> _Recomputed:
    """Return what is recomputed from the evidence of one item."""
    encoded, evidence, x = work.encoded, claim.evidence, claim.evidence.x[work.index]
    options = work.options
    if x.shape != encoded.encoding.domain_shape:
        raise DataError(
            f"{claim.name}: its evidence has images of {tuple(x.shape)}, the scan gives "
            f"{encoded.encoding.domain_shape}"
        )
    x = x.to(encoded.y)
    solution = Solution(encoded.image(x), State(x, encoded.y), work.net, encoded, work.x0)
    # Without a gap nothing else links the image to the data.
    if again or work.net.minimiser is None:
        with torch.no_grad():
            run = solve(work.net, encoded, x0=work.x0, passes=options.passes)
            _compare_runs(claim, work.index, run, x)
        solution = replace(run, state=run.state._replace(x=x))
    # Weights from the previous pass are known only if that pass is run.
    has_problem = again or options.passes == 1
    gap = None
    minimiser = solution.net.minimiser
    if has_problem and len(evidence.share) and minimiser is not None:
        problem = minimiser.problem(encoded.encoding)
        stated = claim.certificate.lookup("duality_gap", "lower_bound").get(work.index)
        gap = _gap_of(claim, solution, problem, work.index, stated)
    norms = None if work.sample_norm is None else [work.sample_norm]
    certificate = certificate_for(solution, gap, norms)
    if again:
        further = look_further(solution, options.jacobian, options.recovery, seed=work.seed)
        certificate = certificate.with_entries(*further.entries)
    if not has_problem:
        kept = tuple(entry for entry in certificate.entries if entry.status == "assumed")
        certificate = replace(certificate, entries=kept)
    about_data = item_warnings(encoded, x, work.net)
    warnings = tuple(replace(one, items=(work.index,)) for one in about_data)
    return _Recomputed(encoded.image(x), certificate, work.maps_digest, warnings)


def _gap_of(
    claim: Claim, solution: Solution, problem: Problem, index: int, stated: float | None
) -> ProvenGap:
    """Return the gap of an item, with the stated bound if the dual point proves it."""
    encoded, evidence, x = solution.encoded, claim.evidence, solution.state.x
    y = encoded.y
    near = evidence.near[index].to(y) if len(evidence.near) else x
    share = evidence.share[index].to(y.real)
    point = DualPoint(evidence.source[index].to(y), share, None, near)
    target = math.inf if stated is None else stated
    with torch.no_grad():
        objective, bound = evaluate(problem, y, x, point)
        if not problem.is_synthesis:
            bound = bound_without_q(problem, y, point, target)
    # An overflowed bound proves nothing; zero is always a bound.
    bound = torch.where(bound.isfinite(), bound, torch.zeros_like(bound))
    if stated is None:
        return ProvenGap(objective, bound, point)
    stated_gap = float(objective) - stated
    allowed = max(TOLERANCE * float(objective), _PART_OF_GAP * stated_gap)
    # Written so that NaN fails.
    if not stated - float(bound) <= allowed:
        raise DataError(
            f"{claim.name}: the lower bound of slice {index + 1} is stated as {stated:.9g}; its "
            f"dual gives {float(bound):.9g}, so the gap is "
            f"{float(objective - bound):.4g}, not {stated_gap:.4g}"
        )
    return ProvenGap(objective, torch.full_like(bound, stated), point)


def _compare_runs(claim: Claim, index: int, run: Solution, x: Tensor) -> None:
    """Refuse an image that the network does not reproduce."""
    encoded = run.encoded
    size, away = float(x.abs().max()), float((run.state.x - x).abs().max())
    data = float(encoded.encoding.adjoint(encoded.y).abs().max())
    # Written so that NaN fails.
    if not away <= max(TOLERANCE * size, _OF_DATA * data):
        raise DataError(
            f"{claim.name}: the network was run again for slice {index + 1} and gives another "
            f"image; they differ by up to {away:.4g}, and the largest value is {size:.4g}"
        )


def _compare_written(
    saved: SavedCertificate, path: Path, made: Tensor, prepared: Prepared
) -> list[str]:
    """Return what was not compared of a written image; refuse one that is not the evidence's."""
    scan, resized = prepared.scan, saved.report.get("resized_to_the_scanners_grid")
    if resized is not None:
        made, scan = on_scanner_grid(made, scan)
    sets = prepared.options.map_sets > 1
    combined = torch.linalg.vector_norm(made, dim=0) if sets else made.abs()
    if resized is not None and resized not in (list(combined.shape), list(made.shape)):
        raise DataError(f"{saved.path}: was resized to {resized}, which is not the image's shape")
    unchecked = compare_image(path, combined, scan, also=made)
    return ["The picture beside the image.", *unchecked]


def _other_digests(saved: SavedCertificate, **found: str) -> list[str]:
    """Return a note that digests differ, which different rounding alone can cause."""
    return [
        f"The digest of the {name}: the recomputed digest differs, for which different rounding is "
        "enough."
        for name, digest in found.items()
        if getattr(saved.digests, name) != digest
    ]


def _summary(
    claim: Claim,
    found: Certificate,
    later: tuple[Entry, ...],
    further: Iterable[str],
    ran: bool,
) -> Checked:
    names = list(dict.fromkeys(entry.name for entry in found.entries if _claims(entry)))
    agrees = ["The written image is that of the evidence."]
    if ran:
        agrees.append("The network was run again and gives this image.")
    agrees += [f"Recomputed and the same: {name.replace('_', ' ')}." for name in names]
    agrees.append(_about_data(claim.certificate))
    unchecked = [] if ran else [_NOT_RUN]
    unchecked += [
        f"{name.replace('_', ' ').capitalize()}: recomputed only with --again."
        for name in dict.fromkeys(entry.name for entry in later)
    ]
    unchecked += [*further, _ROUNDED, *claim.certificate.assumptions]
    return Checked(tuple(agrees), tuple(unchecked), later)


def _about_data(certificate: Certificate) -> str:
    names = [warning.name.replace("_", " ") for warning in warnings_of(certificate)]
    if not names:
        return "Measured again: the data give no reason for a warning."
    return f"Measured again and the same: the warnings about the data ({', '.join(names)})."


def _claims(entry: Entry) -> bool:
    """Return whether an entry makes a claim that could be wrong."""
    return entry.status not in ("assumed", "not verified")
