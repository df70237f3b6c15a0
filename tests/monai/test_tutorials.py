"""The transforms of MONAI's segmentation and classification tutorials, with the two lines more.

The tutorials' data are not at hand: the images are made, with their sizes, types and units.
"""

from __future__ import annotations

import nibabel
import numpy as np
import torch
from monai.transforms import (
    Compose,
    CropForegroundd,
    EnsureChannelFirst,
    EnsureChannelFirstd,
    LoadImage,
    LoadImaged,
    Orientationd,
    RandCropByPosNegLabeld,
    RandFlip,
    RandRotate,
    RandZoom,
    ScaleIntensity,
    ScaleIntensityRanged,
    Spacingd,
)
from PIL import Image

import firenet_mri.monai as fm

QUICK = {"maps": "lowres", "layers": 12}


def test_the_segmentation_tutorial_trains_on_images_as_after_acceleration(tmp_path) -> None:
    """``spleen_segmentation_3d``: CT, so that the lines stand where intensities are in [0, 1]."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (48, 40, 6)), indexing="ij")
    organ = (x - 0.2) ** 2 + y**2 + (z / 3) ** 2 < 0.15
    units = np.where(x**2 + 1.3 * y**2 < 0.8, np.where(organ, 120, 20), -1000)
    affine = np.diag([-1.6, 1.7, 4.0, 1])
    for name, values in (("image", units.astype(np.int16)), ("label", organ.astype(np.uint8))):
        nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / f"{name}.nii.gz")
    keys = ["image", "label"]
    loading = [
        LoadImaged(keys),
        EnsureChannelFirstd(keys),
        ScaleIntensityRanged("image", -57, 164, 0.0, 1.0, clip=True),
    ]
    scanning = [
        fm.SimulateKspaced("image", acceleration=2, coils=4, calibration=12),
        fm.FIRENETReconstructd("image", **QUICK),
    ]
    then = [
        CropForegroundd(keys, source_key="image", allow_smaller=True),
        Orientationd(keys, axcodes="RAS", labels=None),
        Spacingd(keys, pixdim=(1.5, 1.5, 2.0), mode=("bilinear", "nearest")),
    ]
    files = {key: str(tmp_path / f"{key}.nii.gz") for key in keys}
    full = Compose([*loading, *then])(files)
    found = Compose([*loading, *scanning, *then])(files)
    np.testing.assert_allclose(found["image"].affine, found["label"].affine)
    inside = found["label"] == 1
    assert abs(float(found["image"][inside].mean()) - float(full["image"].max())) < 0.25
    assert float(found["image"][inside].mean()) > 1.2 * float(found["image"][~inside].mean())
    crops = RandCropByPosNegLabeld(keys, "label", (16, 16, 4), 1, 1, 2, image_key="image")(found)
    assert [one["image"].shape for one in crops] == [(1, 16, 16, 4)] * 2


def test_the_classification_tutorial_trains_on_images_as_after_acceleration(tmp_path) -> None:
    """``mednist_tutorial``: 64 x 64, of which a centre of 24 lines would be more than a quarter."""
    x, y = np.meshgrid(*[np.linspace(-1, 1, 64)] * 2, indexing="ij")
    values = (200 * (x**2 + 1.5 * y**2 < 0.7) - 90 * (x**2 + y**2 < 0.1)).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "hand.jpeg")
    loading = [LoadImage(image_only=True), EnsureChannelFirst()]
    scanning = [fm.SimulateKspace(acceleration=4, calibration=12), fm.FIRENETReconstruct(**QUICK)]
    then = [
        ScaleIntensity(),
        RandRotate(range_x=np.pi / 12, prob=0.5, keep_size=True),
        RandFlip(spatial_axis=0, prob=0.5),
        RandZoom(min_zoom=0.9, max_zoom=1.1, prob=0.5),
    ]
    plain, found = (
        Compose(steps).set_random_state(0)(str(tmp_path / "hand.jpeg"))
        for steps in ([*loading, *then], [*loading, *scanning, *then])
    )
    assert found.shape == plain.shape == (1, 64, 64)
    both = torch.stack([plain.as_tensor().flatten(), found.as_tensor().flatten()])
    assert float(torch.corrcoef(both)[0, 1]) > 0.97
