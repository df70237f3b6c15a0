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
from monai.data import MetaTensor, decollate_batch, list_data_collate
from torch import Tensor

from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.metrics import nmse
from firenet_mri.monai import FIRENETModel
from firenet_mri.monai.maps import _recorded_maps, estimated_maps
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


def small_network() -> CoilSensitivityModel:
    torch.manual_seed(0)
    return CoilSensitivityModel(spatial_dims=2, features=(4, 4, 8, 16, 32, 4))


LINES = columns()
FIELD = points(SIZE, SIZE)
OFF_CENTRE = LINES & ((torch.arange(SIZE) - SIZE // 2).abs() > 2)

VOLUME = (24, 22, 20)
THIRDS = columns(centre=20, step=3)

# The failures of MONAI's VariationalNetworkModel and what lies beside them: the mask by which the
# data were made, the mask that is given, and the shape of the image and the number of coils.
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
    "columns of each item": (
        torch.stack([LINES, THIRDS]).reshape(2, 1, 1, -1),
        torch.stack([LINES, THIRDS]).reshape(2, 1, 1, -1, 1),
    ),
    "points of each item": (
        torch.stack([FIELD, FIELD.flip(0)]).unsqueeze(1),
        torch.stack([FIELD, FIELD.flip(0)]).reshape(2, 1, SIZE, SIZE, 1).float(),
    ),
    "no mask for one item": (
        torch.stack([LINES, THIRDS]).reshape(2, 1, 1, -1),
        torch.stack([LINES, 0 * THIRDS]).reshape(2, 1, 1, -1, 1),
    ),
    "odd sizes": (columns(37, centre=13), columns(37, centre=13), (45, 37)),
    "one coil": (LINES, LINES.reshape(1, 1, 1, -1, 1), (SIZE, SIZE), 1),
    "volume": (columns(20, centre=14), columns(20, centre=14).reshape(1, 1, 1, 1, -1, 1), VOLUME),
}
LAYOUTS = {
    "pairs": torch.view_as_real,
    "pairs, double": lambda kspace: torch.view_as_real(kspace).double(),
    "complex64": lambda kspace: kspace,
    "complex128": lambda kspace: kspace.to(torch.complex128),
}
# Where the mean of the image is not known, or where nothing but one coil is.
LARGEST_NMSE = {"centre not sampled": 0.5, "one coil": 0.1}


@pytest.mark.filterwarnings("ignore:The mask is zero", "ignore:item . of masked_kspace")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", CASES)
def test_every_mask_and_layout_gives_an_image_near_the_truth(case, layout) -> None:
    sampled, mask, *rest = CASES[case]
    kspace = measured(sampled, *rest)
    shape = kspace.shape[2:]
    image = FIRENETModel(spatial_dims=len(shape))(LAYOUTS[layout](kspace), mask)
    assert image.shape == (len(kspace), *shape)
    assert image.dtype == torch.float32
    for one in image:
        assert nmse(phantom(*shape).abs(), one) < LARGEST_NMSE.get(case, 0.03)


def test_half_precision_is_computed_in_single() -> None:
    kspace = torch.view_as_real(measured(LINES))
    model = FIRENETModel(layers=10)
    assert_close(model(kspace.half(), LINES), model(kspace, LINES), 5e-3)
    assert torch.equal(model(kspace.half(), LINES), model(kspace.half().float(), LINES))


@pytest.mark.parametrize("shape", [(45, 48), (23, 21, 19)])
def test_odd_sizes_and_volumes_are_reconstructed_from_maps_of_low_resolution(shape) -> None:
    mask = columns(shape[-1], centre=12)
    kspace = measured(mask, shape)
    model = FIRENETModel(spatial_dims=len(shape), maps="lowres")
    image = model(torch.view_as_real(kspace), mask.reshape(*[1] * (len(shape) + 1), -1, 1))
    assert image.shape == (1, *shape)
    assert nmse(phantom(*shape).abs().unsqueeze(0), image) < 0.1


@pytest.mark.filterwarnings("error")
def test_one_coil_needs_no_maps() -> None:
    kspace = measured(LINES, coils=1)
    ones = FIRENETModel(layers=5)(kspace, LINES, sens_maps=torch.ones_like(kspace))
    assert torch.equal(FIRENETModel(layers=5)(kspace, LINES), ones)


@pytest.mark.filterwarnings("ignore:item 0 of masked_kspace")
def test_a_hole_in_the_centre_is_filled_from_maps_of_what_was_sampled() -> None:
    """Better than constant maps, under which the coils cancel each other."""
    mask = torch.ones(SIZE, dtype=torch.bool)
    mask[9:39] = False
    kspace = measured(mask)
    model = FIRENETModel(output="magnitude")
    image = model(kspace, mask)
    constant = model(kspace, mask, sens_maps=torch.full_like(kspace, 0.5))
    target = phantom(SIZE, SIZE).abs().unsqueeze(0)
    assert nmse(target, image) < 0.95 * nmse(target, constant)


def test_nan_is_refused_where_it_was_sampled_and_does_not_matter_elsewhere() -> None:
    kspace = measured(LINES)
    model = FIRENETModel(layers=5)
    dirty = torch.where(LINES, kspace, torch.full_like(kspace, torch.nan))
    assert torch.equal(model(dirty, LINES), model(kspace, LINES))
    bad = torch.cat([kspace, kspace])
    bad[1, 0, 3, 0] = torch.inf
    for given in (None, birdcage(4, SIZE, SIZE)):
        with pytest.raises(DataError, match="item 1"):
            model(bad, LINES, sens_maps=given)
    with pytest.raises(DataError, match="sens_maps has NaN"):
        model(kspace, LINES, sens_maps=torch.full_like(kspace, torch.nan))


def test_metadata_stay_with_their_items_but_not_the_operations_on_kspace() -> None:
    items = [
        MetaTensor(
            torch.view_as_real(measured(LINES))[0],
            meta={"filename_or_obj": f"{i}.h5"},
            affine=torch.diag(torch.tensor([i, 2.0, 3.0, 1.0])),
            applied_operations=[{"class": "Flip"}],
        )
        for i in (1, 2)
    ]
    batch = FIRENETModel(layers=2)(list_data_collate(items), LINES)
    assert batch[1].meta["filename_or_obj"] == "2.h5"
    for item, image in zip(items, decollate_batch(batch), strict=True):
        assert image.shape == (SIZE, SIZE)
        assert image.meta["filename_or_obj"] == item.meta["filename_or_obj"]
        assert torch.equal(image.affine, item.affine)
        assert not image.applied_operations


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


@pytest.mark.filterwarnings("ignore:The mask is zero")
@pytest.mark.parametrize("maps", ["espirit", "lowres", "module"])
def test_a_batch_with_masks_of_its_own_is_the_stack_of_its_items(maps) -> None:
    masks = torch.stack([FIELD, FIELD.flip(0), LINES.expand(SIZE, SIZE), FIELD.T])
    kspace = torch.cat([measured(mask) for mask in masks])
    given = masks.reshape(4, 1, SIZE, SIZE, 1).float()
    given[3] = 0
    model = FIRENETModel(layers=10, maps=small_network() if maps == "module" else maps)
    together = model(torch.view_as_real(kspace), given).detach()
    for i in range(4):
        assert_close(together[i : i + 1], model(kspace[i : i + 1], given[i : i + 1]).detach(), 1e-5)


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
    module = small_network()
    model = FIRENETModel(layers=10, maps=module)
    pairs = torch.view_as_real(kspace)
    with torch.no_grad():
        own = module(pairs, LINES.reshape(1, 1, 1, -1, 1))
        image = model(pairs, LINES)
    assert_close(image, FIRENETModel(layers=10)(kspace, LINES, sens_maps=own), 1e-5)
    assert set(model.state_dict()) == {f"map_module.{name}" for name in module.state_dict()}


@torch.no_grad()
def test_a_module_for_maps_is_spared_what_it_fails_on() -> None:
    """MONAI's network gives NaN for zeros and runs off a full mask; points have no lines."""
    module = small_network()
    model = FIRENETModel(layers=10, maps=module)
    kspace = measured(LINES)
    alone = model(kspace, LINES)
    both = model(torch.cat([kspace, torch.zeros_like(kspace)]), LINES)
    assert_close(both[:1], alone, 1e-5)
    assert not both[1].any()
    full = torch.ones(SIZE)
    for mask in (full, FIELD):
        assert torch.isfinite(model(measured(mask), mask)).all()
    with pytest.raises(IndexError):
        module(torch.view_as_real(kspace), full.reshape(1, 1, 1, -1, 1))
    with pytest.raises(DataError, match="CoilSensitivityModel has NaN"):
        model(measured(OFF_CENTRE), OFF_CENTRE)


def test_a_module_for_maps_is_told_the_lines_through_the_calibration_region_of_points() -> None:
    class Spy(torch.nn.Module):
        def forward(self, kspace: Tensor, mask: Tensor) -> Tensor:
            assert mask.shape == (1, 1, 1, SIZE, 1)
            assert mask.flatten().nonzero().flatten().tolist() == list(range(16, 32))
            return torch.ones_like(kspace)

    assert torch.isfinite(FIRENETModel(layers=2, maps=Spy())(measured(FIELD), FIELD)).all()


def test_a_module_for_maps_is_trained_through_a_slice_of_zeros() -> None:
    model = FIRENETModel(layers=3, maps=small_network())
    kspace = measured(LINES)
    model(torch.cat([kspace, torch.zeros_like(kspace)]), LINES).square().sum().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(gradient is None or torch.isfinite(gradient).all() for gradient in gradients)
    assert any(gradient is not None and gradient.any() for gradient in gradients)


def test_maps_of_other_coils_are_refused_with_both_shapes() -> None:
    with pytest.raises(ShapeError, match=r"sens_maps has shape \(1, 3, 48, 48\).*\(1, 4, 48, 48\)"):
        FIRENETModel()(measured(LINES), LINES, sens_maps=birdcage(3, SIZE, SIZE).unsqueeze(0))


def test_output_can_be_complex_and_have_a_channel() -> None:
    kspace = measured(LINES)
    magnitude = FIRENETModel(layers=10, output="magnitude")(kspace, LINES)
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
    [
        {"spatial_dims": 4},
        {"output": "kspace"},
        {"maps": "magic"},
        {"background": "black"},
        {"preset": "magic"},
    ],
)
def test_options_are_checked_when_the_model_is_made(options) -> None:
    with pytest.raises(UsageError):
        FIRENETModel(**options)


