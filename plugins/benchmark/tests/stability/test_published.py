"""Published networks open from their weights, and are handed what they were trained on."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.apps.reconstruction.networks.nets.coil_sensitivity_model import CoilSensitivityModel
from monai.apps.reconstruction.networks.nets.complex_unet import ComplexUnet
from monai.apps.reconstruction.networks.nets.varnet import VariationalNetworkModel
from monai.apps.reconstruction.transforms.dictionary import ReferenceBasedNormalizeIntensityd
from monai.networks.blocks.fft_utils_t import ifftn_centered_t
from monai.networks.nets import BasicUNet
from monai.transforms import ThresholdIntensity
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from firenet_benchmark.cli.stability_options import CustomNetworks
from firenet_benchmark.stability.custom_networks import custom_method, custom_methods
from firenet_benchmark.stability.data import images, simulated_case
from firenet_benchmark.stability.fastmri_varnet import FastMRIVarNet
from firenet_benchmark.stability.jacobian import gradient_problem
from firenet_benchmark.stability.methods import Batch, batch_of
from firenet_benchmark.stability.published import PublishedMoDL, open_published
from firenet_mri.errors import FileError, ShapeError, UsageError
from firenet_mri.operators.centred import centred_ifft

VARNET = (4, 6, 8, 10, 12, 5)
MAPS = (2, 3, 4, 5, 6, 2)


def random_varnet(features=VARNET, of_maps=MAPS, cascades: int = 2) -> VariationalNetworkModel:
    """Return MONAI's network as its tutorial makes it."""
    torch.manual_seed(0)
    maps = CoilSensitivityModel(spatial_dims=2, features=of_maps)
    network = VariationalNetworkModel(maps, ComplexUnet(2, features), cascades)
    for one in network.cascades:
        one.dc_weight.data.uniform_(0.5, 1.5)
        # Near zero filling, as behind a training.
        one.model.unet.final_conv.weight.data.mul_(0.1)
    return network.eval()


def random_unet(features=VARNET) -> BasicUNet:
    torch.manual_seed(1)
    return BasicUNet(2, 1, 1, features=features).eval()


def random_fastmri(cascades: int = 2) -> FastMRIVarNet:
    torch.manual_seed(2)
    network = FastMRIVarNet(cascades, chans=3, pools=3, sens_chans=2, sens_pools=2)
    for one in network.cascades:
        one.model.unet.up_conv[-1][1].weight.data.mul_(0.1)
    return network.eval()


def random_modl() -> PublishedMoDL:
    torch.manual_seed(3)
    network = PublishedMoDL([5, 4, 2])
    for layer in network.dw.nw:
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(std=0.1)
            layer.running_var.uniform_(0.5, 2)
    return network.eval()


MADE = {
    "monai-varnet": random_varnet,
    "monai-unet": random_unet,
    "fastmri-varnet": random_fastmri,
    "modl": random_modl,
}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Return what writes a network's weights."""
    folder = tmp_path_factory.mktemp("weights")

    def write(content, name: str = "weights.pt") -> Path:
        state = content.state_dict() if isinstance(content, nn.Module) else content
        torch.save(state, folder / name)
        return folder / name

    return write


@pytest.fixture(scope="module")
def batch() -> Batch:
    return batch_of([simulated_case(images("test")[i], seed=i, name=str(i)) for i in (2, 5)])


@pytest.fixture(scope="module")
def lines() -> Tensor:
    """Return lines of which the middle 9 of 44 are sampled, more before the middle than behind."""
    found = torch.rand(44, generator=torch.manual_seed(0)) < 0.4
    found[17:26], found[[0, 16, 26, -1]] = True, False
    return found


@pytest.fixture(scope="module")
def kspace(lines) -> Tensor:
    shape = (2, 3, 34, 44)
    smooth = torch.exp(-((torch.arange(34)[:, None] - 17) ** 2 + (torch.arange(44) - 22) ** 2) / 99)
    found = torch.randn(shape, dtype=torch.complex64, generator=torch.manual_seed(1))
    return found * smooth * lines


def image_of(network: nn.Module, kspace: Tensor, lines: Tensor) -> Tensor:
    with torch.no_grad():
        return network(kspace, lines.expand(1, 1, *kspace.shape[2:]))


