"""FIRENETRecon's certificate is about the arrays that were given and the image that comes back."""

from __future__ import annotations

import numpy as np
import pytest
from sigpy_linops import draw
from test_recon_app import SHAPE, cartesian

from firenet_mri.reconstruction.data_warnings import warnings_of
from firenet_mri.sigpy import FIRENETRecon

WEIGHTS = {
    "none": lambda mask: None,
    "number": lambda mask: 9.0,
    "soft": lambda mask: mask * np.linspace(0.1, 4, mask.shape[-1]),
    "coils": lambda mask: mask * np.array([1.0, 2, 0.5, 8]).reshape(-1, 1, 1),
}


def app_of(y, maps, weights, **options) -> FIRENETRecon:
    app = FIRENETRecon(y, maps, weights=weights, show_pbar=False, **options)
    app.run()
    return app


@pytest.mark.parametrize("preset", ["accurate", "stable"])
@pytest.mark.parametrize("factor", [1e-2, 1.0, 1e2])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_no_change_of_the_samples_is_amplified_more_than_certified(weights, factor, preset) -> None:
    y, maps, mask, _ = cartesian()
    maps, given = maps * np.float32(factor), WEIGHTS[weights](mask)
    app = app_of(y, maps, given, preset=preset)
    largest = 0.0
    for change in (0.01 * y, 0.01 * draw(*y.shape).astype(np.complex64) * mask):
        other = app_of(y + change, maps, given, preset=preset)
        largest = max(largest, np.linalg.norm(other.x - app.x) / np.linalg.norm(change))
    bound = app.certificate.lipschitz_bound
    assert 0.01 * bound < largest <= bound
    assert app.certificate.lipschitz_bound_of_samples == pytest.approx(bound)
    # A per cent for a per cent: what y itself does when it grows.
    assert app.certificate.percent_per_percent[0] >= 1


def test_the_bound_is_that_of_the_networks_times_weights_and_gain() -> None:
    """The maps, .01 of normalised ones, make the image 100 times larger."""
    y, maps, mask, _ = cartesian()
    one = app_of(y, maps, None).certificate.lipschitz_bound
    small = app_of(y, maps * np.float32(0.01), None).certificate.lipschitz_bound
    assert small == pytest.approx(100 * one, rel=1e-5)
    scaled = app_of(y, maps, mask * 9.0).certificate.lipschitz_bound
    # The weights' scale changes neither the image nor what is proven about it.
    assert scaled == pytest.approx(one, rel=1e-5)


@pytest.mark.parametrize("coils", [None, 2])
def test_what_is_kept_fixed_is_named_and_given_maps_are_not_made_from_the_data(coils) -> None:
    y, maps, mask, _ = cartesian()
    weights = mask * np.linspace(0.5, 3, SHAPE[1])
    entries = app_of(y, maps, weights, coil_batch_size=coils).certificate.entries
    (entry,) = [one for one in entries if one.name == "lipschitz_bound"]
    assert entry.status == "proven"
    for part in ("sensitivity maps", "sampling mask", "weights"):
        assert part in entry.statement
    assert "made from these data" not in entry.statement


@pytest.mark.parametrize("weights", ["none", "soft"])
def test_the_certificate_warns_of_signs_that_were_left_in(weights) -> None:
    y, maps, mask, _ = cartesian()
    given = WEIGHTS[weights](mask)
    signs = (-1.0) ** np.arange(y.shape[-1], dtype=np.float32)
    for samples, expected in ((y, set()), (y * signs, {"image_wrapped"})):
        certificate = app_of(samples, maps, given, no_gap=True).certificate
        assert {one.name for one in warnings_of(certificate)} & {"image_wrapped"} == expected
