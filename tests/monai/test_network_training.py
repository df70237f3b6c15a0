"""FIRENETModel can be trained, in MONAI's loop too, and its Lipschitz bound stays proven."""

from __future__ import annotations

import math

import h5py
import numpy as np
import pytest
import sigpy
import sigpy.mri
import torch
from laws import assert_close
from monai.apps.reconstruction.fastmri_reader import FastMRIReader
from monai.apps.reconstruction.networks.nets.coil_sensitivity_model import CoilSensitivityModel
from monai.apps.reconstruction.networks.nets.complex_unet import ComplexUnet
from monai.apps.reconstruction.networks.nets.varnet import VariationalNetworkModel
from monai.apps.reconstruction.transforms.dictionary import (
    EquispacedKspaceMaskd,
    ExtractDataKeyFromMetaKeyd,
)
from monai.data import CacheDataset, DataLoader, Dataset
from monai.data.fft_utils import ifftn_centered
from monai.transforms import Compose, EnsureTyped, LoadImaged, SpatialCrop

from firenet_mri.errors import UsageError
from firenet_mri.firenet.presets import make_network
from firenet_mri.metrics import nmse
from firenet_mri.monai import FIRENETModel
from firenet_mri.operators import encoding_operator
from firenet_mri.operators.sparsifiers import make_sparsifier

SIZE = 48
MAPS = torch.from_numpy(sigpy.mri.birdcage_maps((4, SIZE, SIZE))).to(torch.complex64)
MAPS = MAPS / torch.linalg.vector_norm(MAPS, dim=0)
MASK = torch.zeros(SIZE, dtype=torch.bool)
MASK[::3] = True
MASK[18:30] = True


def noisy_kspace() -> tuple[torch.Tensor, torch.Tensor]:
    truth = torch.from_numpy(sigpy.shepp_logan((SIZE, SIZE))).to(torch.complex64).unsqueeze(0)
    kspace = encoding_operator(MASK, MAPS)(truth)
    noise = torch.randn(
        kspace.shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(0)
    )
    return kspace + 0.05 * noise * MASK, truth.abs()


@pytest.mark.parametrize("sparsifier", [None, "db4"])
def test_a_trainable_model_begins_as_the_untrained_one(sparsifier) -> None:
    kspace, _ = noisy_kspace()
    plain = FIRENETModel(layers=8, sparsifier=sparsifier, maps=MAPS)
    model = FIRENETModel(layers=8, sparsifier=sparsifier, maps=MAPS, trainable=True)
    assert not list(plain.parameters())
    assert not plain.state_dict()
    with torch.no_grad():
        assert_close(model(kspace, MASK), plain(kspace, MASK), 1e-4)


def test_training_lowers_the_loss_and_is_saved_and_loaded() -> None:
    kspace, truth = noisy_kspace()
    # The thresholds begin too large for these data.
    options = {"layers": 8, "maps": MAPS, "trainable": True, "budget": 0.04}
    model = FIRENETModel(**options)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    losses = []
    for _ in range(15):
        optimiser.zero_grad()
        loss = torch.nn.functional.mse_loss(model(kspace, MASK), truth)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    again = FIRENETModel(**options)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(kspace, MASK), model(kspace, MASK))


@pytest.mark.parametrize("sparsifier", ["tv", "dual-tree", "tv+undecimated-haar"])
def test_bands_that_are_penalised_together_are_trained_together(sparsifier) -> None:
    kspace, truth = noisy_kspace()
    model = FIRENETModel(layers=4, sparsifier=sparsifier, maps=MAPS, trainable=True)
    groups = make_sparsifier(sparsifier, (SIZE, SIZE)).groups
    assert len(model.steps.log_thresholds) == len(groups)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    losses = []
    for _ in range(4):
        optimiser.zero_grad()
        loss = torch.nn.functional.mse_loss(model(kspace, MASK), truth)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert bool(model.steps.log_thresholds.all())
    fixed = make_network(4, (SIZE, SIZE), sparsifier=sparsifier, layers=4)
    net = model.steps.applied_to(fixed)
    for part in net.weights.split(groups):
        assert torch.equal(part, part[:1].expand_as(part))


@pytest.mark.parametrize("seed", range(5))
def test_the_bound_holds_for_any_parameters(seed) -> None:
    """The measured gain of a network with random parameters stays below what is proven."""
    torch.manual_seed(seed)
    model = FIRENETModel(layers=6, maps=MAPS, trainable=True, output="complex")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 2 * torch.randn_like(parameter)
    kspace, _ = noisy_kspace()
    encoding = encoding_operator(MASK, MAPS)
    net = model.steps.applied_to(make_network(4, (SIZE, SIZE), layers=6))
    assert net.lipschitz_bound(encoding) < 5 / net.problem(encoding).norm_bound
    expected = net.lipschitz_bound_everywhere(encoding)
    assert model.lipschitz_bound() == pytest.approx(expected, rel=1e-5)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        image = net(kspace, encoding)
        for size in (1e-3, 1e-1, 1):
            noise = torch.randn(kspace.shape, dtype=torch.complex64, generator=generator) * MASK
            other = kspace + size * noise
            change = (net(other, encoding) - image).norm() / (size * noise.norm())
            assert change <= model.lipschitz_bound()


