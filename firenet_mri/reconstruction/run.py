"""From a scan to an image with its certificate: prepare, solve and certify every item, assemble."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from firenet_mri.amplification import OnApplication
from firenet_mri.device import find_device
from firenet_mri.domain import check_is_kspace
from firenet_mri.errors import UsageError
from firenet_mri.firenet.base import Network
from firenet_mri.firenet.networks import check_network
from firenet_mri.memory import give_back_freed_memory
from firenet_mri.operators.workers import on_all_cores, one_by_one
from firenet_mri.options import takes_options
from firenet_mri.reconstruction.amplification import seed_of
from firenet_mri.reconstruction.certify import certify_solution
from firenet_mri.reconstruction.checkpoint import Checkpoint, FinishedSlice
from firenet_mri.reconstruction.given import Operators
from firenet_mri.reconstruction.joint import joint_network
from firenet_mri.reconstruction.options import ReconstructionOptions
from firenet_mri.reconstruction.prepare import Item, Prepared, key_of, prepare
from firenet_mri.reconstruction.result import Reconstruction, assemble, versions
from firenet_mri.reconstruction.solve import solve, zero_filled
from firenet_mri.scan import RawScan

OnLayer = Callable[[int, int], None]

# Number of applications of the Jacobian that most scans need.
_USUAL_APPLICATIONS = 24


@takes_options(ReconstructionOptions)
def reconstruct(
    scan: RawScan,
    *,
    encoding: Operators | None = None,
    on_layer: OnLayer | None = None,
    checkpoint: str | Path | None = None,
    **options: Any,
) -> Reconstruction:
    """Return the image of a scan with its certificate.

    Parameters
    ----------
    scan
        A multi-coil scan, as :func:`firenet_mri.read` returns it.
    encoding
        Your own encoding operator, from the image (*spatial) to the samples of a slice (coil,
        *samples) in the layout of the scan: a :class:`firenet_mri.operators.LinearOperator` or a
        ``sigpy.linop.Linop``; a list contains one per slice. Then no maps are estimated, and the
        samples are not whitened. The certificate states what is known about its norm, see
        docs/operators.md. None makes an operator from maps and Fourier transform.
    on_layer
        Called with (layers done, total number of layers) after every layer, possibly from other
        threads.
    checkpoint
        Folder in which finished slices are kept. An interrupted run that is started again with the
        same scan and options takes them from there. Remove it after the image is saved.
    **options
        The fields of :class:`ReconstructionOptions` and of its network.

    Raises
    ------
    UsageError
        If ``scan`` is not a scan, or an option is unknown or cannot be used.
    DataError
        If a scan that was not read from a file contains an image.
    CalibrationError
        If the maps cannot be estimated from this scan.
    ShapeError
        If given maps do not fit the scan.
    """
    chosen = ReconstructionOptions.from_mapping(options)
    return reconstruct_with(
        scan, chosen, encoding=encoding, on_layer=on_layer, checkpoint=checkpoint
    )


def reconstruct_with(
    scan: RawScan,
    options: ReconstructionOptions,
    *,
    encoding: Operators | None = None,
    on_layer: OnLayer | None = None,
    checkpoint: str | Path | None = None,
) -> Reconstruction:
    """Do what :func:`reconstruct` does, for options as one value."""
    started = time.perf_counter()
    check_given_scan(scan, encoding)
    find_device(options.device)  # Before any work.
    prepared = prepare(scan, options, encoding=encoding)
    setup_s = time.perf_counter() - started
    return reconstruct_prepared(prepared, setup_s, on_layer=on_layer, checkpoint=checkpoint)


def check_options(options: ReconstructionOptions, *, here: bool = True) -> None:
    """Refuse options that suit no scan; call this before a scan is read.

    Parameters
    ----------
    options
        The options.
    here
        False if another machine, which may have other devices, reconstructs.

    Raises
    ------
    UsageError
        If the sparsifier is unknown, the network is not for frames, or the device is not
        available.
    FileError
        If the file of trained weights cannot be used.
    """
    if here:
        find_device(options.device)
    if options.joint is not None:
        joint_network(options.network)
    check_network(options.network)


def check_given_scan(scan: RawScan, encoding: Operators | None = None) -> None:
    """Raise an error if the given value is not a scan, or contains an image.

    Results of :func:`firenet_mri.read` were checked there; samples for a user's own operator may
    look like anything.
    """
    if not isinstance(scan, RawScan):
        raise UsageError(
            f"{type(scan).__name__} given as a scan; give the result of firenet_mri.read, or "
            "firenet_mri.RawScan(kspace, mask, spatial_ndim)"
        )
    if not scan.record and scan.trajectory is None and encoding is None:
        check_is_kspace(scan.kspace, scan.spatial_ndim, name=scan.name)


def reconstruct_prepared(
    prepared: Prepared,
    setup_s: float = 0.0,
    *,
    on_layer: OnLayer | None = None,
    checkpoint: str | Path | None = None,
) -> Reconstruction:
    """Do what :func:`reconstruct` does, for a scan that was prepared in ``setup_s`` seconds."""
    options, started = prepared.options, time.perf_counter()
    device = find_device(options.device)
    prepared.check_calibration()
    kept = None if checkpoint is None else Checkpoint(checkpoint, key_of(prepared, versions()))
    finished = {} if kept is None else kept.finished(len(prepared.items))
    net = prepared.net.to(device)
    counter = None
    if on_layer is not None:
        counter = LayerCounter(prepared, len(prepared.items) - len(finished), on_layer)
    setup_s += time.perf_counter() - started

    def work(item: Item) -> FinishedSlice:
        if item.index in finished:
            return finished[item.index]
        result = reconstruct_item(prepared, item, net, device, counter)
        if kept is not None:
            kept.keep(item.index, result)
        return result

    # A second thread gains more from another slice than from a layer's passes.
    side_by_side = on_all_cores if device.type == "cpu" else one_by_one
    return assemble(prepared, side_by_side(work, prepared.items), setup_s)


def reconstruct_item(
    prepared: Prepared,
    item: Item,
    net: Network,
    device: torch.device,
    counter: LayerCounter | None = None,
) -> FinishedSlice:
    """Return image and certificate of one item."""
    options, begun = prepared.options, time.perf_counter()
    encoded, maps_digest = prepared.encoded(item)
    encoded = encoded.to(device)
    give_back_freed_memory(encoded.y.nbytes)
    calibrated = time.perf_counter()
    with torch.no_grad():
        solution = solve(net, encoded, passes=options.passes)
        before = zero_filled(encoded)
    give_back_freed_memory(encoded.y.nbytes)
    solved = time.perf_counter()
    certified = certify_solution(
        solution,
        sample_norms=None if item.sample_norm is None else [item.sample_norm],
        gap=not options.no_gap,
        jacobian=options.jacobian,
        recovery=options.recovery,
        seed=seed_of(prepared.digests._asdict(), item.index),
        on_application=None if counter is None else counter.of_applications(),
    )
    return FinishedSlice(
        solution.image.cpu(),
        before.cpu(),
        certified.certificate,
        certified.evidence,
        maps_digest,
        calibration_s=calibrated - begun,
        network_s=solved - calibrated,
        certificate_s=time.perf_counter() - solved,
        sensitive=certified.sensitive,
    )


class LayerCounter:
    """Makes the network call ``on_layer`` after every layer, with the count over all its runs.

    An application of the Jacobian and its transpose counts as two runs.

    Parameters
    ----------
    prepared
        The scan and its network.
    items
        Number of its items to reconstruct.
    on_layer
        Called with (layers done, total number of layers), possibly from several threads.
    """

    def __init__(self, prepared: Prepared, items: int, on_layer: OnLayer) -> None:
        net, options = prepared.net, prepared.options
        # The Jacobian requires a second run of the network.
        again = options.jacobian and net.is_fixed
        self._share = 2 * net.depth * _USUAL_APPLICATIONS if again else 0
        # The effect of other maps requires a third run, if it can be computed.
        is_known = net.minimiser is not None and options.passes == 1
        is_plain = is_known and options.phase_constraint is None
        runs = options.passes * (1 + again) + (again and is_plain)
        self._total = items * (net.depth * runs + self._share)
        self._on_layer, self._done, self._lock = on_layer, 0, threading.Lock()
        for layer in net.layers:
            layer.register_forward_hook(lambda *_: self._add(1))

    def of_applications(self) -> OnApplication:
        """Return the function that counts the applications of one item."""
        counted = 0

        def report(done: int, most: int) -> None:
            nonlocal counted
            # The number needed is not known beforehand; the last application completes the share.
            part = 1.0 if done == most else min(done / _USUAL_APPLICATIONS, 1.0)
            reached = round(part * self._share)
            self._add(reached - counted)
            counted = reached

        return report

    def _add(self, layers: int) -> None:
        with self._lock:
            self._done += layers
            self._on_layer(self._done, self._total)