def test_levels_of_large_images_are_allowed() -> None:
    assert FIRENETModel(sparsifier="haar", levels=8).lipschitz_bound() > 0


class WithMaps(torch.nn.Module):
    """The model with positional arguments alone, as a trace needs them."""

    def __init__(self, model: FIRENETModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, kspace: Tensor, mask: Tensor, maps: Tensor) -> Tensor:
        return self.model(kspace, mask, sens_maps=maps)


def recorded(record: str, model: torch.nn.Module, example: tuple[Tensor, ...]) -> torch.nn.Module:
    """Return the model traced or exported."""
    if record == "export":
        return torch.export.export(model, example).module()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        return torch.jit.trace(model, example, check_trace=False)


RECORDS = pytest.mark.parametrize("record", ["trace", "export"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The mask is zero")
@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"sparsifier": "db4"}, marks=pytest.mark.slow),
        pytest.param({"preset": "stable"}, marks=pytest.mark.slow),
        pytest.param({"preset": "paper", "layers": 10}, marks=pytest.mark.slow),
    ],
    ids=str,
)
@RECORDS
@torch.no_grad()
def test_a_recorded_model_serves_other_data_masks_and_maps(record, options) -> None:
    model = WithMaps(FIRENETModel(**{"layers": 4, **options}))
    maps = birdcage(4, SIZE, SIZE).unsqueeze(0)
    lines = LINES.expand(SIZE, SIZE).reshape(1, 1, SIZE, SIZE, 1)
    again = recorded(record, model, (torch.view_as_real(measured(LINES)), lines, maps))
    kspace = 3 * torch.view_as_real(measured(FIELD).flip(1))
    maps = maps.roll(5, -1)
    field = FIELD.reshape(1, 1, SIZE, SIZE, 1)
    # No mask is one of zeros.
    for mask in (field, torch.zeros_like(field)):
        assert_close(again(kspace, mask, maps), model(kspace, mask, maps), 1e-4)
    assert not again(torch.zeros_like(kspace), field, maps).any()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:item [01] of masked_kspace")