@pytest.mark.parametrize("value", [-200.0, 200.0])
@pytest.mark.parametrize("name", ["log_first_step", "ratio_logits", "log_thresholds"])
@torch.no_grad()
def test_no_parameter_is_so_large_that_the_bound_is_lost(name, value) -> None:
    model = FIRENETModel(layers=6, maps=MAPS, trainable=True)
    getattr(model.steps, name).fill_(value)
    kspace, _ = noisy_kspace()
    assert torch.isfinite(model(kspace, MASK)).all()
    assert model.lipschitz_bound() < math.sqrt(2) * math.hypot(5 * math.sqrt(2), 1)


def test_gradients_are_finite_with_a_slice_of_zeros() -> None:
    kspace, _ = noisy_kspace()
    for batch in (torch.cat([kspace, 0 * kspace]), 0 * kspace):
        model = FIRENETModel(layers=6, maps=MAPS, trainable=True)
        model(batch, MASK).square().sum().backward()
        assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_presets_without_a_bound_for_other_steps_are_not_trained() -> None:
    for preset in ("paper", "adaptive"):
        with pytest.raises(UsageError, match="trained"):
            FIRENETModel(preset=preset, trainable=True)


@pytest.fixture
def files(tmp_path) -> list[dict[str, str]]:
    """Return two multi-coil volumes of two slices in fastMRI's layout."""
    found = []
    for index in range(2):
        image = np.roll(sigpy.shepp_logan((SIZE, SIZE)), 2 * index, axis=0)
        images = torch.from_numpy(np.stack([image, image[::-1].copy()])).to(torch.complex64)
        kspace = encoding_operator(None, MAPS)(images).numpy()
        path = tmp_path / f"volume{index}.h5"
        with h5py.File(path, "w") as file:
            file["kspace"] = kspace
            file["reconstruction_rss"] = images.abs().numpy()[..., 4:-4, 4:-4]
            file.attrs.update({"max": 1.0, "norm": 1.0, "acquisition": "AXT2"})
            file.attrs["patient_id"] = "none"
        found.append({"kspace": str(path)})
    return found


PIPELINE = Compose(
    [
        LoadImaged(keys=["kspace"], reader=FastMRIReader, image_only=False, dtype=np.complex64),
        ExtractDataKeyFromMetaKeyd(keys=["reconstruction_rss"], meta_key="kspace_meta_dict"),
        EquispacedKspaceMaskd(
            keys=["kspace"], center_fractions=[0.25], accelerations=[3], spatial_dims=2
        ),
        EnsureTyped(keys=["kspace", "kspace_masked_ifft", "reconstruction_rss"]),
    ]
)


def slices(batch, model):
    """Yield image and target of each slice, as the tutorial's loop does with any network."""
    kspace, mask = batch["kspace_masked"], batch["mask"][0]
    target = batch["reconstruction_rss"]
    for i in range(kspace.shape[1]):
        image = model(kspace[:, i].unsqueeze(1)[0], mask.bool())
        crop = SpatialCrop(
            roi_center=tuple(size // 2 for size in image.shape[-2:]), roi_size=target.shape[-2:]
        )
        yield crop(image), target[:, i]


class ZeroFilling(torch.nn.Module):
    def forward(self, kspace, mask):
        images = ifftn_centered(kspace, spatial_dims=2)
        return images.square().sum((1, -1)).sqrt()


@pytest.mark.parametrize("dataset", [Dataset, CacheDataset])
def test_the_tutorials_inference_runs_with_both_networks(files, dataset) -> None:
    torch.manual_seed(0)
    features = (4, 4, 8, 16, 32, 4)
    varnet = VariationalNetworkModel(
        CoilSensitivityModel(spatial_dims=2, features=features),
        ComplexUnet(spatial_dims=2, features=features),
        num_cascades=1,
    )
    loader = DataLoader(dataset(files, PIPELINE), batch_size=1)
    scores = []
    for model in (varnet, ZeroFilling(), FIRENETModel()):
        model.eval()
        with torch.no_grad():
            pairs = [pair for batch in loader for pair in slices(batch, model)]
        assert len(pairs) == 4
        for image, target in pairs:
            assert type(image).__name__ == "MetaTensor"
            assert image.shape == target.shape == (1, SIZE - 8, SIZE - 8)
        scores.append([nmse(target, image) for image, target in pairs])
    # The variational network is not trained: its images are not compared.
    for before, after in zip(*scores[1:], strict=True):
        assert after < 0.4 * before


def test_the_tutorials_training_runs(files) -> None:
    loader = DataLoader(Dataset(files, PIPELINE), batch_size=1)
    model = FIRENETModel(layers=6, trainable=True)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    losses = []
    for _ in range(4):
        total = 0.0
        for batch in loader:
            for image, target in slices(batch, model):
                optimiser.zero_grad()
                loss = torch.nn.functional.mse_loss(image, target)
                loss.backward()
                optimiser.step()
                total += loss.item()
        losses.append(total)
    assert losses[-1] < losses[0]


@pytest.mark.filterwarnings("ignore::UserWarning:torch.distributed")
def test_distributed_training_has_the_gradients_of_the_model(tmp_path) -> None:
    from torch.distributed import destroy_process_group, init_process_group
    from torch.nn.parallel import DistributedDataParallel

    model = FIRENETModel(maps="none", layers=2, trainable=True)
    kspace = torch.randn(2, 1, 32, 32, 2, generator=torch.Generator().manual_seed(0))
    init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        DistributedDataParallel(model)(kspace).sum().backward()
    finally:
        destroy_process_group()
    expected = torch.autograd.grad(model(kspace).sum(), list(model.parameters()))
    found = [parameter.grad for parameter in model.parameters()]
    assert all(torch.allclose(a, b) for a, b in zip(found, expected, strict=True))
