"""See how much noise ends up in the image.

The scan is reconstructed thirty times, each time with fresh noise added to the samples. The
standard deviation of the images in every pixel shows where noise is amplified. In a nonlinear
reconstruction this depends on the anatomy. The proven Lipschitz bound limits the effect of any
change of the data, including noise.
"""

# %%
from dataclasses import replace

import matplotlib.pyplot as plt
import torch

import firenet_mri
from firenet_mri.calibration import sensitivity_maps, whiten

scan = whiten(firenet_mri.read("sample_data/brain_8coil.h5"))
maps = sensitivity_maps(scan, "espirit")
generator = torch.Generator().manual_seed(0)


def with_noise(scan: firenet_mri.RawScan) -> tuple[firenet_mri.RawScan, float]:
    """Return the scan with the same amount of noise added once more, and the norm of that noise."""
    noise = torch.randn(scan.kspace.shape, dtype=scan.kspace.dtype, generator=generator)
    noise = noise * scan.mask
    return replace(scan, kspace=scan.kspace + noise), float(noise.norm())


# %%
# The maps are kept fixed, as the bound requires.
settings = {"preset": "stable", "maps": maps}
clean = firenet_mri.reconstruct(scan, **settings)
images, gains = [], []
for _ in range(30):
    noisy, size = with_noise(scan)
    image = firenet_mri.reconstruct(noisy, **settings, no_gap=True).image
    images.append(image)
    gains.append(float((image - clean.image).norm()) / size)
spread = torch.stack(images).std(dim=0)[0]
print(f"noise is amplified {max(gains):.2f} times at most in thirty draws")
bound = clean.certificate.lipschitz_bound
print(f"no change of the data can be amplified more than {bound:.1f} times")

# %%
# The noise of the samples has standard deviation 1, and the map is shown in this unit.
figure, axes = plt.subplots(1, 2, figsize=(6.6, 3.8), layout="constrained")
axes[0].imshow(clean.image[0].abs().T.numpy(), cmap="gray")
axes[0].set_title("stable")
shown = axes[1].imshow(spread.T.numpy(), cmap="magma")
axes[1].set_title("standard deviation of the image")
figure.colorbar(shown, ax=axes[1])
for axis in axes:
    axis.axis("off")
plt.show()
