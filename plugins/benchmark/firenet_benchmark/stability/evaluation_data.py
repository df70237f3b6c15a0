"""The scans on which methods are compared: simulated, or the user's own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from firenet_benchmark.stability.acquisition import Acquisition, check_mask
from firenet_benchmark.stability.data import Case, ImageSet, images, maps_of
from firenet_benchmark.stability.methods import Batch, batch_of
from firenet_mri import RawScan
from firenet_mri.calibration import normalise_maps, whiten
from firenet_mri.errors import FirenetError, ShapeError, UsageError
from firenet_mri.operators import encoding_operator
from firenet_mri.operators.given import GivenEncoding, check_operator, describe
from firenet_mri.prox import item_norm
from firenet_mri.reconstruction.given import as_operator

#: Contrast of the lesions, relative to the image's largest value.
LESIONS = (0.4, 0.2, 0.1, 0.05)
_LETTERS = ("###.#", ".#.##", ".#..#", ".#..#", ".#..#")
_TEXT_CONTRAST = 0.3
_MAPS = "maps by ESPIRiT from these samples (1 for a single coil), the same for all methods"
_BUILT_IN = (
    "Simulated from T1 images of one head (training, validation and test slices 4 mm apart): "
    "{coils}, smooth phase, white noise, images of {size} pixels, {sampling}; "
    f"{_MAPS}. The trained networks are small and were trained for minutes on a CPU with images of "
    "the same head, and of an average one, with 6 coils, 128 x 128 pixels and random lines 4x."
)


@dataclass(frozen=True, eq=False)
class Detail:
    """Scans of slices without and with a detail, with the same noise; detail (batch, y, x)."""

    name: str
    before: Batch
    after: Batch
    detail: Tensor


@dataclass(frozen=True, eq=False)
class EvaluationData:
    """Everything that the methods see.

    Parameters
    ----------
    description
        What they are, in words, simulated or measured.
    test, attacked
        Slices for accuracy and false structures, and those of them that are attacked.
    shifts
        By (test, variant).
    details
        With lesions and text.
    """

    description: str
    test: Batch
    attacked: Batch
    shifts: dict[tuple[str, str], Batch]
    details: tuple[Detail, ...]


def built_in(
    slices: int,
    attacked: int,
    shifted: int,
    accelerations: Sequence[float],
    acquisition: Acquisition | None = None,
    *,
    leave_out: Sequence[str] = (),
) -> EvaluationData:
    """Return the simulated data.

    Parameters
    ----------
    slices, attacked, shifted
        How many slices are for accuracy, for attacks, and for each shift.
    accelerations
        For the curve of accuracy; those whose lines cannot include the sampled centre are left out,
        and so are all of them with a user's mask.
    acquisition
        How they are scanned; None scans them as in the networks' training.
    leave_out
        "shifts", "details" or both.

    Raises
    ------
    ShapeError
        If a mask is not of the images' size.
    CalibrationError
        If the sampled centre is too small for maps.
    """
    acquisition = acquisition or Acquisition()
    sources = acquisition.sized(images("test")[_spread(len(images("test")), slices)])
    if acquisition.mask is not None:
        check_mask(acquisition.mask, tuple(sources.shape[1:]))
    test = acquisition.scans(sources, "axial")
    some = sources[_spread(len(sources), shifted)]
    few = _spread(len(test), attacked)
    description = _BUILT_IN.format(
        coils=_coil_words(acquisition.protocol.coils),
        size=" x ".join(map(str, sources.shape[1:])),
        sampling=acquisition.words(),
    )
    return EvaluationData(
        description,
        test,
        _chosen(test, few),
        {} if "shifts" in leave_out else _shifts(some, accelerations, shifted, acquisition),
        () if "details" in leave_out else tuple(_details(some, acquisition)),
    )


def _coil_words(coils: int) -> str:
    return "one coil of even sensitivity" if coils == 1 else f"{coils} birdcage coils"


def from_scans(
    scans: Sequence[RawScan], slices: int, attacked: int, acquisition: Acquisition | None = None
) -> EvaluationData:
    """Return the middle slices of scans of one size.

    A fully sampled scan is under-sampled as an acquisition says, and its coil-combined image is the
    reference; for any other scan the true image is not known, and accuracy is not measured.

    Raises
    ------
    UsageError
        If the scans' sizes or coils differ.
    CalibrationError
        If a sampled centre is too small for maps.
    """
    acquisition = acquisition or Acquisition()
    each = max(1, math.ceil(slices / len(scans)))
    cases = [case for scan in scans for case in _cases_of(scan, each, acquisition)][:slices]
    shapes = {tuple(case.kspace.shape) for case in cases}
    if len(shapes) > 1:
        raise UsageError(
            f"The scans have k-space of {', '.join(map(str, sorted(shapes)))}; give scans with one "
            "number of coils and one size in a run"
        )
    test = batch_of(cases)
    kinds = {"simulated" if case.simulated else "measured" for case in cases}
    known = "with" if test.reference is not None else "without"
    names = ", ".join(dict.fromkeys(scan.name for scan in scans))
    description = (
        f"Scans of the user ({names}), {' and '.join(sorted(kinds))}, {known} a reference; "
        f"{_MAPS}. Fully sampled scans are under-sampled: {acquisition.words()}. The trained "
        "networks were trained on simulated brains."
    )
    return EvaluationData(description, test, test[:attacked], {}, ())


def from_operator(scan: RawScan, encoding: Any, slices: int, attacked: int) -> EvaluationData:
    """Return the middle slices of a scan with a user's own operator instead of maps.

    Nothing is whitened or under-sampled: the operator describes the samples as they are. The true
    image is not known, so accuracy is not measured. Images and amplifications are in the unit in
    which the columns of the operator have the mean norm of those of maps.

    Parameters
    ----------
    scan
        Slices with one mask; with spokes for lines if the operator knows their trajectory.
    encoding
        A LinearOperator or a SigPy Linop for all slices, see :func:`firenet_mri.reconstruct`.
    slices, attacked
        How many slices there are, and how many of them are attacked.

    Raises
    ------
    UsageError
        If this is not an operator, its adjoint or norm bound is wrong, or the masks differ.
    ShapeError
        If it does not fit the samples, or makes volumes.
    """
    operator = as_operator(encoding)
    shape = (scan.coils, *scan.kspace.shape[-scan.sample_ndim :])
    kspace = scan.kspace.reshape(-1, *shape)
    masks = scan.mask.expand(*scan.batch_shape, 1, *shape[1:]).reshape(-1, 1, *shape[1:])
    if not bool((masks == masks[:1]).all()):
        raise UsageError(f"{scan.name}: its slices have masks that differ; give one slice")
    given = GivenEncoding(operator, masks[0])
    if len(given.domain_shape) != 2:
        raise ShapeError(f"{operator!r} makes images of shape {given.domain_shape}; give slices")
    first = max(0, len(kspace) // 2 - slices // 2)
    chosen = (kspace * masks)[first : first + slices]
    check_operator(operator, chosen[0])
    test = Batch(
        tuple(f"{scan.name} {first + i}" for i in range(len(chosen))),
        chosen,
        masks[first : first + slices],
        torch.ones(len(chosen), 1, *given.domain_shape, dtype=torch.complex64),
        None,
        None,
        scan.simulated,
        given,
    )
    kind = "simulated" if scan.simulated else "measured"
    description = (
        f"A scan of the user ({scan.name}), {kind}, without a reference, and {describe(operator)}. "
        f"Images are in units in which it is divided by {given.gain:.4g}."
    )
    return EvaluationData(description, test, test[:attacked], {}, ())


def read_scans(folder: Path) -> list[RawScan]:
    """Return the Cartesian 2D scans of a folder; other files are left out.

    Raises
    ------
    UsageError
        If there is none.
    """
    from firenet_mri.io import read

    found, refused = [], []
    paths = sorted(folder.iterdir()) if folder.is_dir() else [folder]
    for path in paths:
        try:
            scan = read(path)
        except FirenetError as error:
            refused.append(str(error))
            continue
        if scan.spatial_ndim == 2 and scan.trajectory is None:
            found.append(scan)
    if not found:
        reason = f" ({refused[0]})" if refused else ""
        raise UsageError(f"{folder}: holds no Cartesian scan of slices{reason}; give raw scans")
    return found


def _cases_of(scan: RawScan, count: int, acquisition: Acquisition) -> list[Case]:
    if scan.noise is not None:
        scan = whiten(scan)
    shape = (scan.coils, *scan.spatial_shape)
    kspace = scan.kspace.reshape(-1, *shape)
    masks = scan.mask.expand(*scan.batch_shape, 1, *scan.spatial_shape).reshape(-1, *shape[1:])
    middle = len(kspace) // 2
    first = max(0, middle - count // 2)
    cases = []
    for i in range(first, min(first + count, len(kspace))):
        full = bool(masks[i].all())
        mask = acquisition.mask_of(shape[1:], seed=i) if full else masks[i]
        sampled = kspace[i] * mask
        one = replace(scan, kspace=sampled, mask=mask[None], images=())
        maps = maps_of(one)
        truth = encoding_operator(None, maps).adjoint(kspace[i]) if full else None
        name = f"{scan.name} {i}"
        reference = None if truth is None else truth.abs()
        cases.append(Case(name, sampled, mask, maps, reference, truth, scan.simulated))
    return cases


def _shifts(
    sources: Tensor, accelerations: Sequence[float], count: int, acquisition: Acquisition
) -> dict[tuple[str, str], Batch]:
    """Return the same slices scanned in other ways, and others, by test and variant."""
    plain, own = acquisition, acquisition.protocol
    base = plain.scans(sources, "axial")
    found = _sampled_otherwise(sources, accelerations, acquisition)
    found["base", "no shift"] = base
    found["contrast", "inverted"] = plain.scans(_inverted(sources), "inverted")
    anatomies: tuple[ImageSet, ...] = ("coronal", "sagittal", "macaque")
    for name in anatomies:
        others = images(name)
        chosen = plain.sized(others[_spread(len(others), count)])
        found["anatomy", name] = plain.scans(chosen, name)
    for coils in (4, 12):
        if coils != own.coils:
            found["coils", str(coils)] = plain.with_protocol(coils=coils).scans(sources, "axial")
    found["noise", "twice"] = plain.with_protocol(snr=own.snr / 2).scans(sources, "axial")
    found["wrong maps", "5 %"] = _with_wrong_maps(base, 0.05)
    found["spike", "2 %"] = _with_spike(base, 0.02)
    found["motion", "1 pixel"] = _with_motion(base)
    return found


def _sampled_otherwise(
    sources: Tensor, accelerations: Sequence[float], acquisition: Acquisition
) -> dict[tuple[str, str], Batch]:
    """Return scans with other accelerations and the other pattern; none with a user's mask."""
    if acquisition.mask is not None:
        return {}
    own = acquisition.protocol
    lines = sources.shape[-1 if acquisition.axis == "x" else -2]
    found = {
        ("acceleration", f"{factor:g}x"): acquisition.with_protocol(acceleration=factor).scans(
            sources, "axial"
        )
        for factor in accelerations
        if acquisition.allows(factor, lines)
    }
    pattern = "points" if own.pattern == "lines" else "lines"
    other = acquisition.with_protocol(pattern=pattern)
    if other.allows(own.acceleration, lines):
        found["mask", f"{pattern} {own.acceleration:g}x"] = other.scans(sources, "axial")
    return found


