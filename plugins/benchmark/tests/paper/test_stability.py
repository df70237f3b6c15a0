"""The stability experiment: its methods, its table, and what it says about it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

import firenet_benchmark.paper.stability as module
from firenet_benchmark.paper.stability import (
    AUTOMAP,
    DEFAULT_FIRENET,
    METHODS,
    NONE,
    PAPER_FIRENET,
    PUBLISHED,
    RANDOM,
    STABILISED,
    ZERO_FILLING,
    StabilityExperiment,
    ascent_of,
    attacked_images,
    encoding_operator,
    firenets,
    methods,
    stability,
    train,
)
from firenet_benchmark.paper.stability_report import differences, reading, stability_figure
from firenet_benchmark.paper.worst_case import FIRENET_ASCENT, random_perturbations, worst_case
from firenet_mri import FIRENET
from firenet_mri.errors import DataError, UsageError

TINY = StabilityExperiment(
    size=16,
    epochs=3,
    epoch_images=200,
    first_images=400,
    test_images=3,
    relative_sizes=(0.01, 0.03),
    restarts=2,
    hold=3,
    random_draws=3,
)

# Experiments that take many seconds each.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(TINY, tmp_path_factory.mktemp("weights") / "a.pt")


@pytest.fixture(scope="module")
def tiny(trained):
    return stability(TINY, trained, attacked_images(TINY, None))


def test_table_has_every_method_image_and_perturbation_once(tiny) -> None:
    keys = [(r.method, r.image, r.perturbation, round(r.relative_size, 6)) for r in tiny.rows]
    assert len(set(keys)) == len(keys)
    perturbations = (*METHODS, PUBLISHED, RANDOM)
    expected = {
        (method, image, perturbation, size)
        for method in METHODS
        for image in ("ellipses", "phantom")
        for perturbation in perturbations
        for size in (0.01, 0.03)
    }
    expected |= {(m, image, NONE, 0.0) for m in METHODS for image in ("ellipses", "phantom")}
    assert set(keys) == expected


def test_attacks_are_stronger_than_noise_of_the_same_size(tiny) -> None:
    for method in METHODS:
        pairs = zip(tiny.select(method, method), tiny.select(method, RANDOM), strict=True)
        for own, noise in pairs:
            assert (own.image, round(own.relative_size, 6)) == (
                noise.image,
                round(noise.relative_size, 6),
            )
            assert own.change > 1.1 * noise.change, (method, own.image, own.relative_size)


def test_best_of_all_starts_is_in_the_table(trained, tiny) -> None:
    encoding = encoding_operator(TINY)
    x = torch.stack(list(attacked_images(TINY, None).values())).to(torch.complex128)
    copies = x.repeat(TINY.restarts, 1, 1)
    size = torch.linalg.vector_norm(copies, dim=(1, 2))
    found = worst_case(
        trained.network,
        encoding,
        copies,
        [relative * size for relative in TINY.relative_sizes],
        ascent_of(AUTOMAP, TINY),
        seed=TINY.seed,
    )
    distances = torch.cat([p.distance.reshape(TINY.restarts, len(x)).amax(0) for p in found])
    changes = [row.change for row in tiny.select(AUTOMAP, AUTOMAP)]
    relative = distances / size[: len(x)].repeat(len(found))
    # Single precision inside depends on the size of the batch.
    assert changes == pytest.approx(relative.tolist(), rel=1e-5)


def test_held_ascents_find_no_less_than_published_ones(tiny) -> None:
    for method in METHODS:
        pairs = zip(tiny.select(method, method), tiny.select(method, PUBLISHED), strict=True)
        for held, published in pairs:
            assert held.change > 0.99 * published.change, (method, held.image, held.relative_size)


def test_no_firenet_exceeds_its_proven_bound(tiny) -> None:
    for method in (PAPER_FIRENET, DEFAULT_FIRENET, ZERO_FILLING):
        bound = tiny.bounds[method]
        assert bound is not None
        for row in tiny.rows:
            if row.method == method and row.perturbation != NONE:
                assert row.data_amplification <= bound * (1 + 1e-9)
    assert tiny.bounds[AUTOMAP] is None
    assert tiny.bounds[STABILISED] is None
    # n = 5, p = 10: more than that of its first restart, less than the closed form n (p-1)/2.
    assert 2.85 < tiny.bounds[PAPER_FIRENET] < 22.5


def test_firenet_behind_a_network_changes_by_no_more_than_its_bound_and_the_start(tiny) -> None:
    bound = tiny.bounds[PAPER_FIRENET]
    starts = [row for row in tiny.rows if row.method == AUTOMAP and row.perturbation in METHODS]
    ends = [row for row in tiny.rows if row.method == STABILISED and row.perturbation in METHODS]
    for start, end in zip(starts, ends, strict=True):
        assert (start.image, start.relative_size) == (end.image, end.relative_size)
        from_data = end.change / end.data_amplification * bound
        assert end.change <= (start.change + from_data) * (1 + 1e-9)


def test_scale_of_the_steps_is_that_of_the_unperturbed_image(trained) -> None:
    """eps_0 = ||A x|| as the paper's code has it, whatever data come in."""
    encoding = encoding_operator(TINY)
    images = attacked_images(TINY, None)
    x = torch.stack([images["ellipses"], 3 * images["phantom"]]).to(torch.complex128)
    maps = methods(TINY, trained.network, encoding, x)
    y = encoding(x + random_perturbations(x, torch.tensor([1.0, 5.0]), 1, seed=0)[0])
    with torch.no_grad():
        for name, net in firenets(TINY).items():
            image = maps[name](y)
            for i, kspace in enumerate(y):
                schedule = replace(
                    net.schedule, eps0=float(torch.linalg.vector_norm(encoding(x[i])))
                )
                one = FIRENET(net.sparsifier, net.lam, net.weights, schedule, net.shift_seed)
                torch.testing.assert_close(image[i], one(kspace, encoding), rtol=1e-9, atol=1e-10)
        schedule = replace(
            firenets(TINY)[PAPER_FIRENET].schedule,
            eps0=float(torch.linalg.vector_norm(encoding(x[0]))),
        )
        paper = firenets(TINY)[PAPER_FIRENET]
        one = FIRENET(paper.sparsifier, paper.lam, paper.weights, schedule)
        # The whole batch: single precision depends on its size.
        expected = one(y[:1], encoding, trained.network(y)[:1])
        torch.testing.assert_close(maps[STABILISED](y)[:1], expected, rtol=1e-9, atol=1e-10)


