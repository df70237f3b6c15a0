"""Reconstruct in a MONAI pipeline.

In any MONAI pipeline, two transforms turn raw files into images. The transforms that follow get
ordinary images with an affine. The loader below reads two scans of different sizes.
"""

# %%
import json

import matplotlib.pyplot as plt
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, Resized, ScaleIntensityd, SelectItemsd, ToTensord

from firenet_mri.monai import FIRENETReconstructd, LoadKspaced

pipeline = Compose(
    [
        LoadKspaced("scan"),
        FIRENETReconstructd("scan", preset="stable", certificate=True),
        SelectItemsd("scan"),
    ]
)
one = pipeline({"scan": "sample_data/brain_3slices.h5"})["scan"]
print("image (channel, x, y, z):", tuple(one.shape))
certificate = json.loads(one.meta["certificate"])
print(f"proven bound: {certificate['lipschitz_bound']:.1f}")

# %%
# The transforms of any segmentation or classification can follow.
prepared = Compose(
    [
        LoadKspaced("scan"),
        FIRENETReconstructd("scan", preset="stable"),
        SelectItemsd("scan"),
        ScaleIntensityd("scan"),
        Resized("scan", (128, 128, 1)),
        ToTensord("scan", track_meta=False),
    ]
)
items = [{"scan": "sample_data/brain_3slices.h5"}, {"scan": "sample_data/brain_8coil.h5"}]
(batch,) = DataLoader(Dataset(items, prepared), batch_size=2)
print("batch:", tuple(batch["scan"].shape))

figure, axes = plt.subplots(1, 2, figsize=(7.5, 4), layout="constrained")
for axis, image in zip(axes, batch["scan"], strict=True):
    axis.imshow(image[0, :, :, 0].numpy(), cmap="gray")
    axis.axis("off")
plt.show()
