"""Accelerate a segmentation pipeline.

A network finds bright spots in images of full scans. Two transforms in front of it show what it
would find if the scans were accelerated. Everything here is **simulated**, and both networks are
trained for seconds only; `docs/examples/accelerate_segmentation.py` is a larger version.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from monai.losses import DiceLoss
from monai.metrics import compute_dice
from monai.networks.nets import BasicUNet
from monai.transforms import NormalizeIntensity

from firenet_mri.monai import FIRENETReconstructd, RandSimulateKspaced, SimulateKspaced
from firenet_mri.operators.centred import centred_ifft

SIZE, ACCELERATIONS, normalise = 64, (2, 4, 6, 8), NormalizeIntensity()


def head(generator):
    """Return an image (1, x, y) of a head with spots, and a mask of the bright ones."""
    grid = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    image = 0.5 * (np.linalg.norm(grid / generator.uniform(22, 30, (2, 1, 1)), axis=0) < 1)
    label = np.zeros_like(image)
    for contrast in (-0.2, -0.2, 0.15, 0.2, 0.25, 0.3):
        at, radius = generator.uniform(-14, 14, (2, 1, 1)), generator.uniform(1.5, 3.5)
        spot = np.linalg.norm(grid - at, axis=0) < radius
        image[spot], label[spot] = 0.5 + contrast, contrast > 0
    return {"x": torch.tensor(image[None]).float(), "y": torch.tensor(label[None]).float()}


def zero_filled(kspace):
    """Return the root-sum-of-squares (1, x, y) of k-space (coil, y, x)."""
    return torch.linalg.vector_norm(centred_ifft(torch.as_tensor(kspace), (-2, -1)), dim=0).T[None]


def train(batch, loss):
    torch.manual_seed(0)
    network = BasicUNet(2, 1, 1, features=(8, 8, 16, 16, 32, 8), upsample="nontrainable")
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(150):
        given, target = map(torch.stack, zip(*(batch() for _ in range(8)), strict=True))
        optimiser.zero_grad()
        loss(network(given), target).backward()
        optimiser.step()
    return network.eval().requires_grad_(False)


# %%
# One network finds the spots in full scans. The other corrects zero-filled images. It is trained at
# all four accelerations, with new noise at every step.
generator = np.random.default_rng(0)
draw = RandSimulateKspaced("x", ACCELERATIONS, 30, coils=4, calibration=6).set_random_state(0)


def full_scan():
    image, label = head(generator).values()
    return normalise(image + 0.02 * torch.randn(1, SIZE, SIZE)), label


def accelerated():
    scan = draw(head(generator))
    given = zero_filled(scan["x"])
    return given, torch.as_tensor(scan["truth_x"]).abs() - given


finder, corrector = train(full_scan, DiceLoss(sigmoid=True)), train(accelerated, torch.nn.L1Loss())

# %%
# Six heads that neither network has seen pass through the two transforms. FIRENET is not trained.
unseen = [head(np.random.default_rng(seed)) for seed in range(100, 106)]
truth = torch.stack([item["y"] for item in unseen])
scores = {name: [] for name in ("full scan", "zero filling", "trained U-Net", "FIRENET")}
for acceleration in ACCELERATIONS:
    simulate = SimulateKspaced("x", acceleration=acceleration, coils=4, calibration=6, snr=30)
    scans = [simulate(dict(item)) for item in unseen]
    rough = [zero_filled(scan["x"]) for scan in scans]
    corrected = [(one[None] + corrector(one[None]))[0] for one in rough]
    ours = [FIRENETReconstructd("x", maps="lowres")(scan)["x"].as_tensor() for scan in scans]
    for name, made in zip(scores, ([i["x"] for i in unseen], rough, corrected, ours), strict=True):
        spots = torch.cat([finder(normalise(one)[None]) > 0 for one in made])
        scores[name].append(float(compute_dice(spots, truth).mean()))
    print(f"{acceleration}x:", {name: round(values[-1], 2) for name, values in scores.items()})
plt.plot(ACCELERATIONS, list(zip(*scores.values(), strict=True)), "o-", label=list(scores))
plt.gca().set(xlabel="acceleration", ylabel="Dice score (simulated)")
plt.legend()
plt.show()