@RECORDS
@torch.no_grad()
def test_a_recorded_model_makes_the_maps_of_low_resolution_that_the_model_makes(record) -> None:
    model = FIRENETModel(layers=1, maps="lowres")
    masks = [columns(centre=24), columns(centre=12, step=3), columns(centre=2, step=4), FIELD]
    masks = [mask.expand(SIZE, SIZE).reshape(1, SIZE, SIZE) for mask in masks]
    kspace = torch.cat([measured(mask) for mask in masks])
    # The second region is narrower than 24, the third too narrow; two items share a graph.
    again = recorded(record, model, (kspace[:2], torch.stack(masks[:2])))
    for pair in ((0, 1), (2, 3), (3, 1)):
        given = 2 * kspace[list(pair)].flip(2), torch.stack([masks[i] for i in pair])
        assert_close(again(*given), model(*given), 1e-5)


def test_recorded_maps_are_those_of_data_of_any_size() -> None:
    mask = LINES.expand(SIZE, SIZE).reshape(1, 1, SIZE, SIZE)
    expected = estimated_maps(measured(LINES), mask, "lowres", "crop")
    for scale in (1e-20, 1e19):
        # Their squares do not fit single precision. Where there is hardly any signal, the model's
        # own maps of these data differ by 2e-4, too.
        assert_close(_recorded_maps(scale * measured(LINES), mask), expected, 5e-4)


