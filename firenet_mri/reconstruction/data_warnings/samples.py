"""What the samples of a slice show without an image: their centre, their kind, the object's place.

With e the energy of a sample over all coils:

- ``centre_off``: distance of the largest e from N//2, along the axis where it is largest;
- ``image_wrapped``: minus the correlation of neighbouring samples. Along an axis it is
  sum_x |rho(x)|^2 cos(2 pi (x - N//2) / N) / sum_x |rho(x)|^2 of the coil images rho, hence -1 for
  a small object at the centre, 0 for one that fills the field of view, 1 for one at the edge;
- ``kspace_is_image``: the energy in the strongest 1/64 of the pixels divided by that in the
  strongest 1/64 of the samples: k-space is concentrated, an image is not;
- ``not_cartesian``: the median of a column over the rows, relative to the largest sample, if most
  rows have their maximum there. Spokes and spirals pass the centre in the same column of every row.
"""

from __future__ import annotations

import torch
from torch import Tensor

from firenet_mri.operators.centred import centred_ifft
from firenet_mri.reconstruction.data_warnings.warning import DataWarning, Kind

CENTRE_OFF = Kind(
    "centre_off",
    4.0,
    "The largest sample is many samples away from index N//2, which is taken as the centre of "
    "k-space. Move the data there: fftshift them if their centre is at index 0, and pad readouts "
    "whose echo is not in their middle.",
)
IMAGE_WRAPPED = Kind(
    "image_wrapped",
    0.1,
    "The object lies across the edge of the field of view. If the image shows it shifted by half a "
    "field of view, multiply every other line (or sample) of k-space by -1, which undoes the "
    "alternating sign of the excitation or a missing fftshift.",
)
KSPACE_IS_IMAGE = Kind(
    "kspace_is_image",
    2.25,
    "The samples look like an image, not like k-space. Give k-space: the centred Fourier "
    "transform of the coil images.",
)
NOT_CARTESIAN = Kind(
    "not_cartesian",
    0.4,
    "Every row has its largest sample in the same column, as with spokes and spirals, but the data "
    "were taken as a Cartesian grid, so the sampling mask is wrong. Give the trajectory "
    "with --trajectory.",
)

#: Noise alone stays below 20; good scans are above 1000.
_SIGNAL = 100.0
_STRONGEST = 64
# A column holds the rows' maxima if half of the rows have this share of their maximum there.
_IS_LARGEST = 0.9


def has_signal(energy: Tensor, sampled: Tensor) -> bool:
    """Return whether the largest sample stands out from the others as it does for an object.

    ``energy`` is the result of :func:`energy_of`, ``sampled`` (*spatial) bool.
    """
    found = energy[sampled]
    return found.numel() > 0 and bool(found.max() > _SIGNAL * found.median())


def energy_of(samples: Tensor) -> Tensor:
    """Return the energy of samples (coil, *spatial) in all coils, (*spatial) float32."""
    energy = torch.zeros(samples.shape[1:], device=samples.device)
    # Coil by coil, since a volume may be large.
    for coil in samples:
        part = torch.view_as_real(coil.to(torch.complex64).resolve_conj())
        energy += part.square().sum(-1)
    return energy


def sample_warnings(
    samples: Tensor, sampled: Tensor, energy: Tensor | None = None
) -> tuple[DataWarning, ...]:
    """Return the warnings about Cartesian samples.

    Parameters
    ----------
    samples
        (coil, *spatial) complex, zero frequency at N//2, zero where not sampled.
    sampled
        (*spatial) bool.
    energy
        The result of :func:`energy_of`, if known.
    """
    values = sample_values(samples, sampled, energy)
    found = KSPACE_IS_IMAGE.warn(values.get(KSPACE_IS_IMAGE.name))
    # A wrong kind of samples explains all other oddities.
    found = found or NOT_CARTESIAN.warn(values.get(NOT_CARTESIAN.name))
    if found:
        return found
    return (
        *CENTRE_OFF.warn(values.get(CENTRE_OFF.name)),
        *IMAGE_WRAPPED.warn(values.get(IMAGE_WRAPPED.name)),
    )


def sample_values(
    samples: Tensor, sampled: Tensor, energy: Tensor | None = None
) -> dict[str, float]:
    """Return measurements of Cartesian samples by name, without those that are unknown."""
    if not bool(sampled.any()):
        return {}
    energy = energy_of(samples) if energy is None else energy
    values = {KSPACE_IS_IMAGE.name: _image_over_kspace(samples)}
    if has_signal(energy, sampled):
        values[CENTRE_OFF.name] = _distance_from_centre(energy)
        values[NOT_CARTESIAN.name] = _steadiest_column(energy, sampled)
        values[IMAGE_WRAPPED.name] = _wrapped(samples, sampled)
    return values


def _distance_from_centre(energy: Tensor) -> float:
    place = torch.unravel_index(energy.argmax(), energy.shape)
    offsets = zip(place, energy.shape, strict=True)
    return float(max(abs(int(at) - size // 2) for at, size in offsets))


def _wrapped(samples: Tensor, sampled: Tensor) -> float:
    """Return the largest value over the axes; -1 if no two neighbours were sampled."""
    found = [-1.0]
    for axis, size in enumerate(sampled.shape):
        if size < 2:
            continue
        parts = [sampled.narrow(axis, start, size - 1) for start in (0, 1)]
        both = parts[0] & parts[1]
        product = torch.zeros((), dtype=torch.float64)
        energy = torch.zeros((), dtype=torch.float64)
        for coil in samples:
            here, there = (coil.narrow(axis, start, size - 1) * both for start in (0, 1))
            first, second = torch.view_as_real(here), torch.view_as_real(there)
            product += (first * second).sum(dtype=torch.float64).cpu()
            energy += (first.square() + second.square()).sum(dtype=torch.float64).cpu() / 2
        if energy > 0:
            found.append(-float(product / energy))
    return max(found)


def _image_over_kspace(samples: Tensor) -> float:
    """Return the ratio for the coil with the most energy."""
    # Real numbers, since the norm of complex ones takes ten times as long.
    parts = (torch.view_as_real(coil.resolve_conj()) for coil in samples)
    energies = torch.stack([part.square().sum() for part in parts])
    coil = samples[int(energies.argmax())]
    axes = list(range(coil.ndim))
    return _concentration(centred_ifft(coil, axes)) / _concentration(coil)


def _concentration(x: Tensor) -> float:
    """Return the share of the energy in the strongest 1/64 of the numbers."""
    energy = torch.view_as_real(x.resolve_conj()).square().sum(-1).flatten()
    whole = energy.sum()
    strongest = energy.topk(max(1, len(energy) // _STRONGEST)).values.sum()
    return float(strongest / whole) if bool(whole > 0) else 1.0


def _steadiest_column(energy: Tensor, sampled: Tensor) -> float:
    """Return the largest median over an axis of a line along it, relative to the largest sample."""
    nothing = torch.full((), torch.nan, device=energy.device)
    known = torch.where(sampled, energy, nothing)
    largest = 0.0
    for axis, size in enumerate(energy.shape):
        if size < 2:
            continue
        rows = known.movedim(axis, 0).flatten(1)
        medians = rows.nanmedian(0).values.nan_to_num(0.0)
        shares = rows[:, medians.argmax()] / rows.nan_to_num(0.0).amax(1)
        if bool(shares.nanmedian().sqrt() >= _IS_LARGEST):
            largest = max(largest, float(medians.max()))
    return (largest / float(energy.max())) ** 0.5
