"""FIRENETModel stands where MONAI's variational network stands."""

from __future__ import annotations

import pytest
import sigpy.mri
import torch
from laws import assert_close
from monai.apps.reconstruction.networks.nets.coil_sensitivity_model import CoilSensitivityModel
from monai.apps.reconstruction.networks.nets.complex_unet import ComplexUnet
from monai.apps.reconstruction.networks.nets.varnet import VariationalNetworkModel
from monai.data import MetaTensor
from torch import Tensor

from firenet_mri import reconstruct
from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.metrics import nmse
from firenet_mri.monai import FIRENETModel
from firenet_mri.operators import encoding_operator
from firenet_mri.scan import RawScan

SIZE = 64


@pytest.fixture
def truth() -> Tensor:
    import sigpy

    return torch.from_numpy(sigpy.shepp_logan((SIZE, SIZE))).to(torch.complex64)


@pytest.fixture
def maps() -> Tensor:
    maps = torch.from_numpy(sigpy.mri.birdcage_maps((4, SIZE, SIZE))).to(torch.complex64)
    return maps / torch.linalg.vector_norm(maps, dim=0)


@pytest.fixture
def mask() -> Tensor:
    """Every third column and 20 in the centre, in MONAI's layout (1, 1, 1, W, 1)."""
    columns = torch.zeros(SIZE, dtype=torch.bool)
    columns[::3] = True
    columns[SIZE // 2 - 10 : SIZE // 2 + 10] = True
    return columns.reshape(1, 1, 1, SIZE, 1)


@pytest.fixture
def kspace(truth, maps, mask) -> Tensor:
    return torch.view_as_real(encoding_operator(mask[..., 0], maps)(truth.unsqueeze(0)))


def test_one_loop_runs_monai_varnet_and_firenet(kspace, mask, truth) -> None:
    torch.manual_seed(0)
    features = (4, 4, 8, 16, 32, 4)
    trained = VariationalNetworkModel(
        CoilSensitivityModel(spatial_dims=2, features=features),
        ComplexUnet(spatial_dims=2, features=features),
        num_cascades=1,
    )
    for model in (trained, FIRENETModel()):
        with torch.no_grad():
            image = model(kspace, mask)
        assert image.shape == (1, SIZE, SIZE)
        assert image.dtype == torch.float32
    zero_filled = torch.view_as_complex(kspace)
    zero_filled = torch.linalg.vector_norm(
        torch.from_numpy(sigpy.ifft(zero_filled.numpy(), axes=(-2, -1))), dim=1
    )
    target = truth.abs().unsqueeze(0)
    assert nmse(target, image) < 0.2 * nmse(target, zero_filled)


def test_fastmri_call_with_three_arguments_works(kspace, mask) -> None:
    model = FIRENETModel(layers=2)
    assert_close(model(kspace, mask, 20), model(kspace, mask))


def test_input_layouts_give_the_same_image(kspace, mask, maps) -> None:
    model = FIRENETModel(layers=5)
    sens = maps.unsqueeze(0)
    expected = model(kspace, mask, sens_maps=torch.view_as_real(sens))
    native = torch.view_as_complex(kspace)
    assert_close(model(native, mask, sens_maps=sens), expected)
    assert_close(model(native, mask[..., 0].float(), sens_maps=sens), expected)
    assert_close(model(kspace, None, sens_maps=sens), expected)
    assert_close(model(MetaTensor(kspace), mask, sens_maps=sens).as_tensor(), expected)


def test_model_and_reconstruct_give_the_same_image(kspace, mask) -> None:
    native = torch.view_as_complex(kspace)
    scan = RawScan(native, mask[..., 0].expand(1, 1, SIZE, SIZE), 2)
    for background in ("crop", "keep"):
        model = FIRENETModel(output="magnitude", background=background)
        expected = reconstruct(scan, background=background).image.abs()
        assert_close(model(kspace, mask), expected, 1e-5)


def test_items_can_have_their_own_masks(kspace, mask, maps) -> None:
    other = mask.clone()
    other[..., ::2, :] = True
    masks = torch.cat([mask, other])
    both = torch.cat([kspace, kspace])
    model = FIRENETModel(layers=3)
    sens = maps.unsqueeze(0)
    together = model(both, masks, sens_maps=sens)
    for item in range(2):
        alone = model(both[item : item + 1], masks[item : item + 1], sens_maps=sens)
        assert_close(together[item : item + 1], alone, 1e-5)


def test_volumes_are_reconstructed_in_three_dimensions() -> None:
    kspace = torch.randn(1, 1, 12, 10, 8, generator=torch.Generator().manual_seed(0)) + 0j
    image = FIRENETModel(spatial_dims=3, maps="none", layers=3)(kspace)
    assert image.shape == (1, 12, 10, 8)


def test_gradient_reaches_the_kspace(kspace, mask, maps) -> None:
    leaf = kspace.clone().requires_grad_()
    FIRENETModel(layers=3)(leaf, mask, sens_maps=maps.unsqueeze(0)).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "bad", [torch.zeros(1, 4, 64, 64), torch.zeros(4, 64, 64, 2), torch.zeros(1, 4, 8, 8, 8, 2)]
)
def test_kspace_of_another_layout_is_refused(bad) -> None:
    with pytest.raises(ShapeError):
        FIRENETModel()(bad + 1)


