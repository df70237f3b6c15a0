"""Reconstruct a radial scan.

Samples along spokes do not lie on a grid. If their points in k-space are given, in cycles per field
of view, the same call reconstructs them. It compensates the density of the samples, and proves the
norm of the encoding operator from the trajectory. The scan is simulated, with a quarter of the
spokes that the sampling theorem requires.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
import sigpy
import sigpy.mri
import torch

import firenet_mri
from firenet_mri.metrics import psnr
from firenet_mri.operators import NonuniformFourier, Sense
from firenet_mri.operators.trajectories import radial

truth = torch.from_numpy(sigpy.shepp_logan((128, 128))).cfloat()
maps = torch.from_numpy(sigpy.mri.birdcage_maps((6, 128, 128))).cfloat()
points = radial(50, 256, 128)
kspace = Sense(maps, NonuniformFourier(points, (128, 128)))(truth)
noise = torch.randn(kspace.shape, dtype=kspace.dtype, generator=torch.manual_seed(0))
kspace = kspace + 0.01 * kspace.norm() / noise.norm() * noise
np.save("spokes.npy", kspace.numpy())

# %%
# A NumPy file contains no trajectory, so points and image size are passed as arguments.
scan = firenet_mri.read("spokes.npy", trajectory=points, matrix_size=(128, 128))
result = firenet_mri.reconstruct(scan)
print(f"{psnr(truth.abs(), result.image.abs()):.1f} dB")
print(result.certificate.sentence())

# %%
figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
axes[0].plot(points[..., 1].T, points[..., 0].T, ".", color="tab:blue", markersize=0.6)
axes[0].set_aspect("equal")
axes[0].set_title("points in k-space")
pictures = {"gridded": result.zero_filled, "FIRENET": result.image}
for axis, (title, image) in zip(axes[1:], pictures.items(), strict=True):
    axis.imshow(image.abs().squeeze().numpy(), cmap="gray")
    axis.set_title(title)
    axis.axis("off")
plt.show()
