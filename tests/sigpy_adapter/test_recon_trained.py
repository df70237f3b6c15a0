"""FIRENETRecon runs a trained network as it runs a preset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sigpy
import sigpy.mri
import torch
from learned_networks import frame_file, small_frame, small_network, weights_file

from firenet_mri.errors import DataError, UsageError
from firenet_mri.firenet.options import NetworkOptions
from firenet_mri.operators import encoding_operator
from firenet_mri.sigpy import FIRENETRecon

SHAPE = (24, 20)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return weights_file(tmp_path_factory.mktemp("weights"))


def arrays() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return k-space, maps and mask of a small scan."""
    maps = sigpy.mri.birdcage_maps((3, *SHAPE))
    maps = (maps / sigpy.rss(maps, axes=(0,))).astype(np.complex64)
    mask = np.random.default_rng(0).random(SHAPE) < 0.6
    y = sigpy.fft(maps * sigpy.shepp_logan(SHAPE), axes=(-2, -1)) * mask
    return y.astype(np.complex64), maps, mask


def test_the_image_is_the_networks_and_every_update_is_a_stage(file) -> None:
    y, maps, mask = arrays()
    app = FIRENETRecon(y, maps, weights=mask, network=str(file), show_pbar=False)
    image = app.run()
    assert app.alg.iter == 3
    encoding = encoding_operator(torch.from_numpy(mask)[None], torch.from_numpy(maps), 2)
    expected = small_network()(torch.from_numpy(y), encoding)
    np.testing.assert_allclose(image, expected.numpy(), rtol=1e-4, atol=1e-5)
    assert app.certificate.relative_gap is None
    assert app.certificate.lipschitz_bound == pytest.approx(
        small_network().lipschitz_bound_everywhere(encoding), rel=1e-4
    )


def test_a_saved_certificate_is_checked_with_the_weights(file, tmp_path) -> None:
    y, maps, mask = arrays()
    app = FIRENETRecon(y, maps, weights=mask, network=file, show_pbar=False)
    app.run()
    app.save(tmp_path / "a.npy")
    again = FIRENETRecon(y, maps, weights=mask, network=file, show_pbar=False)
    assert (
        "The network was run again and gives this image." in again.check(tmp_path / "a.npy").agrees
    )
    other = weights_file(tmp_path, 1)
    with pytest.raises(DataError, match="other options"):
        FIRENETRecon(y, maps, weights=mask, network=other, show_pbar=False).check(
            tmp_path / "a.npy"
        )


@pytest.mark.parametrize(
    "options", [{"lamda": 0.1}, {"save_objective_values": True}, {"max_iter": 3}, {"x": 0}], ids=str
)
def test_what_means_nothing_for_a_trained_network_is_refused(file, options) -> None:
    y, maps, mask = arrays()
    if "x" in options:
        options = {"x": np.zeros(SHAPE, np.complex64)}
    with pytest.raises(UsageError):
        FIRENETRecon(y, maps, weights=mask, network=file, show_pbar=False, **options).run()


def test_it_has_no_lamda_and_no_objective(file) -> None:
    y, maps, mask = arrays()
    app = FIRENETRecon(y, maps, weights=mask, network=file, show_pbar=False)
    assert app.lamda is None
    for ask in (app.objective, lambda: app.sigpy_lamda):
        with pytest.raises(UsageError, match="minimises nothing"):
            ask()


def test_a_learned_frame_has_lamda_objective_and_gap(tmp_path) -> None:
    y, maps, mask = arrays()
    options = {"lamda": 0.02, "max_iter": 5, "save_objective_values": True, "show_pbar": False}
    app = FIRENETRecon(y, maps, weights=mask, network=frame_file(tmp_path), **options)
    image = app.run()
    encoding = encoding_operator(torch.from_numpy(mask)[None], torch.from_numpy(maps), 2)
    net = small_frame().network(3, SHAPE, NetworkOptions(layers=5, lam=0.02))
    with torch.no_grad():
        expected = net(torch.from_numpy(y), encoding)
    np.testing.assert_allclose(image, expected.numpy(), rtol=1e-4, atol=1e-5)
    assert app.lamda == pytest.approx(0.02)
    assert app.objective_values[-1] < app.objective_values[0]
    assert app.certificate.relative_gap is not None
    with pytest.raises(UsageError, match="sparsifier: a learned frame"):
        FIRENETRecon(y, maps, wave_name="haar", network=tmp_path / "frame0.safetensors")
