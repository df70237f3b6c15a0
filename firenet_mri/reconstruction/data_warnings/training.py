"""How a scan differs from those that a trained network has seen, by the report of its training.

A measurement is the factor by which a number lies outside its range, 1 at the end of the range:

- ``acceleration_unlike_training``: grid points per sample;
- ``coils_unlike_training``: coils, after compression;
- ``noise_unlike_training``: expected norm of the noise over the norm of the data, if a noise
  measurement came with the scan;
- ``sampling_unlike_training``, which is 1: lines, points or a trajectory not seen in the training.
"""

from __future__ import annotations

import math

import torch

from firenet_mri.firenet.base import Network
from firenet_mri.firenet.learned.conditions import OF_SAMPLING, sampling_conditions
from firenet_mri.firenet.learned.report import Range, TrainingReport
from firenet_mri.operators import CartesianFourier, NonuniformFourier
from firenet_mri.reconstruction.data_warnings.residual import energy_of_noise
from firenet_mri.reconstruction.data_warnings.warning import DataWarning, Kind
from firenet_mri.reconstruction.solve import Encoded

_SENTENCE = (
    "{} lies outside the range with which the network was trained, {:.3g} to {:.3g}; the measured "
    "number is the factor by which it does. Its image may be worse than those of the training: "
    "compare it with a preset's, without --network."
)
_OTHER_SAMPLING = (
    "The scan was sampled {}, and the network was trained on scans that were sampled {}. Its image "
    "may be worse than those of the training: compare it with a preset's, without --network."
)
_WAYS = {"lines": "by lines", "points": "by points", "trajectory": "along a trajectory"}
_LINES = OF_SAMPLING.index("lines")
_NAMES = {
    "acceleration": "The acceleration of the scan",
    "coils": "The number of coils",
    "noise": "The noise of the samples, relative to their norm,",
}


def training_warnings(encoded: Encoded, net: Network | None) -> tuple[DataWarning, ...]:
    """Return the warnings about an item unlike the training data; none for untrained networks.

    Parameters
    ----------
    encoded
        The network's input, of one item.
    net
        The network; None gives no warnings.
    """
    trained = None if net is None else net.trained
    report = None if trained is None else trained.report
    if report is None:
        return ()
    return (
        *_sampling_warnings(encoded, report),
        *(
            warning
            for name, value in _values(encoded).items()
            for warning in _kind(name, report).warn(_factor(value, getattr(report, name)))
        ),
    )


def _sampling_warnings(encoded: Encoded, report: TrainingReport) -> tuple[DataWarning, ...]:
    """Return the warning about a way of sampling that the network has not seen."""
    found = _sampling(encoded)
    if not found or found & set(report.sampling):
        return ()
    (way,) = found
    seen = " or ".join(_WAYS[one] for one in report.sampling) or "in no known way"
    sentence = _OTHER_SAMPLING.format(_WAYS[way], seen)
    return Kind("sampling_unlike_training", 0.0, sentence).warn(1.0)


def _sampling(encoded: Encoded) -> set[str]:
    """Return the kinds of an item's sampling; empty if everything was sampled."""
    fourier = getattr(encoded.encoding, "fourier", None)
    if isinstance(fourier, NonuniformFourier):
        return {"trajectory"}
    if not isinstance(fourier, CartesianFourier) or bool(fourier.mask.all()):
        return set()
    has_lines = bool(sampling_conditions(encoded.encoding)[..., _LINES].all())
    return {"lines"} if has_lines else {"points"}


def _kind(name: str, report: TrainingReport) -> Kind:
    sentence = _SENTENCE.format(_NAMES[name], *getattr(report, name))
    return Kind(f"{name}_unlike_training", 1.0, sentence)


def _values(encoded: Encoded) -> dict[str, float]:
    """Return the known values of an item, by the names of the report."""
    coils, samples = len(encoded.samples), encoded.samples[0].numel()
    if encoded.sampled is not None:
        samples = int(encoded.sampled.expand(1, *encoded.samples.shape[1:]).sum())
    # Several map sets have several images but one grid.
    one_coil = getattr(encoded.encoding, "fourier", encoded.encoding)
    points = math.prod(one_coil.domain_shape)
    found = {"acceleration": points / max(samples, 1), "coils": float(coils)}
    norm = float(torch.linalg.vector_norm(encoded.y.to(torch.complex128)))
    if encoded.chain.is_whitened and norm > 0:
        ones = torch.ones(coils, dtype=torch.float64)
        found["noise"] = math.sqrt(energy_of_noise(encoded, ones)) / norm
    return found


def _factor(value: float, ends: Range) -> float:
    """Return the factor by which a value lies outside a range; at most 1 inside."""
    low, high = ends
    above = value / high if high > 0 else math.inf
    below = low / value if value > 0 else math.inf if low > 0 else 0.0
    return max(above, below)
