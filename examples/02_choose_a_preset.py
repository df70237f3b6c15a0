"""Choose a preset.

A preset is a complete network. `accurate` is the default, `stable` amplifies changes of the data
less, `sharp` runs twice and has no proven bound, and `paper` is the network as it was published.
The sample scan is simulated, so that the true image is known and each preset can be compared with
it.
"""

# %%
import matplotlib.pyplot as plt

import firenet_mri
from firenet_mri.io import read_reference
from firenet_mri.metrics import psnr, ssim

scan = firenet_mri.read("sample_data/brain_8coil.h5")
truth = read_reference("sample_data/brain_8coil_reference.nii.gz")

# %%
# The bound states how many times a change of the data can be amplified, whatever the data are. A
# preset has either a proven bound or none.
figure, axes = plt.subplots(2, 4, figsize=(8.5, 5.6), layout="constrained")
for preset, (above, below) in zip(("accurate", "stable", "sharp", "paper"), axes.T, strict=True):
    result = firenet_mri.reconstruct(scan, preset=preset)
    image = result.image.abs()
    bound = result.certificate.lipschitz_bound
    proven = "none" if bound is None else f"{bound:.1f}"
    quality = f"{psnr(truth, image):.1f} dB, SSIM {ssim(truth, image):.3f}"
    print(f"{preset:9} {quality}, proven bound {proven}")
    above.imshow(image[0].T.numpy(), cmap="gray", vmin=0, vmax=float(truth.max()))
    above.set_title(preset)
    error = (image - truth)[0].abs().T.numpy()
    below.imshow(error, cmap="magma", vmin=0, vmax=0.1 * float(truth.max()))
    below.set_title(f"error, {psnr(truth, image):.1f} dB")
for axis in axes.flat:
    axis.axis("off")
plt.show()
