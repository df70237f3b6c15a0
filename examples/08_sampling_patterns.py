"""Compare sampling patterns.

The choice of the samples matters as much as their reconstruction. The theory of sparsity in levels
states how many samples each band of frequencies needs, and `sampling_pattern` draws a pattern with
these numbers. Here it is compared with points drawn uniformly at random and with evenly spaced
lines. All patterns have a quarter of the samples and a fully sampled centre.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

import firenet_mri
from firenet_mri.io import read_reference
from firenet_mri.metrics import psnr
from firenet_mri.simulation import simulate

truth = read_reference("sample_data/brain_8coil_reference.nii.gz")[0]
shape = tuple(truth.shape)
rate, centre = 0.25, np.ix_(*(range(n // 2 - 12, n // 2 + 12) for n in shape))

# %%
# The two other patterns.
generator = np.random.default_rng(0)
evenly = np.zeros(shape, bool)
evenly[centre] = True
missing = int(rate * evenly.size) - evenly.sum()
evenly.flat[generator.choice(np.flatnonzero(~evenly), missing, replace=False)] = True
lines = np.zeros(shape, bool)
lines[shape[0] // 2 - 12 : shape[0] // 2 + 12] = True
outside = np.flatnonzero(~lines[:, 0])
missing = round(rate * shape[0]) - 24
lines[outside[np.linspace(0, len(outside) - 1, missing).astype(int)]] = True
patterns = {
    "designed": firenet_mri.sampling_pattern(shape, rate, calibration=24),
    "evenly at random": torch.from_numpy(evenly),
    "lines": torch.from_numpy(lines),
}

# %%
# Every pattern samples the same image with the same coils and noise.
figure, axes = plt.subplots(2, 3, figsize=(7, 6), layout="constrained")
for (name, mask), (above, below) in zip(patterns.items(), axes.T, strict=True):
    scan = simulate(truth[None], mask=mask, coils=8, snr=40)
    result = firenet_mri.reconstruct(scan)
    image = result.image[0].abs()
    image = image * float((image * truth).sum() / image.square().sum())
    quality = psnr(truth[None], image[None])
    print(f"{name:17} {100 * float(mask.float().mean()):.0f} % sampled, {quality:.1f} dB")
    above.imshow(mask.T.numpy(), cmap="gray")
    above.set_title(name)
    below.imshow(image.T.numpy(), cmap="gray")
    below.set_title(f"{quality:.1f} dB")
for axis in axes.flat:
    axis.axis("off")
plt.show()
