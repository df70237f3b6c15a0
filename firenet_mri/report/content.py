"""The content of a report as values, taken by name from a certificate's file and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from firenet_mri.firenet.certificate import Certificate
from firenet_mri.geometry import AcquisitionParameters, Geometry, Moment
from firenet_mri.io.image.labels import labels_of
from firenet_mri.plurals import counted
from firenet_mri.reconstruction.data_warnings.places import places_of, slices_of
from firenet_mri.reconstruction.result import Reconstruction
from firenet_mri.report.layers import Images, Layers, layers_of
from firenet_mri.report.sampling import SamplingPicture, sampling_of
from firenet_mri.report.series import Series, series_of, series_of_stack
from firenet_mri.report.settings import Settings, settings_of
from firenet_mri.rounding import above, below
from firenet_mri.scan import RawScan

# Longest name of an image in a series, and longest time in ms.
_LONGEST_NAME, _LONGEST_MS = 200, 1e9
_FRESH = "The certificate was made together with the image."
_STORED = (
    "The certificate is shown as it was written, and belongs to this image (SHA-256). Nothing in "
    "it was recomputed here."
)


@dataclass(frozen=True)
class Fact:
    """A number that a reader looks for first.

    Parameters
    ----------
    value
        The number with its unit, such as "17.7 times".
    name
        The quantity.
    status
        How it is known; empty if it is not a statement about the image.
    """

    value: str
    name: str
    status: str = ""


@dataclass(frozen=True, eq=False)
class Content:
    """Everything that a report shows.

    Parameters
    ----------
    title
        The scan's name.
    subtitle
        A line about the scan and the network.
    simulated
        Whether the scan was simulated; None if that is not known.
    facts
        The numbers at the top.
    layers
        The images.
    warnings
        The warnings about the data, one line each.
    certificate
        The certificate; None if the image has none.
    checked
        A sentence that states whether anything in the certificate was recomputed.
    sampling
        Where k-space was sampled; None if that is not known.
    settings
        The command and the Python lines that reproduce the image.
    versions
        Versions of the software that computed the image, by name.
    digests
        SHA-256 of the files to which the certificate belongs, by name.
    """

    title: str
    subtitle: str
    simulated: bool | None
    facts: tuple[Fact, ...]
    layers: Layers
    warnings: tuple[str, ...] = ()
    certificate: Certificate | None = None
    checked: str = ""
    sampling: SamplingPicture | None = None
    settings: Settings = field(default_factory=Settings)
    versions: tuple[tuple[str, str], ...] = ()
    digests: tuple[tuple[str, str], ...] = ()


def content_of(result: Reconstruction, *, reference: Tensor | None = None) -> Content:
    """Return the report of a reconstruction.

    Parameters
    ----------
    result
        The value that :func:`firenet_mri.reconstruct` returned.
    reference
        Magnitude image of the same shape, for an error map, PSNR and SSIM.
    """
    accuracy = None if reference is None else result.accuracy(reference)
    if reference is not None and accuracy is not None:
        reference = accuracy.reference_factor * reference
    report = result.report(accuracy)
    sensitive = None if result.sensitive is None else result.combined(result.sensitive)
    zero_filled = result.combined(result.zero_filled)
    layers = layers_of(
        Images(result.magnitude, zero_filled, reference, sensitive),
        geometry=result.scan.geometry,
        method=result.network.method,
        units=_units(report),
        names=_slice_names(result.scan),
        series=series_of(labels_of(result.scan.images, result.scan.parameters)),
    )
    return _content(report, result.certificate, layers, sampling_of(result.scan), _FRESH)


def content_of_saved(
    report: Mapping[str, Any],
    certificate: Certificate,
    images: Images,
    *,
    geometry: Geometry | None = None,
    sampling: SamplingPicture | None = None,
) -> Content:
    """Return the report of an image that was written with a certificate.

    Parameters
    ----------
    report, certificate
        The certificate's file, after a check that it belongs to the image.
    images
        The image, and the images with which it can be compared.
    geometry
        The position of the image.
    sampling
        Where k-space was sampled, if the scan is available.
    """
    trained = _part(report, "network").get("weights") is not None
    method = "FIRENET, trained network" if trained else "FIRENET"
    layers = layers_of(
        images,
        geometry=geometry,
        method=method,
        units=_units(report),
        series=_series_of_report(report, images),
    )
    return _content(report, certificate, layers, sampling, _STORED)


def content_of_image(
    name: str,
    images: Images,
    geometry: Geometry | None = None,
    *,
    between_ms: float | None = None,
) -> Content:
    """Return the report of an image without a certificate.

    Parameters
    ----------
    name
        The image's name.
    images, geometry
        The image and its position.
    between_ms
        The time between the images of a series; None if it is not known.
    """
    count = images.image.shape[0] if images.image.ndim == 4 else 1
    layers = layers_of(
        images,
        geometry=geometry,
        method="Image",
        units="units of the file",
        series=series_of_stack(count, between_ms),
    )
    return Content(name, "An image without a certificate", None, (), layers)


def _content(
    report: Mapping[str, Any],
    certificate: Certificate,
    layers: Layers,
    sampling: SamplingPicture | None,
    checked: str,
) -> Content:
    scan, network = _part(report, "scan"), _part(report, "network")
    simulated = scan.get("simulated")
    digests = asdict(certificate.digests) if certificate.digests is not None else {}
    warnings = report.get("warnings")
    return Content(
        title=str(scan.get("name", "Image")),
        subtitle=_subtitle(scan, network, report),
        simulated=simulated if isinstance(simulated, bool) else None,
        facts=tuple(_facts(report, certificate)),
        layers=layers,
        warnings=tuple(map(str, warnings)) if isinstance(warnings, list) else (),
        certificate=certificate,
        checked=checked,
        sampling=sampling,
        settings=settings_of(report),
        versions=tuple((str(k), str(v)) for k, v in _part(report, "versions").items()),
        digests=tuple((name, value) for name, value in digests.items() if value is not None),
    )


def _subtitle(
    scan: Mapping[str, Any], network: Mapping[str, Any], report: Mapping[str, Any]
) -> str:
    parts = []
    if scan.get("coils") is not None:
        parts.append(counted(scan["coils"], "coil"))
    fraction = scan.get("sampled_fraction")
    if isinstance(fraction, int | float):
        parts.append(f"{100 * fraction:.3g} % sampled")
    options = _part(_part(_part(report, "options"), "reconstruction"), "network")
    if network.get("weights") is not None:
        parts.append("trained network")
    elif options.get("preset") is not None:
        parts.append(f"preset {options['preset']}")
    if network.get("layers") is not None:
        parts.append(counted(network["layers"], "layer"))
    return " · ".join(parts)


def _facts(report: Mapping[str, Any], certificate: Certificate) -> Iterator[Fact]:
    gap, bound = certificate.relative_gap, certificate.lipschitz_bound
    if gap is not None:
        yield Fact(f"≤ {above(100 * max(gap), 2)} %", "from the optimum", "proven")
    if bound is not None and not certificate.not_checkable:
        yield Fact(f"≤ {above(bound)} times", "amplification of any change of the data", "proven")
    lower = certificate.lookup("jacobian_at_data", "lower")
    upper = certificate.lookup("jacobian_at_data", "upper")
    if lower and upper:
        value = f"{below(max(lower.values()))} to {above(max(upper.values()))} times"
        yield Fact(value, "amplification of small changes for this scan", "verified on this scan")
    accuracy = _numbers(_part(report, "accuracy_against_reference"))
    if "psnr_db" in accuracy:
        yield Fact(f"{accuracy['psnr_db']:.1f} dB", "PSNR against the reference", "measured")
    if "ssim" in accuracy:
        yield Fact(f"{accuracy['ssim']:.3f}", "SSIM against the reference", "measured")
    seconds = _numbers(_part(report, "timings"))
    if seconds:
        yield Fact(f"{sum(seconds.values()):.1f} s", "maps, network and certificate")


def _units(report: Mapping[str, Any]) -> str:
    units = str(report.get("image_units", "as the data"))
    return "units of the data" if units == "as the data" else units


def _part(report: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = report.get(name)
    return part if isinstance(part, Mapping) else {}


def _numbers(part: Mapping[str, Any]) -> dict[str, float]:
    """Return the values that are numbers; a file that was edited by hand may hold anything."""
    return {name: value for name, value in part.items() if isinstance(value, int | float)}


def _slice_names(scan: RawScan) -> list[str]:
    """Return the names of the slices, as ``--slices`` counts them; none for a volume."""
    if scan.spatial_ndim == 3:
        return []
    if not scan.images:
        return [name.removeprefix("slice ") for name in places_of(scan)]
    return [str(number) for number in slices_of(scan, math.prod(scan.batch_shape[1:]))]


def _series_of_report(report: Mapping[str, Any], images: Images) -> Series | None:
    """Return the series that a certificate's file names, if it fits the image's shape."""
    told = _part(report, "scan").get("images")
    labels = [one for one in told if isinstance(one, Mapping)] if isinstance(told, list) else []
    names = [str(one.get("name", ""))[:_LONGEST_NAME] for one in labels]
    size = math.prod(images.image.shape[:-2])
    if len(names) < 2 or len(set(names)) < len(names) or size % len(names):
        count = images.image.shape[0] if images.image.ndim == 4 else 1
        return series_of_stack(count, None)
    times = (
        [_time(one.get(key)) for key in ("from_first_ms", "from_trigger_ms")] for one in labels
    )
    moments = tuple(Moment(name, *time) for name, time in zip(names, times, strict=True))
    return series_of(labels_of(names, AcquisitionParameters(moments=moments)))


def _time(value: object) -> float | None:
    """Return a time in ms, or None if the value is not one, as in a file edited by hand."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if 0 <= value < _LONGEST_MS else None
