"""Users' networks: from a file, from a bundle, with weights, and broken ones."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from learned_networks import frame_file, weights_file
from safetensors.torch import load_file

from firenet_benchmark.stability.custom_networks import (
    NetworkChoice,
    custom_method,
    custom_methods,
)
from firenet_benchmark.stability.data import images, simulated_case
from firenet_benchmark.stability.jacobian import gradient_problem
from firenet_benchmark.stability.methods import Batch, batch_of, zero_filling
from firenet_mri.errors import FileError, ShapeError, UsageError
from firenet_mri.firenet.networks import load_weights
from firenet_mri.operators import encoding_operator

NETWORKS = '''
import torch
from torch import nn
from monai.apps.reconstruction.fastmri_reader import FastMRIReader
from monai.apps.reconstruction.complex_utils import complex_abs_t
from monai.apps.reconstruction.mri_utils import root_sum_of_squares_t
from monai.networks.blocks.fft_utils_t import ifftn_centered_t


class RootSumOfSquares(nn.Module):
    """What a VarNet without cascades returns."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, masked_kspace, mask):
        assert masked_kspace.shape[-1] == 2 and mask.dtype == torch.bool
        assert mask.shape == (1, 1, 1, masked_kspace.shape[3], 1)
        images = ifftn_centered_t(masked_kspace, spatial_dims=2)
        return self.gain * root_sum_of_squares_t(complex_abs_t(images), spatial_dim=1)


class Same(nn.Module):
    def forward(self, image):
        self.largest = float(image.abs().max())
        return image


def rss(): return RootSumOfSquares()
def same(): return Same()
def number(): return 3
def broken(): raise RuntimeError("no such layer")
def with_maps():
    class WithMaps(nn.Module):
        def forward(self, k, m, maps):
            assert k.shape == maps.shape and m.shape[:3] == (1, 1, 1)
            coils = torch.view_as_complex(ifftn_centered_t(k, spatial_dims=2).contiguous())
            x = (torch.view_as_complex(maps).conj() * coils).sum(1)
            return torch.view_as_real(x)
    return WithMaps()
def largest():
    class Largest(nn.Module):
        """Depends on the scale of its data."""
        def forward(self, image):
            return torch.where(image.abs() <= 1.001, image, 0 * image)
    return Largest()
def flat():
    class Flat(nn.Module):
        def forward(self, k, m): return k.flatten()
    return Flat()
