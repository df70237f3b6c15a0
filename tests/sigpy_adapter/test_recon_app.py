"""FIRENETRecon stands where SigPy's L1WaveletRecon stands, and does what FIRENET does."""

from __future__ import annotations

import inspect
import itertools

import numpy as np
import pytest
import sigpy
import sigpy.mri
import torch
from sigpy_linops import draw

from firenet_mri import RawScan, reconstruct
from firenet_mri.firenet.certificate import Certificate
from firenet_mri.firenet.network import FIRENET
from firenet_mri.firenet.presets import make_network
from firenet_mri.firenet.problem import Lasso
from firenet_mri.operators import encoding_operator
from firenet_mri.sigpy import FIRENETRecon

SHAPE = (24, 20)
COILS = 4


def normalised(maps: np.ndarray) -> np.ndarray:
    """Return maps with root-sum-of-squares 1."""
    return maps / sigpy.rss(maps, axes=(0,))


def phantom(shape: tuple[int, ...]) -> np.ndarray:
    """Return a complex image that is piecewise constant."""
    image = np.zeros(shape, dtype=np.complex64)
    image[tuple(slice(size // 4, -size // 4) for size in shape)] = 1 + 0.5j
    image[tuple(slice(size // 3, size // 2) for size in shape)] = 2j
    return image


def cartesian(shape: tuple[int, ...] = SHAPE, fraction: float = 0.6):
    """Return k-space, maps, mask and image of a small scan, in single precision."""
    maps = normalised(sigpy.mri.birdcage_maps((COILS, *shape))).astype(np.complex64)
    mask = np.random.default_rng(0).random(shape) < fraction
    mask[tuple(slice(size // 2 - 2, size // 2 + 2) for size in shape)] = True
    image = phantom(shape)
    axes = tuple(range(-len(shape), 0))
    y = (sigpy.fft(maps * image, axes=axes) * mask).astype(np.complex64)
    return y, maps, mask, image


def run(*args, **kwargs) -> np.ndarray:
    return FIRENETRecon(*args, show_pbar=False, **kwargs).run()


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def test_arguments_have_the_names_and_the_order_of_sigpys_app() -> None:
    theirs = list(inspect.signature(sigpy.mri.app.L1WaveletRecon).parameters)[:-1]
    ours = list(inspect.signature(FIRENETRecon).parameters)
    assert ours[: len(theirs)] == theirs


def test_a_script_runs_when_only_the_name_of_the_class_is_changed() -> None:
    y, maps, mask, image = cartesian()
    results = []
    for app_class in (sigpy.mri.app.L1WaveletRecon, FIRENETRecon):
        app = app_class(
            y,
            maps,
            1e-3,
            weights=mask.astype(np.float32),
            wave_name="haar",
            device=sigpy.cpu_device,
            coil_batch_size=2,
            max_iter=60,
            save_objective_values=True,
            show_pbar=False,
        )
        results.append(app.run())
        assert app.alg.iter == app.alg.max_iter == 60
        assert app.alg.done()
        assert len(app.objective_values) == 61
        assert len(app.time) == 61
    theirs, ours = results
    assert type(ours) is type(theirs)
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    assert relative(ours, image) < 0.1
    assert relative(theirs, image) < 0.25


WEIGHTS = {
    "estimated": lambda mask: None,
    "bool": lambda mask: mask,
    "mask": lambda mask: mask.astype(np.float32),
    "complex": lambda mask: mask.astype(np.complex64),
    "soft": lambda mask: mask * np.linspace(0.5, 3, mask.shape[-1]),
    "coils": lambda mask: mask * np.array([1.0, 2, 0.5, 1]).reshape(-1, *[1] * mask.ndim),
    "coil masks": lambda mask: np.stack([mask, mask, mask[::-1], mask[::-1]]),
    "number": lambda mask: 4.0,
}


@pytest.mark.parametrize("shape", [SHAPE, (15, 17), (6, 12, 10)])
@pytest.mark.parametrize(("weights", "batch"), list(itertools.product(WEIGHTS, [None, 1, 3, 9])))
def test_every_combination_of_arguments_that_sigpy_takes_runs(shape, weights, batch) -> None:
    y, maps, mask, _ = cartesian(shape)
    given = WEIGHTS[weights](mask)
    for x in (None, np.ones(shape, dtype=np.complex64)):
        image = run(y, maps, 1e-3, weights=given, coil_batch_size=batch, device=-1, layers=3, x=x)
        assert image.shape == shape
        assert image.dtype == np.complex64
        assert np.isfinite(image).all()


@pytest.mark.parametrize("options", [{}, {"preset": "paper"}, {"wave_name": "db4"}, {"layers": 7}])
def test_image_is_that_of_the_public_network(options) -> None:
    y, maps, mask, _ = cartesian()
    names = {"wave_name": "sparsifier"}
    same = {names.get(name, name): value for name, value in options.items()}
    net = make_network(COILS, SHAPE, **same)
    encoding = encoding_operator(torch.from_numpy(mask), torch.from_numpy(maps))
    expected = net(torch.from_numpy(y), encoding).numpy()
    assert relative(run(y, maps, **options), expected) < 1e-5


def test_sharp_preset_runs_both_passes() -> None:
    y, maps, mask, _ = cartesian()
    app = FIRENETRecon(y, maps, preset="sharp", layers=5, show_pbar=False)
    image = app.run()
    assert app.alg.iter == 10
    scan = RawScan(torch.from_numpy(y), torch.from_numpy(mask)[None], 2)
    options = {"maps": torch.from_numpy(maps), "preset": "sharp", "layers": 5}
    expected = reconstruct(scan, **options)
    assert relative(image, expected.image.numpy()) < 1e-5
    assert app.certificate.relative_gap == pytest.approx(
        expected.certificate.relative_gap, rel=1e-2
    )
    assert app.certificate.lipschitz_bound is None


def test_adaptive_preset_stops_at_its_certified_gap() -> None:
    y, maps, *_ = cartesian()
    app = FIRENETRecon(y, maps, preset="adaptive", relative_gap=1e-3, show_pbar=False)
    app.run()
    assert app.alg.done()
    assert app.alg.iter < app.alg.max_iter
    # The certificate looks for its dual vector once more, with fewer rounds than the solver.
    assert app.certificate.relative_gap[0] <= 1.1e-3


@pytest.mark.parametrize(
    "preset",
    ["accurate", "stable", "paper", "adaptive", pytest.param("coherent", marks=pytest.mark.slow)],
)
def test_certificate_is_that_of_the_image(preset) -> None:
    y, maps, mask, _ = cartesian()
    app = FIRENETRecon(y, maps, preset=preset, show_pbar=False)
    image = app.run()
    assert isinstance(app.certificate, Certificate)
    assert app.certificate is app.certificate
    net = make_network(COILS, SHAPE, preset=preset)
    encoding = encoding_operator(
        torch.from_numpy(mask), torch.from_numpy(maps).to(torch.complex128)
    )
    problem, data = net.problem(encoding), torch.from_numpy(y).to(torch.complex128)
    objective = float(problem.objective(torch.from_numpy(image).to(torch.complex128), data))
    assert app.certificate.objective[0] == pytest.approx(objective, rel=1e-5)
    assert app.objective() == pytest.approx(objective, rel=1e-4)
    assert (app.certificate.lipschitz_bound is None) == (preset == "adaptive")


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e3])
def test_scale_of_maps_and_data_changes_the_image_and_nothing_else(factor) -> None:
    y, maps, *_ = cartesian()
    expected = run(y, maps)
    assert relative(run(y * np.float32(factor), maps), factor * expected) < 1e-4
    assert relative(run(y, maps * np.float32(factor)) * factor, expected) < 1e-4


def test_scale_of_the_weights_changes_nothing() -> None:
    y, maps, mask, _ = cartesian()
    expected = run(y, maps, weights=mask * 1.0)
    assert relative(run(y, maps, weights=mask * 9.0), expected) < 1e-4


def test_explicit_lamda_means_the_same_whatever_the_maps_are_normalised_to() -> None:
    y, maps, mask, _ = cartesian()
    weights = mask * np.linspace(0.5, 2, SHAPE[1])
    app = FIRENETRecon(
        y, 3 * maps, 0.02, weights, preset="adaptive", relative_gap=1e-4, show_pbar=False
    )
    image = torch.from_numpy(app.run())
    net = make_network(COILS, SHAPE, lam=0.02)
    root = torch.from_numpy(np.sqrt(weights))
    residual = sigpy.fft(3 * maps * image.numpy(), axes=(-2, -1)) - y
    distance = torch.linalg.vector_norm(root * torch.from_numpy(residual))
    sparsity = (net.weights * net.sparsifier(image).abs()).sum()
    assert app.lamda == pytest.approx(0.02)
    assert app.objective() == pytest.approx(float(0.02 * sparsity + distance), rel=1e-5)


def test_sigpy_lamda_is_the_weight_of_the_lasso_with_the_same_solution() -> None:
    y, maps, mask, _ = cartesian()
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((2, *y.shape)) * 0.02
    y = (y + (noise[0] + 1j * noise[1]) * mask).astype(np.complex128)
    maps = maps.astype(np.complex128)
    app = FIRENETRecon(
        y, maps, wave_name="haar", preset="adaptive", relative_gap=1e-7, show_pbar=False
    )
    image = torch.from_numpy(app.run())
    net = make_network(COILS, SHAPE, sparsifier="haar")
    encoding = encoding_operator(torch.from_numpy(mask), torch.from_numpy(maps))
    gaps = []
    for factor in (1.0, 1.2):
        # SigPy has half of the square, P2 the whole one.
        problem = Lasso(encoding, net.sparsifier, None, lam=2 * factor * app.sigpy_lamda)
        data = torch.from_numpy(y)
        gaps.append(float(problem.duality_gap(image, data) / problem.objective(image, data)))
    assert gaps[0] < 1e-3 < gaps[1]


def test_image_is_complex_and_as_precise_as_the_data() -> None:
    y, maps, _, image = cartesian()
    double = run(y.astype(np.complex128), maps.astype(np.complex128))
    assert double.dtype == np.complex128
    # SigPy promotes single-precision data to double where the maps are.
    assert run(y, maps.astype(np.complex128)).dtype == np.complex64
    centred = sigpy.fft(np.abs(image))[None].real.astype(np.float32)
    ones = np.ones((1, *SHAPE), dtype=np.complex64)
    assert run(centred, ones).dtype == np.complex64
    assert np.abs(run(y, maps).imag).max() > 0.3


def test_coil_batches_give_the_same_image() -> None:
    y, maps, mask, _ = cartesian()
    weights = mask * np.linspace(0.5, 3, SHAPE[1])
    for given in (None, weights):
        expected = run(y, maps, weights=given)
        for size in (1, 3):
            assert relative(run(y, maps, weights=given, coil_batch_size=size), expected) < 1e-5


def test_start_image_is_used_and_left_alone() -> None:
    y, maps, _, image = cartesian()
    y, maps = 3 * y, 3 * maps
    start = image.copy()
    near = FIRENETRecon(y, maps, x=start, layers=1, save_objective_values=True, show_pbar=False)
    far = FIRENETRecon(y, maps, layers=1, save_objective_values=True, show_pbar=False)
    assert near.objective_values[0] < far.objective_values[0]
    assert relative(near.x, image) < 1e-6
    near.run()
    assert np.array_equal(start, image)
    assert near.certificate.lipschitz_bound is None


def test_objective_falls_to_the_certified_value() -> None:
    y, maps, *_ = cartesian()
    app = FIRENETRecon(y, maps, save_objective_values=True, show_pbar=False)
    app.run()
    assert app.objective_values[0] == pytest.approx(np.linalg.norm(y), rel=1e-5)
    assert app.objective_values[-1] == pytest.approx(app.certificate.objective[0], rel=1e-4)
    assert app.objective_values[-1] < 0.5 * app.objective_values[0]


def test_algorithm_can_be_driven_by_hand_and_run_once() -> None:
    y, maps, *_ = cartesian()
    expected = run(y, maps)
    app = FIRENETRecon(y, maps, show_pbar=False)
    assert not np.any(app.x)
    while not app.alg.done():
        app.alg.update()
    assert app.alg.iter == make_network(COILS, SHAPE).depth
    assert np.array_equal(app.x, expected)
    assert np.array_equal(app.run(), expected)


def test_progress_bar_has_the_name_of_the_class_and_counts_layers(capsys) -> None:
    y, maps, *_ = cartesian()
    FIRENETRecon(y, maps, layers=5, save_objective_values=True).run()
    bar = capsys.readouterr().err
    assert "FIRENETRecon: 100%" in bar
    assert "5/5" in bar
    assert "obj=" in bar


def test_pixels_that_no_coil_sees_are_zero() -> None:
    y, maps, *_ = cartesian()
    maps = maps.copy()
    maps[:, :3] = 0
    image = run(y, maps)
    assert not image[:3].any()
    assert image[3:].any()


def test_arrays_that_are_read_only_or_strided_are_taken() -> None:
    y, maps, *_ = cartesian()
    expected = run(y, maps)
    for array in (y, maps):
        array.flags.writeable = False
    fortran = np.asfortranarray(y), np.asfortranarray(maps)
    assert np.array_equal(run(y, maps), expected)
    assert np.array_equal(run(*fortran), expected)
    assert np.array_equal(run(y[:, ::-1][:, ::-1], maps), expected)


def test_network_is_not_trained_and_keeps_no_hooks() -> None:
    y, maps, *_ = cartesian()
    app = FIRENETRecon(y, maps, show_pbar=False)
    (net,) = (value for value in vars(app).values() if isinstance(value, FIRENET))
    app.alg.update()
    assert not any(module._forward_hooks for module in net.modules())
    app.run()
    assert not any(module._forward_hooks for module in net.modules())
    assert not net.state_dict()


def test_inputs_are_not_changed() -> None:
    y, maps, mask, _ = cartesian()
    weights = mask * np.linspace(0.5, 3, SHAPE[1])
    before = [array.copy() for array in (y, maps, weights)]
    run(y, maps, weights=weights)
    for array, copy in zip((y, maps, weights), before, strict=True):
        assert np.array_equal(array, copy)


def test_maps_need_not_be_normalised() -> None:
    maps = draw(3, *SHAPE).astype(np.complex64)
    y = sigpy.fft(maps * phantom(SHAPE), axes=(-2, -1)).astype(np.complex64)
    assert relative(run(y, maps, preset="adaptive", relative_gap=1e-4), phantom(SHAPE)) < 0.1