@pytest.mark.parametrize("name", MADE)
def test_any_prefix_wrapper_and_precision_opens(name, file, tmp_path, kspace, lines) -> None:
    network = MADE[name]()
    state = network.state_dict()
    lightning = {f"varnet.{key}": one for key, one in state.items()} | {"loss.w": torch.ones(1, 7)}
    save_file({f"module.{key}": one for key, one in state.items()}, tmp_path / "w.safetensors")
    paths = [
        file(network, "plain.pt"),
        file({"state_dict": lightning, "epoch": 3, "callbacks": {}}, "lightning.ckpt"),
        file({"model": {f"module.model.{key}": one for key, one in state.items()}}, "both.pt"),
        file({"net": state, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}, "net.pt"),
        tmp_path / "w.safetensors",
    ]
    maps = torch.ones(1, 3, 34, 44, dtype=torch.complex64) / 3**0.5
    mask = lines.expand(1, 1, 34, 44)
    found = [open_published(name, path)(kspace, mask, maps) for path in paths]
    assert all(torch.equal(image, found[0]) for image in found[1:])
    half = file({key: one.half() for key, one in state.items()}, "half.pt")
    image = open_published(name, half)(kspace, mask, maps)
    assert image.dtype == found[0].dtype
    assert (image - found[0]).norm() < 0.05 * found[0].norm()
    # Other methods of the benchmark are drawn with the seed that was set.
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    open_published(name, half)
    assert torch.equal(torch.rand(3), expected)


# Sizes that the tutorials, and fastMRI's scripts, say.
PUBLISHED_SIZES = {
    "monai-varnet": (
        lambda: random_varnet((18, 36, 72, 144, 288, 18), (8, 16, 32, 64, 128, 8), 12),
        # As MONAI's tutorial prints it.
        30_069_558,
    ),
    "monai-unet": (lambda: random_unet((32, 64, 128, 256, 512, 32)), 7_782_849),
    # Counted in fastmri 0.3.0.
    "fastmri-varnet": (
        lambda: FastMRIVarNet(12, chans=18, pools=4, sens_chans=8, sens_pools=4),
        29_936_966,
    ),
    "modl": (lambda: PublishedMoDL([64, 64, 64, 64, 2]), 113_671),
}


@pytest.mark.parametrize("name", PUBLISHED_SIZES)
def test_the_published_sizes_open(name, file) -> None:
    make, parameters = PUBLISHED_SIZES[name]
    with torch.device("meta"):
        made = make()
    # One number for all keeps the file small.
    state = {
        k: torch.zeros((), dtype=t.dtype).expand(t.shape) for k, t in made.state_dict().items()
    }
    opened = open_published(name, file({f"module.{key}": one for key, one in state.items()}))
    assert sum(one.numel() for one in opened.parameters()) == parameters


def test_monai_varnet_is_called_as_in_the_tutorial(file, kspace, lines) -> None:
    network = random_varnet()
    opened = open_published("monai-varnet", file(network))
    with torch.no_grad():
        expected = network(torch.view_as_real(kspace), lines.reshape(1, 1, 1, -1, 1))
    found = image_of(opened, kspace, lines)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    # It normalises by itself, and lines along the other axis are turned.
    torch.testing.assert_close(
        image_of(opened, 1e4 * kspace, lines), 1e4 * expected, rtol=1e-3, atol=1
    )
    turned = image_of(opened, kspace.mT.contiguous(), lines[:, None])
    torch.testing.assert_close(turned.mT, expected, rtol=1e-4, atol=1e-6)


