"""Which of MONAI's transforms keep complex data, and what is said where one does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import monai.transforms as mt
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, MapTransform

import firenet_mri.monai as fm
from firenet_mri.errors import DataError, ShapeError
from firenet_mri.monai.complex_data import DROPS_IMAGINARY_PART
from firenet_mri.operators.centred import centred_fft
from firenet_mri.phantoms import ellipses

SIZE = 32

KEEPS_COMPLEX = [
    mt.SpatialCrop(roi_center=(16, 16), roi_size=(20, 20)),
    mt.CenterSpatialCrop((20, 20)),
    mt.SpatialPad((40, 40)),
    mt.ResizeWithPadOrCrop((20, 40)),
    mt.Flip(1),
    mt.Rotate90(),
    mt.Orientation("PL", labels=(("L", "R"), ("P", "A"), ("I", "S"))),
    mt.EnsureType(),
    mt.ToDevice("cpu"),
]

# With what arguments each is built; a reference image where it is asked for.
OPTIONS: dict[str, Any] = {
    "GibbsNoise": (0.5,),
    "MedianSmooth": (1,),
    "RandAffine": (1.0, 0.1),
    "RandGaussianNoise": (1.0,),
    "RandGibbsNoise": (1.0,),
    "RandRicianNoise": (1.0,),
    "RandRotate": (0.1, 0.0, 0.0, 1.0),
    "RandScaleIntensity": (0.5, 1.0),
    "RandZoom": (1.0, 1.1, 1.2),
    "Resize": ((20, 20),),
    "Rotate": (0.3,),
    "ScaleIntensityRange": (0.0, 1.0, 0.0, 1.0),
    "Spacing": ((2.0, 2.0),),
    "StdShiftIntensity": (1.0,),
    "GaussianSmooth": (1.0,),
    "Zoom": (1.2,),
}


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))


def after(name: str, image: MetaTensor) -> MetaTensor:
    """Return what a transform of MONAI makes of an image."""
    transform = getattr(mt, name)(*OPTIONS.get(name, ()))
    if name == "ResampleToMatch":
        return transform(image, MetaTensor(torch.ones(1, 20, 20)))
    return transform(image)


@pytest.mark.parametrize("transform", KEEPS_COMPLEX, ids=lambda t: type(t).__name__)
@pytest.mark.filterwarnings("ignore:.*axcodes")
def test_transforms_that_we_recommend_keep_the_imaginary_part(transform) -> None:
    """And act on it as they act on the real part."""
    image = MetaTensor(random(1, SIZE, SIZE))
    found = transform(image)
    assert found.dtype == torch.complex64
    assert torch.equal(
        found.imag.as_tensor(), transform(MetaTensor(image.as_tensor().imag)).as_tensor()
    )


@pytest.mark.parametrize("name", sorted(DROPS_IMAGINARY_PART))
@pytest.mark.filterwarnings("ignore")
def test_transforms_that_are_listed_drop_it_and_kspace_is_refused_with_the_reason(name) -> None:
    kspace = centred_fft(ellipses(SIZE, 1, seed=0) + 0j, (-2, -1)) * random(1, 1, 1)
    broken = after(name, MetaTensor(kspace))
    assert not broken.is_complex()
    # What is smoothed to a blob is called an image, the rest real.
    with pytest.raises((ShapeError, DataError), match=r"'kspace'.*\(1, \d+, \d+\).*imaginary"):
        fm.FIRENETReconstructd("kspace")({"kspace": broken})


@pytest.mark.filterwarnings("ignore:.*(imaginary|omplex)")
@pytest.mark.parametrize("loaded", [True, False])
def test_loaders_and_casts_to_real_are_refused_with_the_reason(loaded, tmp_path) -> None:
    if loaded:
        path = tmp_path / "scan.npy"
        np.save(path, random(4, SIZE, SIZE).numpy())
        broken = mt.LoadImage(reader="NumpyReader")(path)
    else:
        broken = mt.CastToType(torch.float32)(MetaTensor(random(4, SIZE, SIZE)))
    assert not broken.is_complex()
    with pytest.raises(ShapeError, match=r"'kspace'.*LoadImage.*complex64.*CastToType"):
        fm.WhitenCoilsd("kspace")({"kspace": broken})


def dictionary_form(name: str) -> MapTransform:
    options = OPTIONS.get(name, ())
    if name == "ResampleToMatch":
        return mt.ResampleToMatchd("kspace", key_dst="image")
    if name == "RandGaussianNoise":
        return mt.RandGaussianNoised("kspace", prob=1.0)
    return getattr(mt, f"{name}d")("kspace", *options)


@pytest.mark.parametrize("name", sorted(DROPS_IMAGINARY_PART))
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_pipeline_that_would_drop_it_is_found_before_it_runs(name) -> None:
    step = dictionary_form(name)
    with pytest.raises(DataError, match=rf"'kspace': {name}d.*FixedKspaceMaskd.*on the image"):
        fm.check_keeps_complex(Compose([Compose([step]), fm.FixedKspaceMaskd("kspace")]))
    fm.check_keeps_complex(Compose([fm.FIRENETReconstructd("kspace"), step]))
    fm.check_keeps_complex(Compose([step, fm.FIRENETReconstructd("other")]))


@pytest.mark.parametrize(
    "make",
    [
        lambda dtype: mt.LoadImaged("kspace", dtype=dtype),
        lambda dtype: mt.CastToTyped(["a", "kspace"], dtype=["float32", dtype]),
        lambda dtype: mt.EnsureTyped("kspace", dtype=dtype),
    ],
)
def test_the_data_type_of_loaders_and_casts_decides(make: Callable[[Any], MapTransform]) -> None:
    for real in (np.float32, torch.float64):
        with pytest.raises(DataError, match=r"'kspace'.*dtype=numpy\.complex64"):
            fm.check_keeps_complex(Compose([make(real), fm.WhitenCoilsd("kspace")]))
    for kept in (np.complex64, torch.complex64, None):
        fm.check_keeps_complex(Compose([make(kept), fm.WhitenCoilsd("kspace")]))
