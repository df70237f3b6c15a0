"""Trains a MONAI segmentation network on FIRENET's images; simulated, minutes on one core.

    python docs/examples/train_segmentation.py --seeds 5

Bright discs and rectangles on a noisy background are measured by four coils, under-sampled
4-fold. The segmentation of the discs is trained on FIRENET's images and on zero-filled ones, with
the same network, seed and number of steps, and compared by its Dice score on images that neither
has seen. One seed draws the objects, the network's first weights and the order of training, so
that only the spread over several seeds tells whether there is a difference. Reconstructions are
cached: each is made once.
"""

from __future__ import annotations

import argparse

import numpy as np
import sigpy.mri
import torch
from monai.data import CacheDataset, DataLoader
from monai.losses import DiceLoss
from monai.metrics import DiceMetric
from monai.networks.nets import UNet
from monai.transforms import Compose, NormalizeIntensityd
from monai.utils import set_determinism

from firenet_mri.monai import FIRENETReconstructd, FixedKspaceMaskd
from firenet_mri.operators import encoding_operator

SIZE = 64


def phantoms(count: int, seed: int) -> list[dict[str, torch.Tensor]]:
    """Return k-space (coil, y, x) of simulated objects, and the discs as labels (1, y, x)."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    maps = torch.from_numpy(sigpy.mri.birdcage_maps((4, SIZE, SIZE))).to(torch.complex64)
    maps = maps / torch.linalg.vector_norm(maps, dim=0)
    encoding = encoding_operator(None, maps)
    items = []
    for _ in range(count):
        image = 0.3 * (np.hypot(y - SIZE / 2, x - SIZE / 2) < 28).astype(np.float32)
        label = np.zeros_like(image)
        for kind in ("disc", "disc", "box", "box"):
            cy, cx = generator.integers(16, SIZE - 16, 2)
            radius = generator.uniform(3, 7)
            distance = np.hypot(y - cy, x - cx)
            if kind == "box":
                distance = np.maximum(abs(y - cy), abs(x - cx))
            inside = distance < radius
            image[inside] = generator.uniform(0.5, 0.9)
            label[inside] = kind == "disc"
        kspace = encoding(torch.from_numpy(image).to(torch.complex64))
        noise = generator.normal(size=(2, *kspace.shape)) * 0.02
        noisy = kspace + torch.from_numpy(noise[0] + 1j * noise[1])
        items.append({"kspace": noisy.to(torch.complex64), "label": torch.from_numpy(label[None])})
    return items


def pipeline(image: str) -> Compose:
    """Return the transforms; ``image`` is the key of what the network sees."""
    steps = [FixedKspaceMaskd("kspace", acceleration=4, center_fraction=0.15, seed=1)]
    if image == "kspace_masked":
        steps.append(FIRENETReconstructd(image, image_axes="kspace", maps="lowres"))
    return Compose([*steps, _Channel(image), NormalizeIntensityd(image)])


class _Channel:
    """Gives zero-filled images the channel axis that FIRENET's have."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __call__(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        image = torch.as_tensor(data[self.key])
        return {self.key: image.reshape(1, *image.shape[-2:]), "label": data["label"]}


def dice(image: str, seed: int, steps: int, train: int, test: int) -> float:
    """Return the Dice score of a network trained on such images."""
    set_determinism(seed=seed)
    network = UNet(2, in_channels=1, out_channels=1, channels=(8, 16, 32), strides=(2, 2))
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    loss = DiceLoss(sigmoid=True)
    data = CacheDataset(phantoms(train, seed=2 * seed + 1), pipeline(image), progress=False)
    loader = DataLoader(data, batch_size=8, shuffle=True)
    done = 0
    while done < steps:
        for batch in loader:
            optimiser.zero_grad()
            loss(network(batch[image]), batch["label"]).backward()
            optimiser.step()
            done += 1
    metric = DiceMetric(ignore_empty=True)
    unseen = CacheDataset(phantoms(test, seed=2 * seed + 2), pipeline(image), progress=False)
    with torch.no_grad():
        for batch in DataLoader(unseen, batch_size=8):
            metric((network(batch[image]) > 0).float(), batch["label"])
    return float(metric.aggregate())


def with_spread(scores: list[float]) -> str:
    """Return mean and sample standard deviation; of one score there is no spread."""
    spread = f" +- {np.std(scores, ddof=1):.3f}" if len(scores) > 1 else ""
    return f"{np.mean(scores):.3f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--train", type=int, default=48)
    parser.add_argument("--test", type=int, default=32)
    options = parser.parse_args()
    scores: dict[str, list[float]] = {"FIRENET": [], "zero-filled": []}
    for seed in range(options.seeds):
        for name, image in (("FIRENET", "kspace_masked"), ("zero-filled", "kspace_masked_ifft")):
            scores[name].append(dice(image, seed, options.steps, options.train, options.test))
        line = ", ".join(f"{name} {values[-1]:.3f}" for name, values in scores.items())
        print(f"seed {seed}: {line}", flush=True)
    for name, values in scores.items():
        print(f"trained on {name} images: Dice {with_spread(values)}")
    gains = [a - b for a, b in zip(*scores.values(), strict=True)]
    print(f"FIRENET less zero-filled: {with_spread(gains)}")


if __name__ == "__main__":
    main()