def test_monai_unet_gets_the_tutorials_normalisation(file, kspace, lines) -> None:
    network = random_unet()
    opened = open_published("monai-unet", file(network))
    coils = centred_ifft(kspace, (-2, -1))
    zero_filled = coils.abs().square().sum(1).sqrt()
    # A slice that is far above 6 deviations somewhere.
    zero_filled[1, 3, 4] = 1e3 * zero_filled.max()
    keys = ["image"]
    normalise = ReferenceBasedNormalizeIntensityd(keys, ref_key="image", channel_wise=True)
    given = normalise({"image": zero_filled.clone()})
    clipped = ThresholdIntensity(6.0, above=False, cval=6.0)(given["image"])
    assert float(given["image"].max()) > 6
    clipped = ThresholdIntensity(-6.0, above=True, cval=-6.0)(clipped)
    with torch.no_grad():
        output = network(torch.as_tensor(clipped)[:, None])[:, 0]
        found = opened.images(zero_filled)
    mean, std = (torch.tensor(given[key])[:, None, None] for key in ("mean", "std"))
    expected = (output * std + mean).float()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    torch.testing.assert_close(image_of(opened, kspace, lines)[0], found[0])


def test_a_unet_that_returns_a_constant_returns_it_in_the_datas_unit(file, kspace, lines) -> None:
    network = random_unet()
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    nn.init.constant_(network.final_conv.bias, 0.5)
    found = image_of(open_published("monai-unet", file(network)), kspace, lines)
    rss = np.sqrt((np.abs(centred_ifft(kspace, (-2, -1)).numpy()) ** 2).sum(1))
    expected = rss.mean((1, 2)) + 0.5 * rss.std((1, 2))
    np.testing.assert_allclose(found, np.broadcast_to(expected[:, None, None], rss.shape), 1e-4)


class MapsOfCentre(nn.Module):
    """fastMRI's maps by MONAI's parts: MONAI's own norm treats the two parts as two maps."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = ComplexUnet(conv_net=unet)

    def forward(self, kspace: Tensor, mask: Tensor) -> Tensor:
        centre = torch.zeros_like(kspace)
        # A symmetric centre: 8 of the 9 lines.
        centre[..., 18:26, :] = kspace[..., 18:26, :]
        coils = ifftn_centered_t(centre, spatial_dims=2)
        maps = torch.cat([self.unet(coils[:, i : i + 1]) for i in range(coils.shape[1])], 1)
        return maps / maps.square().sum((1, -1), keepdim=True).sqrt()


def test_fastmri_varnet_is_monais_with_its_own_unet_and_centre(file, kspace, lines) -> None:
    network = random_fastmri()
    maps = MapsOfCentre(network.sens_net.norm_unet.unet)
    same = VariationalNetworkModel(maps, ComplexUnet(conv_net=network.cascades[0].model.unet), 2)
    for own, other in zip(network.cascades, same.cascades, strict=True):
        own.dc_weight.data.uniform_(0.5, 1.5)
        other.dc_weight, other.model.unet = own.dc_weight, own.model.unet
    found = image_of(open_published("fastmri-varnet", file(network)), kspace, lines)
    with torch.no_grad():
        expected = same(torch.view_as_real(kspace), lines.reshape(1, 1, 1, -1, 1))
    # MONAI's deviation is that of all pixels, fastMRI's that of a sample of them.
    assert (found - expected).norm() < 2e-3 * expected.norm()


def unet_by_names(state: dict[str, Tensor], pools: int, image: Tensor) -> Tensor:
    """Return what fastMRI's U-Net gives, written with functions and the published names."""

    def after(x: Tensor) -> Tensor:
        return F.leaky_relu(F.instance_norm(x), 0.2)

    def block(x: Tensor, name: str) -> Tensor:
        for place in (0, 4):
            x = after(F.conv2d(x, state[f"{name}.layers.{place}.weight"], padding=1))
        return x

    kept = []
    for i in range(pools):
        image = block(image, f"down_sample_layers.{i}")
        kept.append(image)
        image = F.avg_pool2d(image, 2)
    image = block(image, "conv")
    for i in range(pools):
        weight = state[f"up_transpose_conv.{i}.layers.0.weight"]
        image = torch.cat([after(F.conv_transpose2d(image, weight, stride=2)), kept.pop()], 1)
        image = block(image, f"up_conv.{i}.0" if i == pools - 1 else f"up_conv.{i}")
    last = f"up_conv.{pools - 1}.1"
    return F.conv2d(image, state[f"{last}.weight"], state[f"{last}.bias"])


