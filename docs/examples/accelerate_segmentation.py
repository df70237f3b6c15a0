"""What acceleration does to a segmentation; simulated, some minutes on two cores.

    python docs/examples/accelerate_segmentation.py --picture segmentation.png

A MONAI network finds small bright spots in images of full scans. Two lines in front of it,
SimulateKspaced and a reconstruction, turn the same pipeline to scans that are accelerated 2- to
8-fold, by four coils with noise. Three reconstructions of the same k-space are compared by the Dice
score of the segmentation, whose network has seen full scans only: zero filling, a U-Net that was
trained on such scans at all of these accelerations, and FIRENET, which was not trained. Everything
here is simulated, the objects too.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from monai.data import CacheDataset, DataLoader, Dataset
from monai.losses import DiceLoss
from monai.metrics import DiceMetric
from monai.networks.nets import BasicUNet
from monai.transforms import Compose, NormalizeIntensity, RandFlipd, RandRotate90d
from monai.utils import set_determinism
from torch import Tensor, nn

from firenet_mri.monai import FIRENETReconstruct, RandSimulateKspaced

SIZE = 96
ACCELERATIONS = (2, 4, 6, 8)
Reconstruct = Callable[[Tensor], Tensor]


def phantoms(count: int, seed: int) -> list[dict[str, Tensor]]:
    """Return images (1, x, y) of heads with bright and dark spots, the bright ones as labels."""
    generator = np.random.default_rng(seed)
    x, y = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    items = []
    for _ in range(count):
        head = (x / generator.uniform(32, 42)) ** 2 + (y / generator.uniform(36, 44)) ** 2 < 1
        waves = sum(np.sin((a * x + b * y) / 9 + c) for a, b, c in generator.normal(size=(3, 3)))
        image = head * (0.5 + 0.04 * waves)
        label = np.zeros_like(image)
        for contrast in (-0.2, -0.2, 0.15, 0.2, 0.25, 0.3):
            cx, cy = generator.uniform(-22, 22, 2)
            inside = np.hypot(x - cx, y - cy) < generator.uniform(1.5, 4)
            image[inside] = 0.5 + contrast
            label[inside] = contrast > 0
        pair = (torch.from_numpy(one[None]).float() for one in (image, label))
        items.append(dict(zip(("image", "label"), pair, strict=True)))
    return items


def scans(images: list[dict[str, Tensor]], accelerations: tuple[int, ...], seed: int) -> Dataset:
    """Return the images with their simulated k-space, drawn anew at every access."""
    simulate = RandSimulateKspaced("image", accelerations, (20, 40), coils=4, calibration=8)
    return Dataset(images, Compose([simulate]).set_random_state(seed))


def zero_filled(kspace: Tensor) -> Tensor:
    """Return the root-sum-of-squares (1, x, y) of k-space (coil, y, x)."""
    shifted = torch.fft.ifftshift(torch.as_tensor(kspace), (-2, -1))
    images = torch.fft.fftshift(torch.fft.ifft2(shifted, norm="ortho"), (-2, -1))
    return torch.linalg.vector_norm(images, dim=0).T[None]


def small_unet(seed: int) -> BasicUNet:
    set_determinism(seed)
    return BasicUNet(2, 1, 1, features=(12, 12, 24, 24, 48, 12), upsample="nontrainable")


def train(network: nn.Module, loader: DataLoader, steps: int, loss_of: Callable) -> nn.Module:
    """Take steps of Adam, with a falling step size."""
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    done = 0
    while done < steps:
        for batch in loader:
            optimiser.zero_grad()
            loss_of(network, batch).backward()
            optimiser.step()
            schedule.step()
            done += 1
    return network.eval()


def segmentation(images: list[dict[str, Tensor]], steps: int) -> nn.Module:
    """Return a network that finds bright spots in images of full scans."""
    turns = Compose([RandFlipd(["image", "label"], 0.5, 0), RandRotate90d(["image", "label"], 0.5)])
    data = CacheDataset(images, turns.set_random_state(0), progress=False)
    loss, normalised = DiceLoss(sigmoid=True), NormalizeIntensity()

    def loss_of(network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        noisy = batch["image"] + 0.02 * torch.randn(batch["image"].shape)
        shown = torch.stack([normalised(image) for image in noisy])
        return loss(network(shown), batch["label"])

    return train(small_unet(0), DataLoader(data, batch_size=8, shuffle=True), steps, loss_of)


def trained_reconstruction(images: list[dict[str, Tensor]], steps: int) -> Reconstruct:
    """Return a U-Net that corrects zero-filled images, trained at all accelerations."""

    def with_zero_filled(item: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"input": zero_filled(item["image"]), "target": item["truth_image"].abs()}

    data = Dataset(scans(images, ACCELERATIONS, seed=1), with_zero_filled)

    def loss_of(network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        return (batch["input"] + network(batch["input"]) - batch["target"]).abs().mean()

    network = train(small_unet(1), DataLoader(data, batch_size=8, shuffle=True), steps, loss_of)

    def reconstruct(kspace: Tensor) -> Tensor:
        image = zero_filled(kspace)
        with torch.no_grad():
            return (image[None] + network(image[None]))[0]

    return reconstruct


def found(network: nn.Module, image: Tensor) -> Tensor:
    """Return the spots that the network sees in an image (1, x, y)."""
    shown = NormalizeIntensity()(torch.as_tensor(image))
    with torch.no_grad():
        return (network(shown[None]) > 0).float()[0]


def draw(path: Path, scores: dict[str, list[float]], full: float, shown: dict[str, tuple]) -> None:
    """Write the scores, and one object with the outlines of what was found in it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.2), layout="constrained")
    axes = figure.subplot_mosaic(
        [["scores", *list(shown)[:2]], ["scores", *list(shown)[2:]]], width_ratios=(1.5, 1, 1)
    )
    for name, values in scores.items():
        axes["scores"].plot(ACCELERATIONS, values, "o-", label=name)
    axes["scores"].axhline(full, color="grey", ls=":", label="full scan")
    axes["scores"].set(
        xlabel="acceleration", ylabel="Dice score (simulated)", ylim=(0, 1), xticks=ACCELERATIONS
    )
    axes["scores"].legend()
    for name, (image, spots) in shown.items():
        axes[name].imshow(image[0].T.numpy(), cmap="gray", vmin=0, vmax=1)
        axes[name].contour(spots[0].T.numpy(), [0.5], colors="orange", linewidths=1)
        axes[name].set_title(name)
        axes[name].axis("off")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--train", type=int, default=96)
    parser.add_argument("--test", type=int, default=20)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    images, unseen = phantoms(options.train, seed=0), phantoms(options.test, seed=1)
    network = segmentation(images, options.steps)
    methods: dict[str, Reconstruct] = {
        "zero filling": zero_filled,
        "trained U-Net": trained_reconstruction(images, options.steps),
        "FIRENET": FIRENETReconstruct(maps="lowres"),
    }
    metric = DiceMetric(ignore_empty=True)
    for item in unseen:
        metric(found(network, item["image"])[None], item["label"][None])
    full = float(metric.aggregate())
    print(f"full scan: Dice {full:.3f} (simulated)")
    scores: dict[str, list[float]] = {name: [] for name in methods}
    first = unseen[0]
    shown = {"full scan": (first["image"], found(network, first["image"]))}
    for acceleration in ACCELERATIONS:
        measured = list(scans(unseen, (acceleration,), seed=2))
        for name, reconstruct in methods.items():
            metric.reset()
            made = [torch.as_tensor(reconstruct(item["image"])) for item in measured]
            for image, item in zip(made, measured, strict=True):
                metric(found(network, image)[None], item["label"][None])
            scores[name].append(float(metric.aggregate()))
            shown[f"{name}, {ACCELERATIONS[-1]}x"] = (made[0], found(network, made[0]))
        line = ", ".join(f"{name} {values[-1]:.3f}" for name, values in scores.items())
        print(f"{acceleration}x: Dice {line}")
    if options.picture:
        draw(options.picture, scores, full, shown)
        print(f"Wrote {options.picture}")


if __name__ == "__main__":
    main()
