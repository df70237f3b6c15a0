"""FIRENETModel takes what MONAI's and fastMRI's networks take, and what they fail on."""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest
import sigpy
import sigpy.mri
import torch
from laws import assert_close
from monai.apps.reconstruction.networks.nets.coil_sensitivity_model import CoilSensitivityModel
from torch import Tensor

from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.metrics import nmse
from firenet_mri.monai import FIRENETModel
from firenet_mri.operators import encoding_operator

SIZE = 48


def phantom(*shape: int) -> Tensor:
    return torch.from_numpy(sigpy.shepp_logan(shape)).to(torch.complex64)


def birdcage(coils: int, *shape: int) -> Tensor:
    maps = torch.from_numpy(sigpy.mri.birdcage_maps((coils, *shape))).to(torch.complex64)
    return maps / torch.linalg.vector_norm(maps, dim=0)


def columns(size: int = SIZE, *, centre: int = 16, step: int = 2) -> Tensor:
    """Return every second column and a centre, (W,) bool."""
    mask = torch.zeros(size, dtype=torch.bool)
    mask[::step] = True
    mask[size // 2 - centre // 2 : size // 2 + centre // 2] = True
    return mask


def points(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    mask = torch.rand(height, width, generator=generator) < 0.6
    mask[height // 2 - 8 : height // 2 + 8, width // 2 - 8 : width // 2 + 8] = True
    return mask


def measured(mask: Tensor, shape: tuple[int, ...] = (SIZE, SIZE), coils: int = 4) -> Tensor:
    """Return k-space (1, coil, *shape) of the phantom, zero off the mask."""
    maps = birdcage(coils, *shape) if coils > 1 else torch.ones(1, *shape, dtype=torch.complex64)
    return encoding_operator(mask, maps, len(shape))(phantom(*shape).unsqueeze(0))


LINES = columns()
FIELD = points(SIZE, SIZE)
OFF_CENTRE = LINES & ((torch.arange(SIZE) - SIZE // 2).abs() > 2)

# The failures of MONAI's VariationalNetworkModel and what lies beside them: the mask by which the
# data were made, the mask that is given, and the shape of k-space.
CASES = {
    "bool": (LINES, LINES.reshape(1, 1, 1, -1, 1)),
    "float": (LINES, LINES.float().reshape(1, 1, 1, -1, 1)),
    "int": (LINES, LINES.int().reshape(1, 1, -1, 1)),
    "columns alone": (LINES, LINES),
    "none": (LINES, None),
    "2D": (FIELD, FIELD.reshape(1, 1, SIZE, SIZE, 1)),
    "2D, plain": (FIELD, FIELD),
    "full": (torch.ones(SIZE).bool(), torch.ones(1, 1, 1, SIZE, 1).bool()),
    "all zero, as MONAI's reader gives it": (LINES, torch.zeros(1, 4, SIZE, SIZE)[:, :1]),
    "centre not sampled": (OFF_CENTRE, OFF_CENTRE.reshape(1, 1, 1, -1, 1)),
    "per item": (FIELD, FIELD.reshape(1, 1, SIZE, SIZE, 1)),
}


@pytest.mark.filterwarnings("ignore:The mask is zero", "ignore:item 0 of masked_kspace")
@pytest.mark.parametrize("layout", ["pairs", "complex64", "complex128"])
@pytest.mark.parametrize("case", CASES)
def test_every_mask_and_layout_gives_an_image_near_the_truth(case, layout) -> None:
    sampled, mask = CASES[case]
    kspace = measured(sampled)
    given = {"pairs": torch.view_as_real(kspace), "complex128": kspace.to(torch.complex128)}
    image = FIRENETModel()(given.get(layout, kspace), mask)
    assert image.shape == (1, SIZE, SIZE)
    assert image.dtype == torch.float32
    target = phantom(SIZE, SIZE).abs().unsqueeze(0)
    # Without a centre the mean of the image is not known.
    assert nmse(target, image) < (0.5 if case == "centre not sampled" else 0.03)


@pytest.mark.parametrize("shape", [(45, 37), (45, 48), (24, 22, 20), (23, 21, 19)])
def test_odd_sizes_and_volumes_are_reconstructed(shape) -> None:
    mask = columns(shape[-1], centre=12)
    kspace = measured(mask, shape)
    model = FIRENETModel(spatial_dims=len(shape), maps="lowres")
    image = model(torch.view_as_real(kspace), mask.reshape(*[1] * (len(shape) + 1), -1, 1))
    assert image.shape == (1, *shape)
    assert nmse(phantom(*shape).abs().unsqueeze(0), image) < 0.1


@pytest.mark.filterwarnings("error")
def test_one_coil_needs_no_maps() -> None:
    kspace = measured(LINES, coils=1)
    image = FIRENETModel()(torch.view_as_real(kspace), LINES)
    assert nmse(phantom(SIZE, SIZE).abs().unsqueeze(0), image) < 0.1


def test_a_slice_of_zeros_stays_zero_and_disturbs_nobody() -> None:
    kspace = measured(LINES)
    batch = torch.cat([kspace, torch.zeros_like(kspace), 2 * kspace]).requires_grad_()
    model = FIRENETModel(layers=10)
    images = model(batch, LINES)
    images.sum().backward()
    images = images.detach()
    assert not images[1].any()
    alone = model(kspace, LINES)[0]
    assert_close(images[0], alone, 1e-5)
    assert_close(images[2], 2 * alone, 1e-5)
    assert torch.isfinite(torch.view_as_real(batch.grad)).all()
    assert not model(torch.zeros_like(kspace), LINES).any()


def test_a_batch_with_masks_of_its_own_is_the_stack_of_its_items() -> None:
    masks = torch.stack([FIELD, FIELD.flip(0), LINES.expand(SIZE, SIZE)])
    kspace = torch.cat([measured(mask) for mask in masks])
    given = masks.reshape(3, 1, SIZE, SIZE, 1).float()
    model = FIRENETModel(layers=10)
    together = model(torch.view_as_real(kspace), given)
    for i in range(3):
        assert_close(together[i : i + 1], model(kspace[i : i + 1], given[i : i + 1]), 1e-5)


def test_columns_that_a_file_was_filled_up_with_are_not_data() -> None:
    kspace = measured(LINES)
    kspace[..., :4] = 0
    mask = LINES.clone()
    mask[:4] = False
    model = FIRENETModel(layers=10)
    assert_close(model(kspace, LINES), model(kspace, mask))


def test_a_scale_of_the_data_is_one_of_the_image_and_inputs_stay_as_they_are() -> None:
    kspace = torch.view_as_real(measured(LINES))
    before, mask = kspace.clone(), LINES.clone()
    model = FIRENETModel(layers=10)
    image = model(kspace, mask)
    assert torch.equal(model(kspace, mask), image)
    assert_close(model(1e-5 * kspace, mask), 1e-5 * image, 1e-4)
    assert torch.equal(kspace, before)
    assert torch.equal(mask, LINES)


def test_too_few_calibration_lines_give_a_warning_with_the_item() -> None:
    mask = columns(centre=6)
    with pytest.warns(UserWarning, match=r"item 0 of masked_kspace.*6 x 48|48 x 6"):
        image = FIRENETModel()(measured(mask), mask)
    assert torch.isfinite(image).all()


def test_a_mask_of_zeros_gives_a_warning() -> None:
    with pytest.warns(UserWarning, match="zero everywhere"):
        FIRENETModel(layers=2)(measured(LINES), torch.zeros(SIZE))


@pytest.mark.parametrize(
    "mask", [torch.ones(SIZE - 1), torch.ones(2, 1, 1, SIZE, 1), torch.ones(1, 4, SIZE, SIZE, 1)]
)
def test_a_mask_that_does_not_fit_is_refused_with_its_shape(mask) -> None:
    with pytest.raises(ShapeError, match=str(tuple(mask.shape)).replace("(", r"\(")[:-1]):
        FIRENETModel()(measured(LINES), mask)


def test_maps_can_be_given_estimated_or_made_by_a_module() -> None:
    kspace = measured(LINES)
    maps = birdcage(4, SIZE, SIZE)
    expected = FIRENETModel(layers=10)(kspace, LINES, sens_maps=3 * maps.unsqueeze(0))
    for given in (maps, maps.unsqueeze(0), torch.view_as_real(maps)):
        model = FIRENETModel(layers=10, maps=given)
        assert_close(model(kspace, LINES), expected, 1e-6)
        assert not model.state_dict()
    target = phantom(SIZE, SIZE).abs().unsqueeze(0)
    for method in ("espirit", "jsense", "lowres"):
        assert nmse(target, FIRENETModel(maps=method)(kspace, LINES)) < 0.03
    torch.manual_seed(0)
    module = CoilSensitivityModel(spatial_dims=2, features=(4, 4, 8, 16, 32, 4))
    model = FIRENETModel(layers=10, maps=module)
    pairs = torch.view_as_real(kspace)
    with torch.no_grad():
        own = module(pairs, LINES.reshape(1, 1, 1, -1, 1))
        image = model(pairs, LINES)
    assert_close(image, FIRENETModel(layers=10)(kspace, LINES, sens_maps=own), 1e-5)
    assert set(model.state_dict()) == {f"map_module.{name}" for name in module.state_dict()}


def test_maps_of_other_coils_are_refused_with_both_shapes() -> None:
    with pytest.raises(ShapeError, match=r"sens_maps has shape \(1, 3, 48, 48\).*\(1, 4, 48, 48\)"):
        FIRENETModel()(measured(LINES), LINES, sens_maps=birdcage(3, SIZE, SIZE).unsqueeze(0))


def test_output_can_be_complex_and_have_a_channel() -> None:
    kspace = measured(LINES)
    magnitude = FIRENETModel(layers=10)(kspace, LINES)
    image = FIRENETModel(layers=10, output="complex", channel_dim=True)(kspace, LINES)
    assert image.dtype == torch.complex64
    assert image.shape == (1, 1, SIZE, SIZE)
    assert torch.equal(image[:, 0].abs(), magnitude)


@pytest.mark.parametrize("form", ["complex", "pairs", "channel"])
def test_a_good_start_image_is_kept(form) -> None:
    """One layer from the truth stays near it, one from zero does not come there."""
    kspace = measured(LINES)
    truth = phantom(SIZE, SIZE).unsqueeze(0)
    start = {"pairs": torch.view_as_real(truth), "channel": truth.abs().unsqueeze(1)}
    model = FIRENETModel(layers=1, sparsifier="haar")
    sens = birdcage(4, SIZE, SIZE).unsqueeze(0)
    image = model(kspace, LINES, sens_maps=sens, x0=start.get(form, truth))
    zero = model(kspace, LINES, sens_maps=sens)
    assert nmse(truth.abs(), image) < 0.5 * nmse(truth.abs(), zero)
    with pytest.raises(ShapeError, match="x0"):
        model(kspace, LINES, x0=truth[..., 1:])


def test_autocast_changes_nothing() -> None:
    kspace = measured(LINES)
    model = FIRENETModel(layers=5, sparsifier="undecimated-haar")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        image = model(kspace, LINES)
    assert_close(image, model(kspace, LINES))


def test_models_are_copied_and_pickled() -> None:
    kspace = measured(LINES)
    model = FIRENETModel(layers=3, trainable=True)
    image = model(kspace, LINES)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(again(kspace, LINES), image)


@pytest.mark.parametrize(
    "options",
    [{"spatial_dims": 4}, {"output": "kspace"}, {"maps": "magic"}, {"preset": "magic"}],
)
def test_options_are_checked_when_the_model_is_made(options) -> None:
    with pytest.raises(UsageError):
        FIRENETModel(**options)


def test_levels_of_large_images_are_allowed() -> None:
    assert FIRENETModel(sparsifier="haar", levels=8).lipschitz_bound() > 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("sparsifier", [None, "db4"])
@pytest.mark.parametrize("record", ["trace", "export"])
@torch.no_grad()
def test_a_recorded_model_serves_other_data_and_masks(record, sparsifier) -> None:
    model = FIRENETModel(layers=5, sparsifier=sparsifier, maps=birdcage(4, SIZE, SIZE))
    lines = LINES.expand(SIZE, SIZE).reshape(1, 1, SIZE, SIZE, 1)
    field = FIELD.reshape(1, 1, SIZE, SIZE, 1)
    first = torch.view_as_real(measured(LINES))
    second = 3 * torch.view_as_real(measured(FIELD).flip(1))
    if record == "trace":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            recorded = torch.jit.trace(model, (first, lines), check_trace=False)
    else:
        recorded = torch.export.export(model, (first, lines)).module()
    assert_close(recorded(second, field), model(second, field), 1e-4)


def test_maps_from_outside_of_torch_cannot_be_recorded() -> None:
    with pytest.raises(UsageError, match="sens_maps"):
        torch.export.export(FIRENETModel(layers=2), (measured(LINES), LINES))
