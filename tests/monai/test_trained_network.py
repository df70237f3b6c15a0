"""FIRENETModel and FIRENETReconstruct run trained networks as they run presets."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import sigpy.mri
import torch
from learned_networks import frame_file, small_frame, small_network, weights_file
from torch import Tensor

from firenet_mri import Certificate, RawScan, reconstruct
from firenet_mri.errors import UsageError
from firenet_mri.monai import FIRENETModel, FIRENETReconstruct
from firenet_mri.operators import encoding_operator

SIZE = 32


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return weights_file(tmp_path_factory.mktemp("weights"))


def maps_of(coils: int = 4) -> Tensor:
    maps = torch.from_numpy(sigpy.mri.birdcage_maps((coils, SIZE, SIZE))).to(torch.complex64)
    return maps / torch.linalg.vector_norm(maps, dim=0)


def mask_of(step: int) -> Tensor:
    columns = torch.zeros(SIZE, dtype=torch.bool)
    columns[::step] = columns[12:20] = True
    return columns.reshape(1, 1, 1, SIZE, 1)


def kspace_of(mask: Tensor) -> Tensor:
    image = torch.from_numpy(sigpy.shepp_logan((SIZE, SIZE))).to(torch.complex64)
    return torch.view_as_real(encoding_operator(mask[..., 0], maps_of())(image[None]))


def test_the_model_returns_what_the_network_does(file) -> None:
    mask = mask_of(3)
    kspace = kspace_of(mask)
    model = FIRENETModel(maps=maps_of(), output="complex", weights=str(file))
    y = torch.view_as_complex(kspace)
    expected = small_network()(y, encoding_operator(mask[..., 0], maps_of()))
    torch.testing.assert_close(model(kspace, mask), expected)
    assert list(model.parameters()) == []
    bound = model.lipschitz_bound()
    assert bound == pytest.approx(
        small_network().lipschitz_bound_everywhere(encoding_operator(None, maps_of())), rel=1e-5
    )


def test_no_state_dict_holds_or_changes_its_weights(file) -> None:
    model = FIRENETModel(maps="none", output="magnitude", weights=file)
    assert model.state_dict() == {}
    before = model.lipschitz_bound()
    model.learned.stages[1].firmness.mul_(9)
    assert model.lipschitz_bound() > 1.1 * before


def test_items_of_a_batch_are_those_alone(file) -> None:
    masks = torch.cat([mask_of(2), mask_of(4)])
    kspace = torch.cat([kspace_of(mask_of(2)), 3 * kspace_of(mask_of(4))])
    model = FIRENETModel(maps="lowres", weights=file)
    together = model(kspace, masks)
    for k in range(2):
        alone = model(kspace[k : k + 1], masks[k : k + 1])
        torch.testing.assert_close(together[k : k + 1], alone, rtol=1e-4, atol=1e-5)


class WithMaps(torch.nn.Module):
    def __init__(self, model: FIRENETModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, kspace: Tensor, mask: Tensor, maps: Tensor) -> Tensor:
        return self.model(kspace, mask, sens_maps=maps)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("record", ["trace", "export"])
@torch.no_grad()
def test_a_recorded_model_serves_other_data_masks_and_maps(record, file) -> None:
    model = WithMaps(FIRENETModel(weights=file))
    example = (kspace_of(mask_of(2)), mask_of(2), maps_of()[None])
    if record == "export":
        again = torch.export.export(model, example).module()
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            again = torch.jit.trace(model, example, check_trace=False)
    maps = maps_of().roll(5, -1)[None]
    kspace = 7 * kspace_of(mask_of(4)).flip(1)
    torch.testing.assert_close(
        again(kspace, mask_of(4), maps), model(kspace, mask_of(4), maps), rtol=1e-4, atol=1e-4
    )
    assert not again(torch.zeros_like(kspace), mask_of(4), maps).any()


def test_the_image_is_differentiable_by_its_maps(file) -> None:
    maps = maps_of()[None].requires_grad_()
    model = FIRENETModel(output="magnitude", weights=file)
    model(kspace_of(mask_of(2)), mask_of(2), sens_maps=maps).sum().backward()
    assert maps.grad is not None
    assert bool(maps.grad.abs().max() > 0)


def test_what_it_was_not_made_for_is_refused(file) -> None:
    with pytest.raises(UsageError, match=r"spatial_dims is 3, .* 2D images"):
        FIRENETModel(3, weights=file)
    with pytest.raises(UsageError, match="trainable is for the steps of a preset"):
        FIRENETModel(trainable=True, weights=file)
    with pytest.raises(UsageError, match="layers: belongs to a preset"):
        FIRENETModel(layers=3, weights=file)
    model = FIRENETModel(maps="none", weights=file)
    with pytest.raises(UsageError, match="leave the start image out"):
        model(torch.ones(1, 1, 8, 8, 2), x0=torch.ones(1, 8, 8))


def test_the_transform_certifies_what_reconstruct_does(file) -> None:
    kspace = torch.view_as_complex(kspace_of(mask_of(2)))
    mask = mask_of(2)[0, 0, :, :, 0].expand(SIZE, SIZE)
    transform = FIRENETReconstruct(certificate=True, maps="lowres", weights=file)
    made = transform(kspace, mask)
    certificate = Certificate.from_dict(json.loads(made.meta["certificate"]))
    assert certificate.relative_gap is None
    assert "minimises nothing" in certificate.gap_statement
    scan = RawScan(kspace=kspace, mask=mask[None, None], spatial_ndim=2, name="x")
    image = reconstruct(scan, maps="lowres", weights=file).magnitude
    torch.testing.assert_close(made.as_tensor()[0, :, :, 0].T, image[0])


@torch.no_grad()
def test_the_model_runs_a_learned_frame_at_any_size(tmp_path) -> None:
    mask = mask_of(3)
    kspace = kspace_of(mask)
    file = frame_file(tmp_path)
    # The automatic lam depends on coils and pixels.
    options = {"layers": 4}
    model = FIRENETModel(maps=maps_of(), output="complex", weights=file, **options)
    y = torch.view_as_complex(kspace)
    net = small_frame().network(4, (SIZE, SIZE), model.options)
    encoding = encoding_operator(mask[..., 0], maps_of())
    torch.testing.assert_close(model(kspace, mask), net(y, encoding))
    assert model.lipschitz_bound() == pytest.approx(
        FIRENETModel(maps="none", output="complex", **options).lipschitz_bound()
    )
    single = FIRENETModel(maps="none", weights=file, **options)
    assert single(torch.ones(1, 1, 12, 9, 2)).shape == (1, 12, 9)
    with pytest.raises(UsageError, match="trainable is for the steps of a preset"):
        FIRENETModel(trainable=True, weights=file)
    with pytest.raises(UsageError, match="sparsifier: a learned frame"):
        FIRENETModel(sparsifier="tv", weights=file)


@pytest.mark.slow
@torch.no_grad()
def test_an_exported_model_with_a_frame_serves_other_data(tmp_path) -> None:
    model = WithMaps(FIRENETModel(weights=frame_file(tmp_path), layers=3))
    example = (kspace_of(mask_of(2)), mask_of(2), maps_of()[None])
    again = torch.export.export(model, example).module()
    other = (kspace_of(mask_of(4)), mask_of(4), maps_of().roll(5, -1)[None])
    torch.testing.assert_close(again(*other), model(*other), rtol=1e-4, atol=1e-4)