def test_mask_that_differs_between_coils_is_refused(kspace) -> None:
    with pytest.raises(ShapeError, match="mask"):
        FIRENETModel()(kspace, torch.ones(1, 4, 64, 64, 1))


def test_image_is_zero_where_the_maps_are(kspace, mask, maps) -> None:
    maps[:, 30:34, 30:34] = 0
    model = FIRENETModel(layers=5, sparsifier="db4", output="magnitude")
    image = model(kspace, mask, sens_maps=maps.unsqueeze(0))
    assert not image[:, 30:34, 30:34].any()
    assert image[:, 20:28, 20:28].all()


def test_samples_outside_of_the_mask_are_not_used(kspace, mask, maps) -> None:
    dirty = torch.where(mask, kspace, torch.full_like(kspace, 1e3))
    model = FIRENETModel(layers=3)
    sens = maps.unsqueeze(0)
    assert_close(model(dirty, mask, sens_maps=sens), model(kspace, mask, sens_maps=sens))


def test_adaptive_preset_runs_in_the_network() -> None:
    kspace = torch.randn(1, 1, 16, 16, 2, generator=torch.Generator().manual_seed(0))
    model = FIRENETModel(preset="adaptive", relative_gap=0.05, maps="none")
    assert model(kspace).shape == (1, 16, 16)


def test_sharp_preset_gives_each_item_its_own_second_pass(kspace, mask, maps) -> None:
    both = torch.cat([kspace, 0.7 * kspace.flip(-2)])
    model = FIRENETModel(preset="sharp", layers=4, output="complex")
    images = model(both, mask, sens_maps=maps.unsqueeze(0))
    for index, samples in enumerate(torch.view_as_complex(both)):
        scan = RawScan(samples, mask[0, ..., 0], 2)
        alone = reconstruct(scan, maps=maps, preset="sharp", layers=4, no_gap=True).image
        assert_close(images[index], alone, 1e-5)
    assert model.lipschitz_bound() is None
    once = FIRENETModel(layers=4, output="complex")(both, mask, sens_maps=maps.unsqueeze(0))
    assert not torch.allclose(images, once, rtol=1e-3)
    with pytest.raises(UsageError, match="sharp has no proven bound"):
        FIRENETModel(preset="sharp", trainable=True)


def test_printing_a_model_shows_its_options() -> None:
    plain = "spatial_dims=2, maps='espirit', output='rss', preset='accurate'"
    assert repr(FIRENETModel()) == f"FIRENETModel({plain})"
    given = torch.ones(4, 8, 8, dtype=torch.complex64)
    options = {"maps": given, "output": "magnitude", "preset": "stable", "lam": 0.01, "layers": 5}
    shown = repr(FIRENETModel(**options, image_axes="xyz", background="keep"))
    assert shown.startswith("FIRENETModel(spatial_dims=2, maps='tensor (4, 8, 8)', ")
    for part in ("output='magnitude'", "preset='stable'", "lam=0.01", "layers=5"):
        assert part in shown
    assert "image_axes='xyz'" in shown
    assert "background='keep'" in shown
    assert "channel_dim" not in shown
    assert "trainable=True" in repr(FIRENETModel(preset="stable", trainable=True))
    learned = repr(FIRENETModel(weights="learned"))
    assert "weights='learned'" in learned
    assert "preset" not in learned
    module = repr(FIRENETModel(maps=CoilSensitivityModel(2, (2, 2, 2, 2, 2, 2))))
    assert "maps='CoilSensitivityModel'" in module
    operator = encoding_operator(None, given)
    assert "encoding=Sense(" in repr(FIRENETModel(encoding=operator, output="magnitude"))
