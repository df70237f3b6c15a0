"""Recomputes a certificate from the scan, the options and the evidence, and compares.

What the network did is not trusted: objective, lower bound and constants are computed again from
the data, the operators that the options make, and the images of the evidence. What cannot be
recomputed is listed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from firenet_mri.digests import digest_of_data, digest_of_tensor
from firenet_mri.errors import DataError
from firenet_mri.firenet.certificate import Certificate, Entry
from firenet_mri.firenet.certificate.evidence import Evidence
from firenet_mri.firenet.certificate.gap import ProvenGap, evaluate
from firenet_mri.firenet.dual import DualPoint, start_of_q, tightened
from firenet_mri.firenet.network import FIRENET
from firenet_mri.firenet.primal_dual import State
from firenet_mri.firenet.problem import Problem
from firenet_mri.io.certificates import SavedCertificate
from firenet_mri.io.image.comparing import compare_image
from firenet_mri.reconstruction.amplification import seed_of
from firenet_mri.reconstruction.certify import certificate_for, look_further
from firenet_mri.reconstruction.comparison import (
    TOLERANCE,
    compare_entries,
    compare_options,
    compare_report,
    names_with_network,
)
from firenet_mri.reconstruction.options import ReconstructionOptions
from firenet_mri.reconstruction.prepare import Item, Prepared, prepare
from firenet_mri.reconstruction.result import image_of
from firenet_mri.reconstruction.solve import Encoded, Solution, solve
from firenet_mri.resizing import on_scanner_grid
from firenet_mri.scan import RawScan

# Rounds in which the dual of the coefficients must reach the stated bound, between looks at it:
# from the signs of W near, which is nearer at first; then from zero and in double precision, which
# gets further where the residual is rounding or a frame has groups.
_ROUNDS = (100, 100, 200)
_LAST_ROUNDS = (400, 400, 800, 1600, 3200)

# What runs of the network differ by where nearly nothing is left of the data.
_OF_DATA = 1e-6

_NOT_RUN = (
    "That the network with these options makes this image: the constants are about the network, "
    "the gap about the image. --again runs it once more."
)


_ROUNDED = (
    f"Differences below {100 * TOLERANCE:g} %, of the objective for the gap: what is estimated "
    "anew differs by its rounding."
)


@dataclass(frozen=True)
class Checked:
    """What was recomputed and agrees, and what was not recomputed, in plain words.

    ``not_recomputed`` are the entries of the certificate that are among the latter.
    """

    agrees: tuple[str, ...]
    unchecked: tuple[str, ...]
    not_recomputed: tuple[Entry, ...] = ()


class _Recomputed(NamedTuple):
    """What one item gave: its image and its certificate, and the entries that need the network."""

    image: Tensor
    certificate: Certificate
    maps_digest: str


def check_reconstruction(
    saved: SavedCertificate,
    scan: RawScan,
    evidence: Evidence,
    options: ReconstructionOptions,
    *,
    image: Path | None = None,
    again: bool = False,
    on_item: Callable[[int, int], None] | None = None,
) -> Checked:
    """Return what of a certificate was recomputed, after comparing it.

    Parameters
    ----------
    saved
        The certificate as read from its file.
    scan
        The scan that its image was made from, read with the options of the record.
    evidence
        What was written beside it.
    options
        Those of the record; maps that were given are given again.
    image
        The image's file; None is the one beside the certificate.
    again
        Run the network once more, and compare its image.
    on_item
        Called with (items done, items in all).

    Raises
    ------
    DataError
        If something that was recomputed is not what the certificate says; the message names the
        number.
    """
    saved.check_scan(scan)
    written = saved.check_image(image)
    compare_options(saved, options)
    prepared = prepare(scan, options)
    further = [*compare_report(saved, prepared)]
    _check_count(saved, evidence, prepared)
    results = []
    for item in prepared.items:
        results.append(_recompute(saved, prepared, item, evidence, again))
        if on_item is not None:
            on_item(len(results), len(prepared.items))
    made = image_of(prepared, [result.image for result in results])
    further += _compare_written(saved, written, made, prepared)
    maps = digest_of_data([result.maps_digest for result in results])
    further += _other_digests(saved, maps=maps, pixels=digest_of_tensor(made))
    found = Certificate.join([result.certificate for result in results])
    later = compare_entries(saved, found, () if again else names_with_network(options))
    return _summary(saved, found, later, further, again)


def _check_count(saved: SavedCertificate, evidence: Evidence, prepared: Prepared) -> None:
    counts = {saved.certificate.items, len(evidence.x), len(prepared.items)}
    if len(counts) > 1:
        raise DataError(
            f"{saved.path}: has {saved.certificate.items} slices, its evidence {len(evidence.x)}, "
            f"and the scan {len(prepared.items)}; give the files that belong together"
        )


def _recompute(
    saved: SavedCertificate, prepared: Prepared, item: Item, evidence: Evidence, again: bool
) -> _Recomputed:
    """Return what the evidence of one item amounts to."""
    encoded, maps_digest = prepared.encoded(item)
    options, x = prepared.options, evidence.x[item.index]
    if x.shape != encoded.encoding.domain_shape:
        raise DataError(
            f"{saved.path}: its evidence has images of {tuple(x.shape)}, the scan gives "
            f"{encoded.encoding.domain_shape}"
        )
    solution = Solution(encoded.image(x), State(x, encoded.y), prepared.net, encoded)
    if again:
        with torch.no_grad():
            run = solve(prepared.net, encoded, reweighting=options.reweighting)
            _compare_runs(saved, item, run, x)
        solution = replace(run, state=run.state._replace(x=x))
    # Weights that come from the pass before are known only to who runs that pass.
    has_problem = again or options.reweighting == 0
    gap = None
    if has_problem and len(evidence.share):
        stated = saved.certificate.lookup("duality_gap", "lower_bound").get(item.index)
        gap = _gap_of(saved, solution.net, encoded, evidence, item.index, stated)
    norms = None if item.sample_norm is None else [item.sample_norm]
    certificate = certificate_for(solution, gap, norms)
    if again:
        seed = seed_of(prepared.digests._asdict(), item.index)
        further = look_further(solution, options.jacobian, options.recovery, seed=seed)
        certificate = certificate.with_entries(*further.entries)
    if not has_problem:
        kept = tuple(entry for entry in certificate.entries if entry.status == "assumed")
        certificate = replace(certificate, entries=kept)
    return _Recomputed(encoded.image(x), certificate, maps_digest)


def _gap_of(
    saved: SavedCertificate,
    net: FIRENET,
    encoded: Encoded,
    evidence: Evidence,
    index: int,
    stated: float | None,
) -> ProvenGap:
    """Return the gap of an item, with the stated bound where the dual point proves it."""
    problem, y, x = net.problem(encoded.encoding), encoded.y, evidence.x[index]
    near = evidence.near[index] if len(evidence.near) else x
    share = evidence.share[index].to(y.real.dtype)
    point = DualPoint(evidence.source[index], share, None, near)
    target = math.inf if stated is None else stated
    with torch.no_grad():
        objective, bound = evaluate(problem, y, x, point)
        if not problem.is_synthesis:
            bound = _tightened(problem, y, x, point, target)
    # What overflowed proves nothing; zero always holds.
    bound = torch.where(bound.isfinite(), bound, torch.zeros_like(bound))
    missing = target - float(bound)
    # Written so that NaN fails.
    if stated is not None and not missing <= TOLERANCE * float(objective):
        raise DataError(
            f"{saved.path}: the lower bound of slice {index + 1} is stated as {stated:.9g}; its "
            f"dual gives {float(bound):.9g}, so that the gap is "
            f"{float(objective - bound):.4g} and not {float(objective) - stated:.4g}"
        )
    return ProvenGap(
        objective, torch.full_like(bound, stated) if stated is not None else bound, point
    )


def _tightened(problem: Problem, y: Tensor, x: Tensor, point: DualPoint, target: float) -> Tensor:
    """Return the lower bound with the best q found: as large as the target, if it can be."""
    double = torch.promote_types(y.dtype, torch.float64)
    v = point.to(double).dual(problem, y.to(double))
    v, image = problem.without_constants(v, problem.encoding.adjoint(v))
    first = start_of_q(problem, point.near)
    best = torch.zeros((), dtype=torch.float64)
    for start, counts in ((first, _ROUNDS), (torch.zeros_like(first).to(double), _LAST_ROUNDS)):
        for q in tightened(problem, image.to(start.dtype), start, counts):
            _, bound = evaluate(problem, y, x, point._replace(q=q))
            best = torch.fmax(best, bound)
            if float(best) >= target:
                return best
    return best


def _compare_runs(saved: SavedCertificate, item: Item, run: Solution, x: Tensor) -> None:
    """Refuse an image that the network does not make."""
    encoded = run.encoded
    size, away = float(x.abs().max()), float((run.state.x - x).abs().max())
    data = float(encoded.encoding.adjoint(encoded.y).abs().max())
    # Written so that NaN fails.
    if not away <= max(TOLERANCE * size, _OF_DATA * data):
        raise DataError(
            f"{saved.path}: the network was run again for slice {item.index + 1} and gives another "
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
    """Return that digests are others, as they are after rounding in another way, too."""
    return [
        f"The digest of the {name}: that of what was recomputed is another. Rounding is enough "
        "for it."
        for name, digest in found.items()
        if getattr(saved.digests, name) != digest
    ]


def _summary(
    saved: SavedCertificate,
    found: Certificate,
    later: tuple[Entry, ...],
    further: Iterable[str],
    again: bool,
) -> Checked:
    names = list(dict.fromkeys(entry.name for entry in found.entries if _claims(entry)))
    agrees = ["The written image is the one of the evidence."]
    if again:
        agrees.append("The network was run again and gives this image.")
    agrees += [f"Recomputed and the same: {name.replace('_', ' ')}." for name in names]
    unchecked = [] if again else [_NOT_RUN]
    unchecked += [
        f"{name.replace('_', ' ').capitalize()}: recomputed with --again only."
        for name in dict.fromkeys(entry.name for entry in later)
    ]
    unchecked += [*further, _ROUNDED, *saved.certificate.assumptions]
    return Checked(tuple(agrees), tuple(unchecked), later)


def _claims(entry: Entry) -> bool:
    """Return whether an entry says something that could be wrong."""
    return entry.status not in ("assumed", "not verified")
