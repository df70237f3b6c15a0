"""From a scan to an image with its certificate: prepare, solve and certify every item, assemble."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import torch

from firenet_mri.errors import UsageError
from firenet_mri.firenet.network import FIRENET
from firenet_mri.firenet.primal_dual import PrimalDualLayer
from firenet_mri.options import takes_options
from firenet_mri.reconstruction.certify import certify_solution
from firenet_mri.reconstruction.checkpoint import Checkpoint, FinishedSlice
from firenet_mri.reconstruction.options import ReconstructionOptions
from firenet_mri.reconstruction.prepare import Item, Prepared, key_of, prepare
from firenet_mri.reconstruction.result import Reconstruction, assemble, versions
from firenet_mri.reconstruction.solve import solve, zero_filled
from firenet_mri.scan import RawScan

OnLayer = Callable[[int, int], None]

_T = TypeVar("_T")
_R = TypeVar("_R")


@takes_options(ReconstructionOptions)
def reconstruct(
    scan: RawScan,
    *,
    on_layer: OnLayer | None = None,
    checkpoint: str | Path | None = None,
    **options: Any,
) -> Reconstruction:
    """Return the image of a scan with its certificate.

    Parameters
    ----------
    scan
        A multi-coil scan, as :func:`firenet_mri.read` returns it.
    on_layer
        Called with (layers done, layers in all) after every layer, perhaps from other threads.
    checkpoint
        Folder in which finished slices are kept: a run that was interrupted and is started again
        with the same scan and options takes them from there. Remove it when the image is saved.
    **options
        The fields of :class:`ReconstructionOptions` and of its network.

    Raises
    ------
    UsageError
        If an option is unknown or cannot be used.
    CalibrationError
        If the maps cannot be estimated from this scan.
    ShapeError
        If given maps do not fit the scan.
    """
    chosen = ReconstructionOptions.from_mapping(options)
    return reconstruct_with(scan, chosen, on_layer=on_layer, checkpoint=checkpoint)


def reconstruct_with(
    scan: RawScan,
    options: ReconstructionOptions,
    *,
    on_layer: OnLayer | None = None,
    checkpoint: str | Path | None = None,
) -> Reconstruction:
    """Return what :func:`reconstruct` returns, for options as one value."""
    started = time.perf_counter()
    find_device(options.device)  # Before any work.
    prepared = prepare(scan, options)
    setup_s = time.perf_counter() - started
    return reconstruct_prepared(prepared, setup_s, on_layer=on_layer, checkpoint=checkpoint)


def reconstruct_prepared(
    prepared: Prepared,
    setup_s: float = 0.0,
    *,
    on_layer: OnLayer | None = None,
    checkpoint: str | Path | None = None,
) -> Reconstruction:
    """Return what :func:`reconstruct` returns, of a scan that was prepared in ``setup_s``."""
    options, started = prepared.options, time.perf_counter()
    device = find_device(options.device)
    kept = None if checkpoint is None else Checkpoint(checkpoint, key_of(prepared, versions()))
    finished = {} if kept is None else kept.finished(len(prepared.items))
    net = prepared.net.to(device)
    if on_layer is not None:
        _count_layers(prepared, len(prepared.items) - len(finished), on_layer)
    setup_s += time.perf_counter() - started

    def work(item: Item) -> FinishedSlice:
        if item.index in finished:
            return finished[item.index]
        result = reconstruct_item(prepared, item, net, device)
        if kept is not None:
            kept.keep(item.index, result)
        return result

    side_by_side = _on_all_cores if device.type == "cpu" else _one_by_one
    return assemble(prepared, side_by_side(work, prepared.items), setup_s)


def reconstruct_item(
    prepared: Prepared, item: Item, net: FIRENET, device: torch.device
) -> FinishedSlice:
    """Return image and certificate of one item."""
    options, begun = prepared.options, time.perf_counter()
    encoded, maps_digest = prepared.encoded(item)
    encoded = encoded.to(device)
    calibrated = time.perf_counter()
    with torch.no_grad():
        solution = solve(net, encoded, reweighting=options.reweighting)
        before = zero_filled(encoded)
    solved = time.perf_counter()
    certificate, evidence = certify_solution(
        solution,
        sample_norms=None if item.sample_norm is None else [item.sample_norm],
        gap=not options.no_gap,
        jacobian=options.jacobian,
        recovery=options.recovery,
    )
    return FinishedSlice(
        solution.image.cpu(),
        before.cpu(),
        certificate,
        evidence,
        maps_digest,
        calibration_s=calibrated - begun,
        network_s=solved - calibrated,
        certificate_s=time.perf_counter() - solved,
    )


def _on_all_cores(work: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
    """Return ``work`` of each item, as many at once as torch has threads, each on one thread.

    A layer's passes gain less from a second thread than another slice does.
    """
    threads = torch.get_num_threads()
    if min(threads, len(items)) == 1:
        return _one_by_one(work, items)
    pool = ThreadPoolExecutor(
        min(threads, len(items)), initializer=torch.set_num_threads, initargs=(1,)
    )
    try:
        return list(pool.map(work, items))
    finally:
        pool.shutdown(cancel_futures=True)
        # Threads that start later take over what was set last.
        torch.set_num_threads(threads)


def _one_by_one(work: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
    return [work(item) for item in items]


def _count_layers(prepared: Prepared, items: int, on_layer: OnLayer) -> None:
    """Have the network call ``on_layer`` after every layer, with the count over all its runs."""
    net, options = prepared.net, prepared.options
    # The Jacobian is taken along a second run of the network, other maps are looked at along a
    # third, but not with a phase, which was made with the maps.
    again = options.jacobian and net.solver.is_fixed and options.reweighting == 0
    extra = again * (1 + (options.phase_constraint is None))
    total = net.depth * items * (1 + options.reweighting + extra)
    counter = itertools.count(1)

    def report(*_: object) -> None:
        on_layer(next(counter), total)

    for module in net.modules():
        if isinstance(module, PrimalDualLayer):
            module.register_forward_hook(report)


def find_device(name: str) -> torch.device:
    """Return the device if it can be used here."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):
        raise UsageError(f"Device {name!r} is not available here; use cpu") from None
    return device
