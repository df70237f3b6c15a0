"""From one raw file to an image.

The sample file holds what a scanner measures: k-space of eight coils, of which one line in three
was sampled, and a noise measurement. It is simulated. Reading and reconstructing it takes two
calls; coils are whitened and sensitivity maps estimated on the way.
"""

# %%
import matplotlib.pyplot as plt

import firenet_mri

scan = firenet_mri.read("sample_data/brain_8coil.h5")
print("k-space (slice, coil, y, x):", tuple(scan.kspace.shape))
print(f"sampled: {100 * scan.sampled_fraction:.0f} %, simulated: {scan.simulated}")

# %%
# Nothing has to be tuned: the defaults suit most Cartesian scans. The result holds the complex
# image, the zero-filled image for comparison, and the certificate.
result = firenet_mri.reconstruct(scan)
print(result.certificate.sentence())

# %%
# Under-sampling shows as ghosts in the zero-filled image, which the reconstruction removes.
figure, axes = plt.subplots(1, 2, figsize=(6, 3.9), layout="constrained")
pictures = {"zero-filled": result.zero_filled, "FIRENET": result.image}
for axis, (title, image) in zip(axes, pictures.items(), strict=True):
    axis.imshow(image[0].abs().T.numpy(), cmap="gray")
    axis.set_title(title)
    axis.axis("off")
plt.show()

# %%
# `save` writes the image with its place in the scanner, a picture, the certificate, and the
# evidence that others need to check it.
files = result.save("brain.nii.gz")
print(*(path.name for path in files.paths), sep="\n")
