"""The AUTOMAP-type network: what goes through it, its training, and going on with a training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import firenet_benchmark.paper.automap as automap
from firenet_benchmark.paper.automap import Automap, AutomapRecipe, train_automap
from firenet_mri import sampling_pattern
from firenet_mri.errors import FileError, UsageError
from firenet_mri.operators import CartesianFourier
from firenet_mri.phantoms import ellipses

RECIPE = AutomapRecipe(epochs=3, images=60, batch=20, channels=3, first_images=300, seed=1)


@pytest.fixture(scope="module")
def encoding() -> CartesianFourier:
    return CartesianFourier(sampling_pattern((16, 16), 0.6, seed=0), (16, 16))


@pytest.fixture
def network(encoding) -> Automap:
    torch.manual_seed(0)
    return Automap(encoding, channels=4)


def reference_real_part(network: Automap, numbers: np.ndarray) -> np.ndarray:
    """Return the network's output for (2 m) numbers, by loops over a padded image."""
    weights = {name: value.double().numpy() for name, value in network.state_dict().items()}
    hidden = np.tanh(weights["first.weight"] @ numbers + weights["first.bias"])
    hidden = np.tanh(weights["second.weight"] @ hidden + weights["second.bias"])
    image = hidden.reshape(1, 16, 16)
    for place, half in ((0, 2), (2, 2), (4, 3)):
        weight = weights[f"convolutions.{place}.weight"]
        padded = np.pad(image, ((0, 0), (half, half), (half, half)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], (1, 2))
        image = np.einsum("cyxij,ocij->oyx", windows, weight)
        image += weights[f"convolutions.{place}.bias"][:, None, None]
        if place < 4:
            image = np.maximum(image, 0)
    return image[0]


def test_image_is_that_of_the_layers_by_numpy(network, encoding, randn) -> None:
    x = randn(2, 16, 16)
    y = encoding(x)
    with torch.no_grad():
        image = network(y)
    assert image.shape == (2, 16, 16)
    assert image.dtype == torch.complex128
    mask = (encoding.kspace_factor != 0).numpy()
    for item, kspace in zip(image, y.numpy(), strict=True):
        samples = kspace[mask]
        real = np.stack([samples.real, samples.imag], axis=-1).ravel()
        turned = np.stack([samples.imag, -samples.real], axis=-1).ravel()
        expected = reference_real_part(network, real) + 1j * reference_real_part(network, turned)
        # Single precision inside.
        np.testing.assert_allclose(item.numpy(), expected, rtol=1e-4, atol=2e-5)


def test_what_is_not_sampled_does_not_matter(network, encoding, randn) -> None:
    y = randn(1, 16, 16)
    masked = y * (encoding.kspace_factor != 0)
    assert not torch.equal(y, masked)
    with torch.no_grad():
        assert torch.equal(network(y), network(masked))


def test_linear_start_is_that_linear_map_for_small_images(network, encoding, randn) -> None:
    """With only the two channels that carry the image, nothing but tanh bends it."""
    torch.manual_seed(0)
    two = Automap(encoding, channels=2)
    inputs = two.first.in_features
    matrix = torch.randn(256, inputs, generator=torch.Generator().manual_seed(0)) / inputs**0.5
    two.set_linear(matrix)
    with torch.no_grad():
        for layer in two.convolutions[::2]:
            # Keep the carriers, 0 elsewhere.
            layer.weight.mul_(layer.weight.abs() >= 0.9)
        y = (1e-3 * randn(3, 16, 16)).to(torch.complex64)
        expected = (two.numbers(y) @ matrix.mT).reshape(3, 16, 16)
        torch.testing.assert_close(two.real_part(y), expected, rtol=1e-4, atol=1e-7)


def test_first_linear_map_is_ridge_regression_of_numpy(encoding, monkeypatch) -> None:
    shown = []
    original = automap._with_phase

    def record(images, generator):
        shown.append(original(images, generator))
        return shown[-1]

    monkeypatch.setattr(automap, "_with_phase", record)
    network = Automap(encoding, channels=2)
    found = automap._best_linear_map(network, encoding, RECIPE).numpy()
    assert len(shown) == 1
    x = shown[0].numpy()
    mask = (encoding.kspace_factor != 0).numpy()
    y = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(x, axes=(1, 2)), norm="ortho"), axes=(1, 2))
    samples = y[:, mask].astype(complex)
    real = np.stack([samples.real, samples.imag], -1).reshape(300, -1)
    turned = np.stack([samples.imag, -samples.real], -1).reshape(300, -1)
    inputs = np.concatenate([real, turned])
    outputs = np.concatenate([x.real.reshape(300, -1), x.imag.reshape(300, -1)])
    ridge = RECIPE.ridge * (inputs**2).sum() / inputs.shape[1]
    # Ridge regression as least squares with extra rows.
    rows = np.concatenate([inputs, np.sqrt(ridge) * np.eye(inputs.shape[1])])
    wanted = np.concatenate([outputs, np.zeros((inputs.shape[1], 256))])
    expected = np.linalg.lstsq(rows, wanted, rcond=None)[0].T
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_training_lowers_the_error_on_held_out_images(encoding, tmp_path) -> None:
    recipe = replace(RECIPE, epochs=8, images=300, first_images=0, learning_rate=1e-3)
    trained = train_automap(encoding, recipe, tmp_path / "a.pt")
    torch.manual_seed(recipe.seed)
    untrained = Automap(encoding, recipe.channels)
    x = ellipses(16, 30, 0).to(torch.complex64)
    with torch.no_grad():
        before, after = (
            (net(encoding(x)) - x).abs().square().mean() for net in (untrained, trained.network)
        )
    assert after < 0.5 * before
    assert len(trained.curve) == 8
    assert trained.curve[-1] < trained.curve[0]
    assert not any(p.requires_grad for p in trained.network.parameters())