def _inverted(sources: Tensor) -> Tensor:
    """Return heads with inverted contrast: bright tissue is dark and dark tissue bright."""
    head = avg_pool2d(sources[:, None], 5, 1, 2)[:, 0] > 0.08
    return head * (1.05 - sources).clamp(0, 1)


def _with_wrong_maps(batch: Batch, size: float) -> Batch:
    """Return the batch with maps that are off by a smooth error of a relative size."""
    generator = torch.Generator().manual_seed(0)
    *_, y, x = batch.maps.shape
    coarse = torch.randn(2 * batch.maps[:, :, 0, 0].numel(), 1, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (y, x), mode="bicubic")
    parts = smooth.reshape(2, *batch.maps.shape)
    error = torch.complex(parts[0], parts[1]) * (batch.maps != 0)
    error = size * error * item_norm(batch.maps, (1, 2, 3)) / item_norm(error, (1, 2, 3))
    return replace(batch, maps=normalise_maps(batch.maps + error, 2))


def _with_spike(batch: Batch, size: float) -> Batch:
    """Return the batch with one sample off in all coils, by a share of the norm of all samples."""
    kspace = batch.kspace.clone()
    norm = item_norm(kspace, (1, 2, 3)).flatten()
    for i, mask in enumerate(batch.mask[:, 0]):
        places = mask.nonzero()
        row, column = places[(3 * len(places)) // 5].tolist()
        kspace[i, :, row, column] += size * norm[i] / kspace.shape[1] ** 0.5
    return replace(batch, kspace=kspace)


def _with_motion(batch: Batch) -> Batch:
    """Return the batch with the object moved by a pixel along x for the last third of k-space."""
    size = batch.kspace.shape[-1]
    frequency = (torch.arange(size) - size // 2) / size
    moved = torch.polar(torch.ones(size), -2 * math.pi * frequency)
    ramp = torch.where(torch.arange(size) < 2 * size // 3, torch.ones(()), moved)
    return replace(batch, kspace=batch.kspace * ramp)


def _details(sources: Tensor, acquisition: Acquisition) -> list[Detail]:
    """Return scans with lesions of falling contrast, and with letters."""
    places = [_smooth_place(image) for image in sources]
    before = acquisition.scans(sources, "axial")
    found = []
    for contrast in LESIONS:
        spots = torch.stack([contrast * _spot(place, sources.shape[1:]) for place in places])
        name = f"lesion {100 * contrast:g} %"
        found.append(_detail(name, sources, spots, before, acquisition))
    text = torch.stack([_TEXT_CONTRAST * _text(place, sources.shape[1:]) for place in places])
    found.append(_detail("text", sources, text, before, acquisition))
    return found


def _detail(
    name: str, sources: Tensor, detail: Tensor, before: Batch, acquisition: Acquisition
) -> Detail:
    assert before.reference is not None
    # The simulation scales its noise to the image's mean, which a small detail moves little; both
    # scans need the same scale.
    after = acquisition.scans(sources + detail, "axial")
    assert after.reference is not None
    unit = before.reference.amax((1, 2)) / sources.amax((1, 2))
    other = after.reference.amax((1, 2)) / (sources + detail).amax((1, 2))
    ratio = (unit / other)[:, None, None]
    scaled = replace(
        after,
        kspace=after.kspace * ratio[:, None],
        reference=after.reference * ratio,
        maps=before.maps,
    )
    return Detail(name, before, scaled, detail * unit[:, None, None])


def _smooth_place(image: Tensor) -> tuple[int, int]:
    """Return the middle of the most even 9 x 9 pixels of tissue near the image's middle."""
    mean = avg_pool2d(image[None, None], 9, 1, 4)[0, 0]
    variance = avg_pool2d(image[None, None] ** 2, 9, 1, 4)[0, 0] - mean**2
    y, x = torch.meshgrid(*(torch.arange(n) - n // 2 for n in image.shape), indexing="ij")
    allowed = (y**2 + x**2 < (min(image.shape) / 4) ** 2) & (mean > 0.25) & (mean < 0.7)
    variance = torch.where(allowed, variance, torch.inf)
    row, column = divmod(int(variance.argmin()), image.shape[1])
    return row, column


def _spot(place: tuple[int, int], shape: torch.Size) -> Tensor:
    """Return a Gaussian spot of 2 pixels, (y, x), of height 1."""
    y, x = torch.meshgrid(
        *(torch.arange(n) - c for n, c in zip(shape, place, strict=True)), indexing="ij"
    )
    return torch.exp(-(y**2 + x**2) / (2 * 2.0**2))


def _text(place: tuple[int, int], shape: torch.Size) -> Tensor:
    """Return letters of one-pixel strokes, (y, x)."""
    letters = torch.tensor([[float(mark == "#") for mark in line] for line in _LETTERS])
    image = torch.zeros(shape)
    row, column = place[0] - letters.shape[0] // 2, place[1] - letters.shape[1] // 2
    image[row : row + letters.shape[0], column : column + letters.shape[1]] = letters
    return image


def _spread(available: int, wanted: int) -> list[int]:
    """Return that many numbers below ``available``, evenly spread."""
    count = min(available, wanted)
    return [(2 * i + 1) * available // (2 * count) for i in range(count)]


def _chosen(batch: Batch, which: list[int]) -> Batch:
    parts = [batch[i : i + 1] for i in which]
    assert batch.reference is not None
    assert batch.truth is not None
    return Batch(
        tuple(batch.names[i] for i in which),
        torch.cat([part.kspace for part in parts]),
        torch.cat([part.mask for part in parts]),
        torch.cat([part.maps for part in parts]),
        batch.reference[which],
        batch.truth[which],
        batch.simulated,
    )
