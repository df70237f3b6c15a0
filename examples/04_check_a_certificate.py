"""Check a certificate yourself.

You need not trust this library to check what it claims about an image. The evidence beside a
certificate contains the image `x` and a dual point `v`. Whenever `||v|| <= 1` and
`|W A^H v| <= lam`, no image has an objective `lam ||W x||_1 + ||A x - y||` below `-Re<y, v>`. This
example recomputes both sides with NumPy and PyWavelets alone.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
import pywt

import firenet_mri
from firenet_mri.calibration import sensitivity_maps, whiten

scan = whiten(firenet_mri.read("sample_data/brain_8coil.h5"))
maps = sensitivity_maps(scan, "espirit")
result = firenet_mri.reconstruct(scan, maps=maps, sparsifier="haar", levels=2)

# %%
# From here on the library is not used. These are the samples, the maps and the evidence.
y, s = scan.kspace[0].numpy().astype(complex), maps[0].numpy().astype(complex)
mask, lam = y.any(axis=0), result.network.lam
x, source = (one[0].numpy().astype(complex) for one in (result.evidence.x, result.evidence.source))
share = float(result.evidence.share[0])


def fft(image: np.ndarray) -> np.ndarray:
    shifted = np.fft.ifftshift(image, axes=(-2, -1))
    return np.fft.fftshift(np.fft.fft2(shifted, norm="ortho"), axes=(-2, -1))


def ifft(kspace: np.ndarray) -> np.ndarray:
    shifted = np.fft.ifftshift(kspace, axes=(-2, -1))
    return np.fft.fftshift(np.fft.ifft2(shifted, norm="ortho"), axes=(-2, -1))


def haar(image: np.ndarray) -> np.ndarray:
    return pywt.coeffs_to_array(pywt.wavedec2(image, "haar", "periodization", level=2))[0]


# %%
# The dual point is scaled so that it fulfils both conditions, and then proves a lower bound of the
# objective.
def objective(image: np.ndarray) -> float:
    residual = mask * fft(s * image) - y
    return float(lam * np.abs(haar(image)).sum() + np.linalg.norm(residual))


v = mask * fft(s * source) - share * y
steepest = np.abs(haar((s.conj() * ifft(v)).sum(axis=0))).max() / lam
bound = -np.vdot(v, y).real / max(np.linalg.norm(v), steepest)
print(f"objective    {objective(x):.6f}, stated {result.certificate.objective[0]:.6f}")
print(f"lower bound  {bound:.6f}, stated {result.certificate.lower_bound[0]:.6f}")
assert abs(objective(x) / result.certificate.objective[0] - 1) < 1e-5
assert bound >= result.certificate.lower_bound[0] * (1 - 1e-5)

# %%
# No image can have an objective below the bound. A changed image is detected because its recomputed
# objective differs from the stated one.
forged = x.copy()
forged[80:90, 100:110] *= 1.2
print(f"forged image {objective(forged):.6f}")

figure, axes = plt.subplots(1, 3, figsize=(9, 3.4), layout="constrained")
for axis, image, title in ((axes[0], x, "as certified"), (axes[1], forged, "forged")):
    axis.imshow(np.abs(image).T, cmap="gray", vmax=np.abs(x).max())
    axis.set_title(title)
    axis.axis("off")
gaps = [objective(image) - bound for image in (x, forged)]
axes[2].bar(["as certified", "forged"], gaps, color=["tab:blue", "tab:red"])
axes[2].set(ylabel="objective above the proven bound", title="recomputed gap")
plt.show()