def test_papers_firenet_has_the_published_settings() -> None:
    net = firenets(TINY)[PAPER_FIRENET]
    assert (net.schedule.restarts, net.schedule.inner) == (5, 10)
    assert (net.schedule.tau, net.schedule.sigma, net.schedule.delta) == (1.0, 1.0, 1e-9)
    assert net.lam == 0.00025


def test_numbers_of_a_row_are_those_of_its_images_by_numpy(trained, tiny) -> None:
    images = attacked_images(TINY, None)
    encoding = encoding_operator(TINY)
    x = torch.stack(list(images.values())).to(torch.complex128)
    size = torch.linalg.vector_norm(x, dim=(1, 2))
    draws = random_perturbations(x, 0.03 * size, TINY.random_draws, seed=TINY.seed)
    phi = methods(TINY, trained.network, encoding, x)[PAPER_FIRENET]
    with torch.no_grad():
        clean = phi(encoding(x)).numpy()
        outputs = np.stack([phi(encoding(x + r)).numpy() for r in draws])
    for i, name in enumerate(images):
        changes = np.linalg.norm(outputs[:, i] - clean[i], axis=(1, 2))
        worst = int(changes.argmax())
        true, r, image = x[i].numpy(), draws[worst, i].numpy(), outputs[worst, i]
        (row,) = [
            row
            for row in tiny.select(PAPER_FIRENET, RANDOM)
            if row.image == name and row.relative_size > 0.02
        ]
        norm = np.linalg.norm(true)
        data = encoding(torch.from_numpy(r)).numpy()
        assert row.relative_size == pytest.approx(0.03)
        assert row.change == pytest.approx(changes[worst] / norm)
        assert row.error == pytest.approx(np.linalg.norm(image - true) / norm)
        assert row.error_to_perturbed == pytest.approx(np.linalg.norm(image - true - r) / norm)
        assert row.amplification == pytest.approx(changes[worst] / np.linalg.norm(r))
        assert row.data_amplification == pytest.approx(changes[worst] / np.linalg.norm(data))
        expected = peak_signal_noise_ratio(
            np.abs(true), np.abs(image), data_range=np.abs(true).max()
        )
        assert row.psnr_db == pytest.approx(expected)


def test_training_has_not_seen_the_attacked_images(trained, monkeypatch, tmp_path) -> None:
    shown = []
    import firenet_benchmark.paper.automap as automap

    original = automap.ellipses

    def record(*arguments):
        shown.append(original(*arguments))
        return shown[-1]

    monkeypatch.setattr(automap, "ellipses", record)
    train(TINY, tmp_path / "a.pt")
    training = torch.cat(shown)
    assert len(training) == 400 + 3 * 200
    assert len(torch.unique(training, dim=0)) == len(training)
    held_out = attacked_images(TINY, None)["ellipses"].float()
    assert (training - held_out).abs().amax((1, 2)).min() > 0.1


def test_given_image_is_averaged_over_the_larger_pixels() -> None:
    pixels = torch.zeros(30, 32)
    pixels[13:15, 8:10] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    image = attacked_images(TINY, ("mine", pixels))["mine"]
    assert image.shape == (16, 16)
    # 30 rows are centred among 32.
    assert image[7, 4].item() == pytest.approx(2.5 / 4)
    assert image.sum() == image[7, 4]


@pytest.mark.slow
def test_same_seed_gives_the_same_table(trained, tiny) -> None:
    assert stability(TINY, trained, attacked_images(TINY, None)).rows == tiny.rows