def test_images_have_random_phases_and_numbers_noise_while_training(
    encoding, tmp_path, monkeypatch
) -> None:
    seen, clean = [], []
    forward, numbers = Automap.from_numbers, Automap.numbers

    def record(self, given):
        seen.append(given.detach().clone())
        return forward(self, given)

    def record_clean(self, y):
        clean.append(numbers(self, y))
        return clean[-1]

    monkeypatch.setattr(Automap, "from_numbers", record)
    monkeypatch.setattr(Automap, "numbers", record_clean)
    recipe = replace(RECIPE, epochs=1, first_images=0, noise=0.2)
    train_automap(encoding, recipe, tmp_path / "a.pt")
    factors = (torch.stack(seen) / torch.stack(clean)).flatten()
    factors = factors[factors.isfinite()]
    assert 0.8 <= factors.min() < 0.81
    assert 1.19 < factors.max() <= 1.2 * (1 + 1e-6)
    assert factors.std().item() == pytest.approx(0.2 / 3**0.5, rel=0.02)
    # The zero frequency of a positive image has the image's phase.
    mask = (encoding.kspace_factor != 0).flatten()
    centre = int(mask[: 8 * 16 + 8].sum())
    pairs = torch.cat(clean)[:, 2 * centre : 2 * centre + 2]
    phases = torch.atan2(pairs[:, 1], pairs[:, 0])
    assert phases.min() < -2.5
    assert phases.max() > 2.5


def test_stopped_training_goes_on_with_the_same_result(encoding, tmp_path) -> None:
    whole = train_automap(encoding, RECIPE, tmp_path / "whole.pt")

    def stop(step: int, steps: int) -> None:
        assert steps == 9
        if step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_automap(encoding, RECIPE, tmp_path / "part.pt", on_step=stop)
    steps = []
    again = train_automap(
        encoding, RECIPE, tmp_path / "part.pt", on_step=lambda done, _: steps.append(done)
    )
    assert steps == [6, 7, 8, 9]
    assert again.curve == whole.curve
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name


def test_trained_network_is_not_trained_again(encoding, tmp_path) -> None:
    steps = []
    first = train_automap(encoding, RECIPE, tmp_path / "a.pt")
    second = train_automap(
        encoding, RECIPE, tmp_path / "a.pt", on_step=lambda *done: steps.append(done)
    )
    assert steps == [(9, 9)]
    assert second.curve == first.curve
    y = encoding(ellipses(16, 2, 0).to(torch.complex64))
    assert torch.equal(first.network(y), second.network(y))
    # The optimiser's state, twice the weights, is kept only as long as it is needed.
    (stored,) = torch.load(tmp_path / "a.pt", weights_only=True)["networks"].values()
    assert set(stored) == {"network", "recipe", "curve"}


def test_training_leaves_the_global_random_state_alone(encoding, tmp_path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    train_automap(encoding, replace(RECIPE, epochs=1), tmp_path / "a.pt")
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_of_other_recipes_and_patterns_are_refused(encoding, tmp_path) -> None:
    path = tmp_path / "a.pt"
    recipe = replace(RECIPE, epochs=1)
    train_automap(encoding, recipe, path)
    other = CartesianFourier(sampling_pattern((16, 16), 0.6, seed=1), (16, 16))
    for operator, wanted in ((encoding, replace(recipe, noise=0.0)), (other, recipe)):
        with pytest.raises(FileError, match=r"a\.pt: belongs to other settings.*--overwrite"):
            train_automap(operator, wanted, path)
    replaced = train_automap(other, recipe, path, overwrite=True)
    assert train_automap(other, recipe, path).curve == replaced.curve


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 cut off"])
def test_foreign_and_damaged_weights_are_refused(encoding, tmp_path, content) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"a\.pt: is not a weights file"):
        train_automap(encoding, RECIPE, path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"batch": 0},
        {"batch": 61},
        {"channels": 0},
        {"noise": -0.1},
        {"ridge": 0.0},
        {"first_images": -1},
        {"seed": -1},
    ],
)
def test_impossible_recipes_are_refused(change) -> None:
    with pytest.raises(UsageError, match=r"given|asked for"):
        replace(RECIPE, **change)


def test_one_channel_is_refused(encoding) -> None:
    with pytest.raises(UsageError, match="at least 2"):
        Automap(encoding, channels=1)
