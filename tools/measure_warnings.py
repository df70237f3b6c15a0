"""Measure the thresholds of the warnings about the data: what good scans show, and wrong ones.

    python tools/measure_warnings.py [FOLDER] [--all]

Good are the sample scan, simulated scans, and the real scans of FOLDER, fully
sampled and under-sampled by lines, points and equispaced lines. Wrong ones are made of them: an
echo 11 columns off, alternating signs left in, coil images in the place of k-space, spokes in the
place of lines, two coils with different images, a field of view that is too small, a coil that
shows noise only. The table has the largest value of a good scan, the smallest of a wrong one, and
how many of the wrong ones are warned of: by this warning, and by any. ``--all`` prints every scan.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from firenet_mri import RawScan, read
from firenet_mri.errors import CalibrationError
from firenet_mri.io.image.reference import read_reference
from firenet_mri.operators import NonuniformFourier
from firenet_mri.operators.centred import centred_fft, centred_ifft
from firenet_mri.phantoms import ellipses
from firenet_mri.reconstruction.data_warnings.item import item_values, item_warnings
from firenet_mri.reconstruction.data_warnings.maps import CUT_BY_MAPS, FOLD_OVER
from firenet_mri.reconstruction.data_warnings.residual import RESIDUAL_ABOVE_NOISE
from firenet_mri.reconstruction.data_warnings.samples import (
    CENTRE_OFF,
    IMAGE_WRAPPED,
    KSPACE_IS_IMAGE,
    NOT_CARTESIAN,
)
from firenet_mri.reconstruction.data_warnings.scan import DEAD_COILS, noise_over_signal
from firenet_mri.reconstruction.data_warnings.warning import Kind
from firenet_mri.reconstruction.options import ReconstructionOptions
from firenet_mri.reconstruction.prepare import prepare
from firenet_mri.reconstruction.solve import solve
from firenet_mri.simulation import simulate

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "sample_data/brain_8coil.h5"
REFERENCE = ROOT / "sample_data/brain_8coil_reference.nii.gz"
KINDS = (
    RESIDUAL_ABOVE_NOISE,
    CUT_BY_MAPS,
    FOLD_OVER,
    CENTRE_OFF,
    IMAGE_WRAPPED,
    KSPACE_IS_IMAGE,
    NOT_CARTESIAN,
    DEAD_COILS,
)
AXES = [-2, -1]


@dataclass(frozen=True)
class Case:
    """A scan of one slice, and what is wrong with it; None if nothing is."""

    name: str
    scan: RawScan
    wrong: Kind | None = None


@dataclass(frozen=True)
class Found:
    """What was measured of a case, and the names of the warnings that it gave."""

    case: Case
    values: dict[str, float]
    warned: tuple[str, ...]


def scan_of(kspace: Tensor, mask: Tensor | None = None, noise: Tensor | None = None) -> RawScan:
    """Return the scan of one slice, (coil, y, x) complex."""
    whole = torch.ones((1, *kspace.shape[1:]), dtype=torch.bool)
    sampled = whole if mask is None else mask
    return RawScan(kspace * sampled, sampled, 2, noise=noise, name="scan")


def real_scans(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield the fully sampled real scans, (coil, y, x)."""
    for index, kspace in enumerate(read(folder / "ge_pfile/P20480_GRE.7").kspace):
        yield f"spheres {index}", kspace
    yield "resolution phantom", read(folder / "siemens_twix/gre.dat").kspace[0]
    for name in ("brain_16coil", "spin_echo_32coil"):
        yield name, pulseq(folder / "pulseq" / f"{name}.dat")


def pulseq(path: Path) -> Tensor:
    """Return the readouts of a Pulseq scan in the order in which they came, (coil, y, x)."""
    import twixtools

    scan = twixtools.read_twix(str(path), verbose=False)[-1]
    lines = [block.data for block in scan["mdb"] if block.is_image_scan()]
    return torch.from_numpy(np.stack(lines, 1).astype(np.complex64))


