"""Trains a learned frame on simulated slices: scripts/train_learned_frame.py OUT.safetensors.

Magnitudes are patches of scikit-image's and scikit-learn's images and slices of the MNI152 template
(nilearn), with random contrast, phase, coils, noise and masks; maps are estimated from what is left
of the samples and turned as ``firenet recon`` does it. No real scan trains or chooses anything.
Some images and a part of the template are held out; the last lines compare with `accurate` there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from firenet_mri import RawScan
from firenet_mri.calibration import reference_phase, sensitivity_maps
from firenet_mri.errors import CalibrationError
from firenet_mri.firenet.learned_frame import FrameLayout, LearnedSparsity, load_learned_frame
from firenet_mri.firenet.presets import make_network
from firenet_mri.operators import encoding_operator
from firenet_mri.simulation import simulate
from firenet_mri.training.learned_frame import TrainingCase, train_frame
from firenet_mri.training.loop import TrainingPlan, WeightsFile

TRAINING = (
    *("astronaut", "camera", "coins", "cat", "coffee", "rocket", "page", "moon", "brick", "grass"),
    *("gravel", "retina", "immunohistochemistry", "hubble_deep_field", "cell"),
)
HELD_OUT = ("clock", "text", "horse", "colorwheel")
SIZE = 80


def images(held_out: bool) -> dict[str, np.ndarray]:
    """Return magnitudes in [0, 1] by name; every fifth part of the template is held out."""
    import skimage.data
    from nilearn.datasets import load_mni152_template
    from sklearn.datasets import load_sample_images

    found = {}
    for name in HELD_OUT if held_out else TRAINING:
        image = np.asarray(getattr(skimage.data, name)(), dtype=np.float32)
        found[name] = image[..., :3].mean(-1) if image.ndim == 3 else image
    samples = load_sample_images()
    chosen = slice(1, 2) if held_out else slice(0, 1)
    for name, image in zip(samples.filenames[chosen], samples.images[chosen], strict=True):
        found[Path(name).name] = image.astype(np.float32).mean(-1)
    template = np.asarray(load_mni152_template(resolution=1).dataobj, dtype=np.float32)
    for axis in range(3):
        for index in range(30, template.shape[axis] - 30, 4):
            if (index // 20 % 5 == 2) == held_out:
                found[f"mni{axis}-{index}"] = np.take(template, index, axis)
    return {name: image / image.max() for name, image in found.items() if image.mean() > 0}


class Cases:
    """Draws cases from images, the same for the same seed."""

    def __init__(self, held_out: bool, seed: int) -> None:
        self.images = images(held_out)
        self.natural = [name for name in self.images if not name.startswith("mni")]
        self.template = [name for name in self.images if name.startswith("mni")]
        self.random = np.random.default_rng(seed)

    def take(self, count: int) -> list[TrainingCase]:
        """Return so many cases."""
        found: list[TrainingCase] = []
        while len(found) < count:
            case = self.case()
            if case is not None:
                found.append(case)
        return found

    def case(self) -> TrainingCase | None:
        """Return a case; None where maps cannot be estimated."""
        magnitude = self.magnitude()
        smooth = self.smooth(3) * self.random.uniform(0, 2) + self.random.uniform(-3, 3)
        if self.random.uniform() < 0.25:
            smooth = smooth + self.smooth(int(self.random.integers(6, 14))) * 0.7
        image = torch.polar(magnitude, smooth.float())[None]
        coils = int(self.random.choice([4, 6, 8]))
        seed = int(self.random.integers(2**31))
        snr = float(10 ** self.random.uniform(1.1, 1.9))
        full = simulate(image, coils=coils, acceleration=1.0, snr=snr, seed=seed).kspace[0]
        mask = self.mask()
        kspace = full * mask
        try:
            maps = sensitivity_maps(RawScan(kspace, mask, 2))
        except CalibrationError:
            return None
        maps = maps * reference_phase(kspace, maps, mask)
        reference = encoding_operator(None, maps).adjoint(full).abs()
        if self.random.uniform() < 0.5:
            # Without noise, where the maps see anything.
            reference = magnitude * (torch.linalg.vector_norm(maps, dim=0) > 0.5)
        if float(reference.square().mean()) < 1e-3:
            return None
        return TrainingCase(kspace, mask, maps, reference)

    def magnitude(self) -> Tensor:
        """Return (SIZE, SIZE) in [0, 1]: a part of an image, with another contrast."""
        is_natural = self.random.uniform() < 0.5
        name = self.random.choice(self.natural if is_natural else self.template)
        image = torch.from_numpy(np.ascontiguousarray(self.images[name]))[None, None]
        least = min(image.shape[-2:])
        size = self.random.uniform(1.0, 2.2) * SIZE
        scale = min(size / least, 1.0)
        image = F.interpolate(image, scale_factor=scale, mode="area")
        short = [max(0, SIZE - n) for n in image.shape[-2:]]
        image = F.pad(image, (short[1] // 2, short[1] - short[1] // 2, short[0] // 2, short[0]))
        first = [int(self.random.integers(n - SIZE + 1)) for n in image.shape[-2:]]
        patch = image[0, 0, first[0] : first[0] + SIZE, first[1] : first[1] + SIZE]
        patch = patch / patch.max().clamp(min=1e-3)
        for axes in ([0], [1]):
            patch = patch.flip(axes) if self.random.uniform() < 0.5 else patch
        patch = patch.T if self.random.uniform() < 0.5 else patch
        inside = self.ellipse() if is_natural or self.random.uniform() < 0.3 else patch > 0.02
        patch = patch ** self.random.uniform(0.6, 1.5)
        if self.random.uniform() < 0.3:
            patch = 1 - patch
        patch = patch * inside * (1 + 0.3 * self.smooth(3)).clamp(0.3, 2)
        return (patch / patch.max().clamp(min=1e-3)).float()

    def ellipse(self) -> Tensor:
        """Return a random ellipse as mask."""
        y, x = torch.meshgrid(*[torch.linspace(-1, 1, SIZE)] * 2, indexing="ij")
        angle, a, b = self.random.uniform(0, math.pi), *self.random.uniform(0.6, 1.1, 2)
        u, v = math.cos(angle) * y + math.sin(angle) * x, math.cos(angle) * x - math.sin(angle) * y
        return (u / a) ** 2 + (v / b) ** 2 < 1

    def smooth(self, knots: int) -> Tensor:
        """Return a smooth random surface of standard deviation about 1."""
        coarse = torch.from_numpy(self.random.standard_normal((1, 1, knots, knots)))
        return F.interpolate(coarse, (SIZE, SIZE), mode="bicubic", align_corners=True)[0, 0]

    def mask(self) -> Tensor:
        """Return (1, SIZE, SIZE): lines at random or evenly, or points, with a sampled centre."""
        width = int(self.random.integers(10, 20))
        centre = np.abs(np.arange(SIZE) - SIZE // 2 + 0.5) < width / 2
        distance = np.abs(np.arange(SIZE) - SIZE / 2) / (SIZE / 2)
        kind = self.random.choice(["random", "even", "points"], p=[0.4, 0.15, 0.45])
        if kind == "points":
            radius = np.hypot(distance[:, None], distance[None]) / math.sqrt(2)
            density = (1 - radius) ** self.random.uniform(1, 3) + 0.02
            wanted = SIZE**2 / self.random.uniform(3, 8)
            chosen = self.random.uniform(size=density.shape) < density * wanted / density.sum()
            mask = chosen | (centre[:, None] & centre[None])
        else:
            lines = centre.copy()
            if kind == "even":
                lines[int(self.random.integers(3)) :: int(self.random.integers(2, 5))] = True
            else:
                density = ((1 - distance) ** 2 + 0.05) * ~centre
                count = max(6, round(SIZE / self.random.uniform(2.5, 5)) - width)
                at = self.random.choice(SIZE, count, replace=False, p=density / density.sum())
                lines[at] = True
            mask = np.broadcast_to(lines[:, None], (SIZE, SIZE))
        return torch.from_numpy(mask.copy())[None]


def decibels(cases: list[TrainingCase], module: LearnedSparsity | None) -> np.ndarray:
    """Return -10 log10 of each case's error with a learned frame, or with `accurate`."""
    found = []
    with torch.no_grad():
        for case in cases:
            coils, *shape = case.kspace.shape
            net = (make_network if module is None else module.network)(coils, tuple(shape))
            found.append(-10 * math.log10(float(case.error(net))))
    return np.array(found)


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Train, save, and compare on what was held out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--copies", type=int, default=2)
    parser.add_argument("--distances", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rate", type=float, default=0.004)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="a file to begin with, whose layout is taken")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    begin = time.monotonic()
    cases, held_out = Cases(False, asked.seed).take(asked.cases), Cases(True, 1).take(52)
    say(f"{len(cases)} and {len(held_out)} cases, {time.monotonic() - begin:.0f} s")
    validation, test = held_out[:12], held_out[12:]
    module = (
        LearnedSparsity(FrameLayout(asked.copies, tuple(asked.distances)))
        if asked.start is None
        else load_learned_frame(asked.start).module
    )
    recipe = {name: str(value) for name, value in vars(asked).items() if name != "out"}
    recipe["start"] = "" if asked.start is None else load_learned_frame(asked.start).digest
    recipe["data"] = "scikit-image, scikit-learn, MNI152 template; simulated coils and phases"
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
    file = WeightsFile(asked.out.with_suffix(".pt"), digest, "frame")
    plan = TrainingPlan(asked.epochs, asked.steps, asked.rate, recipe)

    def report(done: int, total: int) -> None:
        if done % asked.steps == 0:
            say(f"{done} of {total} steps, {time.monotonic() - begin:.0f} s")

    options = {"validation": validation, "on_step": report}
    frozen = train_frame(module, cases, plan, file, **options)
    frozen.save(asked.out)
    for curve in ("loss", "validation"):
        say(f"{curve}: " + " ".join(f"{value:.3f}" for value in frozen.training[curve]))
    ours, usual = decibels(test, module), decibels(test, None)
    gain = ours - usual
    say(
        f"held out: accurate {usual.mean():.2f} dB, learned {ours.mean():.2f} dB; gain "
        f"{gain.mean():.2f}, {gain.min():.2f} to {gain.max():.2f}, in {(gain > 0).sum()} of "
        f"{len(gain)}; {time.monotonic() - begin:.0f} s"
    )


if __name__ == "__main__":
    main()