def test_the_unet_of_fastmri_has_the_published_names() -> None:
    unet = random_fastmri().cascades[1].model.unet
    image = torch.randn(2, 2, 32, 48, generator=torch.manual_seed(3))
    with torch.no_grad():
        expected = unet_by_names(unet.state_dict(), 3, image)
        torch.testing.assert_close(unet(image), expected)


def test_a_modl_that_adds_a_constant_solves_its_linear_systems(file) -> None:
    generator = torch.manual_seed(4)
    network = random_modl()
    last = network.dw.nw[-1]
    nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor([0.3, -0.2])
    network.dc.lam.data.fill_(0.7)
    shape = (2, 8, 6)
    maps = torch.randn(1, *shape, dtype=torch.complex64, generator=generator)
    maps = maps / torch.linalg.vector_norm(maps, dim=1, keepdim=True)
    mask = torch.rand(1, 1, *shape[1:], generator=generator) < 0.6
    kspace = torch.randn(1, *shape, dtype=torch.complex64, generator=generator) * mask
    found = open_published("modl", file(network), steps=3)(kspace, mask, maps)[0]
    # A by its columns, with numpy's transform.
    unit = np.eye(48).reshape(48, 1, 8, 6) * maps.numpy()
    axes = (-2, -1)
    columns = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(unit, axes), norm="ortho"), axes)
    matrix = (columns * mask.numpy()).reshape(48, -1).T
    backprojected = matrix.conj().T @ kspace.numpy().ravel()
    unit_of_data = np.abs(backprojected).max()
    x = backprojected = backprojected / unit_of_data
    for _ in range(3):
        right = backprojected + 0.7 * (x + 0.3 - 0.2j)
        x = np.linalg.solve(matrix.conj().T @ matrix + 0.7 * np.eye(48), right)
    np.testing.assert_allclose(found.numpy().ravel(), unit_of_data * x, rtol=1e-4, atol=1e-5)