def pattern(shape: tuple[int, int], kind: str, rate: float, centre: int) -> Tensor:
    """Return what is sampled, (1, y, x) bool."""
    rows = torch.arange(shape[0])
    if kind == "equispaced":
        inside = (rows - shape[0] // 2 + centre // 2) // centre == 0
        return ((rows % round(rate) == 0) | inside)[None, :, None].expand(1, *shape)
    one = torch.ones(1, *shape)
    made = simulate(one, acceleration=rate, calibration=centre, pattern=kind, coils=1)  # type: ignore[arg-type]
    return made.mask[0]


def good_scans(folder: Path | None) -> Iterator[Case]:
    """Yield scans with nothing wrong."""
    sample = read(SAMPLE)
    yield Case("sample", scan_of(sample.kspace[0], sample.mask[0], sample.noise))
    yield Case("sample, noise unknown", scan_of(sample.kspace[0], sample.mask[0]))
    yield from simulated_scans()
    if folder is None:
        return
    brain = read(folder / "brain_poisson/cartesian_ksp.npy")
    yield Case("brain, Poisson", scan_of(brain.kspace, brain.mask))
    patterns = (("lines", 2, 24), ("lines", 3, 16), ("points", 4, 24), ("points", 6, 16))
    patterns += (("points", 12, 16), ("equispaced", 2, 16), ("equispaced", 3, 20))
    for name, kspace in real_scans(folder):
        yield Case(name, scan_of(kspace))
        for kind, rate, centre in patterns:
            if centre**2 * rate < math.prod(kspace.shape[1:]):
                mask = pattern(tuple(kspace.shape[1:]), kind, rate, centre)  # type: ignore[arg-type]
                yield Case(f"{name}, {kind} {rate}", scan_of(kspace, mask))


def simulated_scans() -> Iterator[Case]:
    """Yield simulated scans of two objects, at several rates and signal-to-noise ratios."""
    images = {"MNI": read_reference(REFERENCE)[:1], "ellipses": ellipses(192, 3, 1)[:1]}
    for (what, image), snr in ((i, s) for i in images.items() for s in (1e4, 40, 10, 5, 3, 1)):
        for kind, rate in (("lines", 1), ("lines", 3), ("points", 6)):
            made = simulate(
                image, acceleration=rate, calibration=20, pattern=kind, snr=snr, coils=6
            )  # type: ignore[arg-type]
            name = f"{what}, {kind} {rate}, SNR {snr:g}"
            yield Case(name, scan_of(made.kspace[0], made.mask[0], made.noise))
            yield Case(f"{name}, noise unknown", scan_of(made.kspace[0], made.mask[0]))


def wrong_scans(folder: Path | None) -> Iterator[Case]:
    """Yield the wrong scans that good ones can be made into."""
    sample = read(SAMPLE)
    kspace, mask = sample.kspace[0], sample.mask[0]
    yield Case("sample", scan_of(kspace.roll(11, -1), mask, sample.noise), CENTRE_OFF)
    yield from _of_one(kspace, mask, "sample")
    yield from _two_simulated_images()
    yield from _small_simulated_view()
    for name, one in real_scans(folder) if folder is not None else ():
        whole = torch.ones((1, *one.shape[1:]), dtype=torch.bool)
        yield from _of_one(one, whole, name)
        yield from _of_images(one, name)
        few = pattern(tuple(one.shape[1:]), "points", 12, 12)  # type: ignore[arg-type]
        if name == "brain_16coil":
            # Maps from so small a centre are zero on 15 % of the head.
            yield Case(f"{name}, centre 12", scan_of(one, few), RESIDUAL_ABOVE_NOISE)
        lines = pattern(tuple(one.shape[1:]), "lines", 3, 16)  # type: ignore[arg-type]
        yield Case(f"{name}, lines", scan_of(one.roll(11, -1), lines), CUT_BY_MAPS)
        yield Case(f"{name}, lines", scan_of(one.roll(11, -1), lines), CENTRE_OFF)


def _of_one(kspace: Tensor, mask: Tensor, name: str) -> Iterator[Case]:
    """Yield what can be done to samples, whatever was sampled."""
    signs = [(-1.0) ** torch.arange(size) for size in kspace.shape[1:]]
    yield Case(name, scan_of(kspace.roll(11, -1), mask), CUT_BY_MAPS)
    yield Case(name, scan_of(kspace.roll(11, -1), mask), CENTRE_OFF)
    yield Case(f"{name}, columns", scan_of(kspace * signs[1], mask), IMAGE_WRAPPED)
    yield Case(f"{name}, lines", scan_of(kspace * signs[0][:, None], mask), IMAGE_WRAPPED)
    dead = kspace.clone()
    strength = float(dead[0].abs().median()) or float(dead[0].abs().mean())
    dead[1] = strength * torch.randn(
        dead[1].shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(0)
    )
    yield Case(name, scan_of(dead, mask), DEAD_COILS)


def _of_images(kspace: Tensor, name: str) -> Iterator[Case]:
    """Yield what needs all of k-space."""
    images = centred_ifft(kspace, AXES)
    yield Case(name, scan_of(images), KSPACE_IS_IMAGE)
    sum_of_squares = torch.linalg.vector_norm(images, dim=0)
    pair = torch.stack([sum_of_squares, sum_of_squares.flip(-1)]).to(torch.complex64)
    yield Case(f"{name}, magnitude", scan_of(pair), KSPACE_IS_IMAGE)
    yield Case(name, scan_of(spokes(images)), NOT_CARTESIAN)
    yield Case(f"{name}, columns", scan_of(spokes(images).mT), NOT_CARTESIAN)
    other = images[0].flip(-1).mT if images.shape[-1] == images.shape[-2] else images[0].flip(-1)
    different = centred_fft(torch.stack([images[0], other]), AXES)
    yield Case(name, scan_of(different), RESIDUAL_ABOVE_NOISE)
    first = (kspace.shape[1] // 2) % 2
    yield Case(f"{name}, half", scan_of(kspace[:, first::2].contiguous()), FOLD_OVER)


def _two_simulated_images() -> Iterator[Case]:
    """Yield two coils that show different images, with noise."""
    images = {"MNI": read_reference(REFERENCE)[0], "ellipses": ellipses(216, 3, 1)[0]}
    brain = images["MNI"]
    pairs = {
        "brain and ellipses": images["ellipses"][: brain.shape[0], : brain.shape[1]],
        "brain and its mirror": brain.flip(0),
        "brain upside down": brain.flip(0, 1),
    }
    for name, other in pairs.items():
        for snr in (40, 15):
            both = torch.stack([brain / brain.max(), other / other.max()]).to(torch.complex64)
            noise = torch.randn(
                both.shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(1)
            )
            kspace = centred_fft(both, AXES) + noise / snr / 2
            yield Case(f"{name}, SNR {snr}", scan_of(kspace), RESIDUAL_ABOVE_NOISE)


def _small_simulated_view() -> Iterator[Case]:
    """Yield a simulated scan of which the field of view holds a part of the object."""
    made = simulate(read_reference(REFERENCE)[:1], acceleration=1, calibration=20)
    for axis, name in ((1, "lines"), (2, "columns")):
        first = (made.kspace.shape[axis + 1] // 2) % 2
        every = torch.arange(first, made.kspace.shape[axis + 1], 2)
        kspace = made.kspace[0].index_select(axis, every)
        yield Case(f"MNI, half of the {name}", scan_of(kspace, None, made.noise), FOLD_OVER)


def spokes(images: Tensor) -> Tensor:
    """Return the samples of as many spokes as there are rows, (coil, spoke, sample)."""
    rows, columns = images.shape[1:]
    angle = math.pi * torch.arange(rows) / rows
    along = (torch.arange(columns) - columns // 2) * min(rows, columns) / columns
    points = torch.stack([angle.sin()[:, None] * along, angle.cos()[:, None] * along], -1)
    fourier = NonuniformFourier(points.float(), (rows, columns))
    return torch.stack([fourier(coil) for coil in images])


def measured(case: Case) -> Found:
    """Return what is measured of a scan, with default options."""
    options = ReconstructionOptions()
    prepared = prepare(case.scan, options)
    values = {DEAD_COILS.name: max(noise_over_signal(case.scan))}
    try:
        encoded, _ = prepared.encoded(prepared.items[0])
    except CalibrationError:
        return Found(case, values, ("no maps",))
    with torch.no_grad():
        x = solve(prepared.net, encoded).state.x
    values |= item_values(encoded, x)
    names = [one.name for one in (*prepared.warnings, *item_warnings(encoded, x))]
    return Found(case, values, tuple(names))


def row(kind: Kind, good: list[Found], wrong: list[Found]) -> str:
    """Return the line of the table for one warning."""
    most = max((one for one in good if kind.name in one.values), key=lambda f: f.values[kind.name])
    cases = [one for one in wrong if one.case.wrong is kind]
    found = [one for one in cases if kind.name in one.warned]
    least = min((one.values[kind.name] for one in found), default=math.nan)
    by_any = sum(bool(one.warned) for one in cases)
    cells = (
        kind.name.replace("_", " "),
        f"{kind.threshold:g}",
        f"{most.values[kind.name]:.2g} ({most.case.name})",
        f"{least:.2g}",
        f"{len(found)} / {by_any} / {len(cases)}",
    )
    return f"| {' | '.join(cells)} |"


def main(folder: Path | None, show_all: bool) -> None:
    """Print the table, the good scans that are warned of, and the wrong ones that are not."""
    good = [measured(case) for case in good_scans(folder)]
    wrong = [measured(case) for case in wrong_scans(folder)]
    lines = [
        f"{len(good)} good and {len(wrong)} wrong scans.",
        "| warning | threshold | largest good | smallest found | by it / by any / wrong |",
        "|---|---|---|---|---|",
        *(row(kind, good, wrong) for kind in KINDS),
    ]
    lines += [
        f"False alarm: {one.case.name}: {', '.join(one.warned)}" for one in good if one.warned
    ]
    for one in wrong:
        assert one.case.wrong is not None
        if one.case.wrong.name not in one.warned:
            value = one.values.get(one.case.wrong.name, math.nan)
            others = ", ".join(one.warned) or "nothing"
            lines.append(
                f"Not found: {one.case.wrong.name}, {one.case.name}: {value:.3g}; {others}"
            )
    if show_all:
        for one in (*good, *wrong):
            numbers = ", ".join(f"{name} {value:.3g}" for name, value in one.values.items())
            kind = "good" if one.case.wrong is None else one.case.wrong.name
            lines.append(f"{kind}: {one.case.name}: {numbers}; {', '.join(one.warned)}")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--all", action="store_true", dest="show_all")
    chosen = parser.parse_args()
    main(chosen.folder, chosen.show_all)
