"""Scans of unlike noise and geometry form batches; arrays of any layout are taken as they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from laws import assert_close
from monai.data import DataLoader, MetaTensor, decollate_batch

import firenet_mri.monai as fm
from firenet_mri import reconstruct
from firenet_mri.errors import DataError
from firenet_mri.monai.scans import kspace_of, scan_of
from firenet_mri.scan import Geometry, RawScan

GEOMETRY = Geometry((5.0, 200.0, 240.0), ((1.0, -20.0, 30.0),))


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.complex64, generator=generator)


def scan(samples: int | None, geometry: Geometry | None, seed: int) -> RawScan:
    """Return a scan of one slice with a noise measurement of so many samples."""
    noise = None if samples is None else random(2, samples, seed=seed + 9)
    kspace = random(1, 2, 12, 10, seed=seed)
    mask = torch.ones(1, 12, 10, dtype=torch.bool)
    return RawScan(kspace, mask, 2, noise, geometry, name=f"{seed}.h5")


SCANS = [scan(50, GEOMETRY, 0), scan(70, None, 1), scan(None, GEOMETRY, 2), scan(None, None, 3)]


def test_scans_of_unlike_noise_and_geometry_form_a_batch_and_come_back() -> None:
    (batch,) = DataLoader([{"kspace": kspace_of(one)} for one in SCANS], batch_size=4)
    assert batch["kspace"].shape == (4, 1, 2, 12, 10)
    for item, before in zip(decollate_batch(batch), SCANS, strict=True):
        again = scan_of(item["kspace"])
        assert again.geometry == before.geometry
        assert again.name == before.name
        assert (again.noise is None) == (before.noise is None)
        assert before.noise is None or torch.equal(again.noise, before.noise)
        assert torch.equal(again.kspace, before.kspace)


def test_simulated_scans_form_a_batch_with_each_other_and_with_scans_from_files() -> None:
    """Whether they carry a noise measurement or not."""
    image = torch.outer(torch.hann_window(10), torch.hann_window(12))[None, ..., None]
    options = {"coils": 2, "acceleration": 1}
    scans = [fm.SimulateKspace(noise_scan=noise, **options)(image) for noise in (False, True)]
    (batch,) = DataLoader([*scans, kspace_of(SCANS[0])], batch_size=3)
    found = [scan_of(one).noise for one in decollate_batch(batch)]
    assert [noise is None for noise in found] == [True, False, False]


def test_images_of_such_scans_form_a_batch() -> None:
    transform = fm.FIRENETReconstruct(maps="lowres", layers=1)
    images = [transform(kspace_of(one)) for one in SCANS]
    (batch,) = DataLoader(images, batch_size=4)
    assert torch.equal(batch.as_tensor(), torch.stack([one.as_tensor() for one in images]))


def test_noise_as_earlier_versions_had_it_is_still_read() -> None:
    """A cache on disk may hold it, and a user may write it."""
    kspace = kspace_of(SCANS[0])
    kspace.meta["noise"] = SCANS[0].noise
    kspace.meta["geometry"] = {}
    found = scan_of(kspace)
    assert torch.equal(found.noise, SCANS[0].noise)
    assert found.geometry is None


LAYOUTS = {
    "negative strides": lambda x: x[..., ::-1].copy()[..., ::-1],
    "a reversed axis of one": lambda x: x[::-1] if len(x) == 1 else x,
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
    "Fortran order": np.asfortranarray,
    "long double": lambda x: x.astype(np.clongdouble if x.dtype.kind == "c" else np.longdouble),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_arrays_of_any_layout_give_the_image_of_the_tensor(layout) -> None:
    kspace, maps = random(1, 2, 12, 10), random(1, 2, 12, 10, seed=1)
    lines = torch.ones(10)
    lines[1:4] = 0
    arrays = [layout(part.numpy()) for part in (kspace, lines, maps)]
    transform = fm.FIRENETReconstruct(layers=1)
    assert_close(transform(*arrays), transform(kspace, lines, maps))
    model = fm.FIRENETModel(layers=1, maps=maps)
    of_arrays = fm.FIRENETModel(layers=1, maps=arrays[2])
    assert_close(of_arrays(*arrays[:2]), model(kspace, lines))
    assert_close(of_arrays(kspace, lines, sens_maps=arrays[2]), model(kspace, lines))
    options = {"maps": maps, "layers": 1, "no_gap": True}
    raw = RawScan(kspace, torch.ones(1, 12, 10, dtype=torch.bool), 2)
    assert_close(
        reconstruct(raw, **{**options, "maps": arrays[2]}).image, reconstruct(raw, **options).image
    )
    fixed = fm.FixedKspaceMask(arrays[1])
    assert_close(fixed(arrays[0]).kspace, fm.FixedKspaceMask(lines)(kspace).kspace)


def test_arrays_of_no_numbers_are_refused_by_name() -> None:
    kspace = random(1, 2, 12, 10)
    for wrong in (np.array(["a"]), np.array([None]), np.zeros(10, "datetime64[s]")):
        with pytest.raises(DataError, match=r"mask is an array of .*; it must contain numbers"):
            fm.FIRENETModel(maps="lowres", layers=1)(kspace, wrong)


def test_metatensor_survives_a_batch_of_one_model_call() -> None:
    (batch,) = DataLoader([{"kspace": kspace_of(one)} for one in SCANS[:2]], batch_size=2)
    image = fm.FIRENETModel(maps="lowres", layers=1)(batch["kspace"][:, 0])
    assert isinstance(image, MetaTensor)
    names = [item.meta["filename_or_obj"] for item in decollate_batch(image)]
    assert names == ["0.h5", "1.h5"]
