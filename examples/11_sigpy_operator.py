"""Work with SigPy.

`FIRENETRecon` takes the arguments of SigPy's `L1WaveletRecon` and adds a certificate. Any linear
operator that SigPy can build can also be the encoding operator of a network, and gradients pass
through it. The mask, the coils and the data below come from SigPy.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
import sigpy
import sigpy.mri
import torch

from firenet_mri import FIRENET, NetworkSchedule
from firenet_mri.metrics import psnr
from firenet_mri.operators import StationaryCosine
from firenet_mri.sigpy import FIRENETRecon, from_sigpy

shape = (128, 128)
truth = sigpy.shepp_logan(shape).astype(np.complex64)
maps = sigpy.mri.birdcage_maps((8, *shape)).astype(np.complex64)
mask = np.abs(sigpy.mri.poisson(shape, accel=5, calib=(24, 24), seed=0))
sense = sigpy.mri.linop.Sense(maps, weights=mask)
print(sense)

# %%
# Noise of one per cent is added, then both methods reconstruct the data. SigPy uses the best of
# three weights, chosen with the true image; FIRENET uses its automatic weight.
generator = np.random.default_rng(0)
kspace = sense(truth)
noise = mask * (generator.normal(size=kspace.shape) + 1j * generator.normal(size=kspace.shape))
kspace += 0.01 * np.linalg.norm(kspace) / np.linalg.norm(noise) * noise.astype(np.complex64)


def quality(image: np.ndarray) -> float:
    return psnr(*(torch.from_numpy(np.abs(one)) for one in (truth, image)))


candidates = [
    sigpy.mri.app.L1WaveletRecon(
        kspace, maps, lamda=lamda, weights=mask, max_iter=40, show_pbar=False
    ).run()
    for lamda in (3e-4, 1e-3, 3e-3)
]
theirs = max(candidates, key=quality)
app = FIRENETRecon(kspace, maps, weights=mask, show_pbar=False)
ours = app.run()
print(app.certificate.sentence())

# %%
figure, axes = plt.subplots(1, 3, figsize=(11, 3.9), layout="constrained")
pictures = {"zero-filled": sense.H(kspace), "SigPy, L1 wavelets": theirs, "FIRENET": ours}
for axis, (title, image) in zip(axes, pictures.items(), strict=True):
    print(f"{title:19} {quality(image):.1f} dB")
    axis.imshow(np.abs(image), cmap="gray", vmin=0, vmax=1)
    axis.set_title(f"{title}, {quality(image):.1f} dB")
    axis.axis("off")
plt.show()

# %%
# The operator can also be part of your own network: the gradient of the data passes through SigPy.
net = FIRENET(StationaryCosine(3, shape), lam=app.lamda, schedule=NetworkSchedule(layers=10))
y = torch.from_numpy(kspace).requires_grad_()
net(y, from_sigpy(sense)).abs().sum().backward()
print("gradient:", tuple(y.grad.shape), y.grad.dtype)
