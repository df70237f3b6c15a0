"""Recomputes a certificate from the scan, the options and the evidence, and compares.

What the network did is not trusted: objective, lower bound and constants are computed again from
the data, the operators that the options make, and the images of the evidence. What cannot be
recomputed is listed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from firenet_mri.errors import DataError
from firenet_mri.firenet.certificate import Certificate, Entry
from firenet_mri.firenet.certificate.evidence import Evidence
from firenet_mri.firenet.certificate.gap import ProvenGap, bound_without_q, evaluate
from firenet_mri.firenet.dual import DualPoint
from firenet_mri.firenet.network import FIRENET
from firenet_mri.firenet.primal_dual import State
from firenet_mri.io.certificates import SavedCertificate
from firenet_mri.io.image.comparing import compare_image
from firenet_mri.reconstruction.amplification import seed_of
from firenet_mri.reconstruction.certify import certificate_for, look_further
from firenet_mri.reconstruction.options import ReconstructionOptions
from firenet_mri.reconstruction.prepare import Item, Prepared, prepare
from firenet_mri.reconstruction.result import image_of
from firenet_mri.reconstruction.solve import Encoded, Solution, solve
from firenet_mri.resizing import on_scanner_grid
from firenet_mri.scan import RawScan

# Numbers agree to so much of their size; maps that are estimated again differ by their rounding.
_TOLERANCE = 1e-5
# The bound hangs on one coefficient in the synthesis form, which their rounding moves.
_PART_OF_GAP = 0.01
# What rests on random numbers or long iterations.
_LOOSE = 1e-3

_NOT_RUN = (
    "That the network with these options makes this image: the constants are about the network, "
    "the gap about the image. --again runs it once more."
)


@dataclass(frozen=True)
class Checked:
    """What was recomputed and agrees, and what was not recomputed, in plain words."""

    agrees: tuple[str, ...]
    unchecked: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Claim:
    """What somebody says of an image, and the evidence for it.

    Parameters
    ----------
    name
        What messages call it.
    certificate, evidence
        What was made with the image.
    """

    name: str
    certificate: Certificate
    evidence: Evidence


@dataclass(frozen=True, eq=False)
class Work:
    """One item of a reconstruction, as the network was given it.

    Parameters
    ----------
    net, encoded
        The network of the first pass, and its data.
    index
        The item's place in the certificate.
    x0
        Where the network started; None is zero.
    sample_norm
        Norm of the samples as they were read; None if it is not known.
    options
        What was asked for: further passes, and entries for which the network runs again.
    seed
        See :func:`firenet_mri.reconstruction.certify.certify_solution`.
    """

    net: FIRENET
    encoded: Encoded
    index: int = 0
    x0: Tensor | None = None
    sample_norm: float | None = None
    options: ReconstructionOptions = field(default_factory=ReconstructionOptions)
    seed: int | None = None


class _Recomputed(NamedTuple):
    """What one item gave: its image and its certificate, and the entries that need the network."""

    image: Tensor
    certificate: Certificate


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
    prepared = prepare(scan, options)
    return check_prepared(saved, prepared, evidence, image=image, again=again, on_item=on_item)


def check_prepared(
    saved: SavedCertificate,
    prepared: Prepared,
    evidence: Evidence,
    *,
    image: Path | None = None,
    again: bool = False,
    on_item: Callable[[int, int], None] | None = None,
) -> Checked:
    """Return what :func:`check_reconstruction` returns, of a scan that was prepared.

    That it is the scan of the certificate, and prepared as the record says, is the caller's to
    check.
    """
    written = saved.check_image(image)
    claim = Claim(str(saved.path), saved.certificate, evidence)
    _check_count(claim, len(prepared.items))
    results = []
    for item in prepared.items:
        results.append(_recompute(claim, _work_of(prepared, item), again))
        if on_item is not None:
            on_item(len(results), len(prepared.items))
    made = image_of(prepared, [result.image for result in results])
    _compare_written(saved, written, made, prepared)
    found = Certificate.join([result.certificate for result in results])
    _compare_entries(claim, found)
    return _summary(claim.certificate, found, again)


def check_solution(claim: Claim, work: Work, *, again: bool = False) -> Checked:
    """Return what of a certificate of one item was recomputed, for data that are in no file.

    Parameters
    ----------
    claim
        The certificate and its evidence. That the image is that of the evidence,
        ``work.encoded.image(claim.evidence.x[0])``, is the caller's to check.
    work
        Network and data, made anew from what the image was made from.
    again
        Run the network once more, and compare its image.

    Raises
    ------
    DataError
        As :func:`check_reconstruction`.
    """
    _check_count(claim, 1)
    found = _recompute(claim, work, again).certificate
    _compare_entries(claim, found)
    return _summary(claim.certificate, found, again)


def _work_of(prepared: Prepared, item: Item) -> Work:
    return Work(
        prepared.net,
        prepared.encoded(item)[0],
        item.index,
        sample_norm=item.sample_norm,
        options=prepared.options,
        seed=seed_of(prepared.digests._asdict(), item.index),
    )


def _check_count(claim: Claim, items: int) -> None:
    count, images = claim.certificate.items, len(claim.evidence.x)
    if len({count, images, items}) > 1:
        raise DataError(
            f"{claim.name}: has {count} slices, its evidence {images}, and the scan {items}; give "
            "the files that belong together"
        )


def _recompute(claim: Claim, work: Work, again: bool) -> _Recomputed:
    """Return what the evidence of one item amounts to."""
    encoded, evidence, x = work.encoded, claim.evidence, claim.evidence.x[work.index]
    options = work.options
    if x.shape != encoded.encoding.domain_shape:
        raise DataError(
            f"{claim.name}: its evidence has images of {tuple(x.shape)}, the scan gives "
            f"{encoded.encoding.domain_shape}"
        )
    x = x.to(encoded.y)
    solution = Solution(encoded.image(x), State(x, encoded.y), work.net, encoded, work.x0)
    if again:
        with torch.no_grad():
            run = solve(work.net, encoded, x0=work.x0, reweighting=options.reweighting)
        _compare_runs(claim, work.index, run.state.x, x)
        solution = replace(run, state=run.state._replace(x=x))
    # Weights that come from the pass before are known only to who runs that pass.
    has_problem = again or options.reweighting == 0
    gap = None
    if has_problem and len(evidence.share):
        stated = claim.certificate.lookup("duality_gap", "lower_bound").get(work.index)
        gap = _gap_of(claim, solution, work.index, stated)
    norms = None if work.sample_norm is None else [work.sample_norm]
    certificate = certificate_for(solution, gap, norms)
    if again:
        further = look_further(solution, options.jacobian, options.recovery, seed=work.seed)
        certificate = certificate.with_entries(*further.entries)
    if not has_problem:
        kept = tuple(entry for entry in certificate.entries if entry.status == "assumed")
        certificate = replace(certificate, entries=kept)
    return _Recomputed(encoded.image(x), certificate)


def _gap_of(claim: Claim, solution: Solution, index: int, stated: float | None) -> ProvenGap:
    """Return the gap of an item, with the stated bound where the dual point proves it."""
    encoded, evidence, x = solution.encoded, claim.evidence, solution.state.x
    problem, y = solution.net.problem(encoded.encoding), encoded.y
    near = evidence.near[index].to(y) if len(evidence.near) else x
    share = evidence.share[index].to(y.real)
    point = DualPoint(evidence.source[index].to(y), share, None, near)
    target = math.inf if stated is None else stated
    with torch.no_grad():
        objective, bound = evaluate(problem, y, x, point)
        if not problem.is_synthesis:
            bound = bound_without_q(problem, y, x, point, target)
    if stated is None:
        return ProvenGap(objective, bound, point)
    stated_gap = float(objective) - stated
    if stated - float(bound) > max(_TOLERANCE * float(objective), _PART_OF_GAP * stated_gap):
        raise DataError(
            f"{claim.name}: the lower bound of slice {index + 1} is stated as {stated:.9g}; its "
            f"dual gives {float(bound):.9g}, so that the gap is "
            f"{float(objective - bound):.4g} and not {stated_gap:.4g}"
        )
    return ProvenGap(objective, torch.full_like(bound, stated), point)


def _compare_runs(claim: Claim, index: int, found: Tensor, x: Tensor) -> None:
    size, away = float(x.abs().max()), float((found - x).abs().max())
    if away > _TOLERANCE * size:
        raise DataError(
            f"{claim.name}: the network was run again for slice {index + 1} and gives another "
            f"image; they differ by up to {away:.4g}, and the largest value is {size:.4g}"
        )


def _compare_written(saved: SavedCertificate, path: Path, made: Tensor, prepared: Prepared) -> None:
    """Refuse a written image that is not the one of the evidence."""
    scan = prepared.scan
    if "resized_to_the_scanners_grid" in saved.report:
        made, scan = on_scanner_grid(made, scan)
    if prepared.options.map_sets > 1:
        combined = torch.linalg.vector_norm(made, dim=0)
        compare_image(path, combined, scan, also=made)
    else:
        compare_image(path, made.abs(), scan, also=made)


def _compare_entries(claim: Claim, found: Certificate) -> None:
    stated = {(entry.name, entry.items): entry for entry in claim.certificate.entries}
    for entry in found.entries:
        known = stated.get((entry.name, entry.items))
        if known is None:
            raise DataError(
                f"{claim.name}: says nothing about {entry.name.replace('_', ' ')}, or about other "
                "slices than were recomputed"
            )
        for said, again in ((known.status, entry.status), (known.statement, entry.statement)):
            if said != again:
                raise DataError(
                    f"{claim.name}: its entry {entry.name} says {said!r}; recomputed it says "
                    f"{again!r}"
                )
        _compare_numbers(claim, known, entry)


def _compare_numbers(claim: Claim, stated: Entry, found: Entry) -> None:
    tolerance = _LOOSE if found.status in ("measured", "verified on this scan") else _TOLERANCE
    for name in dict.fromkeys((*stated.values, *found.values)):
        pairs = zip(stated.values.get(name, ()), found.values.get(name, ()), strict=False)
        scale = _scale(found, name)
        for item, (said, again) in zip(found.items, pairs, strict=False):
            if abs(said - again) > tolerance * max(abs(again), scale.get(item, 0.0)):
                raise DataError(
                    f"{claim.name}: {name} of slice {item + 1} is stated as {said:.9g}; recomputed "
                    f"it is {again:.9g}"
                )
        if len(stated.values.get(name, ())) != len(found.values.get(name, ())):
            raise DataError(f"{claim.name}: {name} is not what was recomputed: a number is missing")


def _scale(entry: Entry, name: str) -> dict[int, float]:
    """Return what a number of the gap is measured by: it is a small difference of large ones."""
    objective = dict(zip(entry.items, entry.values.get("objective", ()), strict=False))
    return objective if name == "duality_gap" else dict.fromkeys(objective, 1.0)


def _summary(stated: Certificate, found: Certificate, again: bool) -> Checked:
    names = list(dict.fromkeys(entry.name for entry in found.entries if _claims(entry)))
    agrees = ["The written image is the one of the evidence."]
    if again:
        agrees.append("The network was run again and gives this image.")
    agrees += [f"Recomputed and the same: {name.replace('_', ' ')}." for name in names]
    return Checked(tuple(agrees), tuple(_unchecked(stated, names, again)))


def _claims(entry: Entry) -> bool:
    """Return whether an entry says something that could be wrong."""
    return entry.status not in ("assumed", "not verified")


def _unchecked(stated: Certificate, names: Sequence[str], again: bool) -> Iterator[str]:
    if not again:
        yield _NOT_RUN
    for name in dict.fromkeys(entry.name for entry in stated.entries if _claims(entry)):
        if name not in names:
            yield f"{name.replace('_', ' ').capitalize()}: recomputed with --again only."
    yield from stated.assumptions
