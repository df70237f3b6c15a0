"""Simulate a scan from DICOM, and write DICOM again.

A DICOM image contains no k-space, but a scan can be simulated from it by adding coils, a sampling
pattern and noise. Everything made from such a scan states that it is simulated. This suffices to
try a protocol or to train a network.
"""

# %%
from pathlib import Path

import matplotlib.pyplot as plt

import firenet_mri
from firenet_mri.io.image.reading import read_image
from firenet_mri.simulation import simulate

image, geometry = read_image(Path("sample_data/brain_dicom"))
print("image (z, y, x):", tuple(image.shape), image.dtype)

# %%
# Six coils, every fourth line on average, and a signal 40 times the noise.
scan = simulate(image, geometry, coils=6, acceleration=4, snr=40, seed=1)
result = firenet_mri.reconstruct(scan)

figure, axes = plt.subplots(1, 3, figsize=(8, 3.6), layout="constrained")
pictures = {"DICOM": image, "zero-filled": result.zero_filled, "FIRENET": result.image}
for axis, (title, shown) in zip(axes, pictures.items(), strict=True):
    axis.imshow(shown[0].abs().T.numpy(), cmap="gray")
    axis.set_title(title)
    axis.axis("off")
plt.show()

# %%
# The series has the position of the original.
for path in result.save_dicom_series("series"):
    print(path)
