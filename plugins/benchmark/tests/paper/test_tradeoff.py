"""The trade-off: the attack beside an SVD, continued training, letters, and the table."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from firenet_benchmark.paper.text_details import find_details
from firenet_benchmark.paper.tradeoff import (
    DEFAULT_FIRENET,
    PAPER_FIRENET,
    UNET,
    TradeoffExperiment,
    encoding_operator,
    firenets,
    magnitude,
    reading,
    tradeoff,
    train,
)
from firenet_benchmark.paper.tradeoff_figure import tradeoff_figure
from firenet_benchmark.paper.unet import UNetRecipe, random_noise, train_unets
from firenet_mri import sampling_pattern
from firenet_mri.errors import FileError, UsageError
from firenet_mri.operators import CartesianFourier
from firenet_mri.phantoms import ellipses
from firenet_mri.training.attack import Ascent, worst_perturbation

TINY = TradeoffExperiment(
    size=64,
    rate=0.3,
    images=20,
    epochs=2,
    features=4,
    test_images=3,
    attacked_images=1,
    detail_images=2,
    relative_sizes=(0.01, 0.05),
    attack_steps=3,
)
RECIPE = UNetRecipe(epochs=3, features=4, noise={"clean": 0.0, "noisy": 0.5}, seed=1)

# Experiments that take many seconds each.
pytestmark = pytest.mark.slow


@pytest.fixture
def encoding() -> CartesianFourier:
    return CartesianFourier(sampling_pattern((32, 32), 0.4, seed=0), (32, 32))


def test_attack_changes_firenet_more_than_random_noise_of_the_same_size() -> None:
    settings = replace(TINY, size=32)
    encoding = encoding_operator(settings)
    y = encoding(ellipses(32, 1, 5).to(torch.complex64))
    radius = 0.02 * torch.linalg.vector_norm(y, dim=(1, 2))
    mask = encoding.kspace_factor != 0
    for net in firenets(settings).values():

        def reconstruct(data, net=net):
            return net(data, encoding)

        found = worst_perturbation(
            reconstruct, y, mask, radius, ascent=Ascent(steps=25), restarts=1, seed=0
        )
        noise = torch.randn(10, *y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(9))
        noise = noise * mask
        noise *= (radius / torch.linalg.vector_norm(noise, dim=(2, 3)))[..., None, None]
        with torch.no_grad():
            clean = reconstruct(y)
            random = [
                torch.linalg.vector_norm(reconstruct(y + e) - clean, dim=(1, 2)) for e in noise
            ]
        assert (found.change > 1.05 * torch.stack(random).amax(0)).all()
        assert (found.change <= 2**0.5 * net.lipschitz_bound(encoding) * radius).all()


def test_training_lowers_the_loss_and_beats_zero_filling(encoding, tmp_path) -> None:
    images = ellipses(32, 200, 0)
    recipe = UNetRecipe(epochs=5, features=4, noise={"clean": 0.0}, seed=0)
    trained = train_unets(images, encoding, recipe, tmp_path / "w.pt")["clean"]
    assert len(trained.curve) == 5
    assert trained.curve[-1] < 0.7 * trained.curve[0]
    unseen = ellipses(32, 20, 1)
    y = encoding(unseen.to(torch.complex64))
    with torch.no_grad():
        error = (trained.network(y) - unseen).square().mean()
    assert error < 0.8 * (encoding.adjoint(y).real - unseen).square().mean()


class Stopped(Exception):
    """Stands for a user who stops the run."""


def test_stopped_training_goes_on_to_the_same_weights(encoding, tmp_path) -> None:
    images = ellipses(32, 40, 0)
    whole = train_unets(images, encoding, RECIPE, tmp_path / "whole.pt")

    def stop(step: int, steps: int) -> None:
        assert steps == 24
        if step == 6:
            raise Stopped

    with pytest.raises(Stopped):
        train_unets(images, encoding, RECIPE, tmp_path / "parts.pt", on_step=stop)
    seen: list[int] = []
    parts = train_unets(
        images, encoding, RECIPE, tmp_path / "parts.pt", on_step=lambda step, _: seen.append(step)
    )
    # The epoch that was interrupted is done again, the one before is not.
    assert seen == list(range(4, 25))
    y = encoding(ellipses(32, 3, 1).to(torch.complex64))
    with torch.no_grad():
        for name in RECIPE.noise:
            assert parts[name].curve == whole[name].curve
            assert torch.equal(parts[name].network(y), whole[name].network(y))
        assert not torch.equal(whole["clean"].network(y), whole["noisy"].network(y))


def test_trained_weights_are_used_again_and_not_for_other_settings(encoding, tmp_path) -> None:
    images, weights = ellipses(32, 20, 0), tmp_path / "w.pt"
    recipe = replace(RECIPE, epochs=1)
    first = train_unets(images, encoding, recipe, weights)
    before = weights.read_bytes()
    steps: list[tuple[int, int]] = []
    second = train_unets(images, encoding, recipe, weights, on_step=lambda *s: steps.append(s))
    # Two steps a network; they are told as done at once.
    assert steps == [(2, 4), (4, 4)]
    assert weights.read_bytes() == before
    y = encoding(images[:2].to(torch.complex64))
    with torch.no_grad():
        assert torch.equal(first["noisy"].network(y), second["noisy"].network(y))
    other = CartesianFourier(sampling_pattern((32, 32), 0.4, seed=1), (32, 32))
    for changed in (
        (images, encoding, replace(recipe, seed=2)),
        (images + 0.1, encoding, recipe),
        (images, other, recipe),
    ):
        with pytest.raises(FileError, match=r"w\.pt: belongs to other settings"):
            train_unets(*changed, weights)
    assert weights.read_bytes() == before
    train_unets(images, encoding, replace(recipe, seed=2), weights, overwrite=True)
    assert weights.read_bytes() != before


@pytest.mark.parametrize("content", [b"", b"something else", None])
def test_foreign_weights_files_are_refused_in_one_sentence(encoding, tmp_path, content) -> None:
    weights = tmp_path / "w.pt"
    if content is None:
        torch.save([1, 2], weights)
    else:
        weights.write_bytes(content)
    with pytest.raises(FileError, match=r"w\.pt: is not a weights file"):
        train_unets(ellipses(32, 20, 0), encoding, RECIPE, weights)


def test_every_epoch_has_an_order_of_its_own(encoding, tmp_path, monkeypatch) -> None:
    orders = []
    randperm = torch.randperm

    def record(*arguments, **options):
        orders.append(tuple(randperm(*arguments, **options).tolist()))
        return torch.tensor(orders[-1])

    monkeypatch.setattr(torch, "randperm", record)
    train_unets(ellipses(32, 20, 0), encoding, RECIPE, tmp_path / "w.pt")
    assert len(orders) == 6
    assert len(set(orders)) == 3
    assert all(sorted(order) == list(range(20)) for order in orders)


def test_training_leaves_the_global_random_state_alone(encoding, tmp_path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    train_unets(ellipses(32, 10, 0), encoding, replace(RECIPE, epochs=1), tmp_path / "w.pt")
    assert torch.equal(torch.rand(4), expected)


def test_noise_has_the_published_size_and_lies_on_the_samples(encoding) -> None:
    """mu uniform in [0, M]: E ||e||^2 = 2 E mu^2 = 2 M^2 / 3."""
    noise = random_noise(encoding, 3000, 4.0, torch.Generator().manual_seed(0))
    energy = noise.abs().square().sum((1, 2)).numpy()
    assert energy.mean() == pytest.approx(2 * 16 / 3, rel=0.05)
    assert energy.max() < 2 * 16 * 1.5
    assert bool((noise[:, encoding.kspace_factor == 0] == 0).all())


def test_letters_lie_in_uniform_places_and_their_contrast_is_measured() -> None:
    details = find_details(ellipses(64, 400, 2), 12)
    assert {detail.contrast > 0 for detail in details} == {True, False}
    for detail in details:
        assert detail.without[detail.box].unique().numel() == 1
        (level,) = detail.without[detail.box].unique().tolist()
        assert 0.15 < level < 0.85
        assert (detail.contrast > 0) == (level < 0.5)
        change = (detail.image - detail.without).numpy()
        assert np.count_nonzero(change) == 4 * 15
        np.testing.assert_allclose(np.abs(change[change != 0]), 30 / 255, rtol=1e-5)
        assert 0 <= detail.image.min() <= detail.image.max() <= 1
        assert detail.measure(detail.image) == pytest.approx(1, rel=1e-4)
        assert detail.measure(detail.without) == pytest.approx(0, abs=1e-6)
        half = detail.without + 0.5 * (detail.image - detail.without)
        assert detail.measure(half) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize(("level", "fits"), [(0.0, False), (0.3, True), (0.9, False)])
def test_letters_avoid_the_dark_and_the_saturated(level, fits) -> None:
    images = torch.full((1, 32, 32), level)
    if fits:
        assert len(find_details(images, 1)) == 1
    else:
        with pytest.raises(UsageError, match="0 of 1 images"):
            find_details(images, 1)


def test_images_without_room_for_letters_are_refused() -> None:
    with pytest.raises(UsageError, match="0 of 5 images"):
        find_details(ellipses(16, 5, 2), 1)
    with pytest.raises(UsageError, match="0 of 3 images"):
        find_details(torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)), 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"size": 72}, "multiple of 16"), ({"size": 32}, "room"), ({"images": 3}, "3 training")],
)
def test_settings_that_cannot_work_are_refused_before_training(changes, said, tmp_path) -> None:
    with pytest.raises(UsageError, match=said):
        train(replace(TINY, **changes), tmp_path / "w.pt")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    unets = train(TINY, tmp_path_factory.mktemp("unets") / "w.pt")
    return tradeoff(TINY, unets), unets


def test_table_has_every_method_and_attacks_beat_random_noise(tiny) -> None:
    rows = {row.method: row for row in tiny[0].rows}
    assert len(rows) == 5
    for row in rows.values():
        assert [a.relative_size for a in row.attacks] == [0.01, 0.05]
        for attack in row.attacks:
            assert attack.amplification >= attack.random_amplification
            if row.lipschitz_bound is not None:
                assert attack.amplification <= row.lipschitz_bound * (1 + 1e-5)
    # Zero filling is an isometry on the samples.
    assert rows["zero filling"].attacks[1].amplification == pytest.approx(1, rel=1e-5)
    assert rows["zero filling"].attacks[1].psnr_loss_db > 0
    assert rows[DEFAULT_FIRENET].attacks[1].psnr_loss_db > 1
    assert rows[UNET].lipschitz_bound is None
    assert rows[UNET].attacks[0].amplification > 1.05 * rows[UNET].attacks[0].random_amplification
    # n = p = 5: the tabulated bound 4.270 times sqrt(tau sigma) = 0.6, times sqrt(2).
    assert rows[PAPER_FIRENET].lipschitz_bound == pytest.approx(2**0.5 * 0.6 * 4.27, rel=1e-3)


def test_larger_attacks_start_from_the_smaller_ones(tiny, monkeypatch) -> None:
    starts, ends = [], []

    def record(*arguments, start=None, **options):
        found = worst_perturbation(*arguments, start=start, **options)
        starts.append(start)
        ends.append(found.e)
        return found

    monkeypatch.setattr("firenet_benchmark.paper.tradeoff.worst_perturbation", record)
    tradeoff(replace(TINY, attack_steps=1), tiny[1])
    assert len(starts) == 5 * 2
    assert all(start is None for start in starts[::2])
    assert all(a is b for a, b in zip(starts[1::2], ends[::2], strict=True))


def test_accuracy_is_that_of_the_test_images_by_scikit_image(tiny) -> None:
    images = ellipses(64, 3, 1)
    encoding = encoding_operator(TINY)
    y = encoding(images.to(torch.complex64))
    with torch.no_grad():
        outputs = {
            UNET: tiny[1][UNET].network(y),
            DEFAULT_FIRENET: firenets(TINY)[DEFAULT_FIRENET](y, encoding),
        }
    for name, output in outputs.items():
        expected = [
            peak_signal_noise_ratio(a.numpy(), b.numpy(), data_range=float(a.max()))
            for a, b in zip(images, magnitude(output), strict=True)
        ]
        (row,) = [row for row in tiny[0].rows if row.method == name]
        assert row.psnr_db == pytest.approx(np.mean(expected), abs=1e-3)


def test_text_names_whoever_is_more_accurate(tiny) -> None:
    rows = [replace(row, psnr_db=30.0 if "U-Net" in row.method else 25.0) for row in tiny[0].rows]
    assert reading(rows)[0] == (
        "Accuracy: U-Net is 5.0 dB more accurate than paper's FIRENET on noiseless images"
    )
    rows = [replace(row, psnr_db=31.5) if row.method == PAPER_FIRENET else row for row in rows]
    assert reading(rows)[0] == (
        "Accuracy: paper's FIRENET is 1.5 dB more accurate than U-Net on noiseless images"
    )


@pytest.mark.slow
def test_same_seed_gives_the_same_table(tiny) -> None:
    assert tradeoff(TINY, tiny[1]).rows == tiny[0].rows


def test_figure_shows_every_method(tiny) -> None:
    figure = tradeoff_figure(tiny[0])
    bars = figure.axes[2].patches
    assert [bar.get_width() for bar in bars] == [100 * row.detail_contrast for row in tiny[0].rows]
    assert len([axes for axes in figure.axes if axes.images]) == 3 * 6


@pytest.mark.slow
def test_command_writes_everything_and_uses_the_weights_again(
    firenet, tmp_path, monkeypatch, capsys
) -> None:
    words = ("paper", "tradeoff", "-o", tmp_path, "--quick", "--images", 20, "--epochs", 1)
    monkeypatch.setattr(
        TradeoffExperiment, "quick", lambda seed: replace(TINY, attack_steps=1, seed=seed)
    )
    assert firenet(*words) == 0
    said = capsys.readouterr().out
    assert "simulated" in said
    assert "Accuracy: " in said
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"tradeoff{end}" for end in (".png", ".csv", ".json", "_unet.pt")}
    report = json.loads((tmp_path / "tradeoff.json").read_text())
    assert report["settings"]["size"] == 64
    assert report["settings"]["simulated"] is True
    assert len(report["rows"]) == 5
    assert report["rows"][1]["amplification_5_percent"] > 0
    # Other settings: refused, since report and weights are there.
    assert firenet(*words) == 1
    assert "--overwrite" in capsys.readouterr().err