# The compiler itself looks for gradients of what is no leaf.
@pytest.mark.filterwarnings("ignore:The .grad attribute")
@pytest.mark.parametrize(
    "options",
    [{"sparsifier": "haar"}, {"maps": "lowres"}, {"maps": "lowres", "trainable": True}],
    ids=str,
)
def test_torch_compile_leaves_the_model_as_it_is(options) -> None:
    model = FIRENETModel(**{"layers": 2, **options})
    given = measured(LINES), LINES
    compiled = torch.compile(lambda kspace, mask: model(kspace, mask) ** 2, backend="eager")
    assert_close(compiled(*given).detach(), model(*given).detach() ** 2, 1e-6)
    if model.steps is not None:
        parameters = list(model.parameters())
        found = torch.autograd.grad(compiled(*given).sum(), parameters)
        expected = torch.autograd.grad((model(*given) ** 2).sum(), parameters)
        assert any(bool(gradient.any()) for gradient in expected)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@RECORDS
@pytest.mark.parametrize(
    ("options", "message"),
    [({}, "sens_maps"), ({"preset": "adaptive", "maps": "lowres"}, "adaptive")],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_cannot_be_recorded_is_refused(record, options, message) -> None:
    with pytest.raises(UsageError, match=message):
        recorded(record, FIRENETModel(**options), (measured(LINES), LINES))


def test_a_torch_that_traces_another_network_is_refused(monkeypatch) -> None:
    model, example = FIRENETModel(maps="lowres", layers=1), torch.randn(1, 2, 32, 32, 2)
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(UsageError, match=r"torch 2\.5\.1\+cpu traces other images"):
        torch.jit.trace(model, example, check_trace=False)
    with torch.no_grad():
        assert model(example).shape == (1, 32, 32)
