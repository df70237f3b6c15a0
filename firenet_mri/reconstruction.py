"""The way from a raw scan to an image with its certificate, on one page.

    scan --whiten--> --sensitivity maps--> --FIRENET--> image + certificate --save--> files
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from firenet_mri.calibration import normalise_maps, sensitivity_maps, whiten
from firenet_mri.calibration.sensitivity import MapMethod
from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.firenet.certificate import Certificate, certify
from firenet_mri.firenet.network import FIRENET
from firenet_mri.firenet.presets import Preset, make_network
from firenet_mri.firenet.primal_dual import PrimalDualLayer
from firenet_mri.operators import encoding_operator
from firenet_mri.scan import Geometry, RawScan


@dataclass(frozen=True)
class Settings:
    """What a reconstruction was made with, enough to make it again."""

    preset: str
    sparsifier: str
    schedule: str
    layers: int
    lam: float
    maps: str
    whitened: bool
    device: str


@dataclass(frozen=True)
class Timings:
    """Wall-clock seconds of the parts of a reconstruction."""

    calibration_s: float
    network_s: float
    certificate_s: float


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """An image, where it lies, and what is proven about it.

    Parameters
    ----------
    image
        (..., *spatial) complex64. In units of the noise standard deviation if the scan was
        whitened, else in the units of the data.
    zero_filled
        A^H y of the same shape: what the data give without the method.
    certificate
        What is proven, slice by slice.
    settings, timings
        How it was made, and how long that took.
    scan
        The scan as it went into the network, whitened if it had a noise measurement.
    """

    image: Tensor
    zero_filled: Tensor
    certificate: Certificate
    settings: Settings
    timings: Timings
    scan: RawScan


def reconstruct(
    scan: RawScan,
    *,
    preset: Preset = "network",
    lam: float | Literal["auto"] = "auto",
    sparsifier: str | None = None,
    levels: int | None = None,
    layers: int | None = None,
    maps: MapMethod | Tensor = "espirit",
    device: str | torch.device = "cpu",
    on_layer: Callable[[int, int], None] | None = None,
) -> Reconstruction:
    """Return the image of a scan with its certificate.

    Parameters
    ----------
    scan
        A multi-coil Cartesian scan, as :func:`firenet_mri.read` returns it.
    preset, lam, sparsifier, levels, layers
        The network, see :func:`firenet_mri.firenet.presets.make_network`.
    maps
        How sensitivity maps are found, "espirit", "jsense" or "none" (single coil), or the maps
        themselves, (..., coil, *spatial) complex; given maps are normalised to
        root-sum-of-squares 1.
    device
        Where the network runs, "cpu" or "cuda".
    on_layer
        Called after every layer with (layers done, layers in all).

    Raises
    ------
    UsageError
        If an option is unknown or cannot be used.
    CalibrationError
        If the maps cannot be estimated from this scan.
    ShapeError
        If given maps do not fit the scan.
    """
    target = _device(device)
    net = make_network(
        scan.coils,
        scan.spatial_shape,
        preset=preset,
        lam=lam,
        sparsifier=sparsifier,
        levels=levels,
        layers=layers,
    ).to(target)
    started = time.perf_counter()
    whitened = scan.noise is not None
    if whitened:
        scan = whiten(scan)
    coil_maps = _given_maps(scan, maps) if isinstance(maps, Tensor) else sensitivity_maps(scan, maps)
    calibration_s = time.perf_counter() - started
    slices = list(_slices(scan, coil_maps))
    with _counting_layers(net, len(slices), on_layer):
        results = [_reconstruct_slice(net, scan.spatial_ndim, target, *item) for item in slices]
    shape = (*scan.batch_shape, *scan.spatial_shape)
    return Reconstruction(
        image=torch.stack([result.image for result in results]).reshape(shape),
        zero_filled=torch.stack([result.zero_filled for result in results]).reshape(shape),
        certificate=Certificate.join([result.certificate for result in results]),
        settings=Settings(
            preset=preset,
            sparsifier=str(net.sparsifier),
            schedule=str(net.schedule),
            layers=net.depth,
            lam=net.lam,
            maps="given" if isinstance(maps, Tensor) else maps,
            whitened=whitened,
            device=str(target),
        ),
        timings=Timings(
            calibration_s,
            sum(result.network_s for result in results),
            sum(result.certificate_s for result in results),
        ),
        scan=scan,
    )


@dataclass(frozen=True, eq=False)
class _Slice:
    image: Tensor
    zero_filled: Tensor
    certificate: Certificate
    network_s: float
    certificate_s: float


def _reconstruct_slice(
    net: FIRENET, spatial_ndim: int, device: torch.device, y: Tensor, mask: Tensor, maps: Tensor
) -> _Slice:
    """Return image and certificate of k-space y (coil, *spatial)."""
    started = time.perf_counter()
    with torch.no_grad():
        encoding = encoding_operator(mask, maps, spatial_ndim).to(device)
        y = y.to(device)
        state = net.solve(y, encoding)
        zero_filled = encoding.adjoint(y)
    solved = time.perf_counter()
    certificate = certify(net, y, encoding, state)
    certified = time.perf_counter()
    return _Slice(
        state.x.cpu(), zero_filled.cpu(), certificate, solved - started, certified - solved
    )


def _slices(scan: RawScan, maps: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield k-space, mask and maps of every slice; they are worked on one by one to save memory."""
    kspace = scan.kspace
    mask = scan.mask
    maps = maps.expand(kspace.shape)
    keep = scan.spatial_ndim + 1
    yield from zip(
        (kspace * mask).reshape(-1, *kspace.shape[-keep:]),
        mask.reshape(-1, *mask.shape[-keep:]),
        maps.reshape(-1, *maps.shape[-keep:]),
        strict=True,
    )


def _given_maps(scan: RawScan, maps: Tensor) -> Tensor:
    """Return the caller's maps, normalised."""
    tail = (scan.coils, *scan.spatial_shape)
    fits = maps.shape[-len(tail) :] == tail and maps.shape[: -len(tail)] in ((), scan.batch_shape)
    if not fits:
        raise ShapeError(
            f"{scan.name}: the maps have shape {tuple(maps.shape)}; this scan needs "
            f"{(*scan.batch_shape, *tail)} or {tail}"
        )
    if not maps.is_complex() or not bool(torch.isfinite(torch.view_as_real(maps)).all()):
        raise DataError(f"{scan.name}: the maps must be complex and free of NaN and infinite values")
    return normalise_maps(maps.to(torch.complex64), scan.spatial_ndim)


@contextmanager
def _counting_layers(
    net: FIRENET, slices: int, on_layer: Callable[[int, int], None] | None
) -> Iterator[None]:
    """Call ``on_layer`` after every layer for as long as the context lasts."""
    done = 0

    def count(*_: object) -> None:
        nonlocal done
        done += 1
        if on_layer is not None:
            on_layer(done, net.depth * slices)

    layers = [module for module in net.modules() if isinstance(module, PrimalDualLayer)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _device(name: str | torch.device) -> torch.device:
    """Return the device if it can be used here."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):
        raise UsageError(f"Device {str(name)!r} is not available here; use cpu") from None
    return device