class Harmful:
    """Writes a file when it is unpickled without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_is_run_by_reading_weights(file, tmp_path) -> None:
    path = file({"state_dict": random_unet().state_dict(), "args": Harmful(tmp_path / "run")})
    with pytest.raises(
        FileError, match=r"reading the \w+.mkdir in it could run code; save a state"
    ):
        open_published("monai-unet", path)
    assert not (tmp_path / "run").exists()
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(FileError, match=r"reading the torch.nn.modules.linear.Linear in it"):
        open_published("monai-unet", tmp_path / "module.pt")


def changed(network: nn.Module, **changes: Tensor | None) -> dict[str, Tensor]:
    """Return weights with some left out or replaced; their names are written with __ for dots."""
    named = {key.replace("__", "."): one for key, one in changes.items()}
    state = {**network.state_dict(), **named}
    return {key: one for key, one in state.items() if one is not None}


@pytest.mark.parametrize(
    ("name", "state", "message"),
    [
        ("modl", random_unet, "these are weights of monai-unet, so use --network monai-unet"),
        ("monai-unet", random_varnet, "weights of monai-varnet, so use"),
        ("monai-varnet", random_fastmri, "weights of fastmri-varnet, so use"),
        ("monai-unet", lambda: nn.Linear(2, 3), "missing conv_0.conv_0.conv.weight; the first"),
        (
            "monai-varnet",
            lambda: changed(random_varnet(), cascades__1__dc_weight=None),
            "missing cascades.1.dc_weight$",
        ),
        (
            "fastmri-varnet",
            lambda: changed(random_fastmri(), cascades__0__dc_weight=torch.ones(2)),
            r"other shapes cascades.0.dc_weight is \(2,\), must be \(1,\)$",
        ),
        (
            "monai-unet",
            lambda: changed(
                random_unet(), more=torch.ones(2), few=torch.ones(1), less=torch.ones(1)
            ),
            "not known more, few and 1 more$",
        ),
        (
            "monai-unet",
            lambda: changed(random_unet(), down_2__convs__conv_0__conv__weight=None),
            "miss",
        ),
        (
            "modl",
            lambda: changed(random_modl(), dc__lam=torch.tensor(torch.nan)),
            "dc.lam is not fin",
        ),
        (
            "modl",
            lambda: changed(random_modl(), dw__nw__3__weight=torch.tensor(1.0)),
            "does not fit",
        ),
        (
            "modl",
            lambda: changed(random_modl(), dw__nw__3__weight=torch.zeros(0, 5, 3, 3)),
            "not fit",
        ),
        ("monai-unet", lambda: [1, 2], "holds no named tensors"),
        (
            "monai-unet",
            lambda: {key: one.int() for key, one in random_unet().state_dict().items()},
            "no real numbers conv_0",
        ),
        (
            "monai-unet",
            lambda: {
                **changed(random_unet()),
                **{f"ema.{k}": t for k, t in changed(random_unet()).items()},
            },
            "several networks, below '' and 'ema.'",
        ),
        ("monai-unet", lambda: BasicUNet(3, 1, 1, features=VARNET), "other shapes conv_0.conv_0"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(name, state, message, file) -> None:
    with pytest.raises(FileError, match=message) as caught:
        open_published(name, file(state()))
    assert "\n" not in str(caught.value)


def test_files_that_hold_no_weights_are_refused(file, tmp_path) -> None:
    for path in (tmp_path / "model-50", tmp_path / "model-50.meta", tmp_path):
        (tmp_path / "model-50.index").write_bytes(b"")
        with pytest.raises(FileError, match="TensorFlow"):
            open_published("modl", path)
    (tmp_path / "text.pt").write_text("text")
    with pytest.raises(FileError, match="cannot be read as weights"):
        open_published("modl", tmp_path / "text.pt")
    with pytest.raises(FileError, match="no such file"):
        open_published("modl", tmp_path / "none.pt")
    with pytest.raises(UsageError, match="use monai-varnet, monai-unet, fastmri-varnet, modl"):
        open_published("varnet", file(random_modl()))
    with pytest.raises(UsageError, match="needs the published weights"):
        custom_method("monai-unet")


@pytest.mark.parametrize("name", ["monai-varnet", "fastmri-varnet"])
def test_masks_without_a_centre_of_lines_are_refused(name, file, kspace, lines) -> None:
    opened = open_published(name, file(MADE[name]()))
    points = torch.rand(34, 44, generator=torch.manual_seed(0)) < 0.5
    with pytest.raises(ShapeError, match="single points"):
        image_of(opened, kspace, points)
    for mask in (torch.ones(44, dtype=torch.bool), lines & (torch.arange(44) != 22)):
        with pytest.raises(ShapeError, match="lines in the middle"):
            image_of(opened, kspace, mask)


@pytest.mark.parametrize("name", MADE)
def test_published_networks_are_methods(name, file, batch) -> None:
    path = file(MADE[name](), f"{name}.pt")
    options = CustomNetworks(network=(name, name), weights=(path, path), takes=("maps",))
    method, second = custom_methods(options.choices())
    assert method.name == f"{name}, {name}.pt, number 1" != second.name
    assert method.origin["weights"] == f"{name}.pt"
    images = method.magnitude(batch)
    assert torch.isfinite(images).all()
    assert images.any(-1).any(-1).all()
    alone = method.magnitude(batch[1:])[0]
    torch.testing.assert_close(alone, images[1], rtol=1e-3, atol=1e-3 * float(alone.max()))
    # No signal, no image.
    assert not method.magnitude(batch[:1], 0 * batch.kspace[:1]).any()
    assert gradient_problem(method, batch[:1]) is None


@pytest.mark.parametrize("name", MADE)
def test_the_gradient_is_what_a_small_change_does(name, file, kspace, lines) -> None:
    network = open_published(name, file(MADE[name]())).double()
    mask = lines.expand(1, 1, 34, 44)
    maps = torch.full((1, 3, 34, 44), 3**-0.5, dtype=torch.complex128)
    y = kspace[:1].to(torch.complex128).requires_grad_()
    (gradient,) = torch.autograd.grad(network(y, mask, maps).abs().square().sum(), y)
    change = 1e-7 * float(y.detach().norm()) * gradient / gradient.norm() * lines
    with torch.no_grad():
        more, less = (network(y + s * change, mask, maps).abs().square().sum() for s in (1, -1))
    slope = 2 * float((gradient.conj() * change).real.sum())
    assert float(more - less) == pytest.approx(slope, rel=1e-4)