'''


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("user") / "networks.py"
    path.write_text(NETWORKS)
    return path


@pytest.fixture(scope="module")
def batch() -> Batch:
    return batch_of([simulated_case(images("test")[i], seed=i, name=str(i)) for i in (2, 5)])


def test_network_of_kspace_is_called_as_a_varnet(file, batch, tmp_path) -> None:
    method = custom_method(f"{file}:rss")
    assert (method.name, method.parameters) == ("rss", 1)
    k = torch.fft.ifftshift(batch.kspace, dim=(-2, -1))
    coils = torch.fft.fftshift(torch.fft.ifft2(k, norm="ortho"), dim=(-2, -1))
    inside = torch.linalg.vector_norm(batch.maps, dim=1) > 0
    expected = torch.linalg.vector_norm(coils, dim=1) * inside
    torch.testing.assert_close(method.magnitude(batch), expected, rtol=1e-4, atol=1e-3)
    for wrapper in (None, "state_dict"):
        state = {"gain": torch.tensor([2.0])}
        torch.save(state if wrapper is None else {wrapper: state}, tmp_path / "weights.pt")
        loaded = custom_method(f"{file}:rss", weights=tmp_path / "weights.pt")
        torch.testing.assert_close(loaded.magnitude(batch), 2 * expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("takes", ["magnitude", "complex"])
def test_image_to_image_networks_get_the_zero_filled_image(file, batch, takes) -> None:
    method = custom_method(f"{file}:same", takes=takes, scale=1.0)
    torch.testing.assert_close(
        method.magnitude(batch), zero_filling().magnitude(batch), rtol=1e-4, atol=1e-3
    )
    assert method.image.network.largest <= 1 + 1e-5


def test_network_with_maps_gets_them(file, batch) -> None:
    method = custom_method(f"{file}:with_maps", takes="maps")
    torch.testing.assert_close(
        method.magnitude(batch), zero_filling().magnitude(batch), rtol=1e-4, atol=1e-3
    )


def test_data_have_the_scale_of_the_shipped_networks_unless_told_otherwise(file, batch) -> None:
    zero = zero_filling().magnitude(batch)
    found = custom_method(f"{file}:largest", takes="magnitude")
    torch.testing.assert_close(found.magnitude(batch), zero, rtol=1e-4, atol=1e-3)
    assert "zero-filled image 1" in found.description
    # These data are in units of the noise, far above 1.
    raw = custom_method(f"{file}:largest", takes="magnitude", scale=None)
    assert float(raw.magnitude(batch).max()) < 1.01 < float(zero.max())
    assert "their own units" in raw.description
    with pytest.raises(UsageError, match="positive number"):
        custom_method(f"{file}:largest", scale=0.0)


def test_networks_of_one_name_get_names_of_their_own(file, tmp_path) -> None:
    paths = [tmp_path / folder / "model.py" for folder in "abc"]
    for path in paths[:2]:
        path.parent.mkdir()
        path.write_text(NETWORKS)
    weights = tmp_path / "w.pt"
    torch.save({"gain": torch.tensor([2.0])}, weights)
    ours = NetworkChoice(f"{file}:rss")
    choices = [ours, NetworkChoice(f"{paths[0]}:rss"), NetworkChoice(f"{paths[1]}:rss")]
    names = [method.name for method in custom_methods(choices)]
    assert names == ["networks.py:rss", "a/model.py:rss", "b/model.py:rss"]
    same = [replace(ours, weights=weights), ours, ours]
    names = [method.name for method in custom_methods(same)]
    folder = f"{file.parent.name}/networks.py:rss"
    assert len(set(names)) == 3
    assert names[0] == f"{folder}, w.pt"
    assert names[2].endswith("number 3")
    (alone,) = custom_methods([NetworkChoice(f"{file}:same")], taken=["same"])
    assert alone.name == "networks.py:same"


def test_code_weights_and_imports_are_in_the_hashes(file, tmp_path, monkeypatch) -> None:
    path = tmp_path / "model.py"
    (tmp_path / "door_layers.py").write_text("gain = 1.0\n")
    path.write_text("import door_layers\nfrom torch import nn\ndef make(): return nn.Identity()\n")
    monkeypatch.syspath_prepend(tmp_path)

    def code() -> str:
        return custom_method(f"{path}:make").origin["code sha256"]

    first = code()
    assert code() == first
    (tmp_path / "door_layers.py").write_text("gain = 2.0\n")
    second = code()
    path.write_text(path.read_text() + "# edited\n")
    assert len({first, second, code()}) == 3
    origin = custom_method(f"{file}:rss").origin
    weights = tmp_path / "w.pt"
    torch.save({"gain": torch.tensor([2.0])}, weights)
    other = custom_method(f"{file}:rss", weights=weights).origin
    assert origin["parameters sha256"] != other["parameters sha256"]
    # As sha256sum says it.
    assert other["weights sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert origin["code sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_file_imports_those_beside_it_and_their_numbers_are_in_its_hash(tmp_path) -> None:
    model, other = tmp_path / "model.py", tmp_path / "beside_gain.py"
    model.write_text(
        "from beside_gain import GAIN\nfrom torch import nn\ndef make(): return nn.Identity()\n"
    )
    found = set()
    for gain in (1, 2):
        other.write_text(f"GAIN = {gain}\n")
        found.add(custom_method(f"{model}:make").origin["code sha256"])
    assert len(found) == 2
    assert str(tmp_path) not in sys.path


def test_modules_without_a_file_do_not_count(tmp_path) -> None:
    model = tmp_path / "model.py"
    model.write_text("from torch import nn, ops\ndef make(): return nn.Identity()\n")
    origin = custom_method(f"{model}:make").origin
    assert origin["code sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()


def test_a_file_never_gets_what_is_beside_another(tmp_path) -> None:
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        (folder / "beside_both.py").write_text("def gain(): pass\n")
        (folder / "model.py").write_text(
            "from beside_both import gain\nfrom torch import nn\ndef make(): return nn.Identity()\n"
        )
    custom_method(f"{tmp_path / 'a/model.py'}:make")
    with pytest.raises(UsageError, match=r"may import beside_both, but .*beside_both\.py was"):
        custom_method(f"{tmp_path / 'b/model.py'}:make")


def test_a_file_with_dataclasses_is_imported(tmp_path) -> None:
    path = tmp_path / "model.py"
    path.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "from torch import nn\n@dataclass\nclass Options:\n    width: int = 3\n"
        "def make(): return nn.Linear(Options().width, 1)\n"
    )
    assert custom_method(f"{path}:make").parameters == 4


def test_network_of_a_bundle(batch, tmp_path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "models").mkdir()
    network = {
        "_target_": "BasicUNet",
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": 1,
        "features": [4, 4, 4, 4, 4, 4],
    }
    (tmp_path / "configs" / "inference.json").write_text(json.dumps({"network_def": network}))
    from monai.networks.nets import BasicUNet

    torch.manual_seed(0)
    net = BasicUNet(2, 1, 1, features=(4, 4, 4, 4, 4, 4))
    torch.save(net.state_dict(), tmp_path / "models" / "model.pt")
    method = custom_method(str(tmp_path), takes="magnitude", scale=None)
    image = zero_filling().magnitude(batch)[:1]
    inside = torch.linalg.vector_norm(batch.maps[:1], dim=1) > 0
    with torch.no_grad():
        expected = net.eval()(image[:, None])[:, 0].abs() * inside
    torch.testing.assert_close(method.magnitude(batch[:1]).abs(), expected, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(
    ("network", "error", "match"),
    [
        ("{file}:broken", UsageError, "RuntimeError: no such layer"),
        ("{file}:number", UsageError, "returned int"),
        ("{file}:unheard_of", UsageError, "AttributeError"),
        ("{file}", UsageError, "name the file and its function"),
        ("nowhere.py:make", FileError, "no such file"),
    ],
)
def test_what_is_no_network_is_refused(file, network, error, match) -> None:
    with pytest.raises(error, match=match):
        custom_method(network.format(file=file))


def test_weights_that_do_not_fit_are_refused(file, tmp_path) -> None:
    with pytest.raises(FileError, match="no such file"):
        custom_method(f"{file}:rss", weights=tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(FileError, match="cannot be read as weights"):
        custom_method(f"{file}:rss", weights=tmp_path / "text.pt")
    torch.save({"other": torch.ones(2)}, tmp_path / "other.pt")
    with pytest.raises(FileError, match="does not fit the network"):
        custom_method(f"{file}:rss", weights=tmp_path / "other.pt")
    with pytest.raises(UsageError, match="use one of kspace"):
        custom_method(f"{file}:rss", takes="anything")
    (tmp_path / "configs").mkdir()
    with pytest.raises(FileError, match="MONAI Bundle"):
        custom_method(str(tmp_path))


def test_images_of_another_shape_are_named(file, batch) -> None:
    with pytest.raises(ShapeError, match="network returned shape"):
        custom_method(f"{file}:flat").magnitude(batch)


@pytest.mark.parametrize("make", [weights_file, frame_file])
def test_what_firenet_train_wrote_is_a_method_with_its_constant(make, batch, tmp_path) -> None:
    path = make(tmp_path)
    method = custom_methods([NetworkChoice(str(path))])[0]
    assert (method.name, method.family, method.is_users) == (path.stem, "trained", True)
    assert method.origin["weights sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    net = load_weights(path).network(batch.kspace.shape[1], tuple(batch.kspace.shape[-2:]))
    with torch.no_grad():
        image = method.magnitude(batch)
    encoding = encoding_operator(batch.mask, batch.maps)
    assert method.lipschitz_bound == pytest.approx(
        net.lipschitz_bound_everywhere(encoding), rel=1e-4
    )
    # Maps are turned by the phase of reference, which no magnitude shows but for what is shrunk.
    expected = net(batch.kspace, encoding).abs() * torch.linalg.vector_norm(batch.maps, dim=1)
    torch.testing.assert_close(image, expected, rtol=0.1, atol=0.05 * float(expected.max()))
    assert method.parameters == sum(t.numel() for t in load_file(path).values())
    assert gradient_problem(method, batch[:1]) is None
    with pytest.raises(UsageError, match="is a file of weights; leave"):
        custom_method(str(path), weights=path)
    with pytest.raises(FileError, match="no such file"):
        custom_method(str(tmp_path / "none.safetensors"))