def test_text_says_where_the_network_is_ahead(tiny) -> None:
    def changed(row):
        ahead = row.method == AUTOMAP and row.image == "phantom"
        gain = None if row.amplification is None else (1.5 if ahead else 2.0)
        return replace(row, psnr_db=40.0 if ahead else 20.0, amplification=gain)

    said = reading(replace(tiny, rows=tuple(changed(row) for row in tiny.rows)))
    assert (
        "PSNR of the AUTOMAP-type network and default FIRENET, dB: ellipses 20.0 and 20.0, phantom "
        "40.0 and 20.0; the network is more accurate on: phantom"
    ) in said
    assert (
        "Largest amplification found of the AUTOMAP-type network and paper's FIRENET: ellipses "
        "2.00 and 2.00, phantom 1.50 and 2.00; the network is stabler on: phantom"
    ) in said


def test_text_calls_an_attack_weaker_than_noise_a_defect(tiny) -> None:
    assert not any("DEFECT" in sentence for sentence in reading(tiny))

    def weakened(row):
        weak = row.method == row.perturbation == PAPER_FIRENET
        return replace(row, change=0.0) if weak else row

    said = reading(replace(tiny, rows=tuple(weakened(row) for row in tiny.rows)))
    assert any(s.startswith("DEFECT") and PAPER_FIRENET in s for s in said)


def test_differences_name_the_size_that_was_run() -> None:
    assert differences(TINY).startswith("16 x 16 pixels instead of 128 x 128")


def test_figure_shows_all_sizes_of_all_methods(tiny) -> None:
    figure = stability_figure(tiny)
    pictures = [axes for axes in figure.axes if axes.images]
    assert len(pictures) == 8 * 3
    bounds = [tiny.bounds[PAPER_FIRENET], tiny.bounds[DEFAULT_FIRENET]]
    flat = [line.get_ydata()[0] for line in figure.axes[2].lines if line.get_linewidth() == 1]
    assert flat == bounds
    (curve,) = [line for line in figure.axes[1].lines if line.get_label() == AUTOMAP]
    assert max(curve.get_ydata()) == tiny.largest_amplification(AUTOMAP, AUTOMAP)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 15}, "at least 16"),
        ({"relative_sizes": (-0.1, 0.1)}, "positive and grow"),
        ({"relative_sizes": (0.1, 0.05)}, "positive and grow"),
        ({"relative_sizes": ()}, "positive and grow"),
        ({"restarts": 0}, "at least 1"),
        ({"test_images": 0}, "at least 1"),
        ({"noise": -1.0}, "noise -1.0"),
        ({"hold": -1}, "-1 at a norm"),
    ],
)
def test_impossible_settings_are_refused_before_any_work(change, message) -> None:
    with pytest.raises(UsageError, match=message):
        replace(TINY, **change)


def test_network_with_nan_weights_is_refused(trained) -> None:
    import copy

    broken = copy.deepcopy(trained)
    with torch.no_grad():
        broken.network.first.bias.fill_(torch.nan)
    with pytest.raises(DataError, match="NaN"):
        stability(TINY, broken, attacked_images(TINY, None))


@pytest.mark.slow
def test_command_writes_everything_and_uses_the_weights_again(
    firenet, tmp_path, monkeypatch, capsys
) -> None:
    quick = replace(TINY, relative_sizes=(0.01,), restarts=1, hold=0)
    monkeypatch.setattr(StabilityExperiment, "quick", lambda seed: replace(quick, seed=seed))
    short = replace(FIRENET_ASCENT, steps=20, learning_rate=0.2, normalised=True)
    monkeypatch.setattr(module, "ascent_of", lambda *_: short)
    monkeypatch.setattr(module, "published_ascent_of", lambda *_: short)
    monkeypatch.chdir(tmp_path)
    np.save("mine.npy", np.eye(16, dtype=np.float32))
    assert firenet("paper", "stability", "-o", "out", "--quick", "--image", "mine.npy") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "simulated" in said
    assert "Differs from the paper: 16 x 16 pixels" in said
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"stability{end}" for end in (".png", ".csv", ".json", "_automap.pt")}
    report = json.loads((tmp_path / "out" / "stability.json").read_text())
    assert report["settings"]["attacked_images"] == ["ellipses", "phantom", "mine"]
    assert report["settings"]["simulated"] is True
    assert len(report["settings"]["training_curve"]) == 3
    assert {row["method"] for row in report["rows"]} == set(METHODS)
    # Reports are not replaced unasked, nor are weights of other settings.
    assert firenet("paper", "stability", "-o", "out", "--quick") == 1
    assert "stability.png: exists" in capsys.readouterr().err
    for name in ("stability.png", "stability.csv", "stability.json"):
        (tmp_path / "out" / name).unlink()
    assert firenet("paper", "stability", "-o", "out", "--quick", "--noise", "0.5") == 1
    assert "belongs to other settings" in capsys.readouterr().err


def test_command_refuses_bad_input_in_one_line(firenet, tmp_path, capsys) -> None:
    assert firenet("paper", "stability", "-o", tmp_path, "--size", "4") == 2
    assert firenet("paper", "stability", "-o", tmp_path, "--image", tmp_path / "none.npy") == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "at least 16 pixels" in lines[0]
    assert "none.npy" in lines[1]
    assert not list(tmp_path.iterdir())
